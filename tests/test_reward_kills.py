"""A reward model killed at any moment: the same command gives the same bytes, the head's too."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import reward_cases
from fork_server import Server
from test_kills import Place, check, left

KINDS = pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = reward_cases.world(tmp_path_factory.mktemp("reward-kills"))
    (root / "pairs.jsonl").rename(root / "reward.jsonl")
    with Server() as server:
        yield Place(root, server, {})


@KINDS
def test_a_killed_run_ends_in_the_same_bytes(place: Place, full: bool) -> None:
    check(place, "reward", full, kills=4)


@pytest.mark.slow
@KINDS
def test_twenty_kills(place: Place, full: bool) -> None:
    check(place, "reward", full, kills=20)


def test_what_is_said_of_the_model_is_the_same_too(place: Place) -> None:
    """Killed between `final/` and the end of run.json, all of it is found again."""
    truth = place.truth("reward", False)
    trial = place.trial("reward", False, place.root / "late")
    outcome = place.server.run(replace(trial, kill_at=truth.points - 3))
    assert outcome.killed
    assert place.server.run(trial).exit_code == 0
    out = Path(trial.config["out"])
    facts = [json.loads((folder / "run.json").read_text())["reward"] for folder in
             (out, place.root / "truth0")]  # fmt: skip
    assert left(out) == truth.left and facts[0] == facts[1]


@pytest.mark.parametrize("bug", ["head", "moments", "order"])
def test_a_planted_bug_is_noticed(place: Place, bug: str) -> None:
    truth = place.truth("reward", False)
    trial = place.trial("reward", False, place.root / f"bug-{bug}")
    assert place.server.run(replace(trial, kill_on="Step", kill_at=8)).killed
    outcome = place.server.run(replace(trial, sabotage=bug))
    assert outcome.exit_code != 0 or left(Path(trial.config["out"])) != truth.left
