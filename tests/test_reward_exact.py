"""Rewards and gradient, packed and shared, equal the class of transformers on a padded batch.

AutoModelForSequenceClassification with the same weights is the oracle, in wide float64.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

import engine_cases
import reward_cases
import tiny
from palate.data.rows import Item
from palate.engine.classifier import require_class
from palate.engine.policy import Plan, Policy
from palate.engine.precision import wide_float64
from palate.engine.value import RewardModel, new_head, reward_items
from palate.errors import ModelError
from palate.objectives import Scored
from palate.objectives.reward import reward_objective
from palate.train.step import Batch, accumulate

NONE = {"granite", "cohere2"}  # families without such a class
KINDS = [kind for kind in tiny.KINDS if kind not in NONE]
OPTIONS = {"margin": 0.3, "label_smoothing": 0.1, "centring": 0.02}
ITEMS = engine_cases.pairs(prompts=4, per_prompt=2)


def trained(model: RewardModel) -> dict[str, Tensor]:
    """Gradients by the names of the class."""
    found = engine_cases.gradients(model)
    return {name.removeprefix("policy.model."): grad for name, grad in found.items()}


def by_the_class(model: Any, head: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Rewards and gradient of the step, by the class itself."""
    made = reward_cases.classifier(model, head)
    rewards_I2 = reward_cases.naive(made, ITEMS)
    scored = Scored(rewards_I2, torch.ones(len(ITEMS), 2), value_I=torch.ones(len(ITEMS)))
    (reward_objective(**OPTIONS).loss(scored).sum() / len(ITEMS)).backward()
    found = engine_cases.gradients(made)
    return rewards_I2.detach(), {
        name.replace("score.weight", "head.weight"): grad for name, grad in found.items()
    }


def by_the_step(model: RewardModel, budget: int) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    result = accumulate(model, Batch(ITEMS), reward_objective(**OPTIONS), budget)
    return result.scored.rewards_IN, trained(model)


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_equals_its_class(kind: str) -> None:
    with wide_float64():
        model: Any = tiny.model(kind)
        mine = reward_cases.reward_model(model)
        rewards, gradient = by_the_step(mine, budget=40)
        wanted, wanted_gradient = by_the_class(model, mine.head.weight.detach())
        assert float((rewards - wanted).abs().max()) < 1e-10
        assert engine_cases.worst(gradient, wanted_gradient) < 1e-10


@pytest.mark.parametrize("plan", [Plan(), Plan(False), Plan(False, False)], ids=str)
@pytest.mark.parametrize("budget", [16, 37, 10_000])
def test_packing_changes_nothing(plan: Plan, budget: int) -> None:
    with wide_float64():
        model: Any = tiny.model("qwen2")
        mine = reward_cases.reward_model(model, plan)
        rewards, gradient = by_the_step(mine, budget)
        wanted, wanted_gradient = by_the_class(model, mine.head.weight.detach())
        assert float((rewards - wanted).abs().max()) < 1e-10
        assert engine_cases.worst(gradient, wanted_gradient) < 1e-10


def test_one_token_to_the_left_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(self: Policy, row: Any) -> Tensor:
        last_S = torch.tensor([path[-2] for path in row.paths])
        return self._hidden(row)[last_S]

    monkeypatch.setattr(Policy, "ends", ends)
    with wide_float64():
        model: Any = tiny.model("qwen2")
        mine = reward_cases.reward_model(model)
        rewards, _ = by_the_step(mine, 40)
        wanted, _ = by_the_class(model, mine.head.weight.detach())
        assert float((rewards - wanted).abs().max()) > 1e-2


def test_an_answer_that_goes_on_from_the_other_is_scored_at_its_own_end() -> None:
    """The shorter answer ends inside the longer one's path; the same answer may come twice."""
    with wide_float64():
        model: Any = tiny.model("llama")
        mine = reward_cases.reward_model(model)
        prompt = [5, 6, 7, 8]
        sides = [[9, 10], [9, 10, 11, 12], [9, 10]]
        tokens = tuple(engine_cases.tokens(prompt + side, 4) for side in sides)
        (first, second, third), *_ = reward_items(mine, [Item(tokens, 0, ITEMS[0].origin)], 100)
        made = reward_cases.classifier(model, mine.head.weight.detach())
        for side, got in zip(sides, (first, second, third), strict=True):
            alone = made(torch.tensor([prompt + side]), use_cache=False).logits[0, 0]
            assert float((got - alone).detach().abs()) < 1e-10


# ---------------------------------------------------------------- the head


def test_the_head_is_a_function_of_the_seed() -> None:
    model: Any = tiny.model("llama", dtype=torch.float32)
    policy = Policy(model)
    state = torch.get_rng_state()
    one, same, other = (new_head(policy, 32, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state), "somebody else's randomness was used"
    wide = new_head(policy, 4096, seed=0).weight
    assert float(wide.detach().std()) == pytest.approx(4097**-0.5, rel=0.05)


@pytest.mark.parametrize(("kind", "trains"), [("llama", False), ("qwen2", True)])
def test_the_vocabulary_s_head_rests_unless_it_is_the_embedding(kind: str, trains: bool) -> None:
    model: Any = tiny.model(kind)
    model.requires_grad_(True)
    reward_cases.reward_model(model)
    assert model.get_output_embeddings().weight.requires_grad is trains


@pytest.mark.parametrize("kind", [*NONE, "mamba"])
def test_a_family_without_such_a_class_is_refused(kind: str) -> None:
    with pytest.raises(ModelError, match="cannot become a reward model"):
        require_class(tiny.model(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_width_is_that_of_the_class(kind: str) -> None:
    assert require_class(tiny.model(kind)) == 32
