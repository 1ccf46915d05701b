"""Can these rankings flip at this beta, or does the model start too far on the other side?

c = log pi_ref(rejected) - log pi_ref(chosen), sums in nats.  A pair is ranked right only once its
DPO loss is at most -log sigmoid(beta c) (arXiv 2405.19534); from beta c = 3 on that is under 0.05.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, Floats, Ints, Measured, graded, too_few
from palate.study.checks.plausible import per_token
from palate.study.checks.words import percent

NAME: Final = "learnable"
FAR = 3.0
WARN, ERROR = 0.25, 0.60
SOURCE: Final = "our default; theorem: arXiv 2405.19534"
FEWEST = 10


def run(case: Case) -> Iterable[Finding]:
    """One finding: the share of pairs whose ranking is far from flipping."""
    measured = case.measured
    if measured is None or not case.pairs:
        return
    ahead_P = measured.logps_P2[:, 1] - measured.logps_P2[:, 0]
    known_P = np.isfinite(ahead_P)
    if known_P.sum() < FEWEST:
        yield too_few(NAME, int(known_P.sum()), enough=FEWEST)
        return
    far = [int(n) for n in np.flatnonzero(known_P) if measured.beta * ahead_P[n] > FAR]
    far.sort(key=lambda n: -ahead_P[n])
    rate = share(len(far), int(known_P.sum()))
    severity = graded(rate.value, warn=WARN, error=ERROR)
    beta, nats = measured.beta, FAR / measured.beta
    why = _why(measured, np.array(far, np.int64))
    message = (
        f"In {percent(rate.value)} of pairs the model prefers the rejected answer by more than "
        f"{nats:.3g} nats{why}: at beta {beta:g} those rankings will hardly flip."
    )
    if not far:
        message = (
            f"In no pair does the model prefer the rejected answer by more than {nats:.3g} nats: "
            f"at beta {beta:g} every ranking can flip."
        )
    todo = ""
    if severity != "ok":
        todo = "Run SFT on the chosen answers first, or a smaller --beta"
        todo += "; or an objective that reads lengths (simpo, r_dpo)." if why else "."
    yield Finding(
        NAME,
        severity,
        message,
        rate.value,
        rate,
        f"beta c over {FAR:g}: warning from {percent(WARN)} of pairs, error from {percent(ERROR)}",
        SOURCE,
        tuple(case.pairs[n].line for n in far),
        todo,
    )


def _why(measured: Measured, far: Ints) -> str:
    """Length, if most of these rejected answers are shorter and not preferred token by token."""
    if not len(far):
        return ""
    level_P2: Floats = per_token(measured)
    shorter = measured.tokens_P2[far, 1] < measured.tokens_P2[far, 0]
    no_better = level_P2[far, 1] <= level_P2[far, 0]
    return ", mostly because it is shorter" if (shorter & no_better).mean() > 0.5 else ""


CHECK = Check(
    NAME,
    1,
    "Does the model start so far on the wrong side that training will not turn the ranking?",
    "rankings that the neighbours' gradients turn; what a longer training would do",
    run,
)
