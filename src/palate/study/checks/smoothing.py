"""How noisy the labels are, as measured by re-asks: a label smoothing that is not a guess.

If errors are independent and as likely either way, agreement a = p² + (1−p)², so one judgement is
right with p = (1 + √(2a−1)) / 2.  Remembering the earlier answer makes a, and so p, too large.
"""

from collections.abc import Iterable
from typing import Final

from palate.stats import Interval, share
from palate.study.checks.base import Case, Check, Finding, too_few
from palate.study.checks.reasks import FEWEST, ceilings, reasks
from palate.study.checks.words import percent

NAME: Final = "smoothing"


def run(case: Case) -> Iterable[Finding]:
    """The suggested --label-smoothing and the accuracy that no model can pass."""
    again = reasks(case.pairs)
    if not again:
        return
    if len(again) < FEWEST:
        yield too_few(NAME, len(again), "re-asks", enough=FEWEST)
        return
    rate = share(sum(each.agrees for each in again), len(again))
    right = ceilings(rate)
    wrong = Interval(1 - right.value, 1 - right.high, 1 - right.low, right.count)
    if right.value <= 0.5:
        message = (
            f"Re-asks agree no better than a coin ({rate.percent()}): smoothing mends nothing."
        )
        yield Finding(NAME, "info", message, wrong.value, wrong, todo="Judge again from scratch.")
        return
    yield Finding(
        NAME,
        "info",
        f"From your re-asks, about {percent(wrong.value)} of your labels are wrong "
        f"({percent(wrong.low)} to {percent(wrong.high)}); no model can score more than about "
        f"{percent(right.value)} on held-out pairs.",
        wrong.value,
        wrong,
        "shown only",
        "p = (1 + sqrt(2a - 1)) / 2, errors independent and symmetric",
        todo=f"palate dpo --label-smoothing {wrong.value:.2f} takes that into account.",
    )


CHECK = Check(
    NAME,
    2,
    "How large a share of the labels is wrong, by the re-asks?",
    "errors that repeat (a is then too large); errors that favour one side",
    run,
)
