"""Advantages, clipped losses, KL estimates: against naive versions in plain Python, in float64."""

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import naive_rewards as naive
from palate.objectives import online

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
H = 1e-30  # of the complex step
SEEDS = pytest.mark.parametrize("seed", range(4))


def texts(seed: int, low: float = -3.0, high: float = 3.0) -> list[list[float]]:
    """Token numbers of eight texts, from one token to nine."""
    draw, lengths = random.Random(f"{low}/{high}/{seed}"), random.Random(seed)
    sizes = [1, 9, *(lengths.randint(1, 9) for _ in range(6))]
    return [[draw.uniform(low, high) for _ in range(size)] for size in sizes]


def exact(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def padded(rows: Sequence[Sequence[float]], rest: float = math.nan) -> Tensor:
    """Rows of different lengths, NaN in the padding: it must never be read."""
    longest = max(map(len, rows))
    return torch.tensor(
        [[*row, *[rest] * (longest - len(row))] for row in rows], dtype=torch.float64
    )


def mask_of(rows: Sequence[Sequence[float]]) -> Tensor:
    return ~padded(rows).isnan()


def close(found: Tensor, wanted: Sequence[Sequence[float]]) -> None:
    torch.testing.assert_close(found, padded(wanted, 0.0), **EXACT)


# ------------------------------------------------------------------ rewards and advantages


@SEEDS
def test_rewards_are_the_log_ratio_and_the_score_at_the_end(seed: int) -> None:
    logps, reference = texts(seed, -4, 0), texts(seed, -3.5, 0)
    scores = [random.Random(seed + 9).gauss(0, 3) for _ in logps]
    found_SL = online.shaped(
        exact(scores), padded(logps), padded(reference), mask_of(logps), kl=0.3
    )
    rows = zip(scores, logps, reference, strict=True)
    close(found_SL, [naive.shaped(*row, 0.3) for row in rows])


@SEEDS
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 0.0), (0.7, 1.0)])
def test_advantages_are_the_papers_sums(seed: int, gamma: float, lam: float) -> None:
    rewards, values = texts(seed), texts(seed, -2, 2)
    mask_SL = mask_of(rewards)
    found_SL, wanted_SL = online.gae(padded(rewards), padded(values), mask_SL, gamma=gamma, lam=lam)
    wanted = [naive.gae(r, v, gamma, lam) for r, v in zip(rewards, values, strict=True)]
    close(found_SL, wanted)
    close(wanted_SL, [[a + v for a, v in zip(*row)] for row in zip(wanted, values, strict=True)])
    discounted_SL = online.returns(padded(rewards), mask_SL, gamma=gamma)
    close(discounted_SL, [naive.returns(row, gamma) for row in rewards])
    if lam == 1:  # then the sum telescopes: what came, less what was expected
        torch.testing.assert_close(wanted_SL, discounted_SL, **EXACT)


@SEEDS
def test_whitened_is_mean_0_and_variance_1(seed: int) -> None:
    rows = texts(seed)
    mask_SL = mask_of(rows)
    found_SL = online.whiten(padded(rows), mask_SL)
    close(found_SL, naive.whiten(rows))
    tokens = found_SL[mask_SL]
    assert abs(float(tokens.mean())) < 1e-12
    assert abs(float(tokens.var(correction=0)) - 1) < 1e-6


@SEEDS
@pytest.mark.parametrize("count", [2, 3, 8])
def test_advantages_of_a_group(seed: int, count: int) -> None:
    draw = random.Random(seed)
    rewards = [[draw.gauss(1, 4) for _ in range(count)] for _ in range(5)]
    rewards_PN = torch.tensor(rewards, dtype=torch.float64)
    close(online.rloo(rewards_PN), [naive.rloo(row) for row in rewards])
    for scale in (True, False):
        found_PN = online.grpo(rewards_PN, scale=scale)
        close(found_PN, [naive.grpo(row, scale) for row in rewards])
    unscaled_PN = online.grpo(rewards_PN, scale=False)
    torch.testing.assert_close(online.rloo(rewards_PN), unscaled_PN * count / (count - 1), **EXACT)


# ------------------------------------------------------------------ losses and their gradients


def slope(loss: Callable[[complex], complex], at: float) -> float:
    """The derivative by the complex step."""
    return loss(complex(at, H)).imag / H


def agree(
    loss: Callable[[Tensor], Tensor],
    plain: Callable[[int, complex], complex],
    points: Sequence[float],
) -> None:
    """Value and gradient of a loss per entry equal the naive one's."""
    leaf = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    found = loss(leaf)
    assert found.shape == leaf.shape, "one loss per entry, un-reduced"
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    wanted = [plain(place, complex(x)).real for place, x in enumerate(points)]
    slopes = [slope(partial(plain, place), x) for place, x in enumerate(points)]
    torch.testing.assert_close(found.detach(), exact(wanted), **EXACT)
    torch.testing.assert_close(gradient, exact(slopes), **EXACT)


def points(seed: int) -> tuple[list[float], list[float], list[float]]:
    """Numbers now, numbers then (near and far, on both sides), and a third of either sign."""
    draw = random.Random(seed)
    now = [draw.uniform(-4, 0) for _ in range(40)]
    then = [x + draw.choice((0.05, 0.15, 0.6)) * draw.uniform(-1, 1) for x in now]
    return now, then, [draw.gauss(0, 2) for _ in now]


@SEEDS
def test_the_clipped_surrogate(seed: int) -> None:
    now, old, advantages = points(seed)
    then, gains = exact(old), exact(advantages)
    agree(
        lambda leaf: online.clipped_policy(leaf, then, gains, clip=0.2),
        lambda at, z: naive.surrogate(z, float(then[at]), float(gains[at]), 0.2),
        now,
    )
    leaf = torch.tensor(now, dtype=torch.float64, requires_grad=True)
    loss = online.clipped_policy(leaf, then, gains, clip=0.2)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    past = online.is_clipped(leaf.detach(), then, gains, clip=0.2)
    assert torch.equal(past, gradient == 0), "clipped is what gets no gradient"
    assert 0 < int(past.sum()) < len(now)


@SEEDS
def test_the_clipped_value(seed: int) -> None:
    now, old, returns = points(seed)
    then, wanted = exact(old), exact(returns)
    agree(
        lambda leaf: online.clipped_value(leaf, then, wanted, clip=0.1),
        lambda at, z: naive.value_loss(z, float(then[at]), float(wanted[at]), 0.1),
        now,
    )


@SEEDS
def test_estimates_of_the_kl(seed: int) -> None:
    now, other, _ = points(seed)
    reference = exact(other)

    def of(at: int) -> float:
        return float(reference[at])

    agree(lambda leaf: online.kl_k1(leaf, reference), lambda at, z: z - of(at), now)
    agree(lambda leaf: online.kl_k2(leaf, reference), lambda at, z: (z - of(at)) ** 2 / 2, now)
    agree(lambda leaf: online.kl_k3(leaf, reference), lambda at, z: naive.k3(z, of(at)), now)


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    policy, reference = (
        torch.randn(2, 7, generator=generator, dtype=torch.float64).log_softmax(-1).unbind()
    )
    likely = policy.exp()
    exact = float((likely * (policy - reference)).sum())
    for estimate, bias in ((online.kl_k1, 0.0), (online.kl_k3, 0.0), (online.kl_k2, 0.01)):
        mean = float((likely * estimate(policy, reference)).sum())
        assert (abs(mean - exact) < 1e-12) if bias == 0 else (abs(mean - exact) > bias)
    assert bool((online.kl_k2(policy, reference) >= 0).all())
    assert bool((online.kl_k3(policy, reference) >= 0).all())
    assert bool((online.kl_k1(policy, reference) < 0).any())


def test_the_baseline_of_the_others_does_not_bias_the_gradient() -> None:
    """Over all pairs of draws, E[advantage * score function] is the gradient of the mean reward."""
    theta = torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([2.0, -1.0, 5.0], dtype=torch.float64)
    logps = theta.log_softmax(-1)
    (wanted,) = torch.autograd.grad((logps.exp() * rewards).sum(), theta, retain_graph=True)
    drawn = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    likely = logps.detach().exp()[drawn].prod(-1)
    surrogate = (online.rloo(rewards[drawn]) * logps[drawn]).mean(-1)
    (found,) = torch.autograd.grad((likely * surrogate).sum(), theta)
    torch.testing.assert_close(found, wanted, **EXACT)


# ------------------------------------------------------------------ the controller, the share


@pytest.mark.parametrize(
    ("kl", "wanted"), [(6.0, 0.2), (6.6, 0.202), (60.0, 0.204), (0.0, 0.196), (5.7, 0.199)]
)
def test_the_coefficient_follows_the_kl(kl: float, wanted: float) -> None:
    found = online.adaptive_coefficient(0.2, kl, target=6.0)
    assert found == pytest.approx(wanted, rel=1e-12)


def test_the_controller_ends_at_its_target() -> None:
    """A policy whose KL falls with the coefficient comes to rest where the target is."""
    coefficient = 0.01
    for _ in range(400):
        coefficient = online.adaptive_coefficient(coefficient, 3.0 / coefficient, target=6.0)
    assert 3.0 / coefficient == pytest.approx(6.0, rel=1e-3)


def test_explained_variance() -> None:
    rows = texts(3)
    returns_SL, mask_SL = padded(rows), mask_of(rows)
    nothing_SL = torch.zeros_like(returns_SL)
    assert online.explained_variance(returns_SL, returns_SL, mask_SL) == 1
    assert online.explained_variance(returns_SL + 5, returns_SL, mask_SL) == pytest.approx(1)
    assert online.explained_variance(nothing_SL, returns_SL, mask_SL) == pytest.approx(0, abs=1e-12)
    assert online.explained_variance(-returns_SL, returns_SL, mask_SL) == pytest.approx(-3)
    half = online.explained_variance(returns_SL / 2, returns_SL, mask_SL)
    assert half == pytest.approx(0.75)
    assert online.explained_variance(nothing_SL, nothing_SL + 2, mask_SL) == 0, "nothing varies"


# ------------------------------------------------------------------ edges


def test_a_text_of_one_token() -> None:
    one, mask_SL = torch.tensor([[2.5]], dtype=torch.float64), torch.tensor([[True]])
    advantages_SL, returns_SL = online.gae(one, one / 2, mask_SL, gamma=0.9, lam=0.8)
    assert float(advantages_SL) == 1.25 and float(returns_SL) == 2.5
    assert float(online.whiten(one, mask_SL)) == 0
    assert float(online.explained_variance(one, one, mask_SL)) == 0
    paid_SL = online.shaped(torch.tensor([3.0]), one, one, mask_SL, kl=0.1)
    assert float(paid_SL) == 3


def test_texts_without_a_token_give_nothing() -> None:
    mask_SL = torch.tensor([[False, False], [True, True]])
    noise_SL = torch.tensor([[math.nan, math.inf], [1.0, 2.0]])
    nothing_SL = torch.zeros_like(mask_SL)
    scores = torch.tensor([7.0, 0.0])
    found = [
        online.shaped(scores, noise_SL, noise_SL, mask_SL, kl=1.0),
        *online.gae(noise_SL, noise_SL, mask_SL),
        online.returns(noise_SL, mask_SL),
        online.whiten(noise_SL, mask_SL),
    ]
    for each_SL in found:
        assert not bool(each_SL[0].any()) and bool(each_SL.isfinite().all())
    assert not bool(online.whiten(noise_SL, nothing_SL).any())
    assert float(online.mean(noise_SL, nothing_SL)) == 0
    assert online.explained_variance(noise_SL, noise_SL, nothing_SL) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_rewards_of_a_group_teach_nothing(dtype: torch.dtype) -> None:
    rewards_PN = torch.tensor([[0.1] * 3, [1e6 + 0.1] * 3, [0.0] * 3], dtype=dtype)
    for found_PN in (online.rloo(rewards_PN), online.grpo(rewards_PN)):
        assert torch.equal(found_PN, torch.zeros_like(rewards_PN)), "0, and not NaN"


def test_a_group_of_one_is_refused() -> None:
    for function in (online.rloo, online.grpo):
        with pytest.raises(ValueError, match="group of 1"):
            function(torch.tensor([[1.0], [2.0]]))


@pytest.mark.parametrize("far", [1e4, -1e4])
def test_losses_are_finite_however_far_the_policy_went(far: float) -> None:
    logps = torch.tensor([-1.0, -1.0], requires_grad=True)
    old, gains = logps.detach() - far, torch.tensor([1.0, -1.0])
    loss = online.clipped_policy(logps, old, gains, clip=0.2).sum() + online.kl_k3(logps, old).sum()
    (gradient,) = torch.autograd.grad(loss, logps)
    assert bool(loss.isfinite()) and bool(gradient.isfinite().all())


def test_equal_policies_have_no_clip_and_no_kl() -> None:
    logps, gains = torch.tensor([-0.5, -3.0]), torch.tensor([2.0, -1.0])
    assert torch.equal(online.clipped_policy(logps, logps, gains, clip=0.2), -gains)
    assert not bool(online.is_clipped(logps, logps, gains, clip=0.2).any())
    for estimate in (online.kl_k1, online.kl_k2, online.kl_k3):
        assert not bool(estimate(logps, logps).any())
