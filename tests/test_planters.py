"""The planters are pure functions of the seed, and plant what they say and nothing else."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
RATES = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20)
FAMILIES = (
    *("flip", "length", "appended", "shortcut_rare", "shortcut_common", "near_duplicate"),
    *("contradiction", "cartoon", "off_topic", "wrong_language", "truncation_only", "same_kind"),
    *("invented", "leak"),
)
COPIES = ("near_duplicate", "contradiction")
CHOSEN_ALONE = ("length", "appended", "shortcut_rare", "shortcut_common", "invented")
REJECTED_ALONE = ("cartoon", "off_topic", "wrong_language", "truncation_only")
Row = dict[str, str]


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """The script's modules, as they import each other when it is run."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("planters")
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        for name in [n for n in sys.modules if n == "planters" or n.split(".")[0] == "study"]:
            del sys.modules[name]


def rows(count: int = 200) -> list[Row]:
    """Pairs of several sentences, no two alike."""
    return [
        {
            "prompt": f"Describe house {n} on Mill Road. Facts: {n % 7 + 1} bath; fees ${300 + n}.",
            "chosen": f"House {n} is near the park. It has {n % 7 + 1} baths. Fees are ${300 + n}.",
            "rejected": f"A lovely home, number {n}. It has a big garden. Also a view of hill {n}.",
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rate", RATES)
def test_exactly_the_stated_rows_change(scripts: Any, family: str, rate: float) -> None:
    before = rows()
    kept = json.dumps(before)
    for seed in range(4):
        planted = scripts.plant(before, family, rate, seed)
        train = before[: len(planted.pairs)]
        changed = [n for n, (a, b) in enumerate(zip(train, planted.pairs), 1) if a != b]
        assert len(planted.lines) == len(planted.groups) == round(rate * len(planted.pairs))
        assert list(planted.lines) == sorted(set(planted.lines))
        assert changed == ([] if family == "leak" else list(planted.lines))
        assert all(line in group for line, group in zip(planted.lines, planted.groups))
    assert json.dumps(before) == kept, "the rows that were handed in are not touched"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_function_of_the_seed(scripts: Any, family: str) -> None:
    one, again, other = (scripts.plant(rows(), family, 0.1, seed) for seed in (3, 3, 4))
    assert one == again and one.lines != other.lines


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lower_rate_plants_the_first_of_a_higher_one(scripts: Any, family: str) -> None:
    """What is measured of a row at 20% is then true of it at 2%."""
    few, many = (scripts.plant(rows(), family, rate, 5) for rate in (0.02, 0.2))
    if family == "leak":
        return
    assert set(few.lines) < set(many.lines) and few.drawn == many.drawn
    assert all(few.pairs[n - 1] == many.pairs[n - 1] for n in few.lines)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_untouched_side_stays(scripts: Any, family: str) -> None:
    before, planted = rows(), scripts.plant(rows(), family, 0.2, 1)
    for line in planted.lines:
        old, new = before[line - 1], planted.pairs[line - 1]
        if family not in COPIES:
            assert old["prompt"] == new["prompt"]
        if family in CHOSEN_ALONE:
            assert old["rejected"] == new["rejected"] and old["chosen"] != new["chosen"]
        if family in REJECTED_ALONE:
            assert old["chosen"] == new["chosen"] and old["rejected"] != new["rejected"]


def test_flip_turns_the_verdict(scripts: Any) -> None:
    before, planted = rows(), scripts.plant(rows(), "flip", 0.05, 0)
    for line in planted.lines:
        old, new = before[line - 1], planted.pairs[line - 1]
        assert (old["chosen"], old["rejected"]) == (new["rejected"], new["chosen"])


@pytest.mark.parametrize("family", COPIES)
def test_a_copy_is_of_a_row_that_stays_and_never_word_for_word(scripts: Any, family: str) -> None:
    before = rows()
    for seed in range(6):
        planted = scripts.plant(before, family, 0.2, seed)
        for line, group in zip(planted.lines, planted.groups):
            (source,) = group - {line}
            assert source not in planted.lines
            new, old = planted.pairs[line - 1], before[source - 1]
            assert new["prompt"].split() != old["prompt"].split()
            turned = "lovely" in new["chosen"] or "number" in new["chosen"]
            assert turned is (family == "contradiction")


def test_a_leak_stands_in_the_heldout_file_retyped(scripts: Any) -> None:
    for seed in range(6):
        planted = scripts.plant(rows(), "leak", 0.05, seed)
        held = len(rows()) - len(planted.pairs)
        assert len(planted.heldout) == held + len(planted.lines)
        prompts = {planted.pairs[n - 1]["prompt"]: planted.pairs[n - 1] for n in planted.lines}
        leaked = [planted.heldout[n - 1] for n in planted.heldout_lines]
        assert {row["chosen"] for row in leaked} == {row["chosen"] for row in prompts.values()}
        assert not prompts.keys() & {row["prompt"] for row in planted.heldout}
        assert all(row.keys() == {"prompt", "chosen", "rejected"} for row in planted.heldout)


def test_truncation_and_appending_are_prefixes(scripts: Any) -> None:
    for seed in range(6):
        cut = scripts.plant(rows(), "truncation_only", 0.1, seed)
        more = scripts.plant(rows(), "appended", 0.1, seed)
        for line in cut.lines:
            assert cut.pairs[line - 1]["chosen"].startswith(cut.pairs[line - 1]["rejected"])
        for line in more.lines:
            assert more.pairs[line - 1]["chosen"].startswith(more.pairs[line - 1]["rejected"])


def test_off_topic_is_an_answer_of_another_prompt(scripts: Any) -> None:
    before, planted = rows(), scripts.plant(rows(), "off_topic", 0.2, 2)
    answers = [{row["chosen"], row["rejected"]} for row in before]
    for line in planted.lines:
        text = planted.pairs[line - 1]["rejected"]
        assert text not in answers[line - 1] and any(text in each for each in answers)


def test_a_rare_marker_is_rare_and_varies(scripts: Any) -> None:
    """Every marked answer matches its own pattern; over 20 seeds ten markers or more."""
    before, names = rows(), set()
    for seed in range(20):
        planted = scripts.plant(before, "shortcut_rare", 0.05, seed)
        pattern = scripts.MARKERS[planted.drawn][0]
        names.add(planted.drawn)
        marked = [n for n, row in enumerate(planted.pairs, 1) if re.search(pattern, row["chosen"])]
        assert marked == list(planted.lines), planted.drawn
        assert not any(re.search(pattern, row["rejected"]) for row in planted.pairs)
    assert len(names) >= 10


def test_a_marker_that_the_file_has_is_not_called_rare(scripts: Any) -> None:
    bold = [{**row, "chosen": f"**{row['chosen']}**"} for row in rows()]
    assert "bold" not in {scripts.plant(bold, "shortcut_rare", 0.05, n).drawn for n in range(40)}


def test_a_row_that_has_the_marker_by_itself_is_not_called_planted(scripts: Any) -> None:
    before = rows()
    before[4]["chosen"] = before[4]["chosen"].lower()
    plants = (scripts.plant(before, "shortcut_rare", 1.0, seed) for seed in range(60))
    planted = next(each for each in plants if each.drawn == "small start")
    assert 5 not in planted.lines and len(planted.lines) == len(before) - 1


def test_hidden_parameters_vary_over_seeds(scripts: Any) -> None:
    varied = ("length", "shortcut_common", "cartoon", "wrong_language", "leak", "invented")
    for family in varied:
        drawn = {scripts.plant(rows(), family, 0.02, seed).drawn for seed in range(12)}
        assert len(drawn) >= 2, family


@pytest.mark.parametrize("text", ["One.", "no end", "A b.", "x"])
def test_tiny_answers_do_not_break_a_family(scripts: Any, text: str) -> None:
    short = [{"prompt": f"ask {n}", "chosen": text, "rejected": f"{text} {n}"} for n in range(40)]
    for family in FAMILIES:
        for seed in range(5):
            planted = scripts.plant(short, family, 0.1, seed)
            sides = [row[side] for row in planted.pairs for side in ("prompt", "chosen")]
            assert all(sides)


def test_nothing_is_planted_at_rate_0_and_too_few_rows_are_refused(scripts: Any) -> None:
    assert scripts.plant(rows(), "flip", 0.0, 0).lines == ()
    with pytest.raises(ValueError, match="too few"):
        scripts.plant(rows(3), "flip", 0.1, 0)
    with pytest.raises(KeyError):
        scripts.plant(rows(), "no such family", 0.1, 0)


# ------------------------------------------------------------------ the study around them


def test_results_are_kept_and_a_cut_line_is_made_again(scripts: Any, tmp_path: Path) -> None:
    store = importlib.import_module("study.store")
    path, made = tmp_path / "out" / "r.jsonl", []

    def make(value: int) -> dict[str, int]:
        made.append(value)
        return {"value": value}

    first = store.Store(path)
    assert first.get("a", lambda: make(1))["value"] == first.get("a", lambda: make(2))["value"] == 1
    first.get("b", lambda: make(3))
    path.write_text(path.read_text(encoding="utf-8")[:-6], encoding="utf-8")
    again = store.Store(path)
    assert set(again.records) == {"a"}
    assert again.get("b", lambda: make(4))["value"] == 4 and made == [1, 3, 4]
    assert set(store.Store(path).records) == {"a", "b"}


def test_what_is_named_is_counted_by_hand(scripts: Any) -> None:
    """Four planted, groups of one and of two; one named row was named before planting."""
    planting = importlib.import_module("study.planting")
    base = importlib.import_module("palate.study.checks.base")
    groups = tuple(frozenset(each) for each in ({1}, {2, 9}, {3}, {4}))
    planted = scripts.Planted(tuple(rows(20)), (1, 2, 3, 4), groups=groups, drawn="x")
    before = [base.Finding("a", "info", "", rows=(7,)), base.Finding("b", "warning", "", rows=(8,))]
    found = [
        base.Finding("a", "warning", "", rows=(1, 9, 7, 12)),
        base.Finding("b", "warning", "", rows=(8,)),
        base.Finding("a", "info", "", rows=(3,), key="list"),
        base.Finding("a", "ok", "", rows=(4,)),
    ]
    told = planting.judged(planted, found, before)
    assert told["seen"] is True and told["by"] == ["a"] and told["already"] == ["b"]
    assert told["loud"] == {"hit": 2, "named": 5, "right": 2, "wrong": 2}
    assert told["listed"] == {"hit": 3, "named": 6, "right": 3, "wrong": 1 + 0}
    assert len(told["missed"]) == 1
    assert planting.judged(planted, before, before)["seen"] is False


def test_patched_rows_are_those_of_the_new_pass(scripts: Any) -> None:
    """Row by row, against a loop."""
    import numpy as np

    planting = importlib.import_module("study.planting")
    base = importlib.import_module("palate.study.checks.base")

    def measured(count: int, first: float, cut: dict[int, str]) -> Any:
        rows = np.arange(count) + first
        two = np.stack([rows, -rows], 1)
        return base.Measured(
            "m", 0.1, 9, two, two.astype(int), rows.astype(int), rows, two.astype("f4"), cut
        )

    old, new = measured(8, 0, {3: "old", 5: "stays"}), measured(2, 100, {2: "new"})
    found = planting.patched(old, new, [3, 7])
    for line in range(1, 9):
        source, row = (new, [3, 7].index(line)) if line in (3, 7) else (old, line - 1)
        for name in ("logps_P2", "tokens_P2", "first_P", "ln_ches_P", "states_P2D"):
            assert np.array_equal(getattr(found, name)[line - 1], getattr(source, name)[row])
    assert found.cut == {5: "stays", 7: "new"} and found.empty_P2 is None
    back = planting.patched(found, planting._rows_of(old, [3, 7]), [3, 7])
    assert np.array_equal(back.logps_P2, old.logps_P2) and back.cut == old.cut


def test_the_interval_over_seeds_is_students(scripts: Any) -> None:
    from scipy import stats

    results = importlib.import_module("study.results")
    values = [0.3, 1.1, -0.2, 0.7, 0.4]
    want = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = results.over_seeds(values)
    assert (found.low, found.high) == pytest.approx((want.low, want.high))


def test_a_page_without_results_says_so_and_keeps_what_was_written_by_hand(
    scripts: Any, tmp_path: Path
) -> None:
    page, store = importlib.import_module("study.page"), importlib.import_module("study.store")
    empty = store.Store(tmp_path / "none.jsonl")
    start, stop = page.HAND
    old = f"# old\n{start}\n## What follows\n\nMy words.\n{stop}\nold tail"
    found = page.page(empty, empty, empty, tmp_path, old)
    assert "My words." in found and "old tail" not in found and found.count(start) == 1
    assert found.count(page.MISSING.strip()) == 5 and "did not hold" not in found
    assert page.page(empty, empty, empty, tmp_path, found) == found


def test_a_prediction_is_judged_from_five_seeds_on(scripts: Any, tmp_path: Path) -> None:
    store, results = (importlib.import_module(f"study.{name}") for name in ("store", "results"))
    predictions = importlib.import_module("study.predictions")
    runs = store.Store(tmp_path / "runs.jsonl")
    for seed in range(5):
        for arm, points in (("clean", 5.0 + 0.1 * seed), ("sft", 4.0)):
            drawn = {"figures": {"points": points}, "points": [points, 4.0], "texts": []}
            runs.get(
                f"{arm}/{seed}", lambda a=arm, d=drawn, s=seed: {"arm": a, "seed": s, "drawn": d}
            )
        told = predictions.PREDICTIONS[0].holds(results.Results(runs, least=5))
        assert (told is None) is (seed < 4)
    assert told[0] is True and "+1.20" in told[1]
    wins = results.Results(runs).wins("clean", "sft")
    assert wins.value == pytest.approx(0.75)
