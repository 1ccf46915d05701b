"""All rows of a file under one objective: losses, margins, weights, and the pull on every token.

Shape suffixes: I rows, N sequences of a row, T scored tokens of a sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from palate.data.rows import Item
from palate.objectives import Objective, Scored, token_weights, weights
from palate.objectives.tokens import SUMS
from palate.study.tokens import Floats, Measured, pulls
from palate.train.step import Batch


@dataclass(frozen=True, slots=True)
class Reading:
    """Every row measured under the policy, and what the objective makes of it.

    `pulls[i][s]` is the weight of each scored token of side s of row i; a token that both sides
    share has the sum of theirs.
    """

    items: Sequence[Item]
    found: Sequence[tuple[Measured, ...]]
    scored: Scored
    losses_I: Tensor
    margins_I: Tensor | None
    weights_IN: Tensor
    pulls: Sequence[tuple[Floats, ...]]

    def pushes(self, index: int, side: int) -> Floats:
        """Length of the logit gradient at each token (T,)."""
        return np.abs(self.pulls[index][side]) * self.found[index][side].lengths_T

    def mass(self, index: int, side: int) -> float:
        """The pushes of a side's tokens summed."""
        return float(self.pushes(index, side).sum())

    def heaviest(self, count: int) -> list[int]:
        """Rows by gradient mass, the heaviest first."""
        mass = [
            sum(self.mass(index, side) for side in range(len(found)))
            for index, found in enumerate(self.pulls)
        ]
        return sorted(range(len(mass)), key=lambda index: -mass[index])[:count]


def read_weights(
    objective: Objective,
    items: Sequence[Item],
    found: Sequence[tuple[Measured, ...]],
    reference_IN: Tensor | None,
) -> Reading:
    """Losses and weights as a step over all rows would have them, un-divided, in float64."""
    batch = Batch(items, None if reference_IN is None else reference_IN.double())
    scored = _scored(objective, batch, found)
    weights_IN = weights(objective, scored)
    return Reading(
        items,
        found,
        scored,
        objective.loss(scored),
        objective.margin(scored) if objective.items == "pair" else None,
        weights_IN,
        [
            _pulls(objective, batch, index, measured, weights_IN[index])
            for index, measured in enumerate(found)
        ],
    )


def sequence_logps(found: Sequence[tuple[Measured, ...]]) -> Tensor:
    """Log-probs (I,N) of all rows, 0 where a row has fewer sequences."""
    logps_IN = torch.zeros(len(found), max(map(len, found)), dtype=torch.float64)
    for index, measured in enumerate(found):
        for place, each in enumerate(measured):
            logps_IN[index, place] = float(each.logps_T.sum())
    return logps_IN


def _scored(objective: Objective, batch: Batch, found: Sequence[tuple[Measured, ...]]) -> Scored:
    """Log-probs and other sums of all rows, from their tokens."""
    logps_IN = sequence_logps(found)
    sums = {name: torch.zeros_like(logps_IN) for name in objective.sums}
    for index, measured in enumerate(found):
        for place, each in enumerate(measured):
            logps_T, square_T = torch.from_numpy(each.logps_T), torch.from_numpy(each.square_T)
            for name, total in sums.items():
                total[index, place] = SUMS[name](logps_T, square_T).sum()
    return batch.scored(logps_IN, sums)


def _pulls(
    objective: Objective,
    batch: Batch,
    index: int,
    measured: tuple[Measured, ...],
    weights_N: Tensor,
) -> tuple[Floats, ...]:
    """Weight of each token of the sides of a row: chosen and rejected, or the completion."""
    item = batch.items[index]
    sides = range(min(len(measured), 2 if objective.items == "pair" else 1))
    if objective.items == "ranked":
        sides = range(len(measured))
    if not objective.sums:
        return tuple(pulls(item, weights_N.tolist(), side) for side in sides)
    part = batch.subset([index])
    ends = np.cumsum([len(each.logps_T) for each in measured]).tolist()
    square = torch.from_numpy(np.concatenate([each.square_T for each in measured]))
    spans = list(zip([0, *ends], ends, strict=False))

    def read(logps_K: Tensor) -> Scored:
        def total(values_K: Tensor) -> Tensor:
            return torch.stack([values_K[start:stop].sum() for start, stop in spans])[None]

        sums = {name: total(SUMS[name](logps_K, square)) for name in objective.sums}
        return part.scored(total(logps_K), sums)

    logps = torch.from_numpy(np.concatenate([each.logps_T for each in measured]))
    found = token_weights(objective, read, logps).numpy()
    return tuple(found[start:stop] for start, stop in [spans[side] for side in sides])
