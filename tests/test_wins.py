"""Win rates and what an evaluation says of them, against naive forms in float64."""

import math
import random
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from palate.stats import (
    Interval,
    detectable_difference,
    paired_difference,
    rate,
    share,
    verdict,
)
from palate.study.wins import DRAWS, FEWEST, RIDGE, Met, controlled, counts, raw, slices


def met(count: int, *, seed: int = 0, likes: float = 0.0, theta: float = 0.3) -> list[Met]:
    """A judge with a lean to length; a tenth of the texts tie."""
    random_ = random.Random(seed)
    found = []
    for n in range(count):
        longer = round(random_.gauss(4, 9))
        chance = 1 / (1 + math.exp(-(theta + likes * math.tanh(longer / 9))))
        score = 0.5 if random_.random() < 0.1 else float(random_.random() < chance)
        found.append(Met(n, score, longer, ("short",) if n % 3 else ("short", "calm")))
    return found


def naive(found: list[Met]) -> float:
    """sigma(theta) by a general optimiser."""
    longer = np.array([each.longer for each in found], float)
    bent = np.tanh(longer / longer.std())
    score = np.array([each.score for each in found])

    def loss(both: Any) -> float:
        z = both[0] + both[1] * bent
        told = score * np.logaddexp(0, -z) + (1 - score) * np.logaddexp(0, z)
        return float(told.sum() + RIDGE / 2 * (both**2).sum())

    theta = minimize(loss, np.zeros(2), tol=1e-12).x[0]
    return float(1 / (1 + np.exp(-theta)))


@pytest.mark.parametrize("likes", [-1.5, 0.0, 2.0])
def test_the_rate_at_equal_length_is_a_logistic_regression(likes: float) -> None:
    found = met(150, likes=likes)
    even = controlled(found)
    assert even is not None
    assert even.value == pytest.approx(naive(found), abs=1e-5)
    assert even.low < even.value < even.high and even.count == 150


def test_a_judge_that_likes_length_is_corrected() -> None:
    found = met(2000, likes=3.0, theta=0.0)
    even = controlled(found)
    assert even is not None
    assert raw(found).low > 0.55
    assert even.low < 0.5 < even.high


def test_below_a_hundred_prompts_it_is_not_reported() -> None:
    assert controlled(met(FEWEST - 1)) is None
    twice = [each for each in met(FEWEST // 2) for _ in range(2)]
    assert len(twice) == FEWEST and controlled(twice) is None


def test_all_wins_and_one_length_are_finite() -> None:
    for longer in (0, 5):
        found = controlled([Met(n, 1.0, longer) for n in range(FEWEST)])
        assert found is not None and 0.95 < found.low <= found.high <= 1
    assert DRAWS >= 1000


def test_counts_and_slices() -> None:
    found = [Met(0, 1.0, 0, ("calm",)), Met(1, 0.5, 0), Met(2, 0.0, 0, ("calm", "calm"))]
    assert counts(found) == (1, 1, 1)
    (only,) = slices(found)
    assert (only.tag, only.wins.count, only.wins.value) == ("calm", 2, 0.5)
    assert only.verdict == "indistinguishable"
    many = slices(met(90))
    assert [each.tag for each in many] == ["short", "calm"]
    assert [each.wins.count for each in many] == [90, 30]


def test_one_score_each_is_wilson() -> None:
    scores = [1.0, 0.0, 0.5, 1.0]
    assert rate(scores, range(4)) == share(2.5, 4)


def test_a_rate_by_prompt_counts_as_many_as_are_independent() -> None:
    prompts = [n // 4 for n in range(400)]
    alike = [float(n % 2) for n in prompts]  # all four texts of a prompt say the same
    found, by_prompt = rate(alike, prompts), share(50, 100)
    assert found.count == 400
    assert (found.low, found.high) == pytest.approx((by_prompt.low, by_prompt.high))
    mixed = [float(n % 2) for n in range(400)]  # every prompt has two of each: never over-sure
    apart = rate(mixed, prompts)
    assert (apart.low, apart.high) == pytest.approx((share(200, 400).low, share(200, 400).high))
    sure = rate([1.0] * 400, prompts)
    assert (sure.low, sure.high) == pytest.approx((share(100, 100).low, 1.0))
    with pytest.raises(ValueError, match="nothing"):
        rate([], [])


def test_a_paired_difference_takes_out_what_both_share() -> None:
    random_ = random.Random(1)
    shared = [random_.gauss(0, 10) for _ in range(200)]
    ours = [each + random_.gauss(0.5, 1) for each in shared]
    found = paired_difference(ours, shared)
    assert found.value == pytest.approx(np.mean(np.subtract(ours, shared)))
    assert 0 < found.low < found.high < 1
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.51, 0.6, "better"), (0.5, 0.6, "indistinguishable"), (0.3, 0.49, "worse")],
)
def test_an_interval_that_covers_no_difference_is_indistinguishable(
    low: float, high: float, said: str
) -> None:
    assert verdict(Interval((low + high) / 2, low, high, 9), null=0.5) == said


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    least = detectable_difference(2.0, 100)
    assert least == pytest.approx((1.959964 + 0.841621) * 2.0 / 10, rel=1e-5)
    draws = np.random.default_rng(0).normal(least, 2.0 / 10, 20_000)
    assert np.mean(draws > 1.959964 * 2.0 / 10) == pytest.approx(0.8, abs=0.01)
    with pytest.raises(ValueError, match="no pairs"):
        detectable_difference(1.0, 0)
