"""The change of a rate between two models on the same prompts."""

from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean
from typing import TypeVar

from palate.stats import Interval

Key = TypeVar("Key")


def change(
    ours: Mapping[Key, Sequence[float]], theirs: Mapping[Key, Sequence[float]]
) -> Interval | None:
    """Mean over the prompts of both of (our rate − theirs), values in 0..1; None without any.

    Bonett and Price 2012's adjusted Wald interval for a paired difference of proportions: one is
    added to each kind of disagreement, so that a few prompts that all agree prove nothing, where a
    bootstrap would find them certain.
    """
    shared = [prompt for prompt in ours if prompt in theirs]
    if not shared:
        return None
    gaps = [fmean(ours[prompt]) - fmean(theirs[prompt]) for prompt in shared]
    size = len(gaps) + 2
    up = (sum(gap for gap in gaps if gap > 0) + 1) / size
    down = (sum(-gap for gap in gaps if gap < 0) + 1) / size
    middle = up - down
    half = NormalDist().inv_cdf(0.975) * ((up + down - middle**2) / size) ** 0.5
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Interval(fmean(gaps), low, high, len(gaps))
