import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

import tiny
from palate.engine import adapters, attention, sample
from palate.engine.model import Loaded, load, quiet
from palate.engine.sample import Draw, SampleSettings, gumbel
from palate.errors import UsageError

SETTINGS = SampleSettings(max_new_tokens=20, completions=3, batch_size=70)


def prompts(lengths: tuple[int, ...] = (3, 9, 5, 9, 12, 2, 7, 4)) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(1)
    return [tuple(torch.randint(3, 300, (n,), generator=generator).tolist()) for n in lengths]


def texts(draws: tuple[Draw, ...], asked: list[tuple[int, ...]]) -> dict[Any, Any]:
    return {(asked[d.prompt_index], d.index): (d.ids, d.text, d.ended) for d in draws}


def draw(loaded: Loaded, asked: list[tuple[int, ...]], **changes: Any) -> dict[Any, Any]:
    seed = changes.pop("seed", 0)
    return texts(sample.sample(loaded, asked, replace(SETTINGS, **changes), seed=seed), asked)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(str(tiny.folder(tmp_path_factory.mktemp("models") / "llama")))


def test_greedy_continues_the_known_story(shared_data: Path) -> None:
    folder = shared_data / "stories260K"
    oracle = json.loads((folder / "greedy_oracle.json").read_text())
    start = tuple(oracle["start"])
    settings = SampleSettings(max_new_tokens=len(oracle["ids"]) - len(start), temperature=0)
    (found,) = sample.sample(load(str(folder)), [start], settings, seed=0)
    assert found.ids == tuple(oracle["ids"][len(start) :])
    assert found.text == oracle["text"]
    assert not found.ended


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", tiny.KINDS + tiny.FALLBACK_KINDS)
def test_a_text_does_not_depend_on_its_neighbours(kind: str, dtype: Any, tmp_path: Path) -> None:
    """Reversed order, one at a time: the same texts, for every family."""
    loaded = load(str(tiny.folder(tmp_path / kind, kind)), dtype=dtype)
    if kind == "mixtral":
        loaded.core.set_experts_implementation("eager")
    asked = [p for p in prompts() if len(p) < loaded.context - 6]
    together = draw(loaded, asked, max_new_tokens=12)
    alone = draw(loaded, asked[::-1], max_new_tokens=12, batch_size=1)
    assert together == alone
    assert len({ids for ids, _, _ in together.values()}) > 0.8 * len(together)


def test_padding_shows_where_rotary_reads_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeded bug of the test above: one batch for all lengths."""
    loaded = load(str(tiny.folder(tmp_path / "m", "phi3_longrope")))
    alone = draw(loaded, prompts(), batch_size=1)
    monkeypatch.setattr(sample, "_may_pad", lambda core: True)
    assert draw(loaded, prompts()) != alone


def test_subsets_orders_and_batch_sizes(llama: Loaded) -> None:
    asked = prompts(tuple(range(2, 14)))
    whole = draw(llama, asked)
    order = np.random.default_rng(3).permutation(len(asked))
    assert draw(llama, [asked[i] for i in order], batch_size=5) == whole
    few = draw(llama, asked[3:6], completions=2)
    assert few == {key: whole[key] for key in few}
    assert draw(llama, [asked[0], *asked]) == whole


def test_seeds_indices_and_prompts_differ(llama: Loaded) -> None:
    asked = prompts((5, 5))
    one, other = draw(llama, asked), draw(llama, asked, seed=1)
    drawn = [ids for found in (one, other) for ids, _, _ in found.values()]
    assert len(set(drawn)) == len(drawn) == 12


def test_the_order_is_that_of_prompt_and_index(llama: Loaded) -> None:
    draws = sample.sample(llama, prompts((5, 2, 9)), SETTINGS, seed=0)
    assert [(d.prompt_index, d.index) for d in draws] == [
        (p, i) for p in range(3) for i in range(3)
    ]


def next_token(loaded: Loaded, prompt: tuple[int, ...]) -> torch.Tensor:
    model: Any = loaded.core
    with torch.no_grad():
        probs: torch.Tensor = model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)
    return probs


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_draws_follow_the_model(llama: Loaded, temperature: float) -> None:
    """First tokens of 3,000 completions against the softmax, chi-squared over likely tokens."""
    prompt = prompts((6,))[0]
    settings = SampleSettings(1, completions=3000, temperature=temperature, batch_size=1000)
    draws = sample.sample(llama, [prompt], settings, seed=7)
    stop = llama.stop_ids[0]
    counts = np.bincount([d.ids[0] if d.ids else stop for d in draws], minlength=tiny.VOCAB)
    probs = next_token(llama, prompt).double().log().div(temperature).softmax(-1).numpy()
    likely = probs > 0.004
    observed = np.append(counts[likely], counts[~likely].sum())
    expected = 3000 * np.append(probs[likely], probs[~likely].sum())
    assert scipy_stats.chisquare(observed, expected).pvalue > 1e-3


def test_top_p_and_min_p_cut_the_tail(llama: Loaded) -> None:
    prompt = prompts((6,))[0]
    probs = next_token(llama, prompt)
    ranked = probs.sort(descending=True)
    nucleus = set(ranked.indices[: int((ranked.values.cumsum(0) < 0.5).sum()) + 1].tolist())
    strong = set((probs >= 0.3 * probs.max()).nonzero()[:, 0].tolist())
    one = SampleSettings(max_new_tokens=1, completions=300)
    for settings, allowed in (
        (replace(one, top_p=0.5), nucleus),
        (replace(one, min_p=0.3), strong),
    ):
        drawn = {d.ids[0] for d in sample.sample(llama, [prompt], settings, seed=0) if d.ids}
        assert drawn <= allowed
        assert len(drawn) > len(allowed) / 2


def test_jobs_of_any_warmth_go_together(llama: Loaded) -> None:
    """Every text is what it is alone, whatever else is drawn in the same call, in any order."""
    warmths = [(1.0, 1.0), (0.5, 1.0), (0.5, 0.4), (0.0, 1.0), (2.0, 0.4)]
    asked = prompts((5, 9, 3))
    jobs = [
        sample.Job(prompt, index, *warmths[index], place)
        for place, prompt in enumerate(asked)
        for index in (4, 2, 0, 3, 1)
    ]
    together = sample.draw(llama, jobs, SETTINGS, seed=3)
    assert [(d.prompt_index, d.index) for d in together] == [
        (j.prompt_index, j.index) for j in jobs
    ]
    for job, found in zip(jobs, together, strict=True):
        settings = replace(SETTINGS, temperature=job.temperature, top_p=job.top_p, completions=5)
        alone = sample.sample(llama, [job.prompt], settings, seed=3)[job.index]
        assert (found.ids, found.text, found.end) == (alone.ids, alone.text, alone.end)


def test_noise_is_gumbel_and_keyed() -> None:
    keys = torch.tensor([1, 2, -(2**63), 2**63 - 1])
    noise = gumbel(keys, 0, 20_000)
    assert noise.dtype == torch.float32
    assert noise.isfinite().all()
    for row in noise.double().numpy():
        assert scipy_stats.kstest(row, "gumbel_r").pvalue > 1e-3
    assert torch.equal(noise[1], gumbel(keys[1:2], 0, 20_000)[0])
    assert torch.equal(noise[1, :50], gumbel(keys[1:2], 0, 50)[0])
    others = [noise[0], gumbel(keys, 1, 20_000)[1], torch.roll(noise[1], 1)]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([noise[1], other]))[0, 1])) < 0.03


def test_a_text_ends_where_it_is_told(llama: Loaded) -> None:
    greedy = replace(SETTINGS, temperature=0.0, completions=1)
    asked = prompts((6,))
    (free,) = sample.sample(llama, asked, greedy, seed=0)
    assert len(free.ids) == 20
    stop = free.ids[4]
    at = free.ids.index(stop)
    (cut,) = sample.sample(llama, asked, replace(greedy, stop_ids=(stop,)), seed=0)
    assert cut.ids == free.ids[:at]
    assert (cut.ended, free.ended) == (True, False)


def test_a_text_is_what_it_adds_to_the_prompt(shared_data: Path) -> None:
    """Decoded by itself, the completion of this tokenizer would lose its leading space."""
    loaded = load(str(shared_data / "stories260K"))
    tokens: Any = loaded.tokenizer
    prompt = (1, *tokens("Once upon a time", add_special_tokens=False).input_ids)
    settings = SampleSettings(12, completions=4, temperature=0.8)
    for found in sample.sample(loaded, [prompt], settings, seed=0):
        whole = tokens.decode([*prompt, *found.ids], skip_special_tokens=True)
        assert whole == "Once upon a time" + found.text


def test_the_context_is_never_passed(tmp_path: Path) -> None:
    """gpt2 has no position past its context; a long neighbour must not shorten a short prompt."""
    loaded = load(str(tiny.folder(tmp_path / "m", "gpt2", n_positions=24)))
    asked = prompts((22, 4))
    found = draw(loaded, asked, max_new_tokens=15)
    assert found == draw(loaded, asked, max_new_tokens=15, batch_size=1)
    assert max(len(ids) for (prompt, _), (ids, _, _) in found.items() if len(prompt) == 22) == 2
    assert max(len(ids) for (prompt, _), (ids, _, _) in found.items() if len(prompt) == 4) == 15


def test_prompts_that_cannot_be_continued(llama: Loaded) -> None:
    with pytest.raises(UsageError, match="Prompt 2 has 0 tokens"):
        sample.sample(llama, [(1,), ()], SETTINGS, seed=0)
    with pytest.raises(UsageError, match="Prompt 1 has 256 tokens"):
        sample.sample(llama, [(5,) * 256], SETTINGS, seed=0)


@pytest.fixture
def training(llama: Loaded, tmp_path: Path) -> Iterator[Loaded]:
    """In the middle of training: train mode, tree attention, an adapter, checkpointing on."""
    source = tiny.folder(tmp_path / "m")
    tuned = adapters.start_lora(load(str(source)), adapters.Lora(4), seed=0)
    model: Any = tuned.core
    model.set_attn_implementation(attention.NAME)
    with quiet():  # a name that transformers is about to change
        model.gradient_checkpointing_enable()
    tuned.model.train()
    yield tuned


def test_sampling_leaves_training_as_it_was(llama: Loaded, training: Loaded) -> None:
    asked = prompts()
    before = training.core.generation_config
    assert draw(training, asked) == draw(llama, asked)
    assert all(module.training for module in training.model.modules())
    assert training.core.config._attn_implementation == attention.NAME
    assert training.core.generation_config is before
    assert len(adapters.trainable(training.model)) == 42


def test_a_generation_config_of_the_model_changes_nothing(llama: Loaded, tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "m")
    odd = {
        "repetition_penalty": 5.0,
        "do_sample": True,
        "top_k": 2,
        "num_beams": 3,
        "eos_token_id": 1,
    }
    (folder / "generation_config.json").write_text(json.dumps(odd | {"eos_token_id": 1}))
    assert draw(load(str(folder)), prompts()) == draw(llama, prompts())


def test_progress_counts_up(llama: Loaded) -> None:
    seen: list[tuple[int, int]] = []
    settings = replace(SETTINGS, max_new_tokens=2, batch_size=10)
    sample.sample(llama, prompts(), settings, seed=0, progress=lambda *p: seen.append(p))
    assert seen == [(10, 24), (20, 24), (24, 24)]
