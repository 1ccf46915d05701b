"""Every interval of an evaluation holds the truth as often as it promises, and verdicts follow.

Simulated; the longer form prints a table: python scripts/coverage.py
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def coverage() -> Iterator[Any]:
    """The script, as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("coverage")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def named(coverage: Any, words: str) -> Any:
    return next(case for case in coverage.CASES if case.name.startswith(words))


@pytest.mark.parametrize(
    "words",
    [
        "win rate, 50 prompts, truth 50%",
        "win rate, 50 prompts, truth 90%",
        "win rate, 400 prompts",
        "win rate, 40 prompts x 4",
        "win rate, 15 prompts x 4",
    ],
)
def test_a_win_rate_holds_the_truth_in_95_of_100(coverage: Any, words: str) -> None:
    found = coverage.cover(named(coverage, words), 1000)
    assert 0.92 < found.share.value < 0.985
    assert max(found.below, found.above) < 0.05 * found.runs


def test_with_ties_it_is_never_too_narrow(coverage: Any) -> None:
    assert coverage.cover(named(coverage, "win rate, 200 prompts, 30%"), 1000).share.value > 0.945


@pytest.mark.parametrize("words", ["mean, 50", "paired difference, 50", "at equal length, 100"])
def test_what_is_resampled_holds_the_truth(coverage: Any, words: str) -> None:
    found = coverage.cover(named(coverage, words), 100)
    assert found.share.value >= 0.88


@pytest.mark.slow
def test_what_is_resampled_holds_the_truth_many_times(coverage: Any) -> None:
    for case in coverage.CASES:
        if case.slow:
            assert 0.915 < coverage.cover(case, 500).share.value < 0.985, case.name


def test_an_interval_that_ignores_prompts_would_be_caught(coverage: Any) -> None:
    """The seeded bug: texts of one prompt counted as if they were prompts."""
    from palate.stats import share

    case = named(coverage, "win rate, 40 prompts x 4")

    def naive(random: Any) -> Any:
        found, truth = case.once(random)
        return share(found.value * found.count, found.count), truth

    assert coverage.cover(coverage.Case("naive", naive), 500).share.value < 0.88


def test_random_labels_are_indistinguishable_and_ten_points_are_real(coverage: Any) -> None:
    """20 seeds of 400 prompts through the command's own code, at the rates that are promised."""
    none = coverage.verdicts(400, 0.5, coverage.SEEDS, coverage.decided)
    some = coverage.verdicts(400, 0.6, coverage.SEEDS, coverage.decided)
    assert none["indistinguishable"] >= 18
    assert some["better"] >= 18 and not some["worse"]


def test_false_alarms_and_power_are_what_the_formula_says(coverage: Any) -> None:
    runs = 2000
    none = coverage.verdicts(400, 0.5, runs, coverage.quickly)
    assert 0.035 < 1 - none["indistinguishable"] / runs < 0.065
    for prompts, win in ((400, 0.6), (194, 0.6)):
        found = coverage.verdicts(prompts, win, runs, coverage.quickly)["better"] / runs
        assert abs(found - coverage.power(prompts, win)) < 0.04
    assert coverage.power(194, 0.6) == pytest.approx(0.8, abs=0.01)


def test_the_table_is_printed(
    coverage: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "CASES", coverage.CASES[:2])
    monkeypatch.setattr(coverage, "SEEDS", 2)
    coverage.main(["--runs", "40"])
    said = capsys.readouterr().out
    assert "random labels, truth 50%" in said and "planted 10 points" in said
