"""Does length alone decide?  Both directions, in words and in characters alike.

.70 borrows the limit that AlpacaEval sets for its judges; people choose the longer answer in 64%
of its cases.  In HH harmless-base the shorter one is preferred, so that both ends are looked at.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from palate.stats import share
from palate.study.checks.base import (
    ENOUGH,
    Case,
    Check,
    Finding,
    Floats,
    PairText,
    Severity,
    too_few,
)
from palate.study.checks.words import percent, words

NAME: Final = "length"
WARN, ERROR = 0.60, 0.70
Z99: Final = 2.5758293035489004
FALSE: Final = 0.5
TAIL, TAIL_SHARE, TAIL_LEVEL, TAIL_LEAST = 0.20, 0.85, 0.01, 15
THRESHOLD: Final = (
    "warning from 60% or up to 40%, error from 70% or up to 30%, if the 99% interval clears 50%"
)
SOURCE: Final = "our default; 70%: the limit of AlpacaEval for its judges"


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """Of every pair, chosen first, in one unit: `size_P2`."""

    size_P2: Floats

    @property
    def gap_P(self) -> Floats:
        """Chosen minus rejected."""
        return np.asarray(self.size_P2[:, 0] - self.size_P2[:, 1])

    @property
    def ratio_P(self) -> Floats:
        """Log of chosen over rejected, one added to both."""
        return np.asarray(np.log((self.size_P2[:, 0] + 1) / (self.size_P2[:, 1] + 1)))

    def longer(self) -> tuple[int, int]:
        """(pairs whose chosen is longer, pairs whose lengths differ)."""
        return int((self.gap_P > 0).sum()), int((self.gap_P != 0).sum())


def run(case: Case) -> Iterable[Finding]:
    """The share over all pairs; where it says nothing, the pairs whose lengths differ most."""
    if not case.pairs:
        return
    by_word, by_sign = measure(case.pairs)
    hits, count = by_word.longer()
    if count < ENOUGH:
        yield too_few(NAME, count, "pairs of unequal length")
        return
    severity = min(
        verdict(hits, count), verdict(*by_sign.longer(), up=2 * hits > count), key=_RANK.index
    )
    if severity != "ok":
        yield _biased(case.pairs, by_word, severity)
        return
    tail = _tail(by_word, by_sign)
    yield _far(case.pairs, by_word, *tail) if tail else _fine(by_word)


_RANK: Final[list[Severity]] = ["ok", "warning", "error"]


def measure(pairs: Sequence[PairText]) -> tuple[Lengths, Lengths]:
    """Lengths in words and in characters."""
    by_word = [(len(words(each.chosen)), len(words(each.rejected))) for each in pairs]
    by_sign = [(len(each.chosen), len(each.rejected)) for each in pairs]
    return Lengths(np.array(by_word, dtype=float)), Lengths(np.array(by_sign, dtype=float))


def verdict(hits: int, count: int, *, up: bool | None = None) -> Severity:
    """By share and 99% Wilson interval; with `up`, only in that direction."""
    if not count:
        return "ok"
    direction = 2 * hits > count
    if up is not None and up != direction:
        return "ok"
    value = max(hits, count - hits) / count
    if wilson_low(max(hits, count - hits), count, Z99) <= 0.5:
        return "ok"
    return "error" if value >= ERROR else "warning" if value >= WARN else "ok"


def wilson_low(hits: int, count: int, z: float) -> float:
    """Lower end of the Wilson score interval at `z` standard errors.  Wilson 1927."""
    p, scale = hits / count, 1 + z * z / count
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return (p + z * z / (2 * count) - half) / scale


def slope(gap_P: Floats) -> float:
    """Logistic weight of tanh(gap / sd) on "is chosen", no intercept, by Newton; |slope| <= 20.

    With sides swapped at random the likelihood is that of one weight on signed gaps.  A ridge of
    .001 keeps a file in which length decides everything finite.
    """
    scale = float(gap_P.std()) or 1.0
    x_P = np.tanh(gap_P / max(scale, 1e-9))
    weight = 0.0
    for _ in range(50):
        p_P = 1 / (1 + np.exp(-np.clip(weight * x_P, -500, 500)))
        gradient = float(((1 - p_P) * x_P).mean()) - 0.001 * weight
        curve = float((p_P * (1 - p_P) * x_P * x_P).mean()) + 0.001
        step = float(np.clip(gradient / curve, -2, 2))
        weight = float(np.clip(weight + step, -20, 20))
        if abs(step) < 1e-9:
            break
    return weight


def _tail(by_word: Lengths, by_sign: Lengths) -> tuple[int, bool] | None:
    """How many of the pairs with the largest gaps are surely one-sided, and is it the chosen side.

    From 15 to a fifth of the pairs, of which 85% go one way: the number that chance explains
    least.  The level is Bonferroni's over all numbers tried.
    """
    from scipy.stats import binom

    size_P = np.abs(by_word.ratio_P)
    order = np.argsort(-size_P, kind="stable")
    order = order[size_P[order] > 0]
    count_K = np.arange(TAIL_LEAST, min(int(TAIL * len(size_P)), len(order)) + 1)
    if not len(count_K):
        return None
    ranked = np.append(size_P[order], 0.0)
    tied_K = ranked[count_K - 1] == ranked[count_K]
    for up in (True, False):
        sides = [np.cumsum((each.gap_P[order] > 0) == up) for each in (by_word, by_sign)]
        least_K = np.minimum(*sides)[count_K - 1]
        level_K = binom.sf(least_K - 1, count_K, 0.5)
        level_K[(least_K < TAIL_SHARE * count_K) | tied_K] = 1.0
        best = int(np.argmin(level_K))
        if level_K[best] < TAIL_LEVEL / (2 * len(count_K)):
            return int(count_K[best]), up
    return None


def unusual(lengths: Lengths, *, long: bool) -> Floats:
    """How much longer (or shorter) each answer is than its side and its partner let expect: P2.

    Log lengths less the median of their side, less what the partner explains: the partner's own
    times the correlation of the two, with sides swapped at random, not below zero.
    """
    log_P2 = np.log(lengths.size_P2 + 1)
    z_P2 = log_P2 - np.median(log_P2, axis=0)
    power = float((z_P2**2).mean())
    shared = max(float((z_P2[:, 0] * z_P2[:, 1]).mean()) / power, 0.0) if power else 0.0
    left_P2 = z_P2 - shared * z_P2[:, ::-1]
    return np.asarray(left_P2 if long else -left_P2)


def drivers(lengths: Lengths, *, up: bool) -> list[int]:
    """Places of the pairs that make the longer (or shorter) answer win, most extreme first.

    Either one side is long or, where fewer than 15 answers are, the other is short.
    """
    long, short = (_beyond(lengths, long=each, up=up) for each in (True, False))
    return long if len(long) >= min(TAIL_LEAST, len(short)) else short


def _beyond(lengths: Lengths, *, long: bool, up: bool) -> list[int]:
    """Places of the answers of one side that are unusual as those of the other side are not.

    Named is down to where the other side has half as many as this one: it shows what the file does
    without a cause, so that at worst about half of the named are without one.
    """
    side = 0 if long == up else 1
    score_P2 = unusual(lengths, long=long)
    order = np.argsort(-score_P2[:, side], kind="stable")
    own = score_P2[order, side]
    other = np.sort(score_P2[:, 1 - side])
    count_K = np.arange(1, len(own) + 1)
    above_K = len(other) - np.searchsorted(other, own, "left")
    sound = np.flatnonzero(((1 + above_K) <= FALSE * count_K) & (own > 0))
    stop = int(sound[-1]) + 1 if len(sound) else 0
    sign = 1 if up else -1
    return [place for place in order[:stop].tolist() if sign * lengths.gap_P[place] > 0]


def _biased(pairs: Sequence[PairText], lengths: Lengths, severity: Severity) -> Finding:
    hits, count = lengths.longer()
    rate = share(hits, count)
    up = rate.value > 0.5
    won = percent(rate.value if up else 1 - rate.value)
    word, other = ("longer", "shorter") if up else ("shorter", "longer")
    trick = "by rambling" if up else "by saying little"
    return Finding(
        NAME,
        severity,
        f"In {won} of pairs the {word} answer wins (median {_median(lengths):.2f} times the "
        f"words, slope {slope(lengths.gap_P):+.1f}): a model can score {won} here {trick}.",
        rate.value,
        rate,
        THRESHOLD,
        SOURCE,
        _rows(pairs, lengths, up),
        f"Add pairs in which the {other} answer is better, or use length-normalised DPO.",
        word,
    )


def _far(pairs: Sequence[PairText], lengths: Lengths, count: int, up: bool) -> Finding:
    size = np.abs(lengths.ratio_P)
    far = np.argsort(-size, kind="stable")[:count]
    hits = [place for place in far.tolist() if (lengths.gap_P[place] > 0) == up]
    named = drivers(lengths, up=up)[: len(hits)] or hits
    rate = share(len(hits), len(far))
    word = "longer" if up else "shorter"
    return Finding(
        NAME,
        "warning",
        f"Where the lengths differ most ({percent(count / len(size))} of pairs), the {word} answer "
        f"wins in {len(hits)} of {len(far)}, though not over the whole file.",
        rate.value,
        rate,
        f"warning from {TAIL_SHARE:.0%} of the farthest, p < .01 over all numbers tried",
        rows=tuple(pairs[place].line for place in named),
        todo="Read these pairs: if length is not what you meant, even them out.",
        key=f"far {word}",
    )


def _median(lengths: Lengths) -> float:
    return float(np.exp(np.median(lengths.ratio_P)))


def _rows(pairs: Sequence[PairText], lengths: Lengths, up: bool) -> tuple[int, ...]:
    """The drivers; if none stands out, as many of the largest ratios as one side has too many."""
    places = drivers(lengths, up=up)
    if not places:
        ratio = lengths.ratio_P if up else -lengths.ratio_P
        hits, count = lengths.longer()
        places = np.argsort(-ratio, kind="stable")[: abs(2 * hits - count)].tolist()
    return tuple(pairs[place].line for place in places)


def _fine(lengths: Lengths) -> Finding:
    rate = share(*lengths.longer())
    message = (
        f"The longer answer wins in {percent(rate.value)} of pairs (median "
        f"{_median(lengths):.2f} times the words, slope {slope(lengths.gap_P):+.1f}): length does "
        "not decide."
    )
    return Finding(NAME, "ok", message, rate.value, rate, THRESHOLD, SOURCE)


CHECK = Check(
    NAME,
    0,
    "Does the longer, or the shorter, answer win?",
    "a leaning of fewer than 60%; whether the longer answer is longer for a good reason",
    run,
)
