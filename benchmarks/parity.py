"""Do palate and TRL compute the same thing?  Asked before anything is timed.

AdamW magnifies rounding where a gradient is near 0, so what is compared is the log-prob of each
sequence, the whole gradient, and the loss over three steps of plain SGD that visibly lower it.

Shape suffixes: I items, N sequences of an item.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import palate_side
import torch
import trl_side
from torch import Tensor
from workload import BETA, Record, Workload, timed

from palate.engine.scoring import score
from palate.train.step import Batch, accumulate

STEPS = 3
LOWERED = 0.02  # what three steps must take off the loss, else the check says nothing
RECORDS = 6


@dataclass(frozen=True, slots=True)
class Found:
    """What one tool computed on the batch: before any step, and over STEPS steps of SGD."""

    logps_IN: Tensor
    gradient: dict[str, Tensor]
    losses: list[float]
    positions: int = 0

    @property
    def norm(self) -> float:
        return float(sum(g.double().square().sum() for g in self.gradient.values()) ** 0.5)


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: `value` must not be above (below, if `least`) `bound`."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.least else self.value <= self.bound


def compare(ours: Found, theirs: Found) -> list[Check]:
    """All checks of one tool's figures against the other's."""
    logps = ((ours.logps_IN - theirs.logps_IN).abs() / theirs.logps_IN.abs()).max()
    names = sorted(theirs.gradient)
    product = sum(
        float((ours.gradient[n].double() * theirs.gradient[n].double()).sum()) for n in names
    )
    losses = max(abs(a - b) for a, b in zip(ours.losses, theirs.losses, strict=True))
    return [
        Check("log-prob of a sequence, relative", float(logps), 1e-5),
        Check("gradient norm, relative", abs(ours.norm / theirs.norm - 1), 1e-4),
        Check("gradient cosine", product / (ours.norm * theirs.norm), 0.9999, least=True),
        Check("loss over three steps of SGD", losses, 1e-4),
        Check("what the steps took off the loss", ours.losses[0] - ours.losses[-1], LOWERED, True),
    ]


def run(work: Workload, folder: Path, *, trl_beta: float = BETA) -> list[Any]:
    """Compare on a few records of `work`.  Another `trl_beta` is there to see the check fail."""
    sample = replace(work, batch=RECORDS, steps=1)
    records = timed(sample)
    ours, rate = _palate(sample, folder, records)
    found = []
    for compact in (False, True):
        trl_side.score_completions_only(compact)
        theirs = _trl(sample, folder, records, trl_beta, rate)
        found.append(
            {
                "profile": work.profile,
                "trl_beta": trl_beta,
                "against": "compact" if compact else "as shipped",
                "positions": theirs.positions,
                "losses": [ours.losses, theirs.losses],
                "checks": [asdict(c) | {"holds": c.holds} for c in compare(ours, theirs)],
            }
        )
    return found


def _palate(work: Workload, folder: Path, records: list[Record]) -> tuple[Found, float]:
    """palate's figures, and the learning rate that takes LOWERED or so off the loss a step."""
    policy, aim = palate_side.load(folder), palate_side.objective(work)
    items = palate_side.items(records)
    logps_IN = score(policy, items, palate_side.BUDGET)
    batch = Batch(items, palate_side.reference(policy, items, work))

    def loss() -> float:
        return accumulate(policy, batch, aim, palate_side.BUDGET).loss

    gradient, losses, rate = _descend(policy.model, loss, None)
    return Found(logps_IN, gradient, losses), rate


def _trl(work: Workload, folder: Path, records: list[Record], beta: float, rate: float) -> Found:
    """TRL's figures at micro-batch 2, and how many positions its first pass scored."""
    made = trl_side.trainer(work, folder, records, micro_batch=2, beta=beta)
    logps_IN = trl_side.log_probs(made, len(records))
    made.model.train()
    with _Positions() as positions:
        gradient, losses, _ = _descend(
            made.model, lambda: trl_side.loss_of_step(made, range(len(records)), 2), rate
        )
    return Found(logps_IN, gradient, losses, positions.scored // STEPS)


def _descend(
    model: Any, loss: Callable[[], float], rate: float | None
) -> tuple[dict[str, Tensor], list[float], float]:
    """The first gradient, the losses of STEPS steps of SGD, and the rate used."""
    gradient: dict[str, Tensor] = {}
    losses = []
    for _ in range(STEPS):
        losses.append(loss())
        parameters = {n: p for n, p in model.named_parameters() if p.grad is not None}
        if not gradient:
            gradient = {n: p.grad.clone() for n, p in parameters.items()}
            rate = rate or LOWERED / sum(float(g.square().sum()) for g in gradient.values())
        assert rate is not None
        torch.optim.SGD(parameters.values(), lr=rate).step()
        model.zero_grad(set_to_none=True)
    assert rate is not None
    return gradient, losses, rate


class _Positions:
    """While open, counts the positions that TRL's fused head scores."""

    def __init__(self) -> None:
        self.plain = trl_side.UTILS._ChunkedLogProbFunction
        self.scored = 0

    def apply(self, hidden: Tensor, *rest: Any) -> Any:
        self.scored += len(hidden)
        return self.plain.apply(hidden, *rest)

    def __enter__(self) -> "_Positions":
        trl_side.UTILS._ChunkedLogProbFunction = self
        return self

    def __exit__(self, *_: object) -> None:
        trl_side.UTILS._ChunkedLogProbFunction = self.plain
