"""Intervals for every rate and mean that palate prints: pure functions over numpy."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

Verdict = Literal["better", "worse", "indistinguishable"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval, 95% unless it says otherwise."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def percent(self) -> str:
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}]"


def share(hits: float, count: float, *, level: float = 0.95) -> Interval:
    """Wilson score interval of a rate.  `hits` may hold halves (ties).  Wilson 1927.

    `count` may be an effective number, and then need not be whole.  Raises ValueError if it is 0.
    """
    if count <= 0:
        raise ValueError("a share of nothing has no interval")
    z, p = NormalDist().inv_cdf((1 + level) / 2), hits / count
    scale = 1 + z * z / count
    centre = (p + z * z / (2 * count)) / scale
    half = z * ((p * (1 - p) / count + z * z / (4 * count * count)) ** 0.5) / scale
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half), round(count))


def bootstrap_mean(
    values: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0
) -> Interval:
    """Percentile bootstrap of a mean, resampling whole groups (prompts), 2,000 draws.

    Raises ValueError if there are no values.
    """
    if not values:
        raise ValueError("a mean of nothing has no interval")
    keys = list(range(len(values))) if groups is None else list(groups)
    index = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    sums, counts = np.zeros(len(index)), np.zeros(len(index))
    for key, value in zip(keys, values, strict=True):
        sums[index[key]] += value
        counts[index[key]] += 1
    draws = np.random.default_rng(seed).integers(0, len(index), (2000, len(index)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high), len(values))


def rate(scores: Sequence[float], groups: Sequence[Hashable]) -> Interval:
    """Interval of a mean of scores from 0 to 1 (wins, ties as halves) in groups (prompts).

    Wilson's for as many independent scores as there are: the count over the design effect, which is
    the variance with whole groups as units over that with single scores, and never under 1.  Where
    all scores are 0, or all 1, as if every group had one.  Raises ValueError if there are none.
    """
    count = len(scores)
    if not count:
        raise ValueError("a rate of nothing has no interval")
    mean = sum(scores) / count
    sums: dict[Hashable, float] = {}
    for group, score in zip(groups, scores, strict=True):
        sums[group] = sums.get(group, 0.0) + score - mean
    if len(sums) == count:
        effect = 1.0  # one score each: nothing is shared
    elif 0 < mean < 1:
        effect = sum(each * each for each in sums.values()) / (count * mean * (1 - mean))
    else:
        effect = count / len(sums)
    independent = count / max(1.0, effect)
    found = share(mean * independent, independent)
    return Interval(mean, found.low, found.high, count)


def paired_difference(
    ours: Sequence[float],
    theirs: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
) -> Interval:
    """Mean of ours minus theirs on the same items, whole groups resampled.

    Pairing takes out what makes an item hard for both, so it is narrower than the difference of two
    means (Miller 2024, arXiv:2411.00640, section 4).  Raises ValueError if there is nothing.
    """
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    return bootstrap_mean(differences, groups, seed=seed)


def verdict(found: Interval, *, null: float) -> Verdict:
    """What an interval says of `null`, no difference: covered, it is not known."""
    if found.low > null:
        return "better"
    return "worse" if found.high < null else "indistinguishable"


def detectable_difference(deviation: float, count: int, *, power: float = 0.8) -> float:
    """Least true mean difference that `count` independent pairs show, two-sided at 5%.

    (z_0.975 + z_power) * deviation / sqrt(count); `deviation` is that of the paired differences.
    """
    if count < 1:
        raise ValueError("nothing can be shown by no pairs")
    z = NormalDist().inv_cdf
    return float((z(0.975) + z(power)) * deviation / count**0.5)
