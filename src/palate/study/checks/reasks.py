"""Judgements that were made twice, and what they say about the judge's accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from palate.stats import Interval
from palate.study.checks.base import PairText
from palate.study.checks.words import normalised

FEWEST: Final = 20


@dataclass(frozen=True, slots=True)
class Reask:
    """A later judgement of the same two answers: its line, the earlier one's, and if they agree."""

    line: int
    first: int
    agrees: bool


def reasks(pairs: Sequence[PairText]) -> tuple[Reask, ...]:
    """Every pair whose `again` names the `id` of one with the same two answers."""
    known = {str(pair.extra["id"]): pair for pair in pairs if pair.extra.get("id") is not None}
    found = []
    for pair in pairs:
        first = known.get(str(pair.extra["again"])) if pair.extra.get("again") is not None else None
        if first is None or first is pair:
            continue
        before = normalised(first.chosen), normalised(first.rejected)
        now = normalised(pair.chosen), normalised(pair.rejected)
        if now in (before, before[::-1]) and now[0] != now[1]:
            found.append(Reask(pair.line, first.line, now == before))
    return tuple(found)


def ceiling(agreement: float) -> float:
    """Accuracy p of one judgement from agreement a = p² + (1−p)²: p = (1 + √(2a−1)) / 2.

    Holds if errors are independent and as likely either way; 0.5 where a is no better than chance.
    """
    return float((1 + max(0.0, 2 * agreement - 1) ** 0.5) / 2)


def ceilings(rate: Interval) -> Interval:
    """The same for an agreement with its interval (the formula is monotone)."""
    return Interval(ceiling(rate.value), ceiling(rate.low), ceiling(rate.high), rate.count)
