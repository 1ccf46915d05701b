"""A few pairs at every checkpoint that a run kept: what they taught then, and what they teach now.

Beside each moment stands what SFT on chosen would push at the same weights.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from palate.data.rows import Item
from palate.engine.policy import Policy
from palate.errors import CheckpointError, UsageError
from palate.objectives import Objective, build
from palate.runs import checkpoint
from palate.study.reading import Reading, read_weights
from palate.study.seen import Frame
from palate.study.tokens import Measured, measure, shared_tokens
from palate.train.events import Listener, Working

REPLAYED = 6
Frames = tuple[tuple[Frame, ...], ...]


def replayed(
    run: Path,
    policy: Policy,
    task: tuple[Objective, Sequence[Item], Tensor | None],
    budget: int,
    listen: Listener,
) -> tuple[Frames, Frames]:
    """Frames of every item under the objective, and under SFT on chosen, a frame per checkpoint.

    Leaves the last checkpoint's weights in the policy.  Raises UsageError for a run that kept
    fewer than three, CheckpointError for weights of another model.
    """
    objective, items, reference_IN = task
    imitation = build("sft", mean="sequence")
    alone = [replace(item, sequences=item.sequences[:1]) for item in items]
    ours: list[list[Frame]] = [[] for _ in items]
    theirs: list[list[Frame]] = [[] for _ in items]
    for done, (step, weights) in enumerate(checkpoint.kept_weights(run), start=1):
        take(policy, weights, run)
        found: list[tuple[Measured, ...]] = [()] * len(items)
        for index, measured in measure(policy, items, budget):
            found[index] = measured
        reading = read_weights(objective, items, found, reference_IN)
        imitated = read_weights(imitation, alone, [each[:1] for each in found], None)
        for index in range(len(items)):
            ours[index].append(_frame(step, reading, index))
            theirs[index].append(_frame(step, imitated, index))
        listen(Working("checkpoints replayed", done, done))
    if len(ours[0]) < 3:
        raise UsageError(
            f"{run} kept {len(ours[0])} checkpoints: too few to replay.",
            hint="Train with --keep 12 --save-every N, N a twelfth of the steps.",
        )
    return tuple(map(tuple, ours)), tuple(map(tuple, theirs))


def spread(reading: Reading, count: int = REPLAYED) -> list[int]:
    """Rows from the heaviest to the lightest, evenly spaced: what is learnt and what is not.

    Of those whose sides share a start, if there are enough: they show how it cancels.
    """
    ranked = reading.heaviest(len(reading.found))
    shares = [n for n in ranked if _has_shared_start(reading.items[n])]
    ranked = shares if len(shares) >= count else ranked
    if len(ranked) <= count:
        return ranked
    return [ranked[round(n * (len(ranked) - 1) / (count - 1))] for n in range(count)]


def _has_shared_start(item: Item) -> bool:
    return shared_tokens(item) > item.sequences[0].prompt


@torch.no_grad()
def take(policy: Policy, weights: dict[str, Tensor], run: Path) -> None:
    """Put a checkpoint's weights into the policy."""
    parameters = dict(policy.model.named_parameters())
    for name, value in weights.items():
        if name not in parameters or parameters[name].shape != value.shape:
            raise CheckpointError(
                f"a checkpoint of {run} holds {name}, which its final model has not.",
                hint="The folder was changed since; train again to another --out.",
            )
        parameters[name].copy_(value)


def _frame(step: int, reading: Reading, index: int) -> Frame:
    sides = range(len(reading.pulls[index]))
    return Frame(
        step=step,
        margin=None if reading.margins_I is None else float(reading.margins_I[index]),
        weights=tuple(float(reading.weights_IN[index, side]) for side in sides),
        pushes=tuple(tuple(reading.pushes(index, side).tolist()) for side in sides),
        logps=tuple(tuple(reading.found[index][side].logps_T.tolist()) for side in sides),
    )
