"""Items in, log-probs out: rows are an inner matter of the engine.

Shape suffixes: I items, N sequences of an item (the most of any), S sequences of a row.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from palate.data.rows import Item
from palate.engine.pack import Row, pack
from palate.engine.policy import Policy


@torch.no_grad()
def score(policy: Policy, items: Sequence[Item], budget: int) -> Tensor:
    """Log-probs (I,N) of items in their order, fp32 or wider; 0 where an item has fewer."""
    return in_order(list(score_rows(policy, pack(items, budget))), len(items))


def score_rows(policy: Policy, rows: Sequence[Row]) -> Iterator[tuple[Row, Tensor]]:
    """Each row with the log-probs of its items (I of the row, N), gradient attached."""
    for row in rows:
        yield row, by_item(policy(row).logps_S, row)


def by_item(values_S: Tensor, row: Row) -> Tensor:
    """Values of a row's sequences by item (I,N); zeros after the last of an item that has fewer."""
    if len(set(row.sizes)) == 1:
        return values_S.view(len(row.sizes), -1)
    sizes_I = torch.tensor(row.sizes, device=values_S.device)
    item_S = torch.repeat_interleave(torch.arange(len(sizes_I), device=values_S.device), sizes_I)
    place_S = torch.arange(len(values_S), device=values_S.device)
    place_S = place_S - (sizes_I.cumsum(0) - sizes_I)[item_S]
    empty = values_S.new_zeros(len(sizes_I), int(sizes_I.max()))
    return empty.index_put((item_S, place_S), values_S)


def in_order(found: Sequence[tuple[Row, Tensor]], count: int) -> Tensor:
    """Values of rows put back into the order of the items (I,N)."""
    widest = max(values.shape[1] for _, values in found)
    values_IN = found[0][1].new_zeros(count, widest)
    for row, values in found:
        values_IN[list(row.items), : values.shape[1]] = values
    return values_IN
