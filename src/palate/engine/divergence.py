"""How far a policy has moved from its reference on given texts: exact KL at every scored token.

At the state before each token the sum over the whole vocabulary is taken, not the log-ratio of the
one token that was drawn: the same mean over the policy's own texts, with less noise.

Shape suffixes: I items, N sequences of an item, K scored tokens of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from palate.data.rows import Item
from palate.engine.logprob import divergence
from palate.engine.pack import Row, pack
from palate.engine.policy import Policy, per_sequence
from palate.engine.scoring import by_item, in_order


@dataclass(frozen=True, slots=True)
class Kl:
    """Nats per text (I,N), summed over its scored tokens, and how many these are (I,N)."""

    nats_IN: Tensor
    tokens_IN: Tensor


@torch.no_grad()
def kl(policy: Policy, reference: Policy, items: Sequence[Item], budget: int) -> Kl:
    """KL(policy || reference) of items in their order; 0 where an item has fewer sequences.

    Both must share one vocabulary; their plans may differ.
    """
    found = [(row, _of_row(policy, reference, row)) for row in pack(items, budget)]
    nats_IN = in_order(found, len(items))
    counts = [[sequence.scored for sequence in item.sequences] for item in items]
    tokens_IN = torch.zeros(nats_IN.shape, dtype=torch.int64, device=nats_IN.device)
    for index, row_counts in enumerate(counts):
        tokens_IN[index, : len(row_counts)] = torch.tensor(row_counts)
    return Kl(nats_IN, tokens_IN)


def _of_row(policy: Policy, reference: Policy, row: Row) -> Tensor:
    """Nats by item (I of the row, N).  Scored tokens are the same only where both share."""
    laid = row if policy.plan.shared and reference.plan.shared else row.unshared()
    nats_K = divergence(*policy.predictions(laid), *reference.predictions(laid))
    return by_item(per_sequence(nats_K, laid), row)
