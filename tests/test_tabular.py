"""The exact toy: DPO's optimum, the frontier, the KL code, the policy gradient, to the last bits.

Everything that a study can only estimate is known here, since every string is written out.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from palate.engine import divergence as engine_divergence
from palate.engine.divergence import Kl, kl
from palate.engine.logprob import divergence
from palate.engine.policy import Plan, Policy
from palate.engine.precision import wide_float64
from palate.engine.scoring import score
from palate.objectives import build
from palate.objectives.online import clipped_policy, grpo, rloo
from tabular import Toy

BETAS = (0.1, 0.3, 1.0, 3.0)
SHORT, LONG = Toy.draw(length=2), Toy.draw(length=4)
Above = list[float]
Verdicts = tuple[Tensor, Tensor, Tensor]  # prompts (I,), pairs (I,2), P(first wins) (I,)


def watched(toy: Toy, found: Above) -> Callable[[Tensor], None]:
    """Notes how far above the frontier each policy on the way lies; none may."""

    def watch(table_PLAV: Tensor) -> None:
        reached, reward = toy.figures(toy.logps(table_PLAV))
        found.append(reward - toy.best_reward(reached))

    return watch


@pytest.fixture(scope="module")
def learnt() -> dict[float, Tensor]:
    """beta -> DPO's policy (P,Y) on every pair, the loss expected over the verdict."""
    prompt_I, pair_I2 = SHORT.all_pairs()
    data = (prompt_I, pair_I2, SHORT.wins(prompt_I, pair_I2))
    return {beta: SHORT.train(build("dpo", beta=beta), data, steps=60) for beta in BETAS}


def verdicts(toy: Toy, count: int, *, seed: int, random: bool = False) -> Verdicts:
    """Pairs that the reference drew, each with one verdict drawn by Bradley-Terry, or by a coin."""
    prompt_I, pair_I2 = toy.pairs(count, seed=seed)
    drawn_I = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wins_I = torch.full_like(drawn_I, 0.5) if random else toy.wins(prompt_I, pair_I2)
    return prompt_I, pair_I2, (drawn_I < wins_I).double()


# ---------------------------------------------------------------- the toy itself


def test_the_probabilities_of_all_strings_sum_to_one() -> None:
    assert len(LONG.strings) == 1 + 11 + 11**2 + 11**3 + 11**4
    for logps_PY in (LONG.base_PY, LONG.optimum_PY(0.3)):
        torch.testing.assert_close(logps_PY.exp().sum(-1), torch.ones(3).double())


def test_a_string_written_out() -> None:
    """(3, 7) after the second prompt, by hand; at full length the end costs nothing."""
    base = LONG.base_PLAV.log_softmax(-1)[1]
    want = base[0, 0, 3] + base[1, 3, 7] + base[2, 7, 0]
    assert float(LONG.base_PY[1, LONG.strings.index((3, 7))]) == pytest.approx(float(want))
    full = base[0, 0, 3] + base[1, 3, 7] + base[2, 7, 7] + base[3, 7, 1]
    assert float(LONG.base_PY[1, LONG.strings.index((3, 7, 7, 1))]) == pytest.approx(float(full))


@pytest.mark.parametrize("beta", BETAS)
def test_the_optimum_lies_on_the_frontier(beta: float) -> None:
    reached, reward = LONG.figures(LONG.optimum_PY(beta))
    assert abs(LONG.gap(LONG.optimum_PY(beta), beta)) < 1e-12
    assert 0 <= LONG.best_reward(reached) - reward < 1e-3


# ---------------------------------------------------------------- DPO's optimum


@pytest.mark.parametrize("beta", BETAS)
def test_dpo_reaches_its_own_optimum(learnt: dict[float, Tensor], beta: float) -> None:
    want_PY = SHORT.optimum_PY(beta)
    assert 0 <= SHORT.gap(learnt[beta], beta) < 1e-7
    assert float((learnt[beta].exp() - want_PY.exp()).abs().max()) < 1e-3
    assert SHORT.figures(learnt[beta]) == pytest.approx(SHORT.figures(want_PY), rel=1e-3)


@pytest.mark.parametrize("beta", BETAS)
def test_its_own_and_no_other(learnt: dict[float, Tensor], beta: float) -> None:
    gaps = {other: SHORT.gap(learnt[beta], other) / other for other in BETAS}
    assert min(gaps, key=gaps.__getitem__) == beta
    assert sorted(gaps.values())[1] > 1e-3


@pytest.mark.parametrize("beta", BETAS)
def test_the_implicit_reward_is_the_true_one_up_to_the_prompt(
    learnt: dict[float, Tensor], beta: float
) -> None:
    apart_PY = beta * (learnt[beta] - SHORT.base_PY) - SHORT.reward_PY
    constant_P1 = apart_PY.mean(-1, keepdim=True)
    assert float((apart_PY - constant_P1).abs().max()) < 1e-3
    partition_P = beta * SHORT.log_partition(beta)
    torch.testing.assert_close(constant_P1[:, 0], -partition_P, rtol=0, atol=1e-3)
    assert float(partition_P.std()) > 0.01, "the constants differ by prompt"


def test_a_seeded_bug_misses_the_optimum() -> None:
    """Half the beta in the loss: another policy is learnt, and the tests above see it."""
    prompt_I, pair_I2 = SHORT.all_pairs()
    data = prompt_I, pair_I2, SHORT.wins(prompt_I, pair_I2)
    wrong_PY = SHORT.train(build("dpo", beta=0.5), data, steps=60)
    assert SHORT.gap(wrong_PY, 1.0) > 0.05


# ---------------------------------------------------------------- from verdicts


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_the_gap_to_the_frontier_shrinks_with_data(beta: float) -> None:
    above: Above = []
    gaps = []
    for count in (300, 3000, 30_000):
        data, watch = verdicts(LONG, count, seed=0), watched(LONG, above)
        found_PY = LONG.train(build("dpo", beta=beta), data, steps=20, watch=watch)
        gaps.append(LONG.gap(found_PY, beta))
    assert gaps[0] > 1.2 * gaps[1] > 4 * gaps[2] > 0
    assert len(above) > 50 and max(above) < 1e-9, "above the frontier: the KL is wrong"


def test_nothing_lies_above_the_frontier() -> None:
    """Random policies, optima, and mixtures of optima and reference."""
    made = torch.Generator().manual_seed(1)
    policies = [
        LONG.logps(LONG.base_PLAV + size * torch.randn(LONG.base_PLAV.shape, generator=made))
        for size in (0.03, 0.3, 3.0)
    ]
    policies += [LONG.optimum_PY(beta) for beta in BETAS]
    policies += [
        torch.logaddexp(LONG.optimum_PY(beta), LONG.base_PY) - math.log(2) for beta in BETAS
    ]
    for logps_PY in policies:
        reached, reward = LONG.figures(logps_PY)
        assert reward <= LONG.best_reward(reached) + 1e-12
        assert min(LONG.gap(logps_PY, beta) for beta in BETAS) >= -1e-12


def test_random_labels_stay_near_the_reference() -> None:
    figures = [
        LONG.figures(
            LONG.train(
                build("dpo", beta=1.0),
                verdicts(LONG, 50_000, seed=3, random=random),
                steps=20,
            )
        )
        for random in (False, True)
    ]
    (kl_true, reward_true), (kl_random, reward_random) = figures
    start = LONG.figures(LONG.base_PY)[1]
    assert kl_random < 0.05 * kl_true
    assert abs(reward_random - start) < 0.05 * (reward_true - start)


# ---------------------------------------------------------------- step 0


def test_before_the_first_step_the_loss_is_ln_2_and_every_pair_a_tie() -> None:
    objective = build("dpo", beta=0.3)
    scored = LONG.scored(LONG.base_PLAV, *LONG.pairs(5000))
    assert float((objective.loss(scored) - math.log(2)).abs().max()) < 1e-15
    assert not objective.margin(scored).any()


def test_gradients_of_a_shared_start_cancel() -> None:
    """What both strings go through gets nothing; the choice where they part gets something."""
    shared = [(LONG.strings.index((2, 5, a, 1)), LONG.strings.index((2, 5, a + 1))) for a in (1, 4)]
    table = (LONG.base_PLAV + 0.1).requires_grad_()
    moved = table * 1.3  # away from the reference, so that margins are not 0
    prompt_I = torch.tensor([0, 2])
    scored = LONG.scored(moved, prompt_I, torch.tensor(shared))
    build("dpo", beta=0.3).loss(scored).sum().backward()
    assert table.grad is not None
    assert float(table.grad[:, :2].abs().max()) < 1e-12
    assert float(table.grad[prompt_I, 2, 5].abs().max()) > 1e-2


# ---------------------------------------------------------------- the engine's KL


def measured(toy: Toy, table_PLAV: Tensor, plan: Plan) -> tuple[Kl, Tensor]:
    """KL and log-probs of every string by the engine, from the table as a transformers model."""
    policy = Policy(toy.model(table_PLAV), plan)
    reference = Policy(toy.model(toy.base_PLAV), plan)
    items = toy.items()
    return kl(policy, reference, items, 4000), score(policy, items, 4000)[:, 0]


@pytest.mark.parametrize("plan", [Plan(), Plan(chunked=False)], ids=str)
def test_the_engine_measures_the_exact_kl(plan: Plan) -> None:
    """Chain rule: KL(pi || ref) is the sum over states of their KL, as often as pi gets there."""
    table = SHORT.base_PLAV + SHORT.bigram_PLAV
    logps_PY = SHORT.logps(table)
    with wide_float64():
        found, scored = measured(SHORT, table, plan)
    torch.testing.assert_close(scored, logps_PY.flatten(), rtol=1e-10, atol=1e-10)
    assert found.tokens_IN[:, 0].tolist() == 3 * [len(y) + 1 for y in SHORT.strings]
    expected = float((logps_PY.exp().flatten() * found.nats_IN[:, 0]).sum()) / SHORT.prompts
    assert expected == pytest.approx(SHORT.figures(logps_PY)[0], abs=1e-10)


def test_an_optimum_measured_by_the_engine_lies_on_the_frontier(
    learnt: dict[float, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one whose KL is measured the other way round lies above it, where none can lie."""
    table, beta = _table_of_the_optimum(SHORT, 0.3), 0.3
    logps_PY = SHORT.logps(table)
    torch.testing.assert_close(logps_PY, SHORT.optimum_PY(beta), rtol=1e-10, atol=1e-10)

    def above() -> float:
        with wide_float64():
            found, _ = measured(SHORT, table, Plan())
        reached = float((logps_PY.exp().flatten() * found.nats_IN[:, 0]).sum()) / SHORT.prompts
        return SHORT.figures(logps_PY)[1] - SHORT.best_reward(reached)

    assert -1e-3 < above() <= 1e-10
    monkeypatch.setattr(
        engine_divergence,
        "divergence",
        lambda p, head, q, other: 0.9 * divergence(p, head, q, other),
    )
    assert above() > 1e-2


def _table_of_the_optimum(toy: Toy, beta: float) -> Tensor:
    """Logits whose strings have pi*: backwards over places, what each choice is still worth."""
    scaled = toy.base_PLAV.log_softmax(-1) + toy.bigram_PLAV / beta
    later_PA = torch.zeros(toy.prompts, toy.base_PLAV.shape[-1]).double()
    tables = []
    for place in reversed(range(toy.length)):
        worth = later_PA.clone()
        worth[:, 0] = 0.0  # after the end nothing comes
        tables.append(scaled[:, place] + worth[:, None, :])
        later_PA = tables[-1].logsumexp(-1)
    return torch.stack(tables[::-1], 1)


# ---------------------------------------------------------------- the policy gradient


def shaped_PY(toy: Toy, logps_PY: Tensor, beta: float) -> Tensor:
    """r - beta log(pi / ref): what KL-penalised RL is paid."""
    return toy.reward_PY - beta * (logps_PY - toy.base_PY)


def exact_gradient(toy: Toy, table_PLAV: Tensor, beta: float) -> Tensor:
    """Of E[r] - beta KL by the logits, through every string."""
    table = table_PLAV.clone().requires_grad_()
    logps_PY = toy.logps(table)
    (logps_PY.exp() * shaped_PY(toy, logps_PY, beta)).sum().backward()
    assert table.grad is not None
    return table.grad


def rloo_gradient(toy: Toy, table_PLAV: Tensor, beta: float) -> Tensor:
    """Expected over every two strings that the policy could draw, through palate's functions."""
    table = table_PLAV.clone().requires_grad_()
    logps_PY = toy.logps(table)
    old_PY = logps_PY.detach()
    paid_PY, count = shaped_PY(toy, old_PY, beta), len(toy.strings)
    first, second = torch.cartesian_prod(torch.arange(count), torch.arange(count)).unbind(-1)
    for prompt in range(toy.prompts):
        chance = (old_PY[prompt, first] + old_PY[prompt, second]).exp()
        advantages = rloo(torch.stack([paid_PY[prompt, first], paid_PY[prompt, second]], -1))
        pair = torch.stack([logps_PY[prompt, first], logps_PY[prompt, second]], -1)
        loss = clipped_policy(pair, pair.detach(), advantages, clip=0.2).mean(-1)
        (chance * -loss).sum().backward(retain_graph=True)
    assert table.grad is not None
    return table.grad


def test_rloo_is_the_policy_gradient() -> None:
    """Unbiased: its expectation is the exact gradient, away from the optimum and at it."""
    for table in (SHORT.base_PLAV, SHORT.base_PLAV + SHORT.bigram_PLAV):
        want = exact_gradient(SHORT, table, 0.3)
        torch.testing.assert_close(rloo_gradient(SHORT, table, 0.3), want, rtol=0, atol=1e-12)
        assert float(want.abs().max()) > 0.01


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_at_the_optimum_there_is_nothing_left_to_learn(beta: float) -> None:
    """Every string is paid the same there, beta log Z: no advantage in any group at all."""
    table = _table_of_the_optimum(LONG, beta)
    logps_PY = LONG.logps(table)
    paid_PY = shaped_PY(LONG, logps_PY, beta)
    want_P1 = beta * LONG.log_partition(beta)[:, None]
    torch.testing.assert_close(paid_PY, want_P1.expand_as(paid_PY), rtol=0, atol=1e-12)
    assert float(exact_gradient(LONG, table, beta).abs().max()) < 1e-12
    groups_PN = paid_PY[:, :: len(LONG.strings) // 63][:, :64].reshape(-1, 4)
    assert float(rloo(groups_PN).abs().max()) < 1e-12
    assert float(grpo(groups_PN, scale=False).abs().max()) < 1e-12
    assert float(rloo_gradient(SHORT, _table_of_the_optimum(SHORT, beta), beta).abs().max()) < 1e-12
