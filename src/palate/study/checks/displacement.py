"""Which pairs look so alike to the model that training can lower both answers?

Ranked by ln-CHES, the inner product of the sides' mean last-layer states less the squared length of
the chosen one's (Razin et al., arXiv 2410.08847).  The scale is the model's own, so the value is
never held against a threshold.  It leans to longer chosen answers, so length stands beside it.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, Ints, Measured, Severity, too_few
from palate.study.checks.distance import HAIRLINE, apart
from palate.study.checks.words import percent

NAME: Final = "displacement"
TOP = 0.10
WARN = 0.50
SOURCE: Final = "arXiv 2410.08847 (ranking); the warning is our default"
FEWEST = 20


def run(case: Case) -> Iterable[Finding]:
    """Always one finding: the top tenth is shown, and a warning if most of it is hairline."""
    measured = case.measured
    if measured is None or not case.pairs:
        return
    known = np.flatnonzero(np.isfinite(measured.ln_ches_P))
    if len(known) < FEWEST:
        yield too_few(NAME, len(known), enough=FEWEST)
        return
    order = known[np.argsort(-measured.ln_ches_P[known], kind="stable")]
    top = order[: max(1, round(TOP * len(order)))]
    near = [n for n in top if apart(case.pairs[n].chosen, case.pairs[n].rejected) < HAIRLINE]
    rate = share(len(near), len(top))
    severity: Severity = "warning" if rate.value >= WARN else "info"
    yield Finding(
        NAME,
        severity,
        f"These {len(top)} pairs look most alike to the model, and training can lower both their "
        f"answers; {percent(rate.value)} of them differ in fewer than one word in ten. "
        f"{_length(measured, top, order)}",
        rate.value,
        rate,
        f"the top {percent(TOP)} by ln-CHES are shown; warning if {percent(WARN)} of them are "
        "hairline",
        SOURCE,
        tuple(case.pairs[n].line for n in top),
        "Keep them, and anchor the chosen answer: --sft-weight 0.2 (or --objective dpop)."
        if severity == "warning"
        else "Watch the chosen log-prob while it trains: `palate diagnose`.",
    )


def _length(measured: Measured, top: Ints, every: Ints) -> str:
    """The length confound of the ranking itself."""

    def longer(places: Ints) -> str:
        tokens = measured.tokens_P2[places]
        return percent(float((tokens[:, 0] > tokens[:, 1]).mean()))

    return f"Chosen is the longer answer in {longer(top)} of them, in {longer(every)} of all pairs."


CHECK = Check(
    NAME,
    1,
    "Which pairs look so alike to the model that both answers may lose probability?",
    "how much they lose, and whether it does harm: in general chat data it is often benign",
    run,
)
