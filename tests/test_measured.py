"""What a model says of pairs equals a plain forward of every side alone; faulty rows are told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import engine_cases
import tiny
from palate.config import DoctorOptions
from palate.data.rows import Item
from palate.engine.pack import pack
from palate.engine.policy import Output, Plan, Policy
from palate.engine.precision import wide_float64
from palate.engine.sample import sample
from palate.errors import DataError, UsageError
from palate.runs.folder import Run
from palate.study import measured as module
from palate.study import own_texts
from palate.study.case import load
from palate.study.checks.base import Measured
from palate.study.measured import WIDTH, ln_ches, measure
from palate.train.events import Event, Note, silent

ITEMS = engine_cases.pairs(prompts=3, per_prompt=2)
PLANS = [Plan(), Plan(shared=False), Plan(chunked=False), Plan(shared=False, chunked=False)]
PAIRS = [
    {"prompt": "the flat", "chosen": "is near the station", "rejected": "is near the river bank"},
    {"prompt": "this one", "chosen": "has two baths", "rejected": "has a garden in the back"},
    {"prompt": "the other", "chosen": "a fee", "rejected": "a lift and a fee for the lift"},
    {"prompt": "the other", "chosen": "by the river", "rejected": "in the back"},
]


# ------------------------------------------------------------------ states, against a naive forward


def naive_sums(model: Any, items: list[Item]) -> Tensor:
    """Summed states (I,2,D): each side alone, from the last prompt token to the last but one."""
    rows = []
    for item in items:
        for sequence in item.sequences:
            found = model(
                input_ids=torch.tensor(sequence.ids)[None],
                use_cache=False,
                output_hidden_states=True,
            )
            hidden_TD = found.hidden_states[-1][0]
            places = [t - 1 for start, stop in sequence.spans for t in range(start, stop)]
            rows.append(hidden_TD[places].sum(0))
    return torch.stack(rows).view(len(items), 2, -1)


def packed_sums(model: Any, plan: Plan, budget: int) -> Tensor:
    policy = Policy(model, plan)
    found = torch.zeros(len(ITEMS), 2, 32, dtype=torch.float64)
    for row in pack(ITEMS, budget):
        output = policy(row, with_states=True)
        found[list(row.items)] = output.state_sums().view(len(row.items), 2, -1)
    policy.restore()
    return found


@torch.no_grad()
def states_differ(kind: str, plan: Plan, *, budget: int = 60) -> float:
    with wide_float64():
        model = tiny.model(kind)
        got, want = packed_sums(model, plan, budget), naive_sums(model, ITEMS)
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_packed_states_are_those_of_a_plain_forward(kind: str) -> None:
    assert states_differ(kind, Plan()) < 1e-12


@pytest.mark.parametrize("plan", PLANS[1:], ids=str)
@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_so_are_those_of_every_fallback(kind: str, plan: Plan) -> None:
    assert states_differ(kind, plan) < 1e-12


def test_a_model_that_packs_wrongly_has_states_on_its_fallback() -> None:
    assert states_differ("mamba", Plan(shared=False)) < 1e-12


def test_states_change_no_log_prob() -> None:
    policy = Policy(tiny.model("llama"))
    for row in pack(ITEMS, 60):
        with_them, without = policy(row, with_states=True), policy(row)
        assert torch.equal(with_them.logps_S, without.logps_S)
        assert without.states_KD is None


def test_a_state_read_one_token_late_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Policy._hidden

    def late(self: Policy, row: Any) -> Tensor:
        return real(self, row).roll(-1, 0)

    monkeypatch.setattr(Policy, "_hidden", late)
    assert states_differ("llama", Plan()) > 1e-3


# ------------------------------------------------------------------ the whole measurement


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("measured")
    tiny.folder(root / "model", "llama", seed=1)
    tiny.folder(root / "wide", "llama", seed=1, hidden_size=288, intermediate_size=32)
    template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}"
        "{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    tiny.folder(root / "chat", "llama", seed=1, chat_template=template)
    return root


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def measured(
    place: Path, file: str, model: str = "model", **options: Any
) -> tuple[Measured, float, list[str]]:
    notes: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    made = DoctorOptions(**({"model": str(place / model), "samples": "0"} | options))
    found, cost = measure(load(file, made), made, listen)
    return found, cost, notes


class Naive:
    """The pairs tokenised and scored by hand, each side alone, full logits, in float64."""

    def __init__(self, place: Path, name: str = "model") -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokens = AutoTokenizer.from_pretrained(place / name)
        self.model: Any = AutoModelForCausalLM.from_pretrained(place / name).double().eval()

    def split(self, row: dict[str, str]) -> tuple[list[int], list[list[int]]]:
        """Prompt ids, and answer ids with EOS; the boundary is where both sides still agree."""
        start = self.tokens(row["prompt"] + "\n")["input_ids"]
        whole = [
            [*self.tokens(row["prompt"] + "\n" + row[side])["input_ids"], 1]
            for side in ("chosen", "rejected")
        ]
        assert all(ids[: len(start)] == start for ids in whole)
        return start, [ids[len(start) :] for ids in whole]

    @torch.no_grad()
    def logps(self, before: list[int], answer: list[int]) -> Tensor:
        """Log-prob of each answer token that has something before it."""
        ids = torch.tensor([*before, *answer])
        normal = self.model(input_ids=ids[None], use_cache=False).logits[0].log_softmax(-1)
        return torch.stack([normal[t - 1, ids[t]] for t in range(max(len(before), 1), len(ids))])

    @torch.no_grad()
    def states(self, before: list[int], answer: list[int]) -> Tensor:
        ids = torch.tensor([*before, *answer])[None]
        found = self.model(input_ids=ids, use_cache=False, output_hidden_states=True)
        hidden: Tensor = found.hidden_states[-1][0, len(before) - 1 : -1]
        return hidden


def test_log_probs_lengths_ches_and_states_equal_naive(place: Path, tmp_path: Path) -> None:
    found, cost, _ = measured(place, write(tmp_path / "p.jsonl", PAIRS))
    naive = Naive(place)
    for n, row in enumerate(PAIRS):
        start, answers = naive.split(row)
        logps = [float(naive.logps(start, answer).sum()) for answer in answers]
        assert found.logps_P2[n] == pytest.approx(logps, rel=1e-5)
        assert found.tokens_P2[n].tolist() == [len(answer) for answer in answers]
        first = next(t for t, (a, b) in enumerate(zip(*answers)) if a != b)
        assert found.first_P[n] == first
        plus, minus = (naive.states(start, answer) for answer in answers)
        up, down = plus.sum(0), minus.sum(0)
        score = up @ down / (len(plus) * len(minus)) - up @ up / len(plus) ** 2
        assert found.ln_ches_P[n] == pytest.approx(float(score), rel=1e-4, abs=1e-5)
        means = torch.stack([plus.mean(0), minus.mean(0)]).numpy()
        assert found.states_P2D[n] == pytest.approx(means, rel=1e-4, abs=1e-5)
    assert found.states_P2D.dtype == np.float32 and found.samples is None
    assert cost >= 1.0 and found.cut == {} and found.beta == 0.1 and found.limit == 256


def test_ches_with_padded_lengths_would_be_seen(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def padded(output: Output) -> Tensor:
        longest = int(np.bincount(output.row.seq_E).max())
        means_SD: Tensor = output.state_sums().double() / longest
        return means_SD.view(-1, 2, 32)

    file = write(tmp_path / "p.jsonl", PAIRS)
    right = measured(place, file)[0].ln_ches_P
    monkeypatch.setattr(module, "_means", padded)
    assert np.abs(measured(place, file)[0].ln_ches_P - right).max() > 1e-2


def test_ln_ches_by_hand() -> None:
    means = torch.tensor([[[1.0, 2.0], [3.0, -1.0]], [[0.5, 0.0], [0.5, 0.0]]]).double()
    assert ln_ches(means) == pytest.approx([1.0 - 5.0, 0.0])


def test_wide_states_are_projected_and_distances_hold(place: Path, tmp_path: Path) -> None:
    found, _, _ = measured(place, write(tmp_path / "p.jsonl", PAIRS), "wide")
    again, _, _ = measured(place, write(tmp_path / "q.jsonl", PAIRS), "wide")
    assert found.states_P2D.shape == (4, 2, WIDTH)
    assert np.array_equal(found.states_P2D, again.states_P2D)
    naive = Naive(place, "wide")
    for n, row in enumerate(PAIRS):
        start, answers = naive.split(row)
        plus, minus = (naive.states(start, answer).mean(0) for answer in answers)
        want = float((plus - minus).norm())
        got = float(np.linalg.norm(found.states_P2D[n, 0] - found.states_P2D[n, 1]))
        assert got == pytest.approx(want, rel=0.2)


# ------------------------------------------------------------------ rows that a limit hurts


def test_rows_over_the_limit_are_told_and_the_others_measured(place: Path, tmp_path: Path) -> None:
    same = "the flat is near the station and the other one is by the river " * 3
    rows = [
        PAIRS[0],
        {"prompt": "a", "chosen": same + "one", "rejected": same + "two"},
        {"prompt": "b", "chosen": "short", "rejected": same},
        {"prompt": "c", "chosen": "one " + same, "rejected": "two " + same},
        {"prompt": same, "chosen": "one", "rejected": "two"},
    ]
    file = write(tmp_path / "p.jsonl", rows)
    found, _, _ = measured(place, file, max_length=40)
    assert found.limit == 40
    told = {line: what.partition(":")[0] for line, what in found.cut.items()}
    assert told == {
        2: "identical after the cut",
        3: "too long",
        4: "too long",
        5: "identical after the cut",
    }
    assert "one side" in found.cut[3] and "both sides" in found.cut[4]
    assert np.isfinite(found.logps_P2[0]).all() and np.isnan(found.logps_P2[1:]).all()
    kept, _, _ = measured(place, file, max_length=40, truncate="prompt-left")
    assert kept.cut[5].startswith("cut: ") and np.isfinite(kept.logps_P2[4]).all()
    assert np.isnan(kept.logps_P2[1]).all() and kept.cut[2] == found.cut[2]


def test_a_row_that_the_tokenizer_refuses_is_told(place: Path, tmp_path: Path) -> None:
    rows = [*PAIRS, {"prompt": "x", "chosen": "a</s>b", "rejected": "c"}]
    found, _, _ = measured(place, write(tmp_path / "p.jsonl", rows))
    assert list(found.cut) == [5] and "refused: chosen holds the EOS token" in found.cut[5]
    assert found.tokens_P2[4].tolist() == [-1, -1] and found.first_P[4] == -1
    assert np.isnan(found.ln_ches_P[4]) and np.isnan(found.states_P2D[4]).all()
    with pytest.raises(DataError, match="No pair of"):
        measured(place, write(tmp_path / "q.jsonl", rows[4:]))


def test_no_model_is_a_usage_error(tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", PAIRS)
    with pytest.raises(UsageError, match="none is named"):
        measure(load(file, DoctorOptions()), DoctorOptions(), silent)


# ------------------------------------------------------------------ the model's own texts, and PMI


def test_own_texts_repeat_and_score_as_naive(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    file = write(tmp_path / "p.jsonl", PAIRS)
    first = measured(place, file, samples="3")[0].samples
    monkeypatch.setattr(own_texts, "sample", watched_by(sample, drawn))
    again = measured(place, file, samples="3")[0].samples
    assert first is not None and again is not None and first.texts == again.texts
    assert np.array_equal(first.logps_M, again.logps_M) and len(drawn) == 12
    naive = Naive(place)
    said = [(before, draw) for before, draw in drawn if draw.ids or draw.ended]
    assert len(said) == len(again.texts) and set(again.pair_M.tolist()) <= {0, 1, 2}
    for n, (before, draw) in enumerate(said):
        answer = [*draw.ids, *([1] if draw.ended else [])]
        assert again.texts[n] == draw.text and again.tokens_M[n] == len(answer)
        assert again.logps_M[n] == pytest.approx(
            float(naive.logps(before, answer).mean()), rel=1e-4
        )


def watched_by(draw: Any, drawn: list[Any]) -> Any:
    """The same function, whose draws are kept beside their prompts."""

    def watched(loaded: Any, prompts: Any, settings: Any, **kwargs: Any) -> Any:
        draws = draw(loaded, prompts, settings, **kwargs)
        drawn[:] = [(list(prompts[each.prompt_index]), each) for each in draws]
        return draws

    return watched


def test_own_texts_from_a_file(place: Path, tmp_path: Path) -> None:
    """The records of `palate sample --out`; one of another prompt, one that never ended."""
    file = write(tmp_path / "p.jsonl", PAIRS)
    rows = [
        {"prompt": "the flat", "index": 0, "completion": "is by the river", "ended": True},
        {"prompt": "this one", "index": 0, "completion": "has a garden and", "ended": False},
    ]
    other = rows[0] | {"prompt": "nobody asked this"}
    drawn = write(tmp_path / "drawn.jsonl", [*rows, other])
    found, _, notes = measured(place, file, samples=drawn)
    assert found.samples is not None and found.samples.pair_M.tolist() == [0, 1]
    assert found.samples.texts == ("is by the river", "has a garden and")
    assert any("1 texts passed over" in note for note in notes)
    naive = Naive(place)
    for n, row in enumerate(rows):
        start = naive.tokens(f"{row['prompt']}\n")["input_ids"]
        whole = naive.tokens(f"{row['prompt']}\n{row['completion']}")["input_ids"]
        answer = [*whole[len(start) :], *([1] if row["ended"] else [])]
        assert found.samples.tokens_M[n] == len(answer)
        want = float(naive.logps(start, answer).mean())
        assert found.samples.logps_M[n] == pytest.approx(want, rel=1e-4)
    with pytest.raises(UsageError, match="no such file"):
        measured(place, file, samples=str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="no text for any prompt"):
        measured(place, file, samples=write(tmp_path / "o.jsonl", [other]))


def test_after_no_prompt_the_first_token_adds_nothing(place: Path, tmp_path: Path) -> None:
    found, _, _ = measured(place, write(tmp_path / "p.jsonl", PAIRS), samples="2")
    assert found.empty_P2 is not None
    naive = Naive(place)
    for n, row in enumerate(PAIRS):
        start, answers = naive.split(row)
        for side, answer in enumerate(answers):
            pmi = naive.logps(start, answer)[1:].sum() - naive.logps([], answer).sum()
            got = found.logps_P2[n, side] - found.empty_P2[n, side]
            assert got == pytest.approx(float(pmi), rel=1e-4, abs=1e-4)


def test_with_a_bos_it_stands_alone_for_the_empty_prompt(place: Path, tmp_path: Path) -> None:
    model = tiny.folder(tmp_path / "bos", "llama", seed=1)
    tiny.tokenizer(adds_bos=True).save_pretrained(model)
    found, _, _ = measured(tmp_path, write(tmp_path / "p.jsonl", PAIRS), "bos", samples="2")
    naive = Naive(tmp_path, "bos")
    assert found.empty_P2 is not None
    for n, row in enumerate(PAIRS):
        _, answers = naive.split(row)
        want = [float(naive.logps([0], answer).sum()) for answer in answers]
        assert found.empty_P2[n] == pytest.approx(want, rel=1e-5)


def test_with_a_template_the_empty_prompt_is_an_empty_turn(place: Path, tmp_path: Path) -> None:
    found, _, _ = measured(place, write(tmp_path / "p.jsonl", PAIRS), "chat", samples="2")
    assert found.empty_P2 is not None
    naive = Naive(place, "chat")
    empty = naive.tokens("[user][assistant]")["input_ids"]
    for n, row in enumerate(PAIRS):
        for side, name in enumerate(("chosen", "rejected")):
            start = naive.tokens(f"[user]{row['prompt']}[assistant]")["input_ids"]
            whole = naive.tokens(f"[user]{row['prompt']}[assistant]{row[name]}</s>")["input_ids"]
            assert whole[: len(start)] == start
            want = float(naive.logps(empty, whole[len(start) :]).sum())
            assert found.empty_P2[n, side] == pytest.approx(want, rel=1e-4)


# ------------------------------------------------------------------ which model is asked


def test_of_a_run_that_learnt_pairs_its_start_is_asked(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, notes = str(place / "model"), []
    config = {"model": start, "max_length": 33, "join": "\n", "plain": False, "truncate": None}
    record = {"stage": "dpo", "config": config, "objective": {"options": {"beta": 0.5}}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    monkeypatch.setattr(Run, "read", staticmethod(lambda path: record))

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    options = DoctorOptions(model=str(tmp_path / "run"), samples="0")
    file = write(tmp_path / "p.jsonl", PAIRS)
    found, _ = measure(load(file, options), options, listen)
    assert found.model == start and found.beta == 0.5 and found.limit == 33
    assert any("the model it started from is asked" in note for note in notes)
    plain, _, _ = measured(place, file)
    assert found.logps_P2 == pytest.approx(plain.logps_P2)
    asked = replace(load(file, options))
    found, _ = measure(asked, options.model_copy(update={"beta": 0.3}), silent)
    assert found.beta == 0.3
