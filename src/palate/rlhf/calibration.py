"""How sure a reward model is, and how often it is right.  Pure, over the gaps of held-out pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palate.stats import Interval, share

EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose winner was given a probability from `low` to `high`: its mean, and the truth."""

    low: float
    high: float
    said: float
    right: Interval


@dataclass(frozen=True, slots=True)
class Calibration:
    """Share ranked right, expected calibration error, and the bins that hold any pair.

    The error is a mean of absolute differences, so with few pairs chance alone lifts it.
    """

    accuracy: Interval
    error: float
    bins: tuple[Bin, ...]


def calibration(gaps: Sequence[float]) -> Calibration:
    """Of reward gaps, chosen minus rejected, in nats: sigma(|gap|) is what the model says.

    Guo et al. 2017, arXiv:1706.04599, eq. 3, on the winner's probability, which is 0.5 at least.  A
    gap of 0 counts half.  Raises ValueError if there are none.
    """
    gap_P = np.asarray(gaps, np.float64)
    right_P = (gap_P > 0) + 0.5 * (gap_P == 0)
    said_P = 1 / (1 + np.exp(-np.abs(gap_P)))
    bin_P = np.clip(np.searchsorted(EDGES, said_P, side="right") - 1, 0, len(EDGES) - 2)
    bins, error = [], 0.0
    for place in np.unique(bin_P):
        inside = bin_P == place
        said, right = float(said_P[inside].mean()), share(right_P[inside].sum(), inside.sum())
        bins.append(Bin(EDGES[place], EDGES[place + 1], said, right))
        error += float(inside.mean()) * abs(said - right.value)
    return Calibration(share(float(right_P.sum()), len(gap_P)), error, tuple(bins))
