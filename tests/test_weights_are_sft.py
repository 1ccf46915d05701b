"""The idea that palate stands on, for every objective: a step of it is a step of weighted SFT.

One SGD step on a real tiny model in float64, through the engine and the trainer, against one step
of `-sum w_i logp_i` with the weights of a first pass and plain log-probs of whole sequences.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from engine_cases import naive_logps, pairs, tokens
from objective_cases import CASES, case_id
from palate.data.rows import Item
from palate.engine.pack import pack
from palate.engine.policy import Policy
from palate.engine.precision import wide_float64
from palate.engine.scoring import score
from palate.objectives import Objective, build, token_weights
from palate.train.step import Batch, Result, accumulate, evaluate

RATE = 0.1
BUDGET = 60  # a step is several rows
NOT_OF_SEQUENCES = {
    "unlikelihood": "it reads log(1 - p) of each token of rejected, which no sum of log-probs holds"
}
over = pytest.mark.parametrize(("name", "options"), CASES, ids=case_id)


def test_exceptions_are_those_that_read_tokens() -> None:
    """WPO reads tokens too, but holds what it makes of them constant."""
    reading = {name for name, options in CASES if set(build(name, **options).sums) - {"sureness"}}
    assert reading == NOT_OF_SEQUENCES.keys()


def items_of(objective: Objective) -> list[Item]:
    """Rows of the objective's kind, several of one prompt; ranked lists are ragged."""
    made = pairs(prompts=3, per_prompt=2)
    if objective.items in ("row", "weighted", "labelled"):
        made = [replace(item, sequences=item.sequences[:1]) for item in made]
    if objective.items == "ranked":
        for place in (0, 3):
            item = made[place]
            start = item.sequences[0].ids[: item.sequences[0].prompt]
            more = tokens([*start, 7, 5, 4], len(start))
            made[place] = replace(item, sequences=(*item.sequences, more))
    values = {"weighted": (2.0, -0.5, 0.0, 1.0, 3.0, -1.0), "labelled": (1.0, -1.0) * 3}
    found = values.get(objective.items, (1.0,) * len(made))
    made = [replace(item, value=value) for item, value in zip(made, found, strict=True)]
    return objective.prepare(made) if objective.prepare else made


@dataclass(frozen=True)
class Setting:
    """A model, a step of items, and a reference some way off it."""

    model: Any
    batch: Batch
    objective: Objective

    @property
    def policy(self) -> Policy:
        return Policy(self.model)


@cache
def tiny_model() -> tuple[Any, dict[str, Tensor]]:
    model = tiny.model("llama")
    return model, {name: value.clone() for name, value in model.state_dict().items()}


def setting(name: str, options: dict[str, Any]) -> Setting:
    model, start = tiny_model()
    model.load_state_dict(start)
    model.zero_grad(set_to_none=True)
    objective = build(name, **options)
    items = items_of(objective)
    reference = None
    if objective.uses_reference:
        reference = score(Policy(model), items, BUDGET)
        noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1)).double()
        reference = torch.where(reference == 0, reference, reference + noise)
    return Setting(model, Batch(items, reference), objective)


def stepped(model: Any) -> dict[str, Tensor]:
    """The parameters after one step of plain SGD; the model keeps those it had."""
    found = {name: p.detach() - RATE * p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return found


def furthest(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    assert got.keys() == want.keys()
    return max(float((got[name] - value).abs().max()) for name, value in want.items())


def weighted_sft(made: Setting, weights_IN: Tensor, count: int) -> dict[str, Tensor]:
    """One step of `-sum w logp / count`: every sequence by itself, full logits."""
    made.policy.restore()
    total = torch.zeros((), dtype=torch.float64)
    for item, weights_N in zip(made.batch.items, weights_IN, strict=True):
        logps_N = naive_logps(made.model, [item])[0]
        total = total - (weights_N[: len(logps_N)] * logps_N).sum() / count
    total.backward()
    return stepped(made.model)


def step_of(made: Setting) -> tuple[Result, dict[str, Tensor]]:
    result = accumulate(made.policy, made.batch, made.objective, BUDGET)
    return result, stepped(made.model)


def by_tokens(made: Setting) -> dict[str, Tensor]:
    """One step of `-sum w_t logp_t` with the weight of every token."""
    count = made.batch.count(made.objective)
    for row in pack(made.batch.items, BUDGET):
        output = made.policy(row, with_statistics="sureness" in made.objective.sums)

        def read(leaf_K: Tensor, output: Any = output) -> Any:
            return made.batch.read(made.objective, output, leaf_K)

        pull_K = token_weights(made.objective, read, output.logps_K)
        (-(pull_K * output.logps_K).sum() / count).backward()
    return stepped(made.model)


@over
def test_a_step_is_a_step_of_weighted_sft(name: str, options: dict[str, Any]) -> None:
    with wide_float64():
        made = setting(name, options)
        first = evaluate(made.policy, made.batch, made.objective, BUDGET)
        assert bool(first.weights_IN.any()), "nothing would be learnt"
        _, whole = step_of(made)
        start = {n: p.detach() for n, p in made.model.named_parameters()}
        assert furthest(whole, start) > 1e-6
        if name in NOT_OF_SEQUENCES:
            assert furthest(whole, by_tokens(made)) < 1e-10
            assert furthest(whole, weighted_sft(made, first.weights_IN, first.count)) > 1e-9
        else:
            assert furthest(whole, weighted_sft(made, first.weights_IN, first.count)) < 1e-10


@over
def test_a_step_is_a_step_of_weighted_tokens(name: str, options: dict[str, Any]) -> None:
    """Rows by themselves, so not where rows of a step influence each other."""
    with wide_float64():
        made = setting(name, options)
        if made.objective.coupled:
            pytest.skip("its rows influence each other")
        assert furthest(step_of(made)[1], by_tokens(made)) < 1e-10


@pytest.mark.parametrize("name", ["dpo", "kto", "bco"])
def test_a_wrong_weight_would_be_seen(name: str) -> None:
    with wide_float64():
        made = setting(name, {})
        first = evaluate(made.policy, made.batch, made.objective, BUDGET)
        wrong = first.weights_IN.clone()
        wrong[0, 0] *= 1.001
        assert furthest(step_of(made)[1], weighted_sft(made, wrong, first.count)) > 1e-9


@over
def test_the_split_into_rows_changes_nothing(name: str, options: dict[str, Any]) -> None:
    with wide_float64():
        made = setting(name, options)
        found = []
        for budget in (20, 10_000):
            accumulate(made.policy, made.batch, made.objective, budget)
            found.append(stepped(made.model))
        assert furthest(*found) < 1e-10
