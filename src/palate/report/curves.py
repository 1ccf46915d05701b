"""Learning curves of a stage from its metrics: what was written down, step by step.

A panel per figure.  Rows without a figure, and values that are no numbers, are left out.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from palate.report.lineage import Record, Stage
from palate.report.plots import Frame, Line, curves, reliability
from palate.stats import Interval

MOST: Final = 240  # values of a drawn line
ONLINE: Final = {
    "score": "Score of the texts, points",
    "reward": "Reward: spreads, less what KL costs",
    "kl": "KL from the reference, nats per text",
    "kl_coefficient": "Price of a nat",
    "value_loss": "Loss of the value head",
    "clip_fraction": "Share of tokens clipped",
    "entropy": "Entropy, nats per token",
    "length": "Length, tokens per text",
    "ended": "Share of texts that ended by themselves",
}
STILL: Final = {"kl_coefficient", "ended"}  # drawn only where they change
Get = Callable[[Record], Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with its title."""

    title: str
    drawn: Markup


def panels(stage: Stage) -> list[Panel]:
    """Every curve that this stage has."""
    drawn = [*_offline(stage), *_online(stage), *_calibration(stage)]
    return [panel for panel in drawn if panel.drawn]


def _offline(stage: Stage) -> Iterator[Panel]:
    if not any("loss" in row for row in stage.metrics):
        return
    train = _line(stage, "training", _named("loss"), "none")
    held = _line(stage, "held out", _held("loss"), "mine", dots=True)
    yield _panel(stage, "Loss", [train, held])
    accuracy = _banded(stage, "accuracy")
    yield _panel(stage, "Held-out pairs ranked as judged", [accuracy], level=0.5)
    margins = [
        _line(stage, "training", _named("margin"), "none"),
        _line(stage, "held out", _held("margin"), "mine", dots=True),
    ]
    title = "Margin, nats" if stage.kind == "reward" else "Margin, beta times nats"
    yield _panel(stage, title, margins, level=0.0)


def _online(stage: Stage) -> Iterator[Panel]:
    """Of texts drawn on the way; where there are held-out prompts, also of theirs."""
    if not any("score" in row for row in stage.metrics):
        return
    beside = {
        "score": _banded(stage, "score"),
        "kl": _line(stage, "held out", _held("kl"), "mine", dots=True),
    }
    for name, title in ONLINE.items():
        held = beside.get(name)
        both = held is not None and len(held.xs) > 1
        line = _line(stage, "drawn" if both else "", _named(name), "none" if both else "mine")
        if name not in STILL or len(set(line.ys)) > 1:
            yield _panel(stage, title, [line, *([held] if held is not None else [])])


def _named(name: str) -> Get:
    return lambda row: row.get(name)


def _held(name: str) -> Get:
    """A figure of the held-out evaluation that stands in some rows."""

    def get(row: Record) -> Any:
        found = row.get("heldout")
        return found.get(name) if isinstance(found, Mapping) else None

    return get


def _panel(stage: Stage, title: str, lines: Sequence[Line], *, level: float | None = None) -> Panel:
    best = stage.record.get("best_step")
    kept = float(best) if isinstance(best, int) and best != stage.steps else None
    full = [line for line in lines if len(line.xs) > 1]
    said = "; ".join(f"{line.name} {line.ys[0]:.3g} to {line.ys[-1]:.3g}".strip() for line in full)
    frame = Frame(f"{title} over the steps of {stage.name}: {said}", kept=kept, level=level)
    return Panel(title, curves(full, frame))


def _line(stage: Stage, name: str, get: Get, tone: str, *, dots: bool = False) -> Line:
    found = [(float(row["step"]), value) for row in stage.metrics if _is_number(value := get(row))]
    xs, ys = thinned([x for x, _ in found], [float(y) for _, y in found])
    return Line(name, xs, ys, tone, dots=dots and len(xs) <= 60)


def _banded(stage: Stage, name: str) -> Line:
    """A figure of the held-out evaluation with its interval."""
    found = [(float(row["step"]), _interval(_held(name)(row))) for row in stage.metrics]
    kept = [(step, each) for step, each in found if each is not None]
    return Line(
        "held out",
        [step for step, _ in kept],
        [each.value for _, each in kept],
        "mine",
        [each.low for _, each in kept],
        [each.high for _, each in kept],
        dots=len(kept) <= 60,
    )


def _interval(found: Any) -> Interval | None:
    try:
        return Interval(**found) if isinstance(found, Mapping) else None
    except TypeError:
        return None


def thinned(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """`MOST` values at most: means of neighbours."""
    size = math.ceil(len(xs) / MOST)
    if size <= 1:
        return list(xs), list(ys)
    parts = [slice(start, start + size) for start in range(0, len(xs), size)]
    return _means(xs, parts), _means(ys, parts)


def _means(values: Sequence[float], parts: Sequence[slice]) -> list[float]:
    return [math.fsum(values[part]) / len(values[part]) for part in parts]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _calibration(stage: Stage) -> Iterator[Panel]:
    """Of a reward model: is it as often right as it is sure?"""
    reward = stage.record.get("reward")
    found = reward.get("found") if isinstance(reward, Mapping) else None
    bins = found.get("bins") if isinstance(found, Mapping) else None
    told = [_bin(each) for each in bins] if isinstance(bins, Sequence) else []
    if kept := [each for each in told if each is not None]:
        label = f"How often {stage.name} is right, against how sure it is"
        yield Panel("As often right as it is sure?", reliability(kept, label=label))


def _bin(found: Any) -> tuple[float, Interval] | None:
    """(how sure it was, how often it was right)."""
    if not isinstance(found, Mapping):
        return None
    said, right = found.get("said"), _interval(found.get("right"))
    return (float(said), right) if isinstance(said, int | float) and right is not None else None
