"""What is asked of an objective: wrong options are named, and the table describes itself."""

import math
from typing import Any

import pytest

from objective_cases import case_id, scored_of
from palate.errors import UsageError
from palate.objectives import OBJECTIVES, build
from palate.objectives.base import FOR_PAIRS
from palate.objectives.describe import OF_PAIRS, described

PAIRS = [name for name, spec in OBJECTIVES.items() if spec.items == "pair"]
OTHERS = [name for name in OBJECTIVES if name not in PAIRS]
REFERENCE_FREE = {"sft", "weighted_sft", "simpo", "orpo", "cpo", "unlikelihood"}


def refused(name: str, **options: Any) -> str:
    with pytest.raises(UsageError) as error:
        build(name, **options)
    return str(error.value)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_unknown_option_names_those_there_are(name: str) -> None:
    said = refused(name, betta=0.1)
    assert f"the objective {name} has no option 'betta'" in said
    takes = (*OBJECTIVES[name].options, *(FOR_PAIRS if name in PAIRS else ()))
    assert f"It takes: {', '.join(takes)}." in said


@pytest.mark.parametrize("name", [n for n, s in OBJECTIVES.items() if "beta" in s.options])
@pytest.mark.parametrize("beta", [0, -0.1, math.nan, math.inf, "much"])
def test_a_beta_that_cannot_be(name: str, beta: Any) -> None:
    said = refused(name, beta=beta)
    assert f"beta {beta} of the objective {name}" in said and f"palate objectives {name}" in said


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dpo", {"label_smoothing": 0.6}),
        ("dpo", {"label_smoothing": -0.1}),
        ("robust", {"label_smoothing": 0.5}),
        ("exo", {"label_smoothing": 0.0}),
        ("aot", {"label_smoothing": 0.6}),
        ("ipo", {"mean": "sequence"}),
        ("ld_dpo", {"alpha": 1.5}),
        ("f_dpo", {"alpha": 1.0}),
        ("f_dpo", {"divergence": "total_variation"}),
        ("dpo", {"sft_weight": -1.0}),
        ("dpo", {"sft_weight": math.nan}),
        ("dpo", {"wpo": "perhaps"}),
        ("kto", {"desirable": 0.0}),
    ],
    ids=case_id,
)
def test_a_value_that_cannot_be(name: str, options: dict[str, Any]) -> None:
    (option,) = options
    assert f"{option} {options[option]} of the objective {name}" in refused(name, **options)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("option", FOR_PAIRS)
def test_what_is_for_pairs_is_refused_elsewhere(name: str, option: str) -> None:
    assert f"{option} has no effect on the objective {name}" in refused(name, **{option: 1})


def test_an_unknown_objective_names_those_there_are() -> None:
    said = refused("dop")
    assert "there is no objective 'dop'" in said and ", ".join(OBJECTIVES) in said


def test_options_are_read_as_a_command_line_writes_them() -> None:
    words: dict[str, Any] = {
        "alpha": "0.25",
        "on_reference": "no",
        "sft_weight": ".5",
        "wpo": "true",
    }
    objective = build("ld_dpo", **words)
    assert objective.options == {
        "beta": 0.1, "alpha": 0.25, "on_reference": False, "sft_weight": 0.5, "wpo": True
    }  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_only_some_read_a_reference(name: str) -> None:
    objective = build(name)
    assert objective.uses_reference is (name not in REFERENCE_FREE)
    scored = scored_of(objective)
    assert (scored.reference_IN is None) is (name in REFERENCE_FREE)


def test_wpo_reads_the_softmax_and_nothing_else_does() -> None:
    assert build("dpo", wpo=True).sums == ("sureness",)
    assert build("unlikelihood", wpo=True).sums == ("sureness", "unlikely")
    assert [name for name in OBJECTIVES if build(name).sums] == ["unlikelihood"]


# ------------------------------------------------------------------ what the table says of itself


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_row_of_the_table_is_complete(name: str) -> None:
    found = described(name)
    assert found.formula and found.paper and found.when.endswith(".") and found.rows
    assert any(mark in found.paper for mark in ("arXiv:", "doi:"))
    for option in found.options:
        build(name, **{option.name: option.default})
        assert option.allowed and str(option).startswith(f"{option.name} = ")
    for letter, option_name in {"β": "beta", "α": "alpha", "τ": "tau", "γ": "gamma"}.items():
        assert (letter in found.formula) <= (option_name in OBJECTIVES[name].options)
    assert ("label_smoothing" in OBJECTIVES[name].options) <= (
        "ε" in found.formula or "DPO of" in found.formula
    )


def test_options_of_every_pair_are_described() -> None:
    assert tuple(option.name for option in OF_PAIRS) == FOR_PAIRS
    plain = build("dpo")
    same = build("dpo", **{option.name: option.default for option in OF_PAIRS})
    assert plain.options == same.options
