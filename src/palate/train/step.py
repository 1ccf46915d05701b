"""One optimiser step: pack, score, one loss per item, sum over the step's true count, backward.

What is asked of a model is one number per sequence: a policy's log-prob, a reward model's reward.
The gradient does not depend on the packing: every row's loss is divided by the count of the whole
step.  A coupled objective takes all log-probs first and then a weighted backward.

Shape suffixes: I items of the step, N sequences of an item, K scored tokens of a row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from palate.data.rows import Item
from palate.engine.pack import Row, pack
from palate.engine.policy import Output, Policy, per_sequence
from palate.engine.scoring import by_item, in_order, score_rows
from palate.engine.value import Model, Rewards
from palate.errors import MemoryLimitError
from palate.objectives import Objective, Scored, weights
from palate.objectives.tokens import STATISTICS, SUMS


@dataclass(frozen=True, slots=True)
class Batch:
    """The items of one step and their reference log-probs (I,N) where the objective needs them."""

    items: Sequence[Item]
    reference_IN: Tensor | None = None

    @property
    def tokens_IN(self) -> Tensor:
        """Scored tokens of every sequence; 0 where an item has fewer sequences than N."""
        most = max(len(item.sequences) for item in self.items)
        counts = [[s.scored for s in item.sequences] for item in self.items]
        return torch.tensor([row + [0] * (most - len(row)) for row in counts])

    def count(self, objective: Objective) -> int:
        """What the step's summed loss is divided by."""
        return int(self.tokens_IN.sum()) if objective.count == "tokens" else len(self.items)

    def subset(self, index: Sequence[int]) -> "Batch":
        """The items at `index`, in that order, with their reference."""
        reference = None if self.reference_IN is None else self.reference_IN[list(index)]
        return Batch([self.items[i] for i in index], reference)

    def scored(self, logps_IN: Tensor, sums: dict[str, Tensor] | None = None) -> Scored:
        """Log-probs of all items joined with what else an objective reads."""
        reference, width = self.reference_IN, logps_IN.shape[1]
        values = torch.tensor([item.value for item in self.items], dtype=logps_IN.dtype)
        return Scored(
            logps_IN,
            self.tokens_IN[:, :width].to(logps_IN.device),
            None if reference is None else reference[:, :width].to(logps_IN),
            values.to(logps_IN.device),
            sums or {},
        )

    def read(
        self, objective: Objective, output: Output | Rewards, logps_K: Tensor | None = None
    ) -> Scored:
        """What the objective reads of a packed row: rewards, or the log-probs of its tokens."""
        if isinstance(output, Rewards):
            row = output.row
            return self.subset(row.items).scored(by_item(output.rewards_S, row))
        row, found = output.row, output.statistics
        logps_K = output.logps_K if logps_K is None else logps_K
        square_K = None if found is None else found.square_K
        sums = {
            name: by_item(per_sequence(SUMS[name](logps_K, square_K), row), row)
            for name in objective.sums
        }
        part = self.subset(row.items)
        return part.scored(by_item(per_sequence(logps_K, row), row), sums)


@dataclass(frozen=True, slots=True)
class Result:
    """What a step (or an evaluation) found: losses (I,) and a number per sequence, detached."""

    losses_I: Tensor
    scored: Scored
    weights_IN: Tensor
    count: int

    @property
    def loss(self) -> float:
        return float(self.losses_I.double().sum()) / self.count


def accumulate(
    model: Model,
    batch: Batch,
    objective: Objective,
    budget: int,
    stop: Callable[[], None] = lambda: None,
) -> Result:
    """Add the step's gradient to the parameters' `.grad`.  `stop` may raise between rows."""
    if objective.coupled:
        assert isinstance(model, Policy), "no objective over rewards is coupled"
        return _weighted(model, batch, objective, budget, stop)
    count, found = batch.count(objective), []
    for row, output in _outputs(model, batch, objective, budget):
        stop()
        scored = batch.read(objective, output)
        (objective.loss(scored).sum() / count).backward()
        found.append((row, _detached(scored)))
        del output, scored  # the graph must not outlive its row
    return _result(batch, objective, found)


def _weighted(
    policy: Policy, batch: Batch, objective: Objective, budget: int, stop: Callable[[], None]
) -> Result:
    """All log-probs first, then SFT with the weights found; what has no weight is left out."""
    result = evaluate(policy, batch, objective, budget)
    used = int(result.weights_IN.any(0).nonzero().max()) + 1 if result.weights_IN.any() else 0
    pull_IN = result.weights_IN[:, :used] / result.count
    items = [replace(item, sequences=item.sequences[:used]) for item in batch.items]
    for row, logps_IN in score_rows(policy, pack(items, budget) if used else []):
        stop()
        (-(pull_IN[list(row.items)] * logps_IN).sum()).backward()
    return result


@torch.no_grad()
def evaluate(model: Model, batch: Batch, objective: Objective, budget: int) -> Result:
    """The same figures without a gradient."""
    found = [
        (row, batch.read(objective, output))
        for row, output in _outputs(model, batch, objective, budget)
    ]
    return _result(batch, objective, found)


def _outputs(
    model: Model, batch: Batch, objective: Objective, budget: int
) -> Iterator[tuple[Row, Output | Rewards]]:
    """Each row of the batch with what the engine says of it."""
    asked = {"with_statistics": True} if STATISTICS & objective.needs else {}
    for row in pack(batch.items, budget):
        yield row, model(row, **asked)


def _detached(scored: Scored) -> Scored:
    sums = {name: values.detach() for name, values in scored.sums.items()}
    return replace(scored, logps_IN=scored.logps_IN.detach(), sums=sums)


def _result(batch: Batch, objective: Objective, found: Sequence[tuple[Row, Scored]]) -> Result:
    count = len(batch.items)
    logps_IN = in_order([(row, scored.logps_IN) for row, scored in found], count)
    sums = {
        name: in_order([(row, scored.sums[name]) for row, scored in found], count)
        for name in objective.sums
    }
    scored = batch.scored(logps_IN, sums)
    return Result(
        losses_I=objective.loss(scored),
        scored=scored,
        weights_IN=weights(objective, scored),
        count=batch.count(objective),
    )


def out_of_memory(budget: int) -> MemoryLimitError:
    """What to say, and what may help, when a row of `budget` tokens did not fit."""
    return MemoryLimitError(
        f"out of memory with {budget} tokens a row.",
        hint=f"Try --token-budget {budget // 2}, --grad-checkpoint, or leave out --full.",
    )
