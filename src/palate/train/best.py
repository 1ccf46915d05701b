"""The weights that may become final: written beside the checkpoints, whole or not at all."""

from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from palate.errors import CheckpointError
from palate.runs import atomic, checkpoint
from palate.runs.folder import Run
from palate.train.events import Evaluation
from palate.train.record import evaluation_of

FOLDER = "best"
WEIGHTS = "weights.safetensors"


def keep(run: Run, weights: Mapping[str, Tensor], event: Evaluation) -> None:
    """Put these weights in the place of those that were the best so far."""
    atomic.commit_folder(
        run.path / FOLDER,
        lambda temp: checkpoint.write_tensors(temp / WEIGHTS, weights),
        replace=True,
        note={"evaluation": asdict(event)},
        need=sum(w.numel() * w.element_size() for w in weights.values()),
    )


def take(run: Run, step: int) -> tuple[dict[str, Tensor], Evaluation]:
    """The kept weights, which are those of `step`, and their evaluation.

    Raises CheckpointError if they are damaged.
    """
    folder = run.path / FOLDER
    try:
        found = dict(atomic.read_folder(folder).note["evaluation"])
    except atomic.Damaged as why:
        raise CheckpointError(
            f"{folder}, the weights of step {step}: {why.message}.",
            hint="Restore it, or start again with another --out.",
        ) from why
    assert found["step"] == step, "the best weights are those of another step"
    return checkpoint.read_tensors(folder / WEIGHTS), evaluation_of(found)
