"""Are both answers of a pair the same kind of no: two refusals, two questions back?

Preferring one refusal to another lowers both: with more than 70% such pairs, refusals fell from
74.4% to 33.4% (Razin et al., arXiv 2410.08847, section 6.2).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, graded, too_few
from palate.study.checks.patterns import NEGATIVE, Kind, kind
from palate.study.checks.words import percent

NAME: Final = "same kind"
WARN, ERROR, FEWEST = 0.50, 0.70, 10
BOTH: Final[dict[Kind, str]] = {
    "refusal": "both answers refuse",
    "question": "both answers ask back",
}


def run(case: Case) -> Iterable[Finding]:
    """The share of pairs whose two sides are the same kind of no."""
    if not case.pairs:
        return
    if len(case.pairs) < FEWEST:
        yield too_few(NAME, len(case.pairs), enough=FEWEST)
        return
    kinds = [(kind(pair.chosen), kind(pair.rejected)) for pair in case.pairs]
    same = [left if left == right and left in NEGATIVE else None for left, right in kinds]
    rows = tuple(pair.line for pair, found in zip(case.pairs, same, strict=True) if found)
    rate = share(len(rows), len(kinds))
    severity = graded(rate.value, warn=WARN, error=ERROR)
    threshold = f"warning from {percent(WARN)}, error from {percent(ERROR)}"
    if severity == "ok":
        common = Counter(side for both in kinds for side in both).most_common(3)
        told = ", ".join(f"{name} {percent(times / (2 * len(kinds)))}" for name, times in common)
        message = f"{percent(rate.value)} of pairs are two answers of one negative kind ({told})."
        yield Finding(NAME, "ok", message, rate.value, rate, threshold, rows=rows)
        return
    top = Counter(found for found in same if found).most_common(1)[0][0]
    yield Finding(
        NAME,
        severity,
        f"In {percent(rate.value)} of pairs both sides are the same kind of no (mostly "
        f"{BOTH[top]}). DPO on pairs like these has lowered refusal rates (74% to 33%).",
        rate.value,
        rate,
        threshold,
        "arXiv 2410.08847, section 6.2; the limits are our default",
        rows,
        "Pair a refusal with an answer, whichever of the two you prefer.",
    )


CHECK = Check(
    NAME,
    0,
    "Are both answers the same kind of no?",
    "kinds are told by plain English rules; a polite detour is not seen as a refusal",
    run,
)
