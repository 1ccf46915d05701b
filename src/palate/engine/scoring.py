"""Items in, log-probs out: rows are an inner matter of the engine.

Shape suffixes: I items, N sequences of an item.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from palate.data.rows import Item
from palate.engine.pack import Row, pack
from palate.engine.policy import Policy


@torch.no_grad()
def score(policy: Policy, items: Sequence[Item], budget: int) -> Tensor:
    """Log-probs (I,N) of items in their order, fp32 or wider."""
    return in_order(list(score_rows(policy, pack(items, budget))), len(items))


def score_rows(policy: Policy, rows: Sequence[Row]) -> Iterator[tuple[Row, Tensor]]:
    """Each row with the log-probs of its items (I of the row, N), gradient attached."""
    for row in rows:
        yield row, policy(row).logps_S.view(len(row.items), -1)


def in_order(found: Sequence[tuple[Row, Tensor]], count: int) -> Tensor:
    """Log-probs of rows put back into the order of the items (I,N)."""
    first = found[0][1]
    logps_IN = first.new_empty(count, first.shape[1])
    for row, values in found:
        logps_IN[list(row.items)] = values
    return logps_IN
