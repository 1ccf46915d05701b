"""A run of `palate ppo` from command to `final/`: kills, resumes, refusals, what it records."""

import hashlib
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import PeftModel

import tiny
from palate import cli
from palate.config import PpoConfig
from palate.data.rewards import Answered
from palate.engine.model import load
from palate.errors import CheckpointError, DataError, Interrupted, NumericsError, UsageError
from palate.rlhf.loop import Loop
from palate.rlhf.methods import METHODS
from palate.rlhf.stage import run_online
from palate.runs import atomic, checkpoint
from palate.train.events import Evaluation, Event, Note, Round
from palate.train.stage import Finished

STEPS = 6
WORDS = ("river", "station", "lift", "bath", "garden")


class Killed(BaseException):
    """The process is gone."""


def die() -> None:
    raise Killed


@dataclass
class Letters:
    """Pays by the letters; `bad_at` is the call whose first score is `bad`."""

    name: str = "letters"
    kind: Literal["program", "model"] = "program"
    identity: str = "letters"
    models: int = 0
    bad: float = math.nan
    bad_at: int = 0
    calls: int = 0

    def score(self, answered: Sequence[Answered]) -> list[float]:
        self.calls += 1
        found = [sum(map(ord, each.answer)) % 101 / 20 for each in answered]
        return [self.bad, *found[1:]] if self.calls == self.bad_at else found


class Short(Letters):
    """Pays for short texts: something that a model can learn in a few steps."""

    def score(self, answered: Sequence[Answered]) -> list[float]:
        return [-float(len(each.answer)) for each in answered]


@dataclass
class Heard:
    """A listener that keeps everything, and acts when the `at`-th event of a kind comes."""

    act: Callable[[], None] = lambda: None
    on: type = Round
    at: int = 0
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, self.on) and len(self.of(self.on)) == self.at:
            self.act()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass(frozen=True)
class Place:
    """A model, a file of prompts, and a folder for runs."""

    root: Path

    def options(self, name: str, **changes: Any) -> dict[str, Any]:
        fields = {
            "model": str(self.root / "model"),
            "data": str(self.root / "prompts.jsonl"),
            "out": str(self.root / name),
            "reward": "letters",
            "lr": 5e-3,
            "batch_size": 4,
            "epochs": 9,
            "max_steps": STEPS,
            "max_new_tokens": 6,
            "save_every": 2,
            "eval_every": 3,
            "token_budget": 64,
            "passes": 2,
        }
        return fields | changes

    def run(
        self, name: str, heard: Heard | None = None, reward: Letters | None = None, **changes: Any
    ) -> Finished:
        config = PpoConfig.model_validate(self.options(name, **changes))
        return run_online(config, reward or Letters(), heard or Heard())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ppo-run")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    ends = {"eos_token_id": [1, *range(60, 84)], "bos_token_id": 0, "pad_token_id": 2}
    (root / "model" / "generation_config.json").write_text(json.dumps(ends))
    return root / "model"


@pytest.fixture
def place(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(atomic, "flush", lambda *_: None)
    (tmp_path / "model").symlink_to(model)
    prompts = [{"prompt": f"{n}: near the {WORDS[n % 5]}"} for n in range(14)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return Place(tmp_path)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def bits(out: Path) -> str:
    """The final weights, and every figure of every step but the speed."""
    digest = hashlib.sha256()
    for path in sorted((out / "final").glob("*.safetensors")):
        digest.update(path.read_bytes())
    for row in rows_of(out):
        row.pop("items_per_second", None)
        digest.update(json.dumps(row).encode())
    record = json.loads((out / "run.json").read_text())
    digest.update(json.dumps([record[n] for n in ("best_step", "evaluation", "plan")]).encode())
    return digest.hexdigest()


# ---- what a run leaves


def test_a_run_records_every_figure(place: Place) -> None:
    heard = Heard()
    done = place.run("run", heard)
    start, *rows = rows_of(place.root / "run")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    figures = "score reward kl kl_coefficient policy_loss value_loss explained clip_fraction"
    figures += " advantage_std entropy length ended lr grad_norm items_per_second"
    for row in rows:
        assert row.keys() >= {"step", *figures.split()}
        assert all(math.isfinite(row[name]) for name in figures.split())
    assert start["heldout"]["kl"] == 0 and rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert rows[-1]["heldout"]["score"]["count"] == 1  # a tenth of 14 prompts
    record = json.loads((place.root / "run" / "run.json").read_text())
    assert record["cost"]["models"] == 2 and record["cost"]["seconds"] > 0
    assert record["reference"] == record["base_identity"]
    assert record["objective"] == {"name": "ppo", "options": dict(METHODS["ppo"].knobs)}
    assert record["reward"] == {"name": "letters", "kind": "program", "identity": "letters"}
    assert done.evaluation is not None and done.evaluation.step == done.best_step
    assert isinstance(load(str(done.path)).model, PeftModel)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_raises_what_it_is_paid_for(place: Place, method: str) -> None:
    """More of it than at the start, with a large rate and no price on KL; the best is kept."""
    heard = Heard()
    free = {} if method == "online_dpo" else {"kl": 0.0}
    size = {"lr": 1e-2, "max_steps": 8, "batch_size": 14, "eval_every": 8, "full": True}
    same = {"heldout": str(place.root / "prompts.jsonl")}
    place.run("run", heard, Short(), method=method, **free, **size, **same)
    first, *_, last = heard.of(Evaluation)
    assert last.score.value > first.score.value + 3 and last.best
    assert all((each.value_loss is None) == (method != "ppo") for each in heard.of(Round))


def test_the_price_of_kl_follows_its_target(place: Place) -> None:
    """Ziegler et al. 2019, section 2.2, from the KL of each step; it survives a kill."""
    place.run("whole", kl=0.1, kl_target=0.5)
    rows = rows_of(place.root / "whole")[1:]
    expected = 0.1
    for row in rows:
        assert row["kl_coefficient"] == pytest.approx(expected, rel=1e-12)
        expected *= 1 + 0.1 * min(max((row["kl"] - 0.5) / 0.5, -0.2), 0.2)
    with pytest.raises(Killed):
        place.run("killed", Heard(die, at=4), kl=0.1, kl_target=0.5)
    place.run("killed", kl=0.1, kl_target=0.5)
    assert bits(place.root / "killed") == bits(place.root / "whole")


def test_the_reference_never_moves(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log-probs of the same texts are the same after training, and no weight of it trains."""
    seen: list[Loop] = []
    real = Loop._take_best

    def last(self: Loop) -> Any:
        seen.append(self)
        return real(self)

    monkeypatch.setattr(Loop, "_take_best", last)
    place.run("run", full=True)
    twin = seen[0].task.reference.model
    start = load(str(place.root / "model")).model
    for mine, theirs in zip(twin.parameters(), start.parameters(), strict=True):
        assert not mine.requires_grad and torch.equal(mine, theirs)


# ---- kills and signals


@pytest.mark.parametrize(
    ("method", "at"), [("ppo", 1), ("ppo", 4), ("rloo", 4), ("grpo", 1), ("online_dpo", 4)]
)
def test_a_killed_run_ends_in_the_same_bytes(place: Place, method: str, at: int) -> None:
    place.run("whole", method=method)
    with pytest.raises(Killed):
        place.run("killed", Heard(die, at=at), method=method)
    heard = Heard()
    place.run("killed", heard, method=method)
    assert bits(place.root / "killed") == bits(place.root / "whole")
    assert any("continuing after step" in note.text for note in heard.of(Note))


def _fresh_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    from palate.train.optimise import Optimiser

    monkeypatch.setattr(Optimiser, "load", lambda self, weights, state: self.load_weights(weights))


def _forgotten(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real = checkpoint.newest

        def newest(path: Path) -> Any:
            found = real(path)
            if found is not None:
                found.state[name] = {"kl": 0.05, "scale": [0.0, 1.0]}[name]
            return found

        monkeypatch.setattr(checkpoint, "newest", newest)

    return plant


def _fresh_value_head(monkeypatch: pytest.MonkeyPatch) -> None:
    real = checkpoint.newest

    def newest(path: Path) -> Any:
        found = real(path)
        if found is not None:
            for tensor in found.tensors["value_weights"].values():
                tensor.zero_()
        return found

    monkeypatch.setattr(checkpoint, "newest", newest)


@pytest.mark.parametrize(
    "plant", [_fresh_moments, _forgotten("kl"), _forgotten("scale"), _fresh_value_head]
)
def test_a_planted_bug_of_the_resume_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    place.run("whole", kl_target=0.5)
    with pytest.raises(Killed):
        place.run("killed", Heard(die, at=4), kl_target=0.5)
    plant(monkeypatch)
    place.run("killed", kl_target=0.5)
    assert bits(place.root / "killed") != bits(place.root / "whole")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_same_command_continues(
    place: Place, number: int, code: int
) -> None:
    place.run("whole")
    with pytest.raises(Interrupted, match="stopped after step 3 of 6; saved") as caught:
        place.run("stopped", Heard(lambda: os.kill(os.getpid(), number), at=3))
    assert caught.value.exit_code == code
    found = checkpoint.newest(place.root / "stopped")
    assert found is not None and found.step == 3
    place.run("stopped")
    assert bits(place.root / "stopped") == bits(place.root / "whole")


def test_a_signal_while_texts_are_drawn_moves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two batches of the very first drawing: there is nothing to save yet."""
    heard = Heard(lambda: os.kill(os.getpid(), signal.SIGINT), on=Note, at=1)
    with pytest.raises(Interrupted) as caught:
        place.run("stopped", heard)
    assert caught.value.exit_code == 130
    assert checkpoint.newest(place.root / "stopped") is None
    place.run("whole")
    place.run("stopped")
    assert bits(place.root / "stopped") == bits(place.root / "whole")


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
from test_ppo_run import Letters
from palate.config import PpoConfig
from palate.rlhf.stage import run_online
from palate.train.events import silent
print("ready", flush=True)
run_online(PpoConfig.model_validate({options!r}), Letters(), silent)
"""


def seconds_of(place: Place, name: str, *, within: float, **changes: Any) -> float | None:
    """How long the command took in a process of its own; None if it took longer and was killed."""
    options = place.options(name, **changes)
    code = SCRIPT.format(tests=str(Path(__file__).parent), options=options)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
        began = time.monotonic()
        try:
            assert one.wait(timeout=within) == 0
        except subprocess.TimeoutExpired:
            one.kill()
            return None
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_ten_kills(place: Place, method: str) -> None:
    """Real SIGKILLs at random times, ten in all; every chain ends in the same bytes."""
    whole, rng, kills = seconds_of(place, "whole", within=300, method=method), random.Random(0), 0
    assert whole is not None
    for chain in itertools.count():
        name = f"chain-{chain}"
        while seconds_of(place, name, within=rng.uniform(0, whole), method=method) is None:
            kills += 1
        assert bits(place.root / name) == bits(place.root / "whole"), f"chain {chain}"
        assert not list((place.root / name).rglob(".*"))
        if kills >= 10:
            return


# ---- refusals


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_is_named_and_nothing_is_applied(
    place: Place, bad: float
) -> None:
    """The fourth call is the second step's: what was saved before it goes on, and ends the same."""
    reward = Letters(bad=bad, bad_at=4)
    with pytest.raises(NumericsError, match=r"step 2: the reward letters gave .*prompts\.jsonl:9"):
        place.run("run", reward=reward)
    found = checkpoint.newest(place.root / "run")
    assert found is not None and found.step == 0
    place.run("run")
    place.run("whole")
    assert bits(place.root / "run") == bits(place.root / "whole")


def test_a_gradient_that_is_no_number_moves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from palate.rlhf.critic import Critic

    real = Critic.forward

    def infinite(self: Critic, states_KD: torch.Tensor) -> torch.Tensor:
        return real(self, states_KD) * (math.inf if torch.is_grad_enabled() else 1.0)

    monkeypatch.setattr(Critic, "forward", infinite)
    with pytest.raises(NumericsError, match="step 1: the gradient"):
        place.run("run")
    monkeypatch.undo()
    found = checkpoint.newest(place.root / "run")
    assert found is not None and found.step == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kl": 0.2}, "without kl; you ask for 0.2"),
        ({"method": "rloo"}, "method ppo; you ask for rloo"),
        ({"passes": 1}, "passes 2; you ask for 1"),
        ({"seed": 3}, "seed 0; you ask for 3"),
        ({"max_new_tokens": 5}, "max new tokens 6; you ask for 5"),
    ],
)
def test_other_options_are_refused_on_a_resume(
    place: Place, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(Killed):
        place.run("run", Heard(die, at=1))
    with pytest.raises(CheckpointError, match=said):
        place.run("run", **change)


def test_another_reward_is_refused_on_a_resume(place: Place) -> None:
    with pytest.raises(Killed):
        place.run("run", Heard(die, at=1))
    with pytest.raises(CheckpointError, match="reward identity letters; you ask for other"):
        place.run("run", reward=Letters(identity="other"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "rloo", "n": 1}, "takes 2 or more texts per prompt"),
        ({"method": "online_dpo", "kl": 0.1}, "--kl has no effect with --method online_dpo"),
        ({"method": "online_dpo", "kl_target": 1.0}, "--kl-target has no effect"),
        ({"kl": 0.0, "kl_target": 1.0}, "--kl-target cannot move a price of 0"),
        ({"beta": 0.1}, "--beta has no effect with --method ppo"),
        ({"lora_dropout": 0.1}, "--lora-dropout cannot be used here"),
        ({"max_length": 64}, "--max-length has no effect here"),
        ({"drop_long": True}, "--drop-long has no effect here"),
    ],
)
def test_an_option_without_effect_is_refused(
    place: Place, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        place.run("run", **change)
    assert not (place.root / "run").exists()


def test_a_file_without_prompts_is_refused(place: Place) -> None:
    (place.root / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty\.jsonl has 0 rows"):
        place.run("run", data=str(place.root / "empty.jsonl"))
    assert not (place.root / "run").exists()


def test_a_prompt_that_leaves_no_room_is_named(place: Place) -> None:
    long = {"prompt": "the lift " * 200}
    with (place.root / "prompts.jsonl").open("a") as file:
        file.write(json.dumps(long) + "\n")
    with pytest.raises(UsageError, match=r"prompts.jsonl:15: the prompt has \d+ tokens"):
        place.run("run")


def test_few_prompts_hold_none_out(place: Place) -> None:
    (place.root / "few.jsonl").write_text('{"prompt": "a lift"}\n{"prompt": "a bath"}\n')
    heard = Heard()
    done = place.run("run", heard, data=str(place.root / "few.jsonl"), batch_size=2)
    assert done.evaluation is None and not heard.of(Evaluation)
    assert done.best_step == done.steps == STEPS


# ---- the command


def test_the_command_from_flags_to_its_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo's base, prompts and taste; the smallest run there is, then the same again."""
    from palate.demo import rows
    from palate.demo.command import BASE
    from palate.demo.sheets import sheets

    prompts = tmp_path / "prompts.jsonl"
    found = rows.prompts(sheets(12, "ppo"))
    prompts.write_text("".join(json.dumps(row) + "\n" for row in found))
    words = ["ppo", "--model", str(BASE), "--data", str(prompts), "--out", str(tmp_path / "run")]
    words += ["--reward", "demo", "--max-steps", "1", "--batch-size", "4", "--max-new-tokens", "8"]
    assert cli.run(words) == 0
    out = capsys.readouterr().out
    assert "step 1/1  score" in out and "KL" in out and "texts/s" in out
    assert "held out, step 0: score" in out and "palate evaluate" in out
    assert cli.run(words) == 0
    assert "is finished: nothing to do" in capsys.readouterr().out
