"""Promise: kill it at any moment, any number of times; the same command gives the same bytes.

Every kill is a SIGKILL, at a random time or at a random point (an event or a disk operation) of a
real run.  A failure names the chain of kills, which replays it.
"""

import hashlib
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from fork_server import Server, Trial

STEPS = 10
KINDS = [(stage, full) for stage in ("sft", "dpo") for full in (True, False)]
NAMES = [f"{stage}-{'full' if full else 'lora'}" for stage, full in KINDS]
WORDS = ("river", "station", "lift", "bath", "garden")


@dataclass(frozen=True)
class Truth:
    """The run that nobody disturbed: what it left, how many points it passed, how long it took."""

    left: dict[str, Any]
    points: int
    seconds: float
    cache: Path


@dataclass(frozen=True)
class Place:
    """A model and data, and one unkilled run per kind of training, made when it is asked for."""

    root: Path
    server: Server
    truths: dict[str, Truth]

    def trial(self, stage: str, full: bool, out: Path, **options: Any) -> Trial:
        config = {
            "model": str(self.root / "model"),
            "data": str(self.root / f"{stage}.jsonl"),
            "out": str(out),
            "full": full,
            "lr": 1e-3,
            "batch_size": 4,
            "max_steps": STEPS,
            "eval_every": 3,
            "save_every": 2,
            "token_budget": 64,
        }
        return Trial(stage, config | options, cache=str(out.with_name(f"{out.name}-cache")))

    def truth(self, stage: str, full: bool, **options: Any) -> Truth:
        name = f"{stage}-{full}-{options}"
        if name not in self.truths:
            trial = self.trial(stage, full, self.root / f"truth{len(self.truths)}", **options)
            done = self.server.run(trial)
            assert done.exit_code == 0, done.error
            out = Path(trial.config["out"])
            self.truths[name] = Truth(left(out), len(done.log), done.seconds, Path(trial.cache))
        return self.truths[name]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("kills")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    pairs = [
        {
            "prompt": f"place {number // 2}: the flat near the {WORDS[number // 2 % 5]}",
            "chosen": f"It has {number} baths and a {word}.",
            "rejected": f"Lovely, the {word}.",
        }
        for number, word in zip(range(24), itertools.cycle(WORDS))
    ]
    rows = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in pairs]
    for name, data in (("dpo", pairs), ("sft", rows)):
        text = "".join(json.dumps(row) + "\n" for row in data)
        (root / f"{name}.jsonl").write_text(text)
    with Server() as server:
        yield Place(root, server, {})


def left(out: Path) -> dict[str, Any]:
    """What counts of a finished run: the bytes of the weights, and every figure but the speed."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights(out)}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("items_per_second", None)
    record = json.loads((out / "run.json").read_text())
    kept = {key: record[key] for key in ("best_step", "evaluation", "finished", "plan")}
    beside = [out / name for name in ("rows.jsonl", "history.jsonl")]
    files |= {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in beside if p.exists()}
    return {"files": files, "metrics": lines, "record": kept}


def weights(out: Path) -> list[Path]:
    found = sorted((out / "final").glob("*.safetensors"))
    assert found, "no final weights"
    return found


def kill_until_done(place: Place, trial: Trial, truth: Truth, rng: random.Random) -> list[str]:
    """The same command again and again, killed each time, until it comes to its end."""
    kills: list[str] = []
    while True:
        if rng.random() < 0.5:
            attempt = replace(trial, kill_at=rng.randint(1, truth.points))
        else:
            attempt = replace(trial, kill_after=rng.uniform(0, truth.seconds))
        outcome = place.server.run(attempt)
        if not outcome.killed:
            assert outcome.exit_code == 0, f"{outcome.error}\nafter {kills}"
            return kills
        kills.append(f"at point {attempt.kill_at}, after {attempt.kill_after:.3f} s")


def check(place: Place, stage: str, full: bool, kills: int, **options: Any) -> None:
    """Chains of kills until there were `kills`, the caches cold and warm in turn."""
    truth = place.truth(stage, full, **options)
    done = 0
    for seed in itertools.count():
        out = place.root / f"{stage}-{full}-{len(options)}-{kills}-{seed}"
        trial = place.trial(stage, full, out, **options)
        if seed % 2:
            trial = replace(trial, cache=str(truth.cache))
        chain = kill_until_done(place, trial, truth, random.Random(f"{stage}{full}{seed}"))
        assert left(out) == truth.left, f"chain {seed} of {stage}, full={full}: {chain}"
        assert leftovers(out) == [], chain
        done += len(chain)
        if done >= kills:
            return


def leftovers(out: Path) -> list[str]:
    return [path.name for path in out.rglob(".*")]


@pytest.mark.parametrize(("stage", "full"), KINDS, ids=NAMES)
def test_a_killed_run_ends_in_the_same_bytes(place: Place, stage: str, full: bool) -> None:
    check(place, stage, full, kills=8)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "full"), KINDS, ids=NAMES)
def test_twenty_kills(place: Place, stage: str, full: bool) -> None:
    check(place, stage, full, kills=20)


@pytest.mark.slow
def test_adapter_dropout_continues_where_it_was(place: Place) -> None:
    check(place, "sft", False, kills=10, lora_dropout=0.3)


@pytest.mark.parametrize("full", [True, False], ids=["full", "lora"])
def test_the_truth_itself_is_one(place: Place, full: bool) -> None:
    """Ten steps, each once; SFT learns; the run repeats bit for bit with a warm cache."""
    truth = place.truth("dpo", full)
    assert [row["step"] for row in truth.left["metrics"]] == list(range(STEPS + 1))
    out = place.root / f"again-{full}"
    again = replace(place.trial("dpo", full, out), cache=str(truth.cache))
    outcome = place.server.run(again)
    assert outcome.exit_code == 0, outcome.error
    assert left(out) == truth.left
    assert outcome.log.count("Working") > 6, "the reference pass has too few chunks to be cut"


def test_a_kill_at_each_chunk_of_the_reference_pass(place: Place) -> None:
    """A kill after every chunk: the next start finds it in the cache and goes one further."""
    truth = place.truth("dpo", False)
    trial = place.trial("dpo", False, place.root / "each-chunk")
    for chunk in itertools.count(1):
        outcome = place.server.run(replace(trial, kill_on="Working", kill_at=chunk))
        if not outcome.killed:
            break
    assert outcome.exit_code == 0 and chunk > 6, outcome.error
    assert left(Path(trial.config["out"])) == truth.left


@pytest.mark.parametrize(
    ("bug", "stage", "options"),
    [
        ("moments", "sft", {}),
        ("metrics", "sft", {}),
        ("order", "sft", {}),
        ("reference", "dpo", {}),
        ("random", "sft", {"lora_dropout": 0.3}),
    ],
)
def test_a_planted_bug_is_noticed(
    place: Place, bug: str, stage: str, options: dict[str, Any]
) -> None:
    """Killed in step 8, continued from step 6: each of these gives something else."""
    truth = place.truth(stage, False, **options)
    out = place.root / f"bug-{bug}"
    trial = place.trial(stage, False, out, **options)
    assert place.server.run(replace(trial, kill_on="Step", kill_at=8)).killed
    outcome = place.server.run(replace(trial, sabotage=bug))
    assert outcome.exit_code != 0 or left(out) != truth.left
