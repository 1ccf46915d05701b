"""A reward model: a policy's trunk, and one linear layer in place of the head over the vocabulary.

The reward of a sequence is read off the last hidden state at its last token, which both answers of
a pair have in one prefix tree: packing and sharing change nothing.  Nothing here reads a log-prob.

Shape suffixes: S sequences, I items, N sequences of an item, D hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from palate.data.rows import Item
from palate.engine.pack import Row, pack
from palate.engine.policy import Policy
from palate.engine.scoring import by_item, in_order


@dataclass(frozen=True, slots=True)
class Rewards:
    """One number per sequence of `row`, fp32 or wider, gradient attached."""

    rewards_S: Tensor
    row: Row


class RewardModel(nn.Module):
    """Trunk and scalar head in one module, so that what trains has one set of names."""

    def __init__(self, policy: Policy, head: nn.Linear) -> None:
        super().__init__()
        self.policy = policy
        self.head = head

    def forward(self, row: Row) -> Rewards:
        """The rewards of a packed row."""
        states_SD, bias = self.policy.ends(row), self.head.bias
        wide = torch.promote_types(states_SD.dtype, torch.float32)
        rewards_S = states_SD.to(wide) @ self.head.weight[0].to(wide)
        return Rewards(rewards_S if bias is None else rewards_S + bias[0].to(wide), row)

    @property
    def device(self) -> torch.device:
        return self.policy.device


Model = Policy | RewardModel


def new_head(policy: Policy, width: int, *, seed: int) -> nn.Linear:
    """A head (1,D) without bias, a function of (seed, D): N(0, 1/(D+1)).

    That variance is Ziegler et al.'s (2019, arXiv:1909.08593), by their code.  The vocabulary's
    head stops training: no reward depends on it, unless it is the embedding too.
    """
    output, table = policy.core.get_output_embeddings(), policy.core.get_input_embeddings()
    if output is not None and output.weight is not table.weight:
        output.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(1, width, generator=generator) * (width + 1) ** -0.5
    head: nn.Linear = nn.utils.skip_init(
        nn.Linear, width, 1, bias=False, device=policy.device, dtype=policy.core.dtype
    )
    with torch.no_grad():
        head.weight.copy_(drawn)
    return head


@torch.no_grad()
def reward_items(model: RewardModel, items: Sequence[Item], budget: int) -> Tensor:
    """Rewards (I,N) of items in their order; 0 where an item has fewer sequences."""
    found = [(row, by_item(model(row).rewards_S, row)) for row in pack(items, budget)]
    return in_order(found, len(items))
