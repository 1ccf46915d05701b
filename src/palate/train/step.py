"""One optimiser step: pack, score, one loss per item, sum over the step's true count, backward.

The gradient does not depend on the packing: every row's loss is divided by the count of the whole
step.  A coupled objective takes all log-probs first and then a weighted backward.

Shape suffixes: I items of the step, N sequences of an item, S sequences of a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from palate.data.rows import Item
from palate.engine.pack import Row, pack
from palate.engine.policy import Policy
from palate.engine.scoring import in_order, score_rows
from palate.objectives import Objective, Scored, weights


@dataclass(frozen=True, slots=True)
class Batch:
    """The items of one step and their reference log-probs (I,N) where the objective needs them."""

    items: Sequence[Item]
    reference_IN: Tensor | None = None

    @property
    def tokens_IN(self) -> Tensor:
        return torch.tensor([[s.scored for s in item.sequences] for item in self.items])

    def count(self, objective: Objective) -> int:
        """What the step's summed loss is divided by."""
        return int(self.tokens_IN.sum()) if objective.count == "tokens" else len(self.items)

    def subset(self, index: Sequence[int]) -> "Batch":
        """The items at `index`, in that order, with their reference."""
        reference = None if self.reference_IN is None else self.reference_IN[list(index)]
        return Batch([self.items[i] for i in index], reference)

    def scored(self, logps_IN: Tensor, chosen: Sequence[int] | None = None) -> Scored:
        """Log-probs joined with what else an objective reads, for all items or those `chosen`."""
        index = list(range(len(self.items)) if chosen is None else chosen)
        reference = self.reference_IN
        return Scored(
            logps_IN,
            self.tokens_IN[index].to(logps_IN.device),
            None if reference is None else reference[index].to(logps_IN),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What a step (or an evaluation) found: losses per item (I,) and log-probs (I,N), detached."""

    losses_I: Tensor
    scored: Scored
    weights_IN: Tensor
    count: int

    @property
    def loss(self) -> float:
        return float(self.losses_I.double().sum()) / self.count


def accumulate(
    policy: Policy,
    batch: Batch,
    objective: Objective,
    budget: int,
    stop: Callable[[], None] = lambda: None,
) -> Result:
    """Add the step's gradient to the parameters' `.grad`.  `stop` may raise between rows."""
    count, rows = batch.count(objective), pack(batch.items, budget)
    if objective.coupled:
        result = evaluate(policy, batch, objective, budget)
        for row, logps_IN in score_rows(policy, rows):
            stop()
            pull = result.weights_IN[list(row.items)] / count
            (-(pull * logps_IN).sum()).backward()
        return result
    found = []
    for row, logps_IN in score_rows(policy, rows):
        stop()
        (objective.loss(batch.scored(logps_IN, row.items)).sum() / count).backward()
        found.append((row, logps_IN.detach()))
    return _result(batch, objective, found)


@torch.no_grad()
def evaluate(policy: Policy, batch: Batch, objective: Objective, budget: int) -> Result:
    """The same figures without a gradient."""
    return _result(batch, objective, list(score_rows(policy, pack(batch.items, budget))))


def _result(batch: Batch, objective: Objective, found: Sequence[tuple[Row, Tensor]]) -> Result:
    scored = batch.scored(in_order(found, len(batch.items)))
    return Result(
        losses_I=objective.loss(scored),
        scored=scored,
        weights_IN=weights(objective, scored),
        count=batch.count(objective),
    )
