"""Promise 2: neither packing nor budget nor order in the row changes a step's gradient."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import engine_cases
import tiny
from palate.data.rows import Item
from palate.engine import pack as packing
from palate.engine.policy import Plan, Policy
from palate.engine.precision import wide_float64
from palate.errors import NumericsError
from palate.objectives import Objective, Scored, build
from palate.train import step as steps
from palate.train.optimise import Optimiser, learning_rate
from palate.train.order import Order
from palate.train.step import Batch, accumulate

ITEMS = engine_cases.pairs(prompts=4, per_prompt=2)


def gradient(objective: Objective, *, budget: int, plan: Plan | None = None) -> dict[str, Tensor]:
    with wide_float64():
        model = tiny.model("qwen2")
        items = ITEMS if objective.items == "pair" else engine_cases.singles(ITEMS)
        reference = torch.randn(len(items), 2, generator=torch.Generator().manual_seed(0)) - 30
        batch = Batch(items, reference if objective.items == "pair" else None)
        accumulate(Policy(model, plan or Plan()), batch, objective, budget)
        return engine_cases.gradients(model)


@pytest.mark.parametrize(
    "objective", [build("sft"), build("sft", mean="sequence"), build("dpo", beta=0.2)]
)
@pytest.mark.parametrize("budget", [10, 37, 90])
def test_the_split_into_rows_changes_nothing(objective: Objective, budget: int) -> None:
    whole = gradient(objective, budget=10_000)
    assert engine_cases.worst(gradient(objective, budget=budget), whole) < 1e-10
    assert engine_cases.worst(gradient(objective, budget=budget, plan=Plan(False)), whole) < 1e-10


def test_a_mean_of_row_means_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build("sft")
    whole = gradient(objective, budget=10_000)
    count = Batch.count
    monkeypatch.setattr(Batch, "count", lambda self, o: count(self, o) // 2)
    assert engine_cases.worst(gradient(objective, budget=37), whole) > 0.1


def test_a_dropped_row_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build("dpo", beta=0.2)
    whole = gradient(objective, budget=10_000)
    outputs = steps._outputs
    monkeypatch.setattr(steps, "_outputs", lambda *words: _first_detached(outputs(*words)))
    assert engine_cases.worst(gradient(objective, budget=37), whole) > 1e-3


def _first_detached(found: Any) -> Any:
    for number, (row, output) in enumerate(found):
        logps_K = output.logps_K
        still = replace(output, logps_K=logps_K * 0 + logps_K.detach())
        yield row, still if number == 0 else output


def test_a_coupled_objective_goes_through_weights() -> None:
    def loss(scored: Scored) -> Tensor:
        gap = scored.logps_IN[:, 0] - scored.logps_IN[:, 1]
        return -torch.nn.functional.logsigmoid(0.1 * (gap - gap.mean()))

    def coupled(flag: bool) -> Objective:
        return Objective("centred", "none", loss, "pair", coupled=flag)

    whole = gradient(coupled(False), budget=10_000)
    assert engine_cases.worst(gradient(coupled(True), budget=37), whole) < 1e-10
    assert engine_cases.worst(gradient(coupled(False), budget=37), whole) > 1e-3


def test_pairs_of_one_prompt_lie_in_one_row_of_the_step() -> None:
    rows = packing.pack(ITEMS, 10_000)
    assert len(rows) == 1
    assert len(rows[0].ids_T) < sum(len(s.ids) for i in ITEMS for s in i.sequences) / 2


# ---------------------------------------------------------------- order, schedule, optimiser


def test_order_is_a_function_of_data_seed_and_epoch() -> None:
    groups = [n // 3 for n in range(30)]
    order = Order(groups, digest="d", seed=1)
    epoch = [row for step in range(4) for row in order.batch(step, 8, 30)]
    assert sorted(epoch) == list(range(30))
    for start in range(0, 30, 3):
        assert len({groups[row] for row in epoch[start : start + 3]}) == 1, "a prompt was torn"
    again = Order(groups, digest="d", seed=1)
    assert again.batch(7, 8, 90) == order.batch(7, 8, 90)
    others = [Order(groups, digest="e", seed=1), Order(groups, digest="d", seed=2)]
    assert all(other.batch(0, 30, 30) != order.batch(0, 30, 30) for other in others)
    assert order.batch(1, 30, 60) != order.batch(0, 30, 60)
    assert len(order.batch(3, 8, 30)) == 6, "the last step takes what is left"


def test_the_schedule_warms_up_and_comes_down() -> None:
    def rates(name: Any) -> list[float]:
        return [learning_rate(s, 20, peak=2.0, schedule=name, warmup=0.2) for s in range(20)]

    for name in ("cosine", "linear", "constant"):
        assert rates(name)[:4] == [0.5, 1.0, 1.5, 2.0]
        assert max(rates(name)) == 2.0
    assert rates("constant")[-1] == 2.0
    assert 0 < rates("cosine")[-1] < rates("linear")[-1] < 0.2


def _with_gradient(value: float, dtype: torch.dtype) -> tuple[torch.nn.Parameter, Optimiser]:
    parameter = torch.nn.Parameter(torch.ones(4, 4, dtype=dtype))
    optimiser = Optimiser({"w": parameter}, weight_decay=0.0, clip=1.0)
    parameter.grad = torch.full_like(parameter, value)
    return parameter, optimiser


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(value: float) -> None:
    parameter, optimiser = _with_gradient(value, torch.float32)
    with pytest.raises(NumericsError, match="no weight was moved"):
        optimiser.step(0.1)
    assert bool((parameter == 1).all()) and not optimiser.state()


def test_the_step_is_that_of_torch_with_clipping() -> None:
    parameter, optimiser = _with_gradient(3.0, torch.float32)
    twin = torch.nn.Parameter(torch.ones(4, 4))
    adamw = torch.optim.AdamW([twin], lr=0.1, weight_decay=0.0)
    for _ in range(3):
        parameter.grad, twin.grad = torch.full((4, 4), 3.0), torch.full((4, 4), 3.0)
        torch.nn.utils.clip_grad_norm_([twin], 1.0)
        adamw.step()
        assert optimiser.step(0.1) == pytest.approx(12.0)
    torch.testing.assert_close(parameter, twin)


def test_half_precision_weights_keep_fp32_masters() -> None:
    parameter, optimiser = _with_gradient(1e-3, torch.bfloat16)
    for _ in range(40):
        parameter.grad = torch.full_like(parameter, 1e-3)
        optimiser.step(1e-4)
    assert optimiser.weights()["w"].dtype == torch.float32
    assert float(parameter.detach()[0, 0]) == pytest.approx(0.996, abs=2e-3), (
        "small steps were rounded away"
    )


def test_state_goes_out_and_in_without_a_change() -> None:
    parameter, optimiser = _with_gradient(0.5, torch.float32)
    optimiser.step(0.1)
    weights = {n: w.clone() for n, w in optimiser.weights().items()}
    state = {n: s.clone() for n, s in optimiser.state().items()}
    other, second = _with_gradient(0.5, torch.float32)
    second.load(weights, state)
    for one, both in ((parameter, optimiser), (other, second)):
        one.grad = torch.full((4, 4), -0.25)
        both.step(0.05)
    assert bool((parameter == other).all())


# ---------------------------------------------------------------- lists, verdicts, weights


def _lists() -> list[Item]:
    """Rankings of two, three and four completions."""
    found = []
    for number, item in enumerate(engine_cases.pairs(prompts=3, per_prompt=1, seed=3)):
        prompt = item.sequences[0].ids[: item.sequences[0].prompt]
        extra = [engine_cases.tokens((*prompt, 9 + n, 5, 7), len(prompt)) for n in range(number)]
        found.append(replace(item, sequences=(*item.sequences, *extra), value=(-1.0) ** number))
    return found


def _by_hand(objective: Objective, items: list[Item], model: Any) -> dict[str, Tensor]:
    """The gradient from every sequence alone, padded with zeros to the longest list."""
    width = max(len(item.sequences) for item in items)
    rows = []
    for item in items:
        (row,) = engine_cases.naive_logps(model, [item])
        rows.append(torch.cat([row, row.new_zeros(width - len(row))]))
    batch = Batch(items, torch.arange(len(items) * width).view(-1, width).double() * -0.7)
    (objective.loss(batch.scored(torch.stack(rows))).sum() / len(items)).backward()
    return engine_cases.gradients(model)


@pytest.mark.parametrize("name", ["plackett_luce", "kto", "bco", "aot", "aot_unpaired", "ld_dpo"])
@pytest.mark.parametrize("budget", [30, 10_000])
def test_lists_verdicts_and_coupled_rows_equal_the_plain_computation(
    name: str, budget: int
) -> None:
    objective = build(name)
    with wide_float64():
        items = _lists()
        if name == "kto":
            items = [replace(item, sequences=item.sequences[:1]) for item in items]
        elif name != "plackett_luce":
            items = engine_cases.pairs(prompts=3, per_prompt=1, seed=4)
        if objective.prepare is not None:
            items = objective.prepare(items)
        want = _by_hand(objective, items, tiny.model("qwen2"))
        width = max(len(item.sequences) for item in items)
        reference = torch.arange(len(items) * width).view(-1, width).double() * -0.7
        model: Any = tiny.model("qwen2")
        accumulate(Policy(model), Batch(items, reference), objective, budget)
        assert engine_cases.worst(engine_cases.gradients(model), want) < 1e-10
