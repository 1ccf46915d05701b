"""Rejected answers that the model would never have written: spam, another topic, another language.

Pushing down what is unlikely already teaches nothing and sharpens what the model says anyway
(squeezing, arXiv 2407.10490).  A rejected answer is a cartoon if it is

*  less likely than 99% of the model's own texts of its length, and clearly less so than its own
   chosen answer, both after the correction of `plausible` for files from elsewhere; or
*  no likelier after its prompt than after none, when its chosen answer is, and the chosen answers
   of the file are nearly always more helped by their prompt than this one is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palate.stats import share
from palate.study.checks.base import (
    Case,
    Check,
    Finding,
    Floats,
    Measured,
    PairText,
    Severity,
    too_few,
)
from palate.study.checks.plausible import FEWEST, levels
from palate.study.checks.words import percent

NAME: Final = "cartoon"
CARTOON = 0.01
APART = 1.0  # spreads that a cartoon lies below its own chosen answer
FAR = 4.0  # spreads below the least likely of the model's own texts: stands out by itself
WARN, WARN_FAR, ERROR = 0.10, 0.02, 0.40
FOREIGN = -2.0  # spreads: from here on the chosen answers are the yardstick in earnest
SOURCE: Final = "our default; squeezing: arXiv 2407.10490"

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Cartoons:
    """Which rejected answers (P,) are cartoons, which of them stand out, and which are off topic.

    `plausible_P` is the rejected answer's corrected percentile among the model's own texts.
    `foreign`: the chosen answers are no texts of this model either, so they were the yardstick.
    """

    hit_P: Bools
    far_P: Bools
    off_topic_P: Bools
    plausible_P: Floats
    level_P: Floats
    foreign: bool


def cartoons(measured: Measured | None) -> Cartoons | None:
    """None without a model or its own texts."""
    found = levels(measured)
    if found is None or measured is None:
        return None
    moved_P2, plausible_P = found.moved_P2, found.corrected_P2[:, 1]
    with np.errstate(invalid="ignore"):
        below_P = moved_P2[:, 0] - moved_P2[:, 1] >= APART
        unlikely_P = (plausible_P < CARTOON) & below_P
        far_P = unlikely_P & (moved_P2[:, 1] < found.own_M.min() - FAR)
    off_topic_P = _off_topic(measured)
    hit_P, foreign = unlikely_P | off_topic_P, found.shift < FOREIGN
    return Cartoons(hit_P, far_P, off_topic_P, plausible_P, moved_P2[:, 1], foreign)


def _off_topic(measured: Measured) -> Bools:
    """PMI <= 0 where the chosen's is above 0, and below what chosen answers of this file have.

    Where a model hardly reads its prompt, PMI is noise around 0, and the last clause keeps quiet.
    """
    if measured.empty_P2 is None:
        return np.zeros(len(measured.logps_P2), np.bool_)
    with np.errstate(invalid="ignore", divide="ignore"):
        pmi_P2 = (measured.logps_P2 - measured.empty_P2) / measured.tokens_P2
        chosen = pmi_P2[np.isfinite(pmi_P2[:, 0]), 0]
        if not len(chosen):
            return np.zeros(len(pmi_P2), np.bool_)
        floor = min(0.0, float(np.quantile(chosen, CARTOON)))
        off_P: Bools = (pmi_P2[:, 1] <= floor) & (pmi_P2[:, 0] > 0)
    return off_P


def run(case: Case) -> Iterable[Finding]:
    """One finding: how many, which, and whether they are off topic or just never written."""
    measured = case.measured
    if measured is None or not case.pairs:
        return
    found = cartoons(measured)
    if found is None:
        count = 0 if measured.samples is None else len(measured.samples.logps_M)
        yield too_few(NAME, count, "texts of the model itself", enough=FEWEST)
        return
    known = int(np.isfinite(found.level_P).sum())
    hits = [int(n) for n in np.flatnonzero(found.hit_P)]
    hits.sort(key=lambda n: found.level_P[n])
    rate = share(len(hits), known)
    far = int(found.far_P.sum())
    severity = _severity(rate.value, far / known, bool(hits))
    yield Finding(
        NAME,
        severity,
        _message(case.pairs, found, hits),
        rate.value,
        rate,
        f"warning from {percent(WARN)} of pairs, or {percent(WARN_FAR)} that stand out by "
        f"themselves; error from {percent(ERROR)}",
        SOURCE,
        tuple(case.pairs[n].line for n in hits),
        "Rewrite them as near misses: edit the chosen answer, or reject one of the model's texts."
        if hits
        else "",
    )


def _severity(rate: float, far: float, any_hit: bool) -> Severity:
    if rate >= ERROR:
        return "error"
    if rate >= WARN or far >= WARN_FAR:
        return "warning"
    return "info" if any_hit else "ok"


def _message(pairs: Sequence[PairText], found: Cartoons, hits: list[int]) -> str:
    beside = ", even beside the chosen ones, which are not its own either" * found.foreign
    if not hits and found.foreign:
        return "No rejected answer stands out; but neither side is what this model writes."
    if not hits:
        return "Every rejected answer is one that this model could have written."
    worst, off = pairs[hits[0]], int((found.off_topic_P & found.hit_P).sum())
    are = "1 rejected answer is" if len(hits) == 1 else f"{len(hits)} rejected answers are"
    said = "nothing this model would ever say" if found.far_P.any() else "hardly ever its own words"
    topic = f"; {off} fit no better after their prompt than after none" if off else ""
    return f"{are} {said}{beside} (line {worst.line}: \u201c{_short(worst.rejected)}\u201d){topic}."


def _short(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= 60 else one[:59].rstrip() + "\u2026"


CHECK = Check(
    NAME,
    1,
    "Could the model have written the rejected answers, or are they cartoons?",
    "cartoons in the very words that the model likes; files where the chosen are as unlikely",
    run,
)
