"""How far apart the two answers of a pair are, in words: hairline, near miss, distant, strangers.

Both ends are shown and neither is dropped.  Hairline pairs carry the clearest lesson and the risk
that both answers lose probability (Razin et al., arXiv 2410.08847); strangers differ in everything,
so that nothing says which difference was meant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np
from rapidfuzz.distance import Levenshtein

from palate.stats import share
from palate.study.checks.base import OURS, Case, Check, Finding, Floats, Measured, Severity, too_few
from palate.study.checks.words import normalised, percent, words

NAME: Final = "distance"
HAIRLINE, NEAR, STRANGERS = 0.10, 0.60, 0.90
WARN_HAIRLINE, WARN_STRANGERS = 0.20, 0.60
OFF_POLICY = 0.90
RAZIN = "our default; the risk: arXiv 2410.08847"


@dataclass(frozen=True, slots=True)
class Gap:
    """One pair: `apart` in 0..1, words of the shared beginning, words after it on each side."""

    line: int
    apart: float
    shared: int
    after: tuple[int, int]

    @property
    def prefix(self) -> float:
        """Share of the longer answer that is the shared beginning."""
        longest = self.shared + max(self.after)
        return self.shared / longest if longest else 1.0


def apart(chosen: str, rejected: str) -> float:
    """Word edit distance over the longer answer's words: 0 the same, 1 no word in common.

    Answers without a single word (signs, emoji) are compared by character.
    """
    left: Sequence[str] = words(chosen)
    right: Sequence[str] = words(rejected)
    if not left and not right:
        left, right = normalised(chosen), normalised(rejected)
    return float(Levenshtein.normalized_distance(left, right))


def gap(line: int, chosen: str, rejected: str) -> Gap:
    """The three figures of one pair."""
    left, right = words(chosen), words(rejected)
    same = takewhile(lambda both: both[0] == both[1], zip(left, right, strict=False))
    shared = sum(1 for _ in same)
    return Gap(line, apart(chosen, rejected), shared, (len(left) - shared, len(right) - shared))


def run(case: Case) -> Iterable[Finding]:
    """Warns of hairline pairs; tells of strangers; else says how far apart the median pair is."""
    if not case.pairs:
        return
    if len(case.pairs) < 2:
        yield too_few(NAME, len(case.pairs), enough=2)
        return
    gaps = [gap(pair.line, pair.chosen, pair.rejected) for pair in case.pairs]
    found = [*_hairline(gaps), *_strangers(gaps, case.measured)]
    yield from found or [_fine(gaps)]


def _hairline(gaps: Sequence[Gap]) -> Iterable[Finding]:
    near = sorted((each for each in gaps if each.apart < HAIRLINE), key=lambda each: each.apart)
    rate = share(len(near), len(gaps))
    if rate.value < WARN_HAIRLINE:
        return
    after = int(np.median([max(each.after) for each in near]))
    yield Finding(
        NAME,
        "warning",
        f"In {percent(rate.value)} of pairs the answers differ in fewer than one word in ten, and "
        f"{after} words follow the first difference (median): training can lower both.",
        rate.value,
        rate,
        f"warning from {percent(WARN_HAIRLINE)} of pairs under {HAIRLINE:.2f}",
        RAZIN,
        tuple(each.line for each in near),
        "Keep them, and anchor the chosen answer: --sft-weight 0.2 (or --objective dpop).",
        "hairline",
    )


def _strangers(gaps: Sequence[Gap], measured: Measured | None) -> Iterable[Finding]:
    far = sorted((each for each in gaps if each.apart > STRANGERS), key=lambda each: -each.apart)
    rate = share(len(far), len(gaps))
    if rate.value < WARN_STRANGERS:
        return
    severity: Severity = "warning" if foreign(measured) >= OFF_POLICY else "info"
    middle = float(np.median([each.apart for each in gaps]))
    yield Finding(
        NAME,
        severity,
        f"{percent(rate.value)} of pairs are strangers, and the median pair differs in "
        f"{percent(middle)} of its words: two different answers, not fine and better.",
        rate.value,
        rate,
        f"shown from {percent(WARN_STRANGERS)} of pairs over {STRANGERS:.2f}; "
        "a warning if the model would not have written them",
        OURS,
        tuple(each.line for each in far),
        "Write the better answer by editing the other one, or sample both from your model.",
        "strangers",
    )


def _fine(gaps: Sequence[Gap]) -> Finding:
    distance = np.array([each.apart for each in gaps])
    middle = float(np.median(distance))
    prefix = float(np.median([each.prefix for each in gaps]))
    after = int(np.median([max(each.after) for each in gaps]))
    hair, far = float((distance < HAIRLINE).mean()), float((distance > STRANGERS).mean())
    return Finding(
        NAME,
        "ok",
        f"The median pair differs in {percent(middle)} of its words, shares its first "
        f"{percent(prefix)} and has {after} words from the first difference on; "
        f"{percent(hair)} are hairline, {percent(far)} strangers.",
        middle,
        threshold=f"zones: hairline under {HAIRLINE:.2f}, near miss to {NEAR:.2f}, "
        f"strangers over {STRANGERS:.2f}",
    )


def foreign(measured: Measured | None) -> float:
    """AUC by which log-prob per token tells the pairs' answers from the model's own samples.

    0 without samples.  0.5 is "as if the model had written them".
    """
    if measured is None or measured.samples is None:
        return 0.0
    samples = measured.samples
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = (measured.logps_P2 / measured.tokens_P2).ravel()
        own = samples.logps_M  # per token already
    return _auc(own[np.isfinite(own)], theirs[np.isfinite(theirs)])


def _auc(high: Floats, low: Floats) -> float:
    """Share of (high, low) couples in the right order; ties count half."""
    if not len(high) or not len(low):
        return 0.0
    ranked = np.sort(low)
    below = np.searchsorted(ranked, high, "left") + np.searchsorted(ranked, high, "right")
    return float(below.mean() / (2 * len(low)))


CHECK = Check(
    NAME,
    0,
    "How far apart are the two answers, in words?",
    "the same words in another order look far apart; what the difference means is not read",
    run,
)
