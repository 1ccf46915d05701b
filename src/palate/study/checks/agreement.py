"""Does the judge agree with themselves, and do they favour a side of the screen?

Reads the fields `id` and `again` (re-asks), `shown` and `seconds` of a record.  A re-ask agrees if
the same text was chosen again.  Which answer is called the first is arbitrary, so chance agreement
is one half and kappa is 2a − 1.
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import median
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, PairText, graded, too_few
from palate.study.checks.reasks import FEWEST, Reask, ceiling, reasks
from palate.study.checks.words import percent

NAME: Final = "agreement"
WARN, ERROR = 0.80, 0.65
HASTE, SHOW_HASTE = 2.0, 0.10


def run(case: Case) -> Iterable[Finding]:
    """Agreement on re-asks, the side of the screen, and haste; nothing without such fields."""
    found = [*_agreement(reasks(case.pairs)), *_left(case.pairs), *_haste(case.pairs)]
    said = [each for each in found if each.severity != "ok"]
    yield from said or found[:1]


def _agreement(again: Sequence[Reask]) -> Iterable[Finding]:
    if not again:
        return
    if len(again) < FEWEST:
        yield too_few(NAME, len(again), "re-asks", enough=FEWEST)
        return
    agreed = sum(each.agrees for each in again)
    rate = share(agreed, len(again))
    # Doubt is the larger figure here: `graded` takes what is worse when it grows.
    severity = graded(1 - rate.value, warn=1 - WARN + 1e-9, error=1 - ERROR + 1e-9)
    yield Finding(
        NAME,
        severity,
        f"You agreed with yourself on {agreed} of {len(again)} re-asks ({rate.percent()}, kappa "
        f"{2 * rate.value - 1:.2f}). The best any model can score on your held-out pairs is about "
        f"{percent(ceiling(rate.value))}.",
        rate.value,
        rate,
        f"warning under {percent(WARN)}, error under {percent(ERROR)}",
        "our default; people contradict themselves about 25% of the time, arXiv 2301.10684",
        tuple(line for each in again if not each.agrees for line in (each.line, each.first)),
        "" if severity == "ok" else "Judge these again, or leave them out; write down the why.",
        "re-asks",
    )


def _left(pairs: Sequence[PairText]) -> Iterable[Finding]:
    """A warning if the 99% interval of "the left one wins" leaves out one half."""
    shown = [(pair.line, pair.extra.get("shown")) for pair in pairs]
    sides = [(line, side) for line, side in shown if side in ("left", "right")]
    if len(sides) < FEWEST:
        return
    lefts = sum(side == "left" for _, side in sides)
    rate = share(lefts, len(sides), level=0.99)
    leaning = rate.low > 0.5 or rate.high < 0.5
    side = "left" if rate.value >= 0.5 else "right"
    yield Finding(
        NAME,
        "warning" if leaning else "ok",
        f"The left answer won {lefts} of {len(sides)} judgements ({rate.percent()}, 99% interval)"
        + (f": the {side} side of the screen wins, not only the better text." if leaning else "."),
        rate.value,
        rate,
        "warning if the 99% interval leaves out 50%",
        rows=tuple(line for line, where in sides if where == side) if leaning else (),
        todo="Show each pair at a random side, and judge again those that you were unsure of."
        if leaning
        else "",
        key="left",
    )


def _haste(pairs: Sequence[PairText]) -> Iterable[Finding]:
    """Information on time, if a tenth of the judgements took under two seconds."""
    timed = [(pair.line, _seconds(pair)) for pair in pairs]
    known = [(line, seconds) for line, seconds in timed if seconds is not None]
    if len(known) < FEWEST:
        return
    quick = sorted((each for each in known if each[1] < HASTE), key=lambda each: each[1])
    rate = share(len(quick), len(known))
    yield Finding(
        NAME,
        "info" if rate.value >= SHOW_HASTE else "ok",
        f"{percent(rate.value)} of judgements took less than {HASTE:g} seconds (median "
        f"{median(seconds for _, seconds in known):.1f} s).",
        rate.value,
        rate,
        f"shown from {percent(SHOW_HASTE)}",
        rows=tuple(line for line, _ in quick),
        todo="Look at these again if the answers are longer than a line.",
        key="seconds",
    )


def _seconds(pair: PairText) -> float | None:
    found = pair.extra.get("seconds")
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if isfinite(found) and found >= 0 else None


CHECK = Check(
    NAME,
    2,
    "Does the judge agree with themselves, and with both sides of the screen?",
    "a judge who is wrong the same way twice; an answer remembered from the first time",
    run,
)
