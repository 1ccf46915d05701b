"""A stage from command to `final/`: what it promises of the start, the end, and everything between.

Runs are tiny and whole: real data files, a real model folder, the real loop.
"""

import ast
import hashlib
import json
import math
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

import engine_cases
import tiny
from palate import api
from palate.api import Finished
from palate.config import DpoConfig, RowOptions, SftConfig
from palate.data.render import Renderer, render
from palate.data.rows import Item
from palate.data.sources import read
from palate.engine import reference
from palate.engine.model import load
from palate.engine.policy import Plan, Policy
from palate.engine.reference import Pass
from palate.errors import CheckpointError, Interrupted, NumericsError, UsageError
from palate.objectives import Scored, build, weights
from palate.runs import atomic, checkpoint
from palate.train import loop, stage
from palate.train.events import Evaluation, Event, Note, Regimes, Step, Working
from palate.train.measure import ranking
from palate.train.step import Batch, Result

STEPS = 10
SOURCE = Path(__file__).resolve().parents[1] / "src" / "palate"
WORDS = ("river", "station", "lift", "bath")
PAIRS = [
    {
        "prompt": f"place {n // 2}: the flat near the {WORDS[n // 2 % 4]}",
        "chosen": f"It has {n} baths.",
        "rejected": f"Lovely, the {WORDS[n % 4]}.",
    }
    for n in range(24)
]


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Heard:
    """A listener that keeps everything, and acts when the `at`-th event of a kind comes."""

    act: Callable[[], None] = lambda: None
    on: type = Step
    at: int = 0
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, self.on) and len(self.of(self.on)) == self.at:
            self.act()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def said(self) -> str:
        return "\n".join(note.text for note in self.of(Note))


def die() -> None:
    raise Killed


def receive(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def examples(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]


@dataclass(frozen=True)
class Place:
    """A model, pairs and examples, and a folder for runs."""

    root: Path

    @property
    def model(self) -> str:
        return str(self.root / "model")

    def options(self, name: str, **changes: Any) -> dict[str, Any]:
        sizes = {"batch_size": 4, "max_steps": STEPS, "save_every": 2, "token_budget": 64}
        paths = {"model": self.model, "out": self.root / name}
        return paths | sizes | {"lr": 1e-3, "eval_every": 3} | changes

    def sft(self, name: str, heard: Heard | None = None, **changes: Any) -> Finished:
        data = {"data": str(self.root / "sft.jsonl")}
        config = SftConfig(**self.options(name, **(data | changes)))
        return api.sft(config, heard or Heard())

    def dpo(self, name: str, heard: Heard | None = None, **changes: Any) -> Finished:
        data = {"data": str(self.root / "dpo.jsonl")}
        config = DpoConfig(**self.options(name, **(data | changes)))
        return api.dpo(config, heard or Heard())

    def killed(self, name: str, *, step: int = 7, **changes: Any) -> Path:
        """A DPO run that was killed in `step`; its newest checkpoint is that of step 6."""
        with pytest.raises(Killed):
            self.dpo(name, Heard(die, at=step), **changes)
        return self.root / name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    return root


@pytest.fixture
def place(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "CHUNK_ITEMS", 8)
    (tmp_path / "model").symlink_to(models / "model")
    lines(tmp_path / "dpo.jsonl", PAIRS)
    lines(tmp_path / "sft.jsonl", examples(PAIRS))
    return Place(tmp_path)


def bits(out: Path) -> str:
    """The final weights, and every figure of every step but the speed."""
    digest = hashlib.sha256()
    for path in sorted((out / "final").glob("*.safetensors")):
        digest.update(path.read_bytes())
    for row in rows_of(out):
        row.pop("items_per_second", None)
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


# ---- the start


def test_dpo_starts_with_no_margin_and_the_loss_of_a_coin(place: Place) -> None:
    heard = Heard()
    place.dpo("run", heard, beta=0.3)
    start, first = heard.of(Evaluation)[0], heard.of(Step)[0]
    assert start.loss == pytest.approx(math.log(2), abs=1e-6)
    assert (start.margin, start.chosen_change, start.rejected_change) == pytest.approx((0, 0, 0))
    assert first.loss == pytest.approx(math.log(2), abs=1e-6)
    assert first.margin == pytest.approx(0, abs=1e-5)
    assert first.regimes == Regimes(0, 4, 0)
    assert rows_of(place.root / "run")[0]["heldout"]["loss"] == start.loss


@pytest.mark.parametrize("split", [0, 1], ids=["train", "heldout"])
def test_a_wrong_reference_stops_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, split: int
) -> None:
    right, passes = stage.reference_logps, []  # type: ignore[attr-defined]

    def shifted(*words: Any) -> Pass:
        found: Pass = right(*words)
        passes.append(found)
        wrong = 0.1 * (len(passes) - 1 == split)
        return Pass(found.logps_IN + wrong, found.computed, found.reused)

    monkeypatch.setattr(stage, "reference_logps", shifted)
    with pytest.raises(NumericsError, match="the reference is wrong") as caught:
        place.dpo("run")
    assert caught.value.exit_code == 4 and "is 2.00e-01 nats away" in caught.value.message
    assert not (place.root / "run" / "checkpoints").exists()


def test_in_half_precision_the_allowance_is_measured(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another layout moves bfloat16 sums by more than a fixed tolerance; another model by nats."""
    right = stage.reference_logps  # type: ignore[attr-defined]

    def apart(policy: Policy, *words: Any) -> Pass:
        found: Pass = right(Policy(policy.model, Plan(shared=False)), *words)
        return found

    monkeypatch.setattr(stage, "reference_logps", apart)
    monkeypatch.setattr(stage, "NOISE", {torch.bfloat16: 0.0, torch.float32: 0.0})
    options: dict[str, Any] = {"max_steps": 1, "full": True}
    place.dpo("run", dtype="bfloat16", **options)

    def other(*words: Any) -> Pass:
        found: Pass = right(*words)
        return Pass(found.logps_IN * 1.1, found.computed, found.reused)

    monkeypatch.setattr(stage, "reference_logps", other)
    with pytest.raises(NumericsError, match="the reference is wrong"):
        place.dpo("other", dtype="bfloat16", **options)


def test_a_run_refuses_a_cache_that_another_model_wrote(place: Place) -> None:
    place.dpo("first")
    for path in (place.root / "cache" / "reference").iterdir():
        found = load_file(path)
        wrong = found["logps"] + 0.1
        kept = {"logps": wrong, "sha256": reference._digest(wrong)}
        path.write_bytes(save(kept))
    with pytest.raises(NumericsError, match="cached reference log-probs differ"):
        place.dpo("second")


def test_the_reference_pass_is_done_once_for_all_betas(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, passes = stage.reference_logps, []  # type: ignore[attr-defined]

    def spied(*words: Any) -> Pass:
        passes.append(right(*words))
        return passes[-1]

    monkeypatch.setattr(stage, "reference_logps", spied)
    heard = Heard()
    place.dpo("first", max_steps=1)
    place.dpo("second", heard, max_steps=1, beta=0.5, lr=1e-4)
    train, heldout, *again = passes
    assert train.computed > 1 and (train.reused, heldout.reused) == (0, 0)
    assert [found.computed for found in again] == [0, 0]
    assert f"reference log-probs, train: {train.computed} chunks from the cache" in heard.said


def test_the_readiness_line_says_far_and_near(place: Place) -> None:
    far, near = Heard(), Heard()
    place.dpo("cold", far, max_steps=1)
    assert "nats per token" in far.said and "far: run `palate sft`" in far.said
    options: dict[str, Any] = {
        "full": True,
        "lr": 1e-2,
        "max_steps": 60,
        "epochs": 40,
        "eval_every": 60,
    }
    place.sft("sft", save_every=60, schedule="constant", **options)
    place.dpo("warm", near, model=str(place.root / "sft"), full=True, max_steps=1)
    assert "near enough for DPO" in near.said


# ---- continuing


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"beta": 0.2}, "made with beta 0.1; you ask for 0.2"),
        ({"seed": 3}, "made with seed 0; you ask for 3"),
        ({"lr": 2e-3}, "made with lr 0.001; you ask for 0.002"),
        ({"token_budget": 128}, "made with token budget 64; you ask for 128"),
        ({"full": True}, "made with full off; you ask for on"),
    ],
)
def test_another_option_is_refused_by_name(place: Place, change: dict[str, Any], told: str) -> None:
    out = place.killed("run")
    before = bits_of_all(out)
    with pytest.raises(CheckpointError, match=told) as caught:
        place.dpo("run", **change)
    assert caught.value.exit_code == 3 and "Use another --out" in caught.value.hint
    assert bits_of_all(out) == before


def bits_of_all(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path): path.read_bytes() for path in files}


def test_every_difference_is_named_at_once(place: Place) -> None:
    place.killed("run")
    other = lines(place.root / "other.jsonl", PAIRS[:-1])
    with pytest.raises(CheckpointError) as caught:
        place.dpo("run", beta=0.2, seed=3, data=str(other))
    for name in ("beta", "seed", "data", "data digest"):
        assert f"made with {name} " in caught.value.message


def test_other_rows_or_another_base_under_the_same_name_are_refused(place: Place) -> None:
    place.killed("run")
    lines(place.root / "dpo.jsonl", PAIRS[::-1])
    with pytest.raises(CheckpointError, match="made with data digest"):
        place.dpo("run")
    lines(place.root / "dpo.jsonl", PAIRS)
    (place.root / "model").unlink()
    tiny.folder(place.root / "model", "llama", num_hidden_layers=1, seed=1)
    with pytest.raises(CheckpointError, match="made with base "):
        place.dpo("run")


def test_a_free_option_may_change(place: Place) -> None:
    heard = Heard()
    place.dpo("whole")
    place.killed("run")
    place.dpo("run", heard, save_every=5, keep=3)
    assert "continuing after step 6 of 10" in heard.said
    assert bits(place.root / "run") == bits(place.root / "whole")


def test_a_finished_run_has_nothing_to_do(place: Place) -> None:
    heard = Heard()
    first = place.dpo("run")
    before = bits_of_all(first.path)
    again = place.dpo("run", heard)
    assert again == first
    assert "is finished: nothing to do" in heard.said
    assert not heard.of(Step) and bits_of_all(first.path) == before


def test_a_damaged_checkpoint_is_passed_over(place: Place) -> None:
    heard = Heard()
    place.dpo("whole")
    out = place.killed("run")
    path = out / "checkpoints" / "step-6" / "moments.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    place.dpo("run", heard)
    assert "checkpoint passed over: step-6: moments.safetensors" in heard.said
    assert "continuing after step 4 of 10" in heard.said
    assert bits(out) == bits(place.root / "whole")


def test_checkpoints_that_are_all_damaged_end_the_run(place: Place) -> None:
    out = place.killed("run")
    for path in (out / "checkpoints").glob("*/weights.safetensors"):
        path.unlink()
    before = bits_of_all(out)
    with pytest.raises(CheckpointError, match=r"step-6: .*missing") as caught:
        place.dpo("run")
    assert "step-4" in caught.value.message and "Nothing was deleted" in caught.value.hint
    assert bits_of_all(out) == before


# ---- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize(("on", "at", "step"), [(Step, 3, 3), (Evaluation, 1, 0)])
def test_a_signal_saves_and_ends(
    place: Place, number: int, code: int, on: type, at: int, step: int
) -> None:
    place.dpo("whole")
    with pytest.raises(Interrupted, match=f"stopped after step {step} of 10; saved") as caught:
        place.dpo("run", Heard(receive(number), on, at))
    assert caught.value.exit_code == code
    assert checkpoint.last_good(place.root / "run") == step
    place.dpo("run")
    assert bits(place.root / "run") == bits(place.root / "whole")


def test_a_signal_in_the_reference_pass_keeps_what_is_done(place: Place) -> None:
    place.dpo("whole")
    os.environ["PALATE_CACHE"] += "-cold"
    with pytest.raises(Interrupted, match="stopped before the first step") as caught:
        place.dpo("run", Heard(receive(signal.SIGTERM), Working, 2))
    assert caught.value.exit_code == 143
    assert len(list(Path(os.environ["PALATE_CACHE"], "reference").iterdir())) == 2
    place.dpo("run")
    assert bits(place.root / "run") == bits(place.root / "whole")


def test_a_signal_inside_a_step_drops_what_it_drew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapter dropout has drawn for half of the step when the signal is seen."""
    options: dict[str, Any] = {"lora_dropout": 0.4, "token_budget": 16}
    place.sft("whole", **options)
    whole, calls = loop.accumulate, [0]  # type: ignore[attr-defined]

    def interrupted(policy: Any, batch: Any, objective: Any, budget: int, check: Any) -> Result:
        rows = [0]

        def late() -> None:
            rows[0] += 1
            if (calls[0], rows[0]) == (5, 3):
                os.kill(os.getpid(), signal.SIGTERM)
            check()

        calls[0] += 1
        found: Result = whole(policy, batch, objective, budget, late)
        return found

    monkeypatch.setattr(loop, "accumulate", interrupted)
    with pytest.raises(Interrupted, match="after step 4 of 10"):
        place.sft("run", **options)
    place.sft("run", **options)
    assert bits(place.root / "run") == bits(place.root / "whole")


# ---- numerics


def test_a_gradient_that_is_not_finite_moves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.dpo("whole")
    whole, calls = loop.accumulate, [0]  # type: ignore[attr-defined]

    def poisoned(policy: Any, *rest: Any) -> Result:
        found: Result = whole(policy, *rest)
        calls[0] += 1
        if calls[0] == 6:
            next(p for p in policy.parameters() if p.grad is not None).grad[0, 0] = math.nan
        return found

    monkeypatch.setattr(loop, "accumulate", poisoned)
    with pytest.raises(NumericsError, match="step 6: the gradient is not finite") as caught:
        place.dpo("run")
    assert caught.value.exit_code == 4
    assert "dpo.jsonl:" in caught.value.message and "last checkpoint is intact" in caught.value.hint
    assert checkpoint.last_good(place.root / "run") == 4
    place.dpo("run")
    assert bits(place.root / "run") == bits(place.root / "whole")


@pytest.mark.parametrize("full", [True, False], ids=["full", "lora"])
def test_gradient_checkpointing_gives_the_same_result(
    place: Place, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    plain, calls = LlamaAttention.forward, [0]

    def counted(self: Any, *words: Any, **options: Any) -> Any:
        calls[0] += 1
        return plain(self, *words, **options)

    monkeypatch.setattr(LlamaAttention, "forward", counted)
    place.dpo("plain", full=full)
    once, calls[0] = calls[0], 0
    place.dpo("run", full=full, grad_checkpoint=True)
    assert calls[0] > once + STEPS, "nothing was computed again"
    for want, got in zip(rows_of(place.root / "plain"), rows_of(place.root / "run")):
        assert got.get("loss", 0) == pytest.approx(want.get("loss", 0), rel=1e-5)
    got, want = final_weights(place.root / "run"), final_weights(place.root / "plain")
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-5)


def final_weights(out: Path) -> dict[str, Tensor]:
    (path,) = (out / "final").glob("*.safetensors")
    return dict(load_file(path))


@pytest.mark.parametrize("full", [True, False], ids=["full", "lora"])
def test_bfloat16_keeps_fp32_masters(place: Place, full: bool) -> None:
    done = place.dpo("run", full=full, dtype="bfloat16")
    saved = checkpoint.newest(done.path)
    assert saved is not None
    assert {t.dtype for t in saved.tensors["weights"].values()} == {torch.float32}
    assert {t.dtype for n, t in saved.tensors["moments"].items()} == {torch.float32}
    expected = {torch.bfloat16} if full else {torch.bfloat16, torch.float32}
    assert {t.dtype for t in final_weights(done.path).values()} <= expected
    assert rows_of(done.path)[-1]["loss"] < 0.5


def test_adapter_dropout_is_said_and_works_in_steps_alone(place: Place) -> None:
    heard = Heard()
    held = lines(place.root / "held.jsonl", examples(PAIRS[:6]))
    done = place.sft("run", heard, lora_dropout=0.5, heldout=str(held), schedule="constant")
    place.sft("plain", heldout=str(held), schedule="constant")
    assert "one sequence at a time" in heard.said and "dropout draws per row" in heard.said
    losses = [[row.get("loss") for row in rows_of(place.root / n)] for n in ("run", "plain")]
    assert losses[0][1] == pytest.approx(losses[1][1]), "B is 0 at first"
    assert losses[0][2] != pytest.approx(losses[1][2], rel=1e-4), "dropout did nothing"
    assert done.evaluation is not None
    assert heldout_loss(done.path, held) == pytest.approx(done.evaluation.loss, rel=1e-5)


# ---- what is counted


def test_pairs_are_counted_by_regime() -> None:
    objective = build("dpo", beta=0.5)
    delta = torch.tensor([[9.0, 0], [4.5, 0], [4.2, 0], [0, 0], [0, 4.2], [0, 4.5], [0, 9.0]])
    scored = Scored(delta, torch.ones_like(delta), torch.zeros_like(delta))
    result = Result(objective.loss(scored), scored, weights(objective, scored), len(delta))
    found = ranking(objective, result)
    assert found["regimes"] == Regimes(learnt=2, undecided=3, wrong=2)
    assert found["margin"] == pytest.approx(0)
    assert ranking(build("sft"), result) == {}


def test_no_objective_is_told_by_its_name() -> None:
    """No `== "dpo"` in the trainer, in whatever form."""
    for path in sorted((SOURCE / "train").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare | ast.Match):
                words = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
                assert not words & {"dpo", "sft"}, f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr == "name":
                assert ast.unparse(node) in {"objective.name"}, f"{path.name}:{node.lineno}"
                assert path.name == "stage.py", "the name is for the record alone"


@pytest.mark.parametrize(
    ("options", "steps", "last"),
    [
        ({"max_steps": 3}, 3, 4),
        ({"max_steps": None, "epochs": 2}, 11, 4),
        ({"max_steps": None, "epochs": 0.1}, 1, 2),
        ({"max_steps": None, "epochs": 1.01, "batch_size": 11}, 2, 11),
    ],
)
def test_the_steps_are_those_of_the_epochs(
    place: Place, options: dict[str, Any], steps: int, last: int
) -> None:
    """22 rows to train on: the last step takes what is left, and is never empty."""
    sizes: list[int] = []
    real = Batch.count

    def counted(self: Batch, objective: Any) -> int:
        sizes.append(len(self.items))
        return real(self, objective)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "count", counted)
        heard = Heard(lambda: None)
        done = place.sft("run", heard, eval_every=1000, **options)
    assert done.steps == steps == len(heard.of(Step))
    assert sizes[-3] == last, "the last step, before the last evaluation"


# ---- held out, and the best


def test_the_best_held_out_step_is_kept(place: Place) -> None:
    """Trained on one thing and measured on another, with a large step: it gets worse at once."""
    held = lines(place.root / "held.jsonl", [{"prompt": "zz", "completion": "qwerty yuiop"}] * 2)
    heard = Heard()
    done = place.sft("run", heard, full=True, lr=0.1, heldout=str(held), eval_every=1, max_steps=12)
    found = heard.of(Evaluation)
    assert len(heard.of(Step)) == 12 and [e.step for e in found] == list(range(13))
    best = min(found, key=lambda e: e.loss)
    assert 0 < best.step < 12, "the test needs a run that gets worse"
    assert done.best_step == best.step and done.evaluation == best
    assert atomic.read_folder(done.final).note == {"step": best.step, "stage": "sft"}
    assert heldout_loss(done.path, held) == pytest.approx(best.loss, rel=1e-5)
    assert found[-1].loss > best.loss + 1


def test_the_last_step_is_kept_where_that_is_asked(place: Place) -> None:
    held = lines(place.root / "held.jsonl", [{"prompt": "zz", "completion": "qwerty yuiop"}] * 2)
    heard = Heard()
    how = {"heldout": str(held), "eval_every": 5, "max_steps": 12, "final": "last"}
    done = place.sft("run", heard, full=True, lr=0.1, **how)
    found = heard.of(Evaluation)
    assert min(found, key=lambda e: e.loss).step < 12, "the test needs a run that gets worse"
    assert done.best_step == 12 and done.evaluation == found[-1]
    assert [e.best for e in found] == [
        each.loss < min([math.inf, *(e.loss for e in found[:n])]) for n, each in enumerate(found)
    ]
    assert heldout_loss(done.path, held) == pytest.approx(found[-1].loss, rel=1e-5)


def heldout_loss(run: Path, data: Path) -> float:
    """Nats per token of SFT rows, by `palate score`."""
    rows = [row.as_json() for row in api.score(str(run), str(data))]
    return -sum(float(r["logp"]) for r in rows) / sum(int(r["tokens"]) for r in rows)


def test_damaged_best_weights_are_named(place: Place) -> None:
    held = lines(place.root / "held.jsonl", [{"prompt": "zz", "completion": "qwerty yuiop"}] * 2)
    options: dict[str, Any] = {"full": True, "lr": 0.1, "heldout": str(held), "eval_every": 1}
    with pytest.raises(Killed):
        place.sft("run", Heard(die, at=7), **options)
    path = place.root / "run" / "best" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"best, the weights of step \d: weights"):
        place.sft("run", **options)
    assert not (place.root / "run" / "final").exists()


def test_a_held_out_file_leaves_every_row_to_train_on(place: Place) -> None:
    heard = Heard()
    held = lines(place.root / "held.jsonl", PAIRS[:5])
    done = place.dpo("run", heard, heldout=str(held), max_steps=None, epochs=1)
    assert done.steps == 6 and done.evaluation is not None and done.evaluation.items == 5
    assert "held out" not in heard.said


def test_few_prompts_are_all_trained_on(place: Place) -> None:
    heard = Heard()
    few = lines(place.root / "few.jsonl", PAIRS[:18])
    done = place.dpo("run", heard, data=str(few))
    assert "9 prompts are too few to hold any out: the last step is kept" in heard.said
    assert done.evaluation is None and done.best_step == done.steps == STEPS
    assert not heard.of(Evaluation)
    assert not any("heldout" in row for row in rows_of(done.path))


def test_rows_of_one_prompt_stay_on_one_side(place: Place) -> None:
    done = place.dpo("run", max_steps=1)
    assert done.evaluation is not None and done.evaluation.items == 2


# ---- the end


def scored_items(model: str, data: Path) -> list[Item]:
    """The rows as palate renders them for this model."""
    loaded = load(model)
    options = RowOptions()
    renderer = Renderer(loaded.tokenizer, options, context=loaded.context)
    return list(render(read(str(data), kind="pairs").rows, renderer, options).items)


def scores(run: Path, data: Path) -> Tensor:
    rows = [row.as_json() for row in api.score(str(run), str(data))]
    return torch.tensor([[float(r["chosen_logp"]), float(r["rejected_logp"])] for r in rows])


def test_a_full_run_ends_in_a_folder_that_transformers_loads(place: Place) -> None:
    done = place.dpo("run", full=True)
    data = place.root / "dpo.jsonl"
    factory: Any = AutoModelForCausalLM
    model = factory.from_pretrained(done.final).eval()
    with torch.no_grad():
        got = engine_cases.naive_logps(model, scored_items(place.model, data))
    torch.testing.assert_close(got, scores(done.path, data), rtol=1e-5, atol=1e-4)


def test_a_lora_run_ends_in_one_adapter_that_peft_loads(place: Place) -> None:
    """SFT, then DPO on its result: still one adapter, on the base that it names."""
    place.sft("sft", rank=3)
    heard = Heard()
    done = place.dpo("dpo", heard, model=str(place.root / "sft"))
    assert "training goes on in the adapter that came with the model" in heard.said
    config = json.loads((done.final / "adapter_config.json").read_text())
    assert config["r"] == 3
    assert Path(config["base_model_name_or_path"]).samefile(place.model)
    assert sorted(path.name for path in done.final.glob("*.safetensors")) == [
        "adapter_model.safetensors"
    ]
    factory: Any = AutoModelForCausalLM
    base = factory.from_pretrained(config["base_model_name_or_path"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that v6 will drop
        tuned = PeftModel.from_pretrained(base, str(done.final)).eval()
    assert set(tuned.peft_config) == {"default"}
    data = place.root / "dpo.jsonl"
    with torch.no_grad():
        got = engine_cases.naive_logps(tuned, scored_items(place.model, data))
    torch.testing.assert_close(got, scores(done.path, data), rtol=1e-5, atol=1e-4)
    assert json.loads((done.path / "run.json").read_text())["parent"] == str(place.root / "sft")


def test_the_reference_of_dpo_is_the_sft_result(place: Place) -> None:
    """Margins of `palate score` against the reference, from two plain models."""
    place.sft("sft")
    place.dpo("dpo", model=str(place.root / "sft"))
    data = place.root / "dpo.jsonl"
    rows = [row.as_json() for row in api.score(str(place.root / "dpo"), str(data))]
    sides = ("ref_chosen_logp", "ref_rejected_logp")
    got = torch.tensor([[float(row[side]) for side in sides] for row in rows])
    torch.testing.assert_close(got, scores(place.root / "sft", data), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rank": 8}, "--rank has no effect here: the adapter of"),
        ({"targets": ("q_proj",)}, "--targets has no effect here"),
        ({"full": True, "alpha": 3.0}, "--alpha has no effect here: with --full"),
    ],
)
def test_an_option_without_effect_is_refused(
    place: Place, options: dict[str, Any], told: str
) -> None:
    place.sft("sft", rank=3, max_steps=1)
    with pytest.raises(UsageError, match=told):
        place.dpo("dpo", model=str(place.root / "sft"), **options)
    assert not (place.root / "dpo").exists()


def test_full_training_on_an_adapter_starts_from_its_merged_weights(place: Place) -> None:
    place.sft("sft", rank=3, lr=5e-3)
    heard = Heard()
    done = place.dpo("dpo", heard, model=str(place.root / "sft"), full=True)
    assert (done.final / "model.safetensors").exists()
    assert heard.of(Evaluation)[0].loss == pytest.approx(math.log(2), abs=1e-6)
