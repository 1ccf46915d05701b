"""Intervals for every rate and mean that palate prints: pure functions over numpy."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


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
