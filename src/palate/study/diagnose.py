"""A run measured for its diagnosis: the curves it wrote down, and what its training did to it.

The curves need no model.  What became of the model is measured through the engine, start and final
weights on the same held-out pairs and prompts, texts seeded.  What it all means: `findings`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from palate.errors import UsageError
from palate.runs.folder import METRICS, Metrics, Run
from palate.stats import Interval, share
from palate.study.findings import Curves, Evaluated, Finding, Live, findings, verdict
from palate.study.history import RunHistory, read_history
from palate.study.look import Gone, look
from palate.train.events import Listener, Note

FIRST, LAST = 1 / 20, 1 / 5  # shares of the steps
NEIGHBOURS, DEVIATIONS, TIMES = 10, 6.0, 1.5


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`live` is None where the model or its data are gone; `why` says so."""

    run: Path
    curves: Curves
    live: Live | None
    why: str
    found: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        return verdict(self.found)

    def measures(self) -> dict[str, Any]:
        """Every figure that the rules read."""
        live = None if self.live is None else asdict(self.live)
        return {"curves": asdict(self.curves), "live": live}


def diagnose(run: Path, prompts: int, listen: Listener) -> Diagnosis:
    """Measure the run at `run`.  Raises UsageError for one that learnt from no pairs."""
    record = Run.read(run)
    history = read_history(run)
    if not history.ranks:
        name = record["objective"]["name"]
        raise UsageError(
            f"{run} was trained with {name}, which ranks no pairs: there is no margin to read.",
            hint=f"palate history {run} says where its push went.",
        )
    curves = read_curves(run, history)
    live, why = None, "the run is not finished"
    if record["finished"]:
        try:
            live, why = look(run, record, prompts, listen), ""
        except Gone as gone:
            why = str(gone)
    if why:
        listen(Note(f"only the curves are read: {why}", warning=True))
    return Diagnosis(run, curves, live, why, findings(curves, live))


# -- what the run wrote down


def read_curves(run: Path, history: RunHistory) -> Curves:
    """Metrics and history as the rules want them."""
    record = history.record
    rows = Metrics(run / METRICS).rows()
    trained = [row for row in rows if row["step"] > 0]
    steps = len(trained)
    until = max(3, math.ceil(steps * FIRST))
    late = steps - max(1, round(steps * LAST))
    last = _met(history, late + 1, steps)
    options = record["objective"]["options"]
    return Curves(
        steps=steps,
        best_step=int(record["best_step"] or 0),
        lr=max((float(row["lr"]) for row in trained), default=0.0),
        beta=options.get("beta"),
        objective=record["objective"]["name"],
        evaluations=tuple(_evaluated(row["heldout"]) for row in rows if "heldout" in row),
        spikes=spikes([float(row["loss"]) for row in trained]),
        chosen_longer=_chosen_longer(history),
        chosen_tokens=float(median(row.tokens[0] for row in history.rows)),
        first=_right(_met(history, 2, until)),
        first_until=until,
        last=_right(last),
        last_margin=sum(last) / len(last) if last else None,
        met_again=median(len(row.steps) for row in history.met) >= 2 if history.met else False,
    )


def spikes(losses: Sequence[float]) -> tuple[int, ...]:
    """Steps (from 1) whose loss stands far above the neighbours on either side.

    Far: `TIMES` the median of a side and `DEVIATIONS` robust deviations above it, and by more than
    a tenth of the first loss, since a loss near 0 jumps by its own size.
    """
    found = []
    for place, loss in enumerate(losses):
        sides = losses[max(0, place - NEIGHBOURS) : place], losses[place + 1 :][:NEIGHBOURS]
        if len(sides[0]) >= NEIGHBOURS // 2:
            least = 0.1 * abs(losses[0])
            if not loss <= max(_usual(side, least) for side in sides if side):
                found.append(place + 1)
    return tuple(found)


def _usual(losses: Sequence[float], least: float) -> float:
    """The largest loss that is nothing special among these."""
    middle = median(losses)
    spread = 1.4826 * median(abs(loss - middle) for loss in losses)
    return max(middle + least, middle + DEVIATIONS * spread, middle + (TIMES - 1) * abs(middle))


def _met(history: RunHistory, first: int, last: int) -> list[float]:
    """Margins of all meetings in these steps."""
    return [
        margin
        for row in history.met
        for step, margin in zip(row.steps, row.margins)
        if first <= step <= last
    ]


def _right(margins: Sequence[float]) -> Interval | None:
    if not margins:
        return None
    return share(sum((m > 0) + 0.5 * (m == 0) for m in margins), len(margins))


def _chosen_longer(history: RunHistory) -> Interval | None:
    pairs = [row.tokens for row in history.rows if len(row.tokens) == 2]
    if not pairs:
        return None
    return share(sum((c > r) + 0.5 * (c == r) for c, r in pairs), len(pairs))


def _evaluated(row: dict[str, Any]) -> Evaluated:
    accuracy = row["accuracy"] and Interval(**row["accuracy"])
    names = ("margin", "chosen_change", "rejected_change")
    return Evaluated(int(row["step"]), float(row["loss"]), accuracy, *(row[name] for name in names))
