"""The report's plots: figures in, static SVG out.  Nothing is computed here but places on paper.

Intervals are bands or crosses, labels stand at what they name, two that are to be compared share a
scale.  A tone is up (blue), down (orange), none (grey) or mine (the colour of the verdict).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from markupsafe import Markup

from palate.report.drawing import (
    Scale,
    apart,
    around,
    band,
    box,
    dot,
    path,
    picture,
    rule,
    short,
    tick,
    width_of,
    words,
)
from palate.stats import Interval

ROW: Final = 420.0
BINS: Final = 48
TALL: Final = 118.0  # one histogram of several
TALLEST: Final = 78.0  # its highest bar
Size = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; `lows` and `highs` make its band.  `dots` where there are few values."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    tone: str = "none"
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """What a plot of curves says beside them.  `label`: for those who cannot see it; `kept`: the
    step whose weights were kept; `level`: a value that means no difference."""

    label: str
    limits: tuple[float, float] | None = None
    kept: float | None = None
    level: float | None = None
    size: Size = (282, 170)


# ---- intervals


def row(found: Interval, limits: Size, *, tone: str, mark: float | None = None) -> Markup:
    """One interval on the scale that its neighbours share; `mark`: where no difference is."""
    scale = Scale(*limits, 6, ROW - 6)
    low, high = scale(found.low), scale(found.high)
    parts = [rule((scale.start, 11), (scale.stop, 11), "base")]
    if mark is not None:
        parts.append(rule((scale(mark), 1), (scale(mark), 21), "half"))
    parts.append(box((low, 6), (max(high - low, 1.5), 10), f"band {tone}", rx=2))
    parts.append(dot((scale(found.value), 11), 4.5, tone))
    return picture((ROW, 22), parts, label="", kind="row")


def axis(limits: Size, labels: Mapping[float, str]) -> Markup:
    """The scale of a column of rows: labels at these values, the first first, as many as fit."""
    scale = Scale(*limits, 6, ROW - 6)
    parts, taken = [], list[tuple[float, float]]()
    for value, label in labels.items():
        wide = width_of(label)
        left = min(max(scale(value) - wide / 2, 0.0), ROW - wide)
        if all(left > stop + 8 or left + wide < start - 8 for start, stop in taken):
            taken.append((left, left + wide))
            anchor = "start" if left == 0 else "end" if left == ROW - wide else "middle"
            x = {"start": 0.0, "end": ROW}.get(anchor, scale(value))
            parts.append(words((x, 12), label, anchor=anchor))
    return picture((ROW, 17), parts, label="", kind="row ticks")


def wins(found: Interval, *, tone: str, blind: float | None, wide: bool) -> Markup:
    """The headline: a rate between none and all.

    `blind`: the smallest true rate that this many prompts would find, most of the time; what lies
    nearer to one half is shaded.
    """
    width, y = (900.0 if wide else 360.0), 62.0
    scale = Scale(0, 1, 8, width - 8)
    low, high, value = scale(found.low), scale(found.high), scale(found.value)
    parts = []
    if blind is not None and 0.5 < blind < 1:
        left, right = scale(1 - blind), scale(blind)
        parts.append(box((left, y - 22), (right - left, 44), "blind"))
    parts.append(rule((scale(0), y), (scale(1), y), "base"))
    parts += [rule((scale(n / 4), y - 4), (scale(n / 4), y + 4), "tick") for n in (0, 1, 3, 4)]
    parts.append(rule((scale(0.5), y - 26), (scale(0.5), y + 26), "half"))
    parts.append(box((low, y - 11), (max(high - low, 2.0), 22), f"band {tone}", rx=3))
    parts.append(dot((value, y), 8, tone))
    at = min(max(value, 28.0), width - 28)
    parts.append(words((at, y - 30), f"{found.value:.0%}", f"big {tone}", anchor="middle"))
    more = ": loses each" if wide else "", ": wins each" if wide else ""
    parts.append(words((0, y + 42), f"0%{more[0]}"))
    parts.append(words((scale(0.5), y + 42), "50%: no difference", anchor="middle"))
    parts.append(words((width, y + 42), f"100%{more[1]}", anchor="end"))
    said = f"{found.percent()} of {found.count}; one half is no difference"
    return picture((width, 110), parts, label=said, kind="wins")


# ---- lines over steps


def curves(lines: Sequence[Line], frame: Frame) -> Markup:
    """Curves with bands over steps, each named at its end."""
    lines = [line for line in lines if len(line.xs)]
    if not lines:
        return Markup()
    width, height = frame.size
    room = max(width_of(short(line.name, 16)) for line in lines) + 12
    values = [value for line in lines for value in (*line.ys, *line.lows, *line.highs)]
    also = () if frame.level is None else (frame.level,)
    y = Scale(*(frame.limits or around(values, also=also)), height - 22, 8)
    left, right = max(width_of(tick(value)) for value in y.ticks()) + 8, width - room
    first, last = min(line.xs[0] for line in lines), max(line.xs[-1] for line in lines)
    x = Scale(first, last, left, right)
    parts = [*_grid(y, left, right), *_steps(x, height - 5), *_marks(frame, x, y)]
    for line in lines:
        parts += _line(line, x, y)
    ends = apart([y(line.ys[-1]) for line in lines], 12, height - 24)
    for line, end in zip(lines, ends, strict=True):
        parts.append(words((right + 7, end + 4), short(line.name, 16), f"name {line.tone}"))
    return picture(frame.size, parts, label=frame.label, kind="curves")


def _grid(y: Scale, left: float, right: float) -> Iterator[Markup]:
    for value in y.ticks():
        yield rule((left, y(value)), (right, y(value)), "grid")
        yield words((left - 6, y(value) + 4), tick(value), anchor="end")


def _steps(x: Scale, y: float) -> Iterator[Markup]:
    """First and last step below."""
    yield words((x.start, y), f"step {tick(x.low)}")
    if x.high > x.low:
        yield words((x.stop, y), tick(x.high), anchor="end")


def _marks(frame: Frame, x: Scale, y: Scale) -> Iterator[Markup]:
    if frame.level is not None and y.low <= frame.level <= y.high:
        yield rule((x.start, y(frame.level)), (x.stop, y(frame.level)), "half")
    if frame.kept is not None and x.low <= frame.kept <= x.high:
        yield rule((x(frame.kept), y.start), (x(frame.kept), y.stop), "kept")


def _line(line: Line, x: Scale, y: Scale) -> Iterator[Markup]:
    xs, ys = [x(value) for value in line.xs], [y(value) for value in line.ys]
    if line.lows and len(xs) > 1:
        lows, highs = [y(value) for value in line.lows], [y(value) for value in line.highs]
        yield band(xs, lows, highs, class_=f"area {line.tone}")
    if len(xs) > 1:
        yield path(list(zip(xs, ys, strict=True)), class_=f"curve {line.tone}")
    if line.dots or len(xs) == 1:
        yield from (dot(at, 2.6, line.tone) for at in zip(xs, ys, strict=True))


# ---- how many


def histograms(found: Mapping[str, Sequence[float]], *, label: str, wide: bool) -> Markup:
    """Margins per model, one below the other on one scale; right of zero is ranked as judged.

    The outer hundredth of the values is counted in the outer bars, and the axis says so.  Heights
    are each model's own; margins of exactly 0 (policy and reference agree) stand apart, in grey.
    """
    width, bottom = (900.0 if wide else 360.0), TALL * len(found) + 4
    edges, cut = _edges([value for values in found.values() for value in values])
    x = Scale(edges[0], edges[-1], 6, width - 6)
    parts: list[Markup] = []
    for place, (name, values) in enumerate(found.items(), start=1):
        parts += _piles(values, edges, x, TALL * place)
        parts.append(rule((x.start, TALL * place), (x.stop, TALL * place), "base"))
        parts.append(words((x.start, TALL * place - 84), short(name), "name"))
    parts.append(rule((x(0), 20), (x(0), bottom), "half"))
    parts.append(words((x(0) - 8, 12), "← the other way", "down", anchor="end"))
    parts.append(words((x(0) + 8, 12), "as judged →", "up"))
    for value in x.ticks(8 if wide else 5):
        parts.append(words((x(value), bottom + 13), tick(value), anchor="middle"))
    more = "; the outer bars hold what lies beyond" if cut else ""
    says = ("log-prob of chosen less that of rejected, nats" if wide else "nats") + more
    parts.append(words((x.stop, bottom + 30), says, "title", anchor="end"))
    return picture((width, bottom + 36), parts, label=label, kind="histograms")


def _edges(values: Sequence[float]) -> tuple[list[float], bool]:
    """Edges of the bins, zero among them; whether values lie beyond them."""
    finite = np.array([value for value in values if np.isfinite(value)] or [0.0])
    low, high = (float(each) for each in np.quantile(finite, [0.005, 0.995]))
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / BINS or 0.1
    first, last = int(np.floor(low / step)) - 1, int(np.ceil(high / step)) + 1
    edges = [number * step for number in range(first, last + 1)]
    return edges, bool(finite.min() < edges[0] or finite.max() > edges[-1])


def _piles(values: Sequence[float], edges: Sequence[float], x: Scale, base: float) -> list[Markup]:
    """The bars of one model above the line at `base`."""
    moved = [value for value in values if value != 0]
    counts = np.histogram(np.clip(moved, edges[0], edges[-1]), edges)[0]
    even = len(values) - len(moved)
    unit, wide = TALLEST / max(int(counts.max()), even, 1), x(edges[1]) - x(edges[0])
    found = []
    for count, (low, high) in zip(counts, pairwise(edges), strict=True):
        tall, kind = max(float(count * unit), 1.0), "pile up" if low + high > 0 else "pile down"
        if count:
            found.append(box((x(low) + 0.5, base - tall), (max(wide - 1, 1.0), tall), kind))
    if even:
        tall = max(even * unit, 1.0)
        found.append(box((x(0) - wide / 4, base - tall), (wide / 2, tall), "pile none"))
    return found


def reliability(bins: Sequence[tuple[float, Interval]], *, label: str) -> Markup:
    """How often it is right, against how sure it is; on the diagonal it is as right as it says."""
    width, height = 340.0, 240.0
    low = min((sure for sure, _ in bins), default=0.5)
    x, y = Scale(min(0.5, low), 1, 40, width - 10), Scale(0, 1, height - 40, 10)
    parts = [*_grid(y, x.start, x.stop), rule((x(x.low), y(x.low)), (x(1), y(1)), "half")]
    for sure, found in bins:
        parts.append(rule((x(sure), y(found.low)), (x(sure), y(found.high)), "arm mine"))
        parts.append(dot((x(sure), y(found.value)), 4.5, "mine"))
    for value in x.ticks(4):
        parts.append(words((x(value), height - 24), tick(value), anchor="middle"))
    parts.append(words((x.stop, height - 6), "how sure it is →", "title", anchor="end"))
    return picture((width, height), parts, label=label, kind="reliability")
