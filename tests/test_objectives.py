"""Every row of the table of objectives against an independent naive version: value and gradient."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

import naive_objectives as naive
from naive_objectives import Line
from objective_cases import CASES, case_id, lines_of, reader, scored_of
from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Tokens
from palate.objectives import (
    OBJECTIVES,
    Objective,
    Scored,
    build,
    derived,
    token_weights,
    weight_limits,
    weights,
)
from palate.objectives.reference_free import SUREST, log1mexp
from palate.objectives.tokens import unlikely

PAIRS = [name for name, spec in OBJECTIVES.items() if spec.items == "pair"]
COUPLED = {"bco", "aot", "aot_unpaired", "kto"}
EXTREMES = [*CASES, ("discopop", {"tau": 2.0}), ("dpo", {"beta": 10.0})]
over = pytest.mark.parametrize(("name", "options"), CASES, ids=case_id)


def naive_of(objective: Objective) -> naive.Loss:
    """The naive function of the same name and options; every row of the table needs one."""
    spec = OBJECTIVES[objective.name]
    plain: naive.Loss = getattr(naive, objective.name)
    extras = {key: value for key, value in objective.options.items() if key not in spec.options}
    own = {key: objective.options[key] for key in spec.options}
    loss = naive.with_extras(plain, **extras)
    return lambda lines: loss(lines, **own)


def difference(objective: Objective, loss: naive.Loss, lines: Sequence[Line]) -> float:
    """Largest difference in a row's loss, or in a token's gradient."""
    logps_K, read = reader(objective, lines)
    losses_I = objective.loss(read(logps_K))
    wanted_I = torch.tensor([x.real for x in loss(lines)], dtype=torch.float64)
    assert losses_I.shape == wanted_I.shape, "one loss per row, un-reduced"
    pulls_K = token_weights(objective, read, logps_K)
    wanted_K = -torch.tensor(naive.slopes(loss, lines), dtype=torch.float64)
    return max(float((losses_I - wanted_I).abs().max()), float((pulls_K - wanted_K).abs().max()))


@over
@pytest.mark.parametrize("seed", range(4))
def test_value_and_gradient_are_the_papers(name: str, options: dict[str, Any], seed: int) -> None:
    objective = build(name, **options)
    lines = lines_of(objective, seed=seed)
    assert difference(objective, naive_of(objective), lines) < 1e-10


def perturbed(name: str) -> Objective:
    """The objective with one thing wrong: beta doubled, or what it has in place of a beta."""
    known = OBJECTIVES[name].options
    if "beta" in known:
        return build(name, beta=2 * known["beta"])
    return build(name, **({"alpha": 2.0} if "alpha" in known else {"mean": "sequence"}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_wrong_formula_would_be_seen(name: str) -> None:
    objective = build(name)
    lines, right = lines_of(objective), naive_of(objective)
    assert difference(perturbed(name), right, lines) > 1e-4
    constant = replace(objective, loss=lambda scored: objective.loss(scored) + 1e-8)
    assert difference(constant, right, lines) > 1e-9


@pytest.mark.parametrize(
    ("name", "option"), [(name, each) for name, spec in OBJECTIVES.items() for each in spec.options]
)
def test_every_option_has_an_effect(name: str, option: str) -> None:
    allowed, default = OBJECTIVES[name].limits[option], OBJECTIVES[name].options[option]
    words = [word for word in allowed.split(" or ") if word != str(default).lower()]
    value: Any = words[0] if " or " in allowed else 0.3
    given: dict[str, Any] = {"divergence": "alpha"} if (name, option) == ("f_dpo", "alpha") else {}
    objective, changed = build(name, **given), build(name, **{**given, option: value})
    logps_K, read = reader(objective, lines_of(objective))
    assert not torch.equal(changed.loss(read(logps_K)), objective.loss(read(logps_K)))


# ------------------------------------------------------------------ weights


@over
def test_weights_are_minus_the_gradient(name: str, options: dict[str, Any]) -> None:
    objective = build(name, **options)
    scored = scored_of(objective)
    leaf_IN = scored.logps_IN.clone().requires_grad_()
    objective.loss(replace(scored, logps_IN=leaf_IN)).sum().backward()
    assert leaf_IN.grad is not None
    found = weights(objective, scored)
    torch.testing.assert_close(found, -leaf_IN.grad)
    assert found.shape == scored.logps_IN.shape and not found.requires_grad


@pytest.mark.parametrize("name", sorted(COUPLED))
def test_rows_of_a_coupled_objective_influence_each_other(name: str) -> None:
    assert {each for each, spec in OBJECTIVES.items() if spec.coupled} == COUPLED
    objective = build(name, beta=1.0)
    lines = lines_of(objective)
    whole = difference(objective, naive_of(objective), lines)
    logps_K, read = reader(objective, lines)
    apart = [reader(objective, [line]) for line in lines]
    alone = torch.cat([token_weights(objective, part, leaf_K) for leaf_K, part in apart])
    together = token_weights(objective, read, logps_K)
    assert whole < 1e-10 and float((alone - together).abs().max()) > 1e-3


@pytest.mark.parametrize(
    "name", ["dpo", "robust", "ipo", "hinge", "exo", "discopop", "r_dpo", "dpo_norm", "aot"]
)
def test_an_objective_of_the_gap_pushes_both_sides_alike(name: str) -> None:
    objective = build(name)
    scored = scored_of(objective)
    pull_I2 = weights(objective, scored)
    if objective.per_token:
        pull_I2 = pull_I2 * scored.tokens_IN
    torch.testing.assert_close(pull_I2[:, 0], -pull_I2[:, 1])


def test_weights_of_a_list_sum_to_nothing() -> None:
    objective = build("plackett_luce")
    total_I = weights(objective, scored_of(objective)).sum(-1)
    torch.testing.assert_close(total_I, torch.zeros_like(total_I))


@pytest.mark.parametrize("name", PAIRS)
def test_swapping_a_pair_negates_the_margin(name: str) -> None:
    objective = build(name)
    lines = lines_of(objective)
    swapped = [replace(line, sides=line.sides[::-1]) for line in lines]
    margins = []
    for step in (lines, swapped):
        logps_K, read = reader(objective, step)
        margins.append(objective.margin(read(logps_K)))
    torch.testing.assert_close(margins[0], -margins[1])
    assert bool((margins[0] != 0).all())


def test_a_margin_is_counted_as_its_loss_counts() -> None:
    for name in ("dpo", "ipo", "simpo", "cpo"):
        objective = build(name, mean="token") if name == "ipo" else build(name)
        scored = scored_of(objective)
        moved = scored.deltas_IN if objective.uses_reference else scored.logps_IN
        if name in ("ipo", "simpo"):
            moved = moved / scored.tokens_IN
        want = objective.options["beta"] * (moved[:, 0] - moved[:, 1])
        torch.testing.assert_close(objective.margin(scored), want)


# ------------------------------------------------------------------ limits of the pull

TOKENS = 5
LIMITS: dict[str, tuple[float, float] | None] = {
    "dpo": (0.0, 0.1),
    "robust": (0.1 * 0.1 / 0.8, 0.1 * 0.9 / 0.8),
    "hinge": (0.0, 0.1),
    "dpop": (0.0, 0.1 * 51),
    "dpo_norm": (0.0, 5 / TOKENS),
    "r_dpo": (0.0, 0.1),
    "ld_dpo": (0.0, 0.05),
    "simpo": (0.0, 2 / TOKENS),
    "orpo": (1 / TOKENS, 1.1 / TOKENS),
    "cpo": (1 / TOKENS, 1 / TOKENS + 0.1),
    "nca": (-0.05, 0.1),
    "aot": (0.0, 0.1),
    "discopop": (0.0, 0.05),
    "ipo": None,
    "sppo": None,
    "exo": None,
    "apo_zero": None,
    "unlikelihood": None,
    "sft": None,
    "weighted_sft": None,
    "kto": None,
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_the_weight(name: str) -> None:
    objective, want = build(name), LIMITS[name]
    scored = scored_of(objective)
    tokens_IN = torch.full_like(scored.tokens_IN, TOKENS)
    found = weight_limits(objective, replace(scored, tokens_IN=tokens_IN))
    if want is None:
        assert found is None
        return
    assert found is not None
    for limit_I, wanted in zip(found, want, strict=True):
        torch.testing.assert_close(limit_I, torch.full_like(limit_I, wanted), rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------ extremes


def extreme(objective: Objective, margin: float, dtype: torch.dtype) -> Scored:
    """Rows whose margin, in beta times nats, is this or minus this; ten tokens a sequence."""
    nats = abs(margin) / objective.options.get("beta", 1.0) * (10 if objective.per_token else 1)
    far = torch.tensor([-1.0, -1.0 - nats], dtype=dtype)
    sides = {"row": 1, "weighted": 1, "ranked": 3}.get(objective.items, 2)
    columns = (4 if objective.prepare is derived.heads else sides) // 2 + 1
    logps_N = (far if margin > 0 else far.flip(0)).repeat(columns)
    logps_N = logps_N[: 4 if objective.prepare is derived.heads else sides]
    logps_IN = torch.stack([logps_N, logps_N.flip(0)])
    sums = {name: logps_IN - 1 for name in objective.sums}
    level = torch.full_like(logps_IN, -1.0 - nats / 2)
    tokens = torch.full(logps_IN.shape, 10)
    if objective.items == "ranked":
        tokens[0, 2] = 0
    return Scored(logps_IN, tokens, level, torch.tensor([1.0, -1.0], dtype=dtype), sums)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("margin", [1e4, -1e4])
@pytest.mark.parametrize(("name", "options"), EXTREMES, ids=case_id)
def test_gradients_are_finite_at_huge_margins(
    name: str, options: dict[str, Any], margin: float, dtype: torch.dtype
) -> None:
    objective = build(name, **options)
    scored = extreme(objective, margin, dtype)
    assert bool(objective.loss(scored).isfinite().all())
    found = weights(objective, scored)
    assert bool(found.isfinite().all()) and found.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_log_of_one_minus_p(dtype: torch.dtype) -> None:
    x = torch.tensor([-1e-6, -1e-3, -0.5, -0.7, -5.0, -1e4], dtype=dtype, requires_grad=True)
    found = log1mexp(x)
    want = torch.tensor([math.log(-math.expm1(v)) for v in x.tolist()], dtype=dtype)
    torch.testing.assert_close(found, want)
    (slope,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(
        slope,
        torch.tensor([-1 / math.expm1(-v) if v > -700 else -0.0 for v in x.tolist()], dtype=dtype),
    )


def test_a_certain_token_is_still_pushed_down() -> None:
    logps_K = torch.tensor([0.0, 3e-7, -1e-7, -20.0], requires_grad=True)
    found = unlikely(logps_K, None)
    (slope,) = torch.autograd.grad(found.sum(), logps_K)
    assert bool(found.isfinite().all()) and bool((slope[:3] < -0.9 / -SUREST).all())
    assert -1e-8 < float(slope[3]) < 0


# ------------------------------------------------------------------ lists of different lengths


def test_empty_places_of_a_ranked_list_count_for_nothing() -> None:
    objective = build("plackett_luce", beta=0.5)
    scored = scored_of(objective)
    empty_IN = scored.tokens_IN == 0
    assert bool(empty_IN.any()) and not bool(empty_IN[:, :2].any())
    assert not bool(weights(objective, scored)[empty_IN].any())
    noise = torch.where(empty_IN, torch.randn_like(scored.logps_IN), scored.logps_IN)
    assert torch.equal(objective.loss(replace(scored, logps_IN=noise)), objective.loss(scored))
    single = Scored(torch.tensor([[-3.0, 0.0]]), torch.tensor([[4, 0]]), torch.zeros(1, 2))
    assert float(objective.loss(single)) == 0 and not bool(weights(objective, single).any())


def test_a_list_of_two_is_dpo() -> None:
    objective = build("dpo", beta=0.7)
    scored = scored_of(objective)
    torch.testing.assert_close(
        build("plackett_luce", beta=0.7).loss(scored), objective.loss(scored)
    )


# ------------------------------------------------------------------ sequences made of others


def item(group: int, *sides: tuple[list[int], list[tuple[int, int]], int]) -> Item:
    made = tuple(Tokens(tuple(ids), tuple(spans), prompt) for ids, spans, prompt in sides)
    return Item(made, group, Origin("made.jsonl", group + 1), value=-1.0)


def test_heads_end_at_the_shorter_sides_last_scored_token() -> None:
    long = ([1, 2, 3, 4, 5, 6, 7, 8], [(2, 4), (5, 8)], 2)
    short = ([1, 2, 9, 9, 9], [(2, 5)], 2)
    (found,) = derived.heads([item(0, long, short)])
    whole, other, head, same = found.sequences
    assert (whole.ids, other.ids) == (tuple(long[0]), tuple(short[0]))
    assert head == Tokens((1, 2, 3, 4, 5, 6), ((2, 4), (5, 6)), 2) and same == other
    assert head.scored == other.scored == 3 and found.value == -1.0 and found.group == 0
    (within,) = derived.heads([item(0, long, ([1, 2, 9], [(2, 3)], 2))])
    assert within.sequences[2] == Tokens((1, 2, 3), ((2, 3),), 2)


def test_mismatched_takes_the_next_row_of_another_prompt() -> None:
    rows = [
        item(0, ([1, 10, 11], [(1, 3)], 1)),
        item(0, ([1, 12], [(1, 2)], 1)),
        item(1, ([2, 2, 20, 21, 22, 23], [(2, 4), (5, 6)], 2)),
        item(0, ([1, 13], [(1, 2)], 1)),
    ]
    found = derived.mismatched(rows)
    assert [each.sequences[0] for each in found] == [row.sequences[0] for row in rows]
    joined = [each.sequences[1] for each in found]
    assert [each.ids for each in joined] == [
        (1, 20, 21, 22, 23), (1, 20, 21, 22, 23), (2, 2, 13), (1, 20, 21, 22, 23),
    ]  # fmt: skip
    assert joined[0] == Tokens((1, 20, 21, 22, 23), ((1, 3), (4, 5)), 1), "spans move along"
    assert joined[2] == Tokens((2, 2, 13), ((2, 3),), 2)
    assert derived.mismatched(rows) == found, "a function of the rows alone"


def test_mismatched_fits_the_longest_row_and_scores_something() -> None:
    rows = [
        item(0, ([1] * 9 + [10], [(9, 10)], 9)),
        item(1, ([2, 20, 21, 22], [(2, 4)], 1)),
        item(2, ([7], [(0, 1)], 0)),
    ]
    found = [each.sequences[1] for each in derived.mismatched(rows)]
    assert found[0] == Tokens((*[1] * 9, 20), ((9, 10),), 9), "one token, though it was not scored"
    assert found[1] == Tokens((2, 7), ((1, 2),), 1)
    assert found[2].ids == (10,)
    assert derived.mismatched([]) == []


def test_mismatched_without_another_prompt_takes_its_own() -> None:
    rows = [item(0, ([1, 10], [(1, 2)], 1)), item(0, ([1, 11], [(1, 2)], 1))]
    assert [each.sequences[1] for each in derived.mismatched(rows)] == [
        row.sequences[0] for row in rows
    ]


def test_a_long_file_of_one_prompt_takes_no_time() -> None:
    rows = [item(0, ([1, 10], [(1, 2)], 1))] * 20_000
    assert len(derived.mismatched([*rows, item(1, ([2, 20], [(1, 2)], 1))])) == 20_001
