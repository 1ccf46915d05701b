"""The comparison of a reward model with DPO's implicit reward: fair splits, honest intervals."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import reward_cases
from palate.data.sources import read

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("reward_against_dpo")
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        del sys.modules["reward_against_dpo"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_cases.world(tmp_path_factory.mktemp("against"))


def test_every_pair_is_held_out_once_and_its_prompt_with_it(script: Any, root: Path) -> None:
    pairs = read(str(root / "pairs.jsonl"), kind="pairs").rows
    folds = script.folds(pairs, 3, 0)
    assert sorted(p.origin.line for _, held in folds for p in held) == list(range(1, 25))
    for train, held in folds:
        assert len(train) + len(held) == 24
        assert not {p.prompt for p in train} & {p.prompt for p in held}
    assert folds == script.folds(pairs, 3, 0) and folds != script.folds(pairs, 3, 1)


def test_a_seed_more_is_no_pair_more(script: Any) -> None:
    one = {n: script.Hit(f"prompt {n // 2}", float(n % 2), 1.0) for n in range(40)}
    two = {n: script.Hit(f"prompt {n // 2}", 1.0, float(n % 4 == 0)) for n in range(40)}
    both = script.compared(script.over_seeds([one, two]))
    assert both.reward.count == both.implicit.count == 40
    assert both.reward.value == pytest.approx(0.75)
    assert both.difference.value == pytest.approx(0.75 - 0.625)
    same = script.compared(script.over_seeds([one, one]))
    assert same.reward == script.compared(one).reward


def test_it_runs_and_the_same_command_trains_nothing_again(
    script: Any, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = str(root / "pairs.jsonl"), str(root / "runs")
    words = ["--data", data, "--model", str(root / "model"), "--out", out, "--folds", "2"]
    words += ["--seeds", "1", "--set", "max_steps=6", "lr=3e-3", "batch_size=4"]
    script.main(words)
    first = capsys.readouterr().out
    assert "seed 0: 24 pairs, each held out once" in first
    assert "reward model" in first and "DPO's implicit reward" in first and "difference" in first
    monkeypatch.setattr("palate.train.loop.Loop.train", lambda self: 1 / 0)
    script.main(words)
    assert capsys.readouterr().out == first
