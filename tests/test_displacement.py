"""KL on own texts, displacement and regression, against plain transformers in float64."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
from engine_cases import tokens
from palate import api
from palate.config import DpoConfig
from palate.data.rows import Example, Item, Origin, Pair
from palate.engine.divergence import kl
from palate.engine.model import load
from palate.engine.policy import Policy
from palate.engine.sample import SampleSettings, sample
from palate.engine.scoring import score
from palate.errors import CheckpointError, DataError
from palate.runs import checkpoint
from palate.stats import Interval
from palate.study.displacement import curves, where
from palate.study.divergence import of_samples, per_token
from palate.study.drawn import Drawn
from palate.study.evaluated import Divergence
from palate.study.regression import compare
from palate.train.events import Event, Note, silent

WORDS = ("river", "station", "lift", "bath")
PROMPTS = tuple(f"place {n}: the flat near the {WORDS[n % 4]}" for n in range(20))
PAIRS = [
    {"prompt": PROMPTS[n // 2], "chosen": f"It has {n} baths.", "rejected": f"A {WORDS[n % 3]}."}
    for n in range(40)
]
ROWS = [
    Pair(row["prompt"], row["chosen"], row["rejected"], Origin("pairs.jsonl", n))
    for n, row in enumerate(PAIRS[:8], start=1)
]
ORIGIN = Origin("made.jsonl", 1)
EXAMPLES = [Example(row.prompt, row.chosen, row.origin) for row in ROWS]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("displacement")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALATE_CACHE", str(root / "cache"))
        api.dpo(
            DpoConfig(
                model=str(root / "model"),
                data=str(root / "pairs.jsonl"),
                out=root / "run",
                batch_size=8,
                max_steps=8,
                epochs=3,
                save_every=4,
                keep=4,
                token_budget=64,
                lr=3e-3,
                full=True,
            )
        )
        yield root


class Plain:
    """A folder's weights in float64, one text at a time."""

    def __init__(self, place: Path, name: str) -> None:
        folder = place / name
        folder = folder / "final" if (folder / "final").exists() else folder
        self.model = AutoModelForCausalLM.from_pretrained(folder).double().eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, prompt: str, text: str, *, end: bool = True) -> tuple[list[int], int]:
        start = self.tokenizer(prompt + "\n")["input_ids"]
        whole = self.tokenizer(prompt + "\n" + text)["input_ids"]
        assert whole[: len(start)] == start, "no token lies on the boundary"
        return whole + [1] * end, len(start)

    @torch.no_grad()
    def normal(self, ids: list[int], start: int) -> Tensor:
        """Log-probs (T,V) of the whole vocabulary at each scored token."""
        logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        found: Tensor = logits[start - 1 : -1].log_softmax(-1)
        return found

    def logp(self, ids: list[int], start: int) -> float:
        normal = self.normal(ids, start)
        return float(sum(row[token] for row, token in zip(normal, ids[start:])))

    @torch.no_grad()
    def likeliest(self, prompt: str, most: int) -> tuple[list[int], int]:
        ids = self.tokenizer(prompt + "\n")["input_ids"]
        start = len(ids)
        while len(ids) < start + most and (len(ids) == start or ids[-1] != 1):
            ids = [*ids, int(self.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
        return ids, start


# ---------------------------------------------------------------- KL on own texts


def written(place: Path, texts: Sequence[Sequence[str]], *, ended: bool = True) -> Drawn:
    marks = tuple((ended,) * len(each) for each in texts)
    return Drawn(str(place / "run"), PROMPTS[: len(texts)], tuple(map(tuple, texts)), marks)


def measured(place: Path, drawn: Drawn, reference: str = "model") -> Divergence:
    found = of_samples(str(place / "run"), str(place / reference), drawn, silent)
    assert found is not None
    return found


def naive_kl(place: Path, drawn: Drawn) -> tuple[list[float], list[int]]:
    policy, reference = Plain(place, "run"), Plain(place, "model")
    nats, counts = [], []
    for prompt, texts, marks in zip(drawn.prompts, drawn.texts, drawn.ended):
        for text, end in zip(texts, marks):
            ids, start = policy.ids(str(prompt), text, end=end)
            p, q = policy.normal(ids, start), reference.normal(ids, start)
            nats.append(float((p.exp() * (p - q)).sum()))
            counts.append(len(ids) - start)
    return nats, counts


@pytest.mark.parametrize("ended", [True, False])
def test_kl_of_texts_equals_the_naive_one(place: Path, ended: bool) -> None:
    drawn = written(place, [("It has a bath.", "two"), ("A garden in the back",)], ended=ended)
    found, (nats, counts) = measured(place, drawn), naive_kl(place, drawn)
    assert found.tokens == sum(counts)
    assert found.per_text.value == pytest.approx(sum(nats) / 3, rel=1e-4)
    assert found.per_token.value == pytest.approx(sum(nats) / sum(counts), rel=1e-4)
    assert min(nats) > 0.01


def test_texts_of_one_prompt_are_no_independent_ones(place: Path) -> None:
    found = measured(place, written(place, [("It has a bath.", "two", "A garden.")]))
    assert found.per_text.low == found.per_text.high
    assert found.per_token.low == pytest.approx(found.per_token.high)


def test_the_exact_kl_is_the_mean_log_ratio_of_texts_drawn(place: Path) -> None:
    """An independent estimate: the log-ratio of the tokens that the policy really drew."""
    policy, reference = (load(str(place / name)) for name in ("run", "model"))
    prompts = [tuple(policy.tokenizer(prompt + "\n")["input_ids"]) for prompt in PROMPTS[:12]]
    draws = sample(policy, prompts, SampleSettings(6, completions=20), seed=0)
    items = [
        Item(
            (tokens([*prompts[d.prompt_index], *d.said], len(prompts[d.prompt_index])),), n, ORIGIN
        )
        for n, d in enumerate(draws)
    ]
    ours, theirs = Policy(policy.model), Policy(reference.model)
    exact = kl(ours, theirs, items, 400).nats_IN[:, 0]
    ratios = (score(ours, items, 400) - score(theirs, items, 400))[:, 0]
    noise = float(ratios.std()) / len(items) ** 0.5
    assert abs(float(exact.mean() - ratios.mean())) < 2.5 * noise < 0.3 * float(exact.mean())
    assert float(exact.std()) < float(ratios.std())


def test_a_policy_from_itself_is_at_zero(place: Path) -> None:
    assert measured(place, written(place, [("It has a bath.",)]), "run").per_text.value == 0.0


def test_other_tokens_have_no_kl(place: Path, tmp_path: Path) -> None:
    tiny.folder(tmp_path / "other", "llama", num_hidden_layers=1, vocab_size=tiny.VOCAB + 8)
    heard: list[Event] = []
    drawn = written(place, [("It has a bath.",)])
    found = of_samples(str(place / "run"), str(tmp_path / "other"), drawn, heard.append)
    assert found is None
    assert any(isinstance(each, Note) and "other tokens" in each.text for each in heard)


def test_a_text_with_an_end_inside_is_left_out_and_told(place: Path) -> None:
    heard: list[Event] = []
    drawn = written(place, [("It has a bath.", "one </s> two")])
    found = of_samples(str(place / "run"), str(place / "model"), drawn, heard.append)
    assert found is not None and found.per_text.count == 1
    assert any(isinstance(each, Note) and "1 texts left out" in each.text for each in heard)


def test_per_token_is_a_ratio_of_sums() -> None:
    found = per_token([2.0, 3.0], [1, 4], ["a", "b"])
    assert found.value == pytest.approx(1.0) and found.count == 5
    assert found.low == pytest.approx(0.75) and found.high == pytest.approx(2.0)


# ---------------------------------------------------------------- displacement


def naive_curves(place: Path, most: int) -> dict[int, tuple[float, float, float]]:
    """Mean changes at every checkpoint, from its file."""
    plain, groups = Plain(place, "model"), [row.prompt for row in ROWS]
    texts = [
        (
            plain.ids(str(row.prompt), str(row.chosen)),
            plain.ids(str(row.prompt), str(row.rejected)),
            plain.likeliest(str(row.prompt), most),
        )
        for row in ROWS
    ]

    def logps() -> Tensor:
        return torch.tensor([[plain.logp(*each) for each in three] for three in texts]).double()

    before, found = logps(), {}
    firsts = [groups.index(group) for group in dict.fromkeys(groups)]
    for step, weights in checkpoint.kept_weights(place / "run"):
        plain.model.load_state_dict({name: value.double() for name, value in weights.items()})
        change = logps() - before
        chosen, rejected = change.mean(0).tolist()[:2]
        found[step] = (chosen, rejected, float(change[firsts, 2].mean()))
    return found


def test_the_curves_are_those_of_plain_transformers(place: Path) -> None:
    found = curves(str(place / "run"), ROWS, silent)
    want = naive_curves(place, most=32)
    assert [each.step for each in found] == list(want) == [0, 4, 8]
    for each in found:
        values = (each.chosen.value, each.rejected.value, each.sample.value)
        assert values == pytest.approx(want[each.step], abs=2e-3)
        assert each.mass and each.sample.count == 4 and each.chosen.count == 8
    assert found[0].mass == "Nothing moved that this many pairs could show."
    assert found[-1].chosen.value > found[-1].rejected.value + 0.5


def test_pairs_of_one_prompt_are_no_independent_ones(place: Path) -> None:
    last = curves(str(place / "run"), ROWS[:2], silent)[-1]
    assert last.chosen.low == last.chosen.high and last.chosen.count == 2


def test_a_start_that_changed_is_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["config"]["model"] = str(
        tiny.folder(tmp_path / "m", "llama", num_hidden_layers=1, seed=3)
    )
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="has changed since"):
        curves(str(tmp_path / "run"), ROWS, silent)


def test_a_run_without_checkpoints_has_no_curve(place: Path, tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("checkpoints")
    shutil.copytree(place / "run", tmp_path / "run", ignore=ignore)
    assert curves(str(tmp_path / "run"), ROWS, silent) == ()


def test_no_sound_pair_is_an_error(place: Path) -> None:
    same = [Pair("the flat", "one </s> two", "three", Origin("pairs.jsonl", 1))]
    with pytest.raises(DataError, match="none of the 1 pairs"):
        curves(str(place / "run"), same, silent)


UP, DOWN, FLAT = Interval(1.0, 0.5, 1.5, 9), Interval(-2.0, -3, -1, 9), Interval(0.1, -1, 1, 9)


@pytest.mark.parametrize(
    ("three", "said"),
    [
        ((FLAT, FLAT, FLAT), "Nothing moved that this many pairs could show."),
        ((DOWN, DOWN, DOWN), "what they lost went to texts that are none of these."),
        ((UP, FLAT, UP), "what they gained came from texts that are none of these."),
        ((UP, DOWN, FLAT), "probability left rejected and reached chosen."),
        ((UP, DOWN, FLAT), "Chosen rose by 1.00; rejected fell by 2.00; the start's own"),
    ],
)
def test_where_the_mass_went(three: tuple[Interval, ...], said: str) -> None:
    assert said in where(*three)


# ---------------------------------------------------------------- regression


def test_the_losses_are_those_of_plain_transformers(place: Path) -> None:
    models = [str(place / name) for name in ("model", "run")]
    first, tuned = compare(models, EXAMPLES, silent)
    nats, count = [], 0
    for name in ("model", "run"):
        plain = Plain(place, name)
        ids = [plain.ids(str(each.prompt), str(each.completion)) for each in EXAMPLES]
        count = sum(len(each) - start for each, start in ids)
        nats.append(sum(-plain.logp(*each) for each in ids))
    assert first.change is None and first.verdict is None and first.loss.count == count
    assert first.loss.value == pytest.approx(nats[0] / count, rel=1e-4)
    assert tuned.loss.value == pytest.approx(nats[1] / count, rel=1e-4)
    assert tuned.change is not None
    assert tuned.change.value == pytest.approx((nats[1] - nats[0]) / count, abs=1e-4)
    assert tuned.change.high - tuned.change.low < tuned.loss.high - tuned.loss.low


def test_examples_of_one_prompt_are_no_independent_ones(place: Path) -> None:
    (first,) = compare([str(place / "model")], EXAMPLES[:2], silent)
    assert first.loss.low == pytest.approx(first.loss.high)


def test_the_verdict_is_of_the_paired_change(place: Path) -> None:
    models = [str(place / name) for name in ("model", "run")]
    learnt = compare(models, EXAMPLES, silent)[1]
    again = compare([models[1], models[0], models[1]], EXAMPLES, silent)
    assert learnt.verdict == "better", "the chosen texts are what it learnt"
    assert [each.verdict for each in again] == [None, "worse", "indistinguishable"]
    assert again[2].change is not None and again[2].change.value == 0.0


def test_a_model_that_reads_other_tokens_is_not_compared(place: Path, tmp_path: Path) -> None:
    tiny.folder(tmp_path / "other", "llama", num_hidden_layers=1)
    tiny.tokenizer(adds_bos=True).save_pretrained(tmp_path / "other")
    heard: list[Event] = []
    _, other = compare([str(place / "run"), str(tmp_path / "other")], EXAMPLES, heard.append)
    assert other.change is None and other.verdict is None and other.loss.value > 0
    assert any(isinstance(each, Note) and "cannot be compared" in each.text for each in heard)


def test_examples_that_no_model_takes_are_an_error(place: Path) -> None:
    bad = [Example("the flat", "one </s> two", Origin("rows.jsonl", 1))]
    with pytest.raises(DataError, match="none of the 1 examples"):
        compare([str(place / "model")], bad, silent)
