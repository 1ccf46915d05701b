"""What the texts of one model are worth, with 95% intervals, and one model against another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from palate.demo.sheets import Sheet
from palate.demo.taste import Verdict, judge
from palate.stats import Interval, bootstrap_mean, share

COUNTED: Mapping[str, Callable[[Verdict], float]] = {
    "facts stated": lambda found: len(found.stated) / found.facts,
    "wrong or invented": lambda found: len(found.wrong),
    "vague phrases": lambda found: len(found.vague),
    "hype phrases": lambda found: len(found.hype),
    "repetitions": lambda found: found.repeats,
    "points": lambda found: found.score,
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's text about one sheet, read by the taste."""

    sheet: Sheet
    text: str
    verdict: Verdict


def read(about: Sequence[Sheet], texts: Sequence[str]) -> tuple[Judged, ...]:
    """The taste's verdict on each text."""
    return tuple(Judged(s, text, judge(text, s)) for s, text in zip(about, texts, strict=True))


def figures(judged: Sequence[Judged]) -> dict[str, Interval]:
    """Name of a figure -> its mean per text; sheets are resampled."""
    found = {
        name: bootstrap_mean([float(count(each.verdict)) for each in judged])
        for name, count in COUNTED.items()
    }
    words = bootstrap_mean([float(len(each.text.split())) for each in judged])
    return found | {"words": words}


def wins(ours: Sequence[Judged], theirs: Sequence[Judged]) -> Interval:
    """Share of sheets on which our text has more points; a tie is half a win."""
    gaps = [gap(mine, other) for mine, other in zip(ours, theirs, strict=True)]
    return share(sum((each > 0) + 0.5 * (each == 0) for each in gaps), len(gaps))


def ties(ours: Sequence[Judged], theirs: Sequence[Judged]) -> int:
    return sum(gap(mine, other) == 0 for mine, other in zip(ours, theirs, strict=True))


def gap(ours: Judged, theirs: Judged) -> float:
    """Points that our text is ahead by, on the same sheet."""
    assert ours.sheet == theirs.sheet, "two texts about different sheets"
    return ours.verdict.score - theirs.verdict.score


def as_json(found: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: asdict(interval) for name, interval in found.items()}
