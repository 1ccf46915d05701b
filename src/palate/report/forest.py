"""Rows of intervals on one scale: a name, the interval drawn, its figure, a verdict in a word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup

from palate.report.drawing import Scale, around, tick
from palate.report.figures import Figure, Tone, mean, rate, tone
from palate.report.plots import axis, row
from palate.stats import Interval

HALVES: Final = {0.0: "0%", 0.5: "one half", 1.0: "100%"}
SHARES: Final = {0.0: "0%", 0.5: "50%", 1.0: "100%"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line as it is drawn."""

    name: str
    drawn: Markup
    figure: Figure
    word: str = ""
    tone: str = "none"
    note: Sequence[str | Figure] = ()
    dim: bool = False
    sub: bool = False


@dataclass(frozen=True, slots=True)
class Forest:
    """Lines on one scale."""

    axis: Markup
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a line is made of.  `of`: its place in the record; `verdict`: None if there is none.

    `dim`: shown, and not to be relied on.
    """

    name: str
    of: str
    found: Interval
    verdict: str | None = None
    note: Sequence[str | Figure] = ()
    shade: str = ""  # of a line without a verdict
    dim: bool = False
    sub: bool = False  # belongs to the line above it
    settled: tuple[Tone, str] | None = None  # colour and word, where another interval decides
    words: Mapping[str, str] = field(default_factory=dict)  # other words for the verdicts


def rates(entries: Sequence[Entry], *, half: bool = True) -> Forest:
    """Shares from none to all; `half`: one half means no difference."""
    mark, labels = (0.5, HALVES) if half else (None, SHARES)
    rows = [_row(each, rate(each.of, each.found), (0.0, 1.0), mark) for each in entries]
    return Forest(axis((0.0, 1.0), labels), rows)


def means(entries: Sequence[Entry], *, change: bool = False, zero: bool = False) -> Forest:
    """Means on a scale that holds them all; `change`: differences, of which 0 is none."""
    ends = [end for each in entries for end in (each.found.low, each.found.high)]
    low, high = around(ends, also=(0.0,) if change or zero else ())
    if zero:
        low = min(0.0, low)
    limits, mark = (low, high), 0.0 if change else None
    rows = [_row(each, mean(each.of, each.found, sign=change), limits, mark) for each in entries]
    labels = {0.0: "no change"} if change else {}
    labels |= {each: tick(each) for each in Scale(low, high, 0, 1).ticks(6) if each not in labels}
    return Forest(axis(limits, labels), rows)


def _row(each: Entry, figure: Figure, limits: tuple[float, float], mark: float | None) -> Row:
    """Grey and "indistinguishable" wherever the interval covers no difference."""
    colour: Tone = "none"
    if each.verdict is not None and mark is not None and not each.dim:
        colour = tone(each.found, each.verdict, nothing=mark)
    verdict = each.verdict
    if verdict is not None and mark is not None and colour == "none":
        verdict = "indistinguishable"
    word = each.words.get(verdict, verdict) if verdict else ""
    drawn = each.shade if each.shade and verdict is None else colour
    if each.settled is not None:
        colour, word = each.settled
        drawn = colour
    return Row(
        each.name,
        row(each.found, limits, tone=drawn, mark=mark),
        figure,
        "not to be relied on" if each.dim else word,
        colour,
        each.note,
        each.dim,
        each.sub,
    )
