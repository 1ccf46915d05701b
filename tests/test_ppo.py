"""An online method's step against the slow way, and what must not matter to it.

`naive_online` computes the same from the texts alone: padded batches, plain loops, float64.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

import tiny
from naive_online import Naive, Text
from palate.config import PpoConfig
from palate.data.rewards import Answered
from palate.engine.adapters import Lora, start_lora, trainable
from palate.engine.model import load
from palate.engine.pack import pack
from palate.engine.policy import Plan, Policy
from palate.engine.precision import wide_float64
from palate.errors import NumericsError
from palate.rlhf import loop, rollout, stage
from palate.rlhf.critic import REACH
from palate.rlhf.methods import METHODS, Method, Targets
from palate.rlhf.rollout import CUT_OFF, Scale, Texts
from palate.train.events import silent

STEPS, PASSES, LR, ROOM = 3, 3, 2e-3, 7
DISCOUNTS = {"gamma": 0.97, "lam": 0.9}
WORDS = ("river", "station", "lift", "bath", "garden", "court", "yard", "bay")
FIGURES = {
    "kl", "reward", "policy_loss", "clip_fraction", "advantage_std", "entropy", "length",
    "grad_norm",
}  # fmt: skip


@dataclass(frozen=True)
class Letters:
    """Pays by the letters: hardly two texts alike, so that no rounding decides who is better."""

    name: str = "letters"
    kind: Literal["program", "model"] = "program"
    identity: str = "letters"
    models: int = 0

    def score(self, answered: Sequence[Answered]) -> list[float]:
        return [sum(map(ord, each.answer)) % 101 / 20 for each in answered]


@dataclass
class Ran:
    """What a run left, and what it drew in each step."""

    rows: list[dict[str, Any]]
    weights: dict[str, Tensor]
    texts: list[Texts] = field(default_factory=list)

    def drawn(self, step: int) -> list[Text]:
        found = [s for item in self.texts[step].items for s in item.sequences]
        return [(s.ids[: s.prompt], s.ids[s.prompt :]) for s in found]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ppo")
    tiny.folder(root / "model", "llama", num_hidden_layers=1, dtype=torch.float64)
    ends = {"eos_token_id": [1, *range(60, 84)], "bos_token_id": 0, "pad_token_id": 2}
    (root / "model" / "generation_config.json").write_text(json.dumps(ends))
    prompts = [{"prompt": f"place {n}: near the {word}"} for n, word in enumerate(WORDS)]
    (root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return root


@contextmanager
def watched(found: list[Texts]) -> Iterator[None]:
    """Keep the texts of every step."""
    patch, real = pytest.MonkeyPatch(), loop.draw_texts  # type: ignore[attr-defined]

    def draw(*words: Any, **options: Any) -> Texts:
        texts: Texts = real(*words, **options)
        found.append(texts)
        return texts

    patch.setattr(loop, "draw_texts", draw)
    try:
        yield
    finally:
        patch.undo()


@contextmanager
def bent() -> Iterator[None]:
    """PPO with discounts that are not 1, unless a test has planted a row of its own."""
    patch = pytest.MonkeyPatch()
    if stage.METHODS is METHODS:  # type: ignore[attr-defined]
        patch.setattr(stage, "METHODS", {name: row_of(name) for name in METHODS})
    try:
        yield
    finally:
        patch.undo()


def row_of(method: str) -> Method:
    row = METHODS[method]
    return replace(row, knobs={**row.knobs, **DISCOUNTS}) if method == "ppo" else row


def run(place: Path, out: Path, method: str, **changes: Any) -> Ran:
    """A short run in float64; nothing is held out, so the last step is kept."""
    fields = {
        "model": str(place / "model"),
        "data": str(place / "prompts.jsonl"),
        "out": out,
        "reward": "letters",
        "method": method,
        "full": True,
        "dtype": "float64",
        "lr": LR,
        "schedule": "constant",
        "warmup": 0.0,
        "batch_size": 4,
        "epochs": 4,
        "max_steps": STEPS,
        "passes": PASSES,
        "max_new_tokens": ROOM,
        "token_budget": 48,
    }
    texts: list[Texts] = []
    with wide_float64(), watched(texts), bent():
        stage.run_online(PpoConfig.model_validate(fields | changes), Letters(), silent)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    (file,) = (out / "final").glob("*.safetensors")
    return Ran(rows[1:], load_file(file), texts[1:])  # the first draw is only measured


def paid(ran: Ran) -> list[list[float]]:
    """What each text of each step is paid: scores in spreads of the first step's, or less."""
    first = Letters().score(list(ran.texts[0].answered))
    mean = sum(first) / len(first)
    spread = (sum((score - mean) ** 2 for score in first) / (len(first) - 1)) ** 0.5
    found = []
    for texts in ran.texts:
        scores = [(score - mean) / spread for score in Letters().score(list(texts.answered))]
        ended = [each.ended for each in texts.answered]
        found.append([s if e else min(s, 0.0) - 1.0 for s, e in zip(scores, ended)])
    return found


def naive(model: Any, method: str) -> Naive:
    """The slow way from the same start."""
    model.eval()
    row, twin = row_of(method), copy.deepcopy(model).requires_grad_(False)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    width = core.config.hidden_size
    return Naive(model, twin, method, dict(row.knobs), PASSES, row.completions, LR, REACH / width)


def differences(slow: Naive, ran: Ran, names: list[str]) -> dict[str, float]:
    """The largest difference of each figure over the steps, and of the weights at the end."""
    worst: dict[str, float] = {}
    for step, (row, wages) in enumerate(zip(ran.rows, paid(ran), strict=True)):
        told = slow.step(ran.drawn(step), wages)
        for name, value in told.items():
            worst[name] = max(worst.get(name, 0.0), abs(row[name] - value))
    mine = dict(zip(names, slow.trained, strict=True))
    worst["weights"] = max(
        float((ran.weights[name] - value.detach()).abs().max()) for name, value in mine.items()
    )
    return worst


def full_model(place: Path) -> tuple[Any, list[str]]:
    factory: Any = AutoModelForCausalLM
    model = factory.from_pretrained(place / "model", dtype=torch.float64)
    return model, [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("method", METHODS)
def test_steps_equal_the_slow_way(place: Path, tmp_path: Path, method: str) -> None:
    ran = run(place, tmp_path / "run", method)
    with wide_float64():
        model, names = full_model(place)
        found = differences(naive(model, method), ran, names)
    assert found.keys() >= FIGURES
    assert max(found.values()) < 1e-8, found
    assert ran.rows[0]["kl"] == pytest.approx(0, abs=1e-12)
    assert max(row["kl"] for row in ran.rows) > 1e-3
    ends = {each.ended for texts in ran.texts for each in texts.answered}
    assert ends == {True, False}, "both a text that ended and one that was cut off"


def test_an_adapter_equals_the_slow_way(place: Path, tmp_path: Path) -> None:
    ran = run(place, tmp_path / "run", "ppo", full=False, rank=4)
    with wide_float64():
        loaded = start_lora(load(str(place / "model"), dtype="float64"), Lora(4, 8.0), seed=0)
        names = [name.replace(".default", "") for name in trainable(loaded.model)]
        found = differences(naive(loaded.model, "ppo"), ran, names)
    assert max(found.values()) < 1e-8, found


# ---- a bug that must be noticed


def shifted(targets: Targets) -> Targets:
    return replace(targets, advantages_SL=targets.advantages_SL.roll(1, -1))


def swapped(targets: Targets) -> Targets:
    rolled = targets.rolled
    other = replace(rolled, old_SL=rolled.reference_SL, reference_SL=rolled.old_SL)
    return replace(targets, rolled=other)


def without_end(targets: Targets) -> Targets:
    """The last token of every text has no say."""
    mask_SL = targets.rolled.mask_SL
    last_SL = mask_SL & ~mask_SL.roll(-1, -1)
    last_SL[:, -1] = mask_SL[:, -1]
    return replace(targets, advantages_SL=targets.advantages_SL * ~last_SL)


def values_of_the_next(targets: Targets) -> Targets:
    assert targets.returns_SL is not None
    return replace(targets, returns_SL=targets.returns_SL.roll(-1, -1))


@pytest.mark.parametrize("bug", [shifted, swapped, without_end, values_of_the_next])
def test_a_planted_bug_is_noticed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: Any
) -> None:
    row = row_of("ppo")
    wrong = replace(row, targets=lambda rolled, knobs: bug(row.targets(rolled, knobs)))
    monkeypatch.setattr(stage, "METHODS", {"ppo": wrong})
    monkeypatch.setattr(loop.Loop, "_check_start", lambda self, rollout, told: None)
    ran = run(place, tmp_path / "run", "ppo", max_steps=2)
    with wide_float64():
        model, names = full_model(place)
        found = differences(naive(model, "ppo"), ran, names)
    assert max(found.values()) > 1e-4


def test_a_policy_that_is_not_its_own_author_stops_the_run(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old log-probs and reference are checked before anything is kept."""
    real = loop.read  # type: ignore[attr-defined]

    def wrong(policy: Policy, *words: Any, entropy: bool, **options: Any) -> Any:
        found = real(policy, *words, entropy=entropy, **options)
        return found if entropy else replace(found, logps_SL=found.logps_SL + 0.01)

    monkeypatch.setattr(loop, "read", wrong)
    with pytest.raises(NumericsError, match=r"step 1: the reference is 1\.00e-02 nats away"):
        run(place, tmp_path / "run", "ppo")


# ---- what must not matter


@pytest.mark.parametrize("method", METHODS)
def test_packing_does_not_matter(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Small rows, one large row, and every sequence alone: the same figures and weights."""
    ran = run(place, tmp_path / "a", method, token_budget=48)
    one_row = run(place, tmp_path / "b", method, token_budget=4096)
    monkeypatch.setattr("palate.train.record.plan_for", lambda *_: Plan(False, False, ("asked",)))
    alone = run(place, tmp_path / "c", method, token_budget=48)
    assert len(pack(ran.texts[0].items, 48)) > 1 == len(pack(ran.texts[0].items, 4096))
    for other in (one_row, alone):
        for name, value in ran.weights.items():
            torch.testing.assert_close(other.weights[name], value, rtol=0, atol=1e-9)
        for mine, theirs in zip(ran.rows, other.rows, strict=True):
            numbers = {k: v for k, v in mine.items() if k != "items_per_second" and v is not None}
            assert {k: theirs[k] for k in numbers} == pytest.approx(numbers, abs=1e-9)


def test_equal_starts_of_texts_have_their_own_advantages() -> None:
    """Texts of a prompt share tokens in the row; what is laid out is per text."""
    from palate.data.rows import Item, Origin
    from palate.data.rows import Sequence as Tokens

    texts = ((5, 6, 7), (5, 6, 8, 9), (5,))
    sequences = tuple(Tokens((3, 4, *text), ((2, 2 + len(text)),), 2) for text in texts)
    (row,) = pack([Item(sequences, "", Origin("", 0))], 100)
    assert len(row.target_K) == 5 and len(row.token_E) == 8
    laid = rollout.padded(torch.from_numpy(row.target_K), row, 4)
    assert laid.tolist() == [[5, 6, 7, 0], [5, 6, 8, 9], [5, 0, 0, 0]]
    apart = row.unshared()
    assert rollout.padded(torch.from_numpy(apart.target_K), apart, 4).tolist() == laid.tolist()


# ---- what is paid


def test_scores_are_counted_from_the_starting_model() -> None:
    scores = torch.tensor([2.0, 4.0, 9.0], dtype=torch.float64)
    scale = Scale.of(scores)
    found = scale.paid(scores, torch.tensor([True, True, True]))
    assert (float(found.mean()), float(found.std())) == pytest.approx((0, 1))
    assert Scale.of(torch.tensor([3.0, 3.0])) == Scale(3.0, 1.0)
    assert Scale.of(torch.tensor([3.0])) == Scale(3.0, 1.0)


def test_a_text_that_was_cut_off_never_pays() -> None:
    found = Scale(0.0, 1.0).paid(torch.tensor([5.0, -5.0]), torch.tensor([False, False]))
    assert found.tolist() == [-CUT_OFF, -5.0 - CUT_OFF]
