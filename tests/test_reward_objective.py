"""Bradley-Terry and calibration against plain Python numbers, and their place beside the table."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from naive_objectives import H, Number, smoothed
from palate.errors import UsageError
from palate.objectives import OBJECTIVES, Scored, build, weight_limits, weights
from palate.objectives.reward import bradley_terry, reward_objective
from palate.rlhf.calibration import calibration

GRID = list(itertools.product((0.0, 0.7), (0.0, 0.1, 0.4), (0.0, 0.05)))
REWARDS = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
STRENGTH = torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0, 1.0], dtype=torch.float64)


def by_hand(chosen: Number, rejected: Number, strength: float, options: dict[str, float]) -> Number:
    """One pair's loss in plain numbers."""
    gap = chosen - rejected - options["margin"] * strength
    total = chosen + rejected
    return smoothed(gap, options["label_smoothing"]) + options["centring"] * total * total


@pytest.mark.parametrize(("margin", "label_smoothing", "centring"), GRID)
def test_value_and_gradient_equal_plain_numbers(
    margin: float, label_smoothing: float, centring: float
) -> None:
    """The gradient by a complex step, exact to rounding."""
    options = {"margin": margin, "label_smoothing": label_smoothing, "centring": centring}
    leaf = REWARDS.clone().requires_grad_()
    losses = bradley_terry(leaf, STRENGTH, **options)
    losses.sum().backward()
    assert leaf.grad is not None
    for pair, (chosen, rejected) in enumerate(REWARDS.tolist()):
        strength = float(STRENGTH[pair])
        plain = by_hand(chosen + 0j, rejected + 0j, strength, options).real
        assert float(losses[pair].detach()) == pytest.approx(plain, rel=1e-12, abs=1e-12)
        up = by_hand(chosen + H * 1j, rejected + 0j, strength, options).imag / H
        down = by_hand(chosen + 0j, rejected + H * 1j, strength, options).imag / H
        assert leaf.grad[pair].tolist() == pytest.approx([up, down], rel=1e-12, abs=1e-12)


def test_the_weight_is_the_chance_that_the_pair_is_ranked_wrong() -> None:
    scored = Scored(REWARDS, torch.ones(6, 2), value_I=STRENGTH)
    objective = reward_objective()
    wrong = torch.sigmoid(REWARDS[:, 1] - REWARDS[:, 0])
    torch.testing.assert_close(weights(objective, scored), torch.stack([wrong, -wrong], -1))
    assert weight_limits(objective, scored) is not None
    torch.testing.assert_close(objective.margin(scored), REWARDS[:, 0] - REWARDS[:, 1])


def test_it_asks_for_rewards_and_never_for_a_reference() -> None:
    objective = reward_objective(margin=1.0)
    assert objective.uses_rewards and not objective.uses_reference
    assert not any(build(name).uses_rewards for name in OBJECTIVES)


def test_a_policy_is_not_offered_it() -> None:
    with pytest.raises(UsageError, match="there is no objective 'bradley_terry'"):
        build("bradley_terry")


@pytest.mark.parametrize(
    "option", [{"margin": -1.0}, {"label_smoothing": 0.5}, {"centring": -0.1}, {"margin": math.inf}]
)
def test_a_value_out_of_its_limits_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        reward_objective(**option)


# ---------------------------------------------------------------- calibration


def test_calibration_by_hand() -> None:
    """Two pairs said 0.55, one of them right; three said 0.95, all right."""
    low, high = math.log(0.55 / 0.45), math.log(0.95 / 0.05)
    found = calibration([low, -low, high, high, high])
    assert found.accuracy.value == 0.8 and found.accuracy.count == 5
    assert [(each.low, each.right.count) for each in found.bins] == [(0.5, 2), (0.9, 3)]
    assert [each.said for each in found.bins] == pytest.approx([0.55, 0.95])
    assert found.error == pytest.approx((2 * 0.05 + 3 * 0.05) / 5)


def test_a_gap_of_nothing_is_half_right_and_half_sure() -> None:
    found = calibration([0.0, 0.0])
    assert found.accuracy.value == 0.5 and found.error == 0.0


def test_a_calibrated_model_has_a_small_error_and_a_boaster_a_large_one() -> None:
    rng = np.random.default_rng(0)
    size = rng.normal(0, 1.5, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-np.abs(size)))
    gaps = np.where(right, np.abs(size), -np.abs(size))
    assert calibration(gaps.tolist()).error < 0.01
    assert calibration((5 * gaps).tolist()).error > 0.15


def test_of_nothing_it_is_an_error() -> None:
    with pytest.raises(ValueError):
        calibration([])
