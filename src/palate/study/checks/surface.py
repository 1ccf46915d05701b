"""Can a model that never reads the meaning pick the chosen answer?

Sixteen figures of the surface are held against the limits.  The bag of words is only shown: words
may well be the taste.  A shortcut in fewer than one pair in five moves neither: `shortcuts` looks
for those.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from palate.stats import Interval, share
from palate.study.checks import probe
from palate.study.checks.base import (
    ENOUGH,
    Case,
    Check,
    Finding,
    Floats,
    PairText,
    graded,
    too_few,
)
from palate.study.checks.patterns import SURFACE, surface
from palate.study.checks.words import percent

NAME: Final = "surface"
WARN, ERROR, FOLDS = 0.70, 0.85, 5


def run(case: Case) -> Iterable[Finding]:
    """One finding about the surface; one about words if they tell more than the limit."""
    if not case.pairs:
        return
    group_P = probe.groups(case.pairs)
    if len(case.pairs) < ENOUGH:
        yield too_few(NAME, len(case.pairs))
        return
    if int(group_P.max()) + 1 < 2 * FOLDS:
        yield too_few(NAME, int(group_P.max()) + 1, "prompts", enough=2 * FOLDS)
        return
    plain_PD = features(case.pairs)
    plain_P = probe.margins(plain_PD, group_P, folds=FOLDS)
    words_P = probe.margins(probe.bag(case.pairs), group_P, folds=FOLDS, strength=10.0)
    yield _surface(case.pairs, plain_PD, plain_P)
    yield from _words(case.pairs, words_P)


def features(pairs: Sequence[PairText]) -> Floats:
    """Scaled difference (P, 16) of the surface figures."""
    chosen = np.array([surface(pair.chosen) for pair in pairs])
    rejected = np.array([surface(pair.rejected) for pair in pairs])
    return probe.scaled(chosen - rejected)


def _rate(margin_P: Floats) -> tuple[Interval, str]:
    """Accuracy with its interval, and `74% ± 2% (0.21 bits)`."""
    rate = share(probe.right(margin_P), len(margin_P))
    error = (rate.value * (1 - rate.value) / rate.count) ** 0.5
    known = max(0.0, probe.bits(margin_P))
    return rate, f"{percent(rate.value)} ± {percent(error)} ({known:.2f} bits)"


def _surest(pairs: Sequence[PairText], margin_P: Floats) -> tuple[int, ...]:
    """Lines that the probe has right, the surest first."""
    order = np.argsort(-margin_P, kind="stable")
    return tuple(pairs[place].line for place in order if margin_P[place] > 0)


def _surface(pairs: Sequence[PairText], plain_PD: Floats, margin_P: Floats) -> Finding:
    rate, told = _rate(margin_P)
    severity = graded(rate.value, warn=WARN, error=ERROR)
    threshold = f"warning from {percent(WARN)}, error from {percent(ERROR)}"
    if severity == "ok":
        return Finding(
            NAME,
            "ok",
            f"{len(SURFACE)} figures of the surface pick the chosen answer in {told} of pairs.",
            rate.value,
            rate,
            threshold,
        )
    weight_D = probe.fit(plain_PD, 0)
    top = np.argsort(-np.abs(weight_D))[:3]
    named = ", ".join(f"{'more' if weight_D[at] > 0 else 'fewer'} {SURFACE[at]}" for at in top)
    return Finding(
        NAME,
        severity,
        f"A model of {len(SURFACE)} numbers that never reads the meaning picks your chosen answer "
        f"in {told} of pairs, mostly by {named}: DPO will find this before it finds your taste.",
        rate.value,
        rate,
        threshold,
        rows=_surest(pairs, margin_P),
        todo="Add pairs where the better answer has the other surface.",
    )


def _words(pairs: Sequence[PairText], margin_P: Floats) -> Iterable[Finding]:
    rate, told = _rate(margin_P)
    if rate.value < WARN:
        return
    yield Finding(
        NAME,
        "info",
        f"Single words, in any order, pick your chosen answer in {told} of pairs; they may be the "
        "taste itself.",
        rate.value,
        rate,
        f"shown from {percent(WARN)}",
        rows=_surest(pairs, margin_P),
        todo="See the words under `shortcuts`.",
        key="words",
    )


CHECK = Check(
    NAME,
    0,
    "Can the surface alone pick the chosen answer?",
    "a shortcut in fewer than one pair in five (see shortcuts); anything that is not linear",
    run,
)
