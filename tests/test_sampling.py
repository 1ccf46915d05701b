"""`palate sample`: which texts are drawn and drawn again, files that go on, and who draws them."""

import fcntl
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from openai_server import Answer, Server, said
from palate import api, cli, endpoint
from palate.config import RowOptions, SampleConfig
from palate.data.rows import Example, Origin
from palate.data.sources import read_prompts
from palate.engine import adapters
from palate.engine.model import load
from palate.engine.sample import draw as draw_texts
from palate.errors import CheckpointError, Interrupted, ModelError, PalateError, UsageError
from palate.study import sampling, sampling_endpoint, sampling_local, sampling_vllm
from palate.study.sampling import MORE, Ask, Made, Plan, nearly_same, sample, spread, tally
from palate.train.events import Event, Note, Working, silent

PROMPTS = ("the flat", "this one is by the river", "two baths", "near the station", "a garden")
SHORT: dict[str, Any] = {"max_new_tokens": 12}


def write_prompts(path: Path, prompts: Sequence[Any] = PROMPTS) -> Path:
    path.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in prompts))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sampling") / "model"
    return str(tiny.folder(folder, "llama", num_hidden_layers=1))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(endpoint.KEY, raising=False)


class Told(list[Event]):
    """A listener that remembers."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self if isinstance(event, Note)]


# ---- which texts are drawn: against the plainest way to do it


class Fake:
    """Texts of few words, so that many are the same; it counts what it was asked for."""

    about: Mapping[str, Any] = {"model": "fake"}

    def __init__(self, size: int = 8, words: int = 3) -> None:
        self.size, self.words, self.asked = size, words, list[Ask]()
        self.closed = False

    def text(self, prompt: object, draw: int, temperature: float) -> str:
        key = f"{prompt} {draw if temperature else 0}"
        number = hashlib.sha256(key.encode()).digest()[0] % self.words
        return ("One", "another  text", "another\nTEXT", "a third", "fourth", "x" * 40)[number]

    def draw(self, asks: Sequence[Ask]) -> list[Made]:
        self.asked += asks
        return [Made(self.text(a.prompt, a.draw, a.temperature), True, 2, -1.0) for a in asks]

    def close(self) -> None:
        self.closed = True


def rows(count: int) -> list[Example]:
    return [Example(f"prompt {n}", "", Origin("p", n + 1)) for n in range(count)]


def naively(fake: Fake, prompt: str, warmths: Sequence[tuple[float, float]]) -> list[Any]:
    """One draw after another: the indexes, then round after round the ones still without a text."""
    kept: dict[int, tuple[int, str]] = {}
    draws = itertools.count()
    first = True
    while True:
        missing = [i for i in range(len(warmths)) if i not in kept]
        for index in [i for i in missing if first or warmths[i][0] > 0]:
            draw = next(draws)
            if draw == len(warmths) + MORE:
                return [(i, *kept[i]) for i in sorted(kept)]
            text = fake.text(prompt, draw, warmths[index][0])
            plain = " ".join(text.lower().split())
            if plain not in [" ".join(old.lower().split()) for _, old in kept.values()]:
                kept[index] = (draw, text)
        if not [i for i in missing if i not in kept and warmths[i][0] > 0]:
            return [(i, *kept[i]) for i in sorted(kept)]
        first = False


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
@pytest.mark.parametrize("words", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("warm", [(), (1.0, 0.5), (0.0, 1.0, 1.0, 2.0), (1.0, 2.0, 0.0)])
def test_texts_are_those_of_the_naive_way(size: int, words: int, warm: tuple[float, ...]) -> None:
    fake = Fake(size, words)
    config = SampleConfig(n=max(3, len(warm)), temperatures=warm)
    blocks = list(Plan(config, fake, spread(config)).blocks(rows(9)))
    assert [block[0]["prompt"] for block in blocks] == [row.prompt for row in rows(9)]
    for block in blocks:
        told = [(r["index"], r["draw"], r["completion"]) for r in block]
        assert told == naively(fake, block[0]["prompt"], spread(config))
        assert {r["kept"] for r in block} == {len(block)}
        drawn = [a.draw for a in fake.asked if a.prompt == block[0]["prompt"]]
        assert drawn == list(range(block[0]["drawn"]))
        assert len(drawn) <= config.n + MORE


class Silent(Fake):
    """Says nothing at all on even draws, or ever."""

    def __init__(self, always: bool) -> None:
        super().__init__(words=6)
        self.always = always

    def text(self, prompt: object, draw: int, temperature: float) -> str:
        return " \n" if self.always or draw % 2 == 0 else hashlib.sha256(bytes(draw)).hexdigest()


def test_empty_texts_are_drawn_again_unless_there_is_no_other() -> None:
    def texts(n: int, always: bool) -> list[list[Any]]:
        config = SampleConfig(n=n)
        blocks = Plan(config, Silent(always), spread(config)).blocks(rows(3))
        return [[(r["index"], r["draw"], r["kept"], r["drawn"]) for r in b] for b in blocks]

    assert texts(2, always=False) == [[(0, 3, 2, 4), (1, 1, 2, 4)]] * 3
    assert texts(2, always=True) == [[(0, 0, 1, 2 + MORE)]] * 3
    assert texts(1, always=True) == [[(0, 0, 1, 1)]] * 3


def test_redrawn_texts_are_as_warm_as_their_index() -> None:
    fake = Fake(words=2)
    config = SampleConfig(n=3, temperatures=(0.7, 1.0, 1.3), top_ps=(0.9, 1.0))
    blocks = list(Plan(config, fake, spread(config)).blocks(rows(20)))
    again = [ask for ask in fake.asked if ask.draw >= 3]
    assert again and all(
        (a.temperature, a.top_p) == ((0.7, 0.9), (1.0, 1.0), (1.3, 0.9))[a.index]
        for a in fake.asked
    )
    for record in itertools.chain(*blocks):
        assert record["temperature"] == (0.7, 1.0, 1.3)[record["index"]]


def test_ids_are_hashes_of_what_made_the_text() -> None:
    def ids(**options: Any) -> list[str]:
        config = SampleConfig(**({"n": 4} | options))
        blocks = Plan(config, Fake(words=6), spread(config)).blocks(rows(6))
        return [record["id"] for block in blocks for record in block]

    base = ids()
    assert len(set(base)) == len(base) and base == ids()
    assert not set(base) & set(ids(seed=1)) and not set(base) & set(ids(top_p=0.5))
    assert not set(base) & set(ids(max_new_tokens=9))
    assert set(ids(n=2)) & set(base), "a text does not depend on how many others are drawn"
    named = {"seed": 0, "identity": "abc", "model": "here"}
    assert sampling.made_by(named, "p", 0) == sampling.made_by(named | {"model": "there"}, "p", 0)
    assert sampling.made_by(named, "p", 0) != sampling.made_by(named | {"identity": "d"}, "p", 0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Two baths.", "two\n  BATHS. ", True),
        ("", "  ", True),
        ("", "a", False),
        ("a" * 99 + "b", "a" * 99 + "c", True),
        ("a" * 18 + "bb", "a" * 18 + "cc", False),  # 0.90 of the letters
        ("a" * 95 + "b" * 5, "a" * 95 + "c" * 5, True),  # 0.95 exactly
        ("a" * 94 + "b" * 6, "a" * 94 + "c" * 6, False),
        ("a bright flat near the station", "a bright flat near the river", False),
        ("x" * 99 + " fees $310", "x" * 99 + " fees $350", False),  # the makings of a near miss
        ("x" * 99 + " 2 bath, 1 lift", "x" * 99 + " 2 bath; 1 lift", True),
        ("x" * 199 + " two-bedroom flat", "x" * 199 + " ten-bedroom flat", False),
        ("x" * 199 + " twofold", "x" * 199 + " tenfold", True),
    ],
)
def test_nearly_the_same(one: str, other: str, same: bool) -> None:
    assert nearly_same(one, other) is same
    assert nearly_same(other, one) is same


def test_the_tally() -> None:
    fake = Fake(words=2)
    config = SampleConfig(n=3)
    blocks = list(Plan(config, fake, spread(config)).blocks(rows(12)))
    found = tally([record for block in blocks for record in block])
    assert (found.prompts, found.texts) == (12, sum(map(len, blocks)))
    assert found.redrawn == len(fake.asked) - 36 > 0
    assert found.short == sum(len(block) < 3 for block in blocks) == 12
    assert (found.length, found.unit) == (2, "tokens")
    texts = [{"line": 1, "kept": 1, "n": 1, "drawn": 1, "tokens": None, "completion": "a b c"}]
    assert (tally(texts).length, tally(texts).unit) == (3, "words")


# ---- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 2, "temperatures": (1.0, 0.5, 0.2)}, "--temperatures has 3 values for 2"),
        ({"n": 2, "top_ps": (1.0, 0.5, 0.2)}, "--top-ps has 3 values"),
        ({"n": 2, "temperatures": (1.0, 0.5), "temperature": 1.0}, "the same thing twice"),
        ({"n": 2, "top_ps": (1.0, 0.5), "top_p": 0.5}, "--top-ps and --top-p"),
        ({"n": 2, "temperature": 0}, "2 of the 2 would be"),
        ({"n": 4, "temperatures": (0.0, 1.0)}, "2 of the 4 would be"),
        ({"temperature": 0, "top_p": 0.5}, "--top-p has no effect at temperature 0"),
        ({"endpoint": "http://localhost:1", "vllm": True}, "two ways"),
        ({"insecure": True}, "--insecure has no effect"),
        ({"endpoint": "http://localhost:1", "join": " "}, "--join has no effect"),
        ({"endpoint": "http://localhost:1", "chat_template": "chatml"}, "--chat-template has no"),
        ({"plain": True}, "--plain has no effect"),
    ],
)
def test_options_without_effect(
    options: dict[str, Any], words: str, model: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(UsageError, match=words):
        sample(model, str(write_prompts(tmp_path / "p")), SampleConfig(**options), silent, out=out)
    assert not out.exists()


@pytest.mark.parametrize("given", ["0.7,-1", "a,b", "0.7,nan"])
def test_temperatures_that_are_none(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sample", "m", "p", "--n", "2", "--temperatures", given]) == 2
    assert "--temperatures" in capsys.readouterr().err
    assert cli.run(["sample", "m", "p", "--n", "2", "--top-ps", "0.5,2"]) == 2


def test_a_prompt_that_occurs_twice_is_drawn_once(model: str, tmp_path: Path) -> None:
    told = Told()
    path = write_prompts(tmp_path / "p", ["a", "b", "a", "b", "a", "c"])
    found = sample(model, str(path), SampleConfig(**SHORT), told)
    assert [(r["line"], r["prompt"]) for r in found] == [(1, "a"), (2, "b"), (6, "c")]
    assert "2 prompts occur more than once; drawn once, at its first line" in told.notes


@pytest.mark.parametrize(
    "ties",
    [
        {"prompt": "a", "responses": ["x", "y"], "scores": [1, 1]},
        {"instruction": "a", "completions": [{"response": "x", "overall_score": 2}] * 2},
        {"prompt": "a", "chosen": "x", "rejected": "y", "score_chosen": 1, "score_rejected": 1},
    ],
)
def test_a_scored_record_whose_answers_tie_keeps_its_prompt(
    ties: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "scored.jsonl"
    path.write_text(json.dumps(ties) + "\n")
    found = read_prompts(str(path))
    assert [row.prompt for row in found.rows] == ["a"]
    assert not any("make no pair:" in note for note in found.notes)


# ---- transformers: texts, log-probs, records


def test_records_of_a_model(model: str, tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "p")
    found = sample(model, str(path), SampleConfig(n=3, seed=5, **SHORT), silent)
    assert len(found) == 15
    assert [(r["line"], r["index"]) for r in found] == [
        (line, index) for line in range(1, 6) for index in range(3)
    ]
    identity = load(model).identity
    for record in found:
        assert record["identity"] == identity and record["model"] == model
        assert record["seed"] == 5 and record["max_new_tokens"] == 12 and record["n"] == 3
        assert 0 < record["tokens"] <= 12 + record["ended"]
    assert json.loads(json.dumps(found)) == list(found)


def test_a_text_depends_on_nothing_beside_it(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts and log-probs, to the last bit, for other neighbours and orders; texts for other n."""
    monkeypatch.setattr(sampling_local, "DIGITS", 17)
    options: dict[str, Any] = {"temperatures": (0.7, 1.0, 1.3), **SHORT}

    def drawn(prompts: Sequence[str], n: int) -> dict[Any, Any]:
        path = write_prompts(tmp_path / "p", prompts)
        found = sample(model, str(path), SampleConfig(n=n, **options), silent)
        keep = ("id", "index", "completion", "logp", "tokens", "ended")
        return {(r["prompt"], r["draw"]): [r[name] for name in keep] for r in found}

    whole = drawn(PROMPTS, 4)
    assert drawn(PROMPTS[::-1], 4) == whole
    few = drawn(PROMPTS[1:3], 4)
    assert few == {key: whole[key] for key in few} and len(few) > 4
    first = {key: found[:3] for key, found in drawn(PROMPTS, 3).items() if key[1] < 3}
    assert first == {key: whole[key][:3] for key in first} and len(first) > 8


def test_log_probs_are_those_of_the_model_at_temperature_1(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against plain logits of the very tokens, and against `palate score` of the file itself."""
    drawn: list[Any] = []
    tokens: Any = load(model).tokenizer

    def watched(loaded: Any, jobs: Any, settings: Any, *, seed: int) -> Any:
        found = draw_texts(loaded, jobs, settings, seed=seed)
        drawn.extend(zip(jobs, found, strict=True))
        return found

    monkeypatch.setattr(sampling_local, "draw_texts", watched)
    out, path = tmp_path / "out.jsonl", write_prompts(tmp_path / "p")
    config = SampleConfig(n=3, temperatures=(0.5, 1.0, 2.0), top_p=0.9, max_new_tokens=30)
    found = sample(model, str(path), config, silent, out=out)
    core: Any = load(model).core
    texts = {(record["prompt"], record["draw"]): record for record in found}
    asked = {tuple(tokens(prompt + "\n")["input_ids"]): prompt for prompt in PROMPTS}
    kept = [each for each in drawn if (asked[each[0].prompt], each[0].index) in texts]
    assert len(found) == len(kept) and {draw.ended for _, draw in kept} == {True, False}
    for job, draw in kept:
        record = texts[asked[job.prompt], job.index]
        assert draw.said == (*draw.ids, *([1] if draw.ended else []))
        ids = torch.tensor([[*job.prompt, *draw.said]])
        with torch.no_grad():
            each = core(input_ids=ids).logits[0].double().log_softmax(-1)
        places = range(len(job.prompt) - 1, ids.shape[1] - 1)
        naive = sum(float(each[at, ids[0, at + 1]]) for at in places)
        assert record["logp"] == pytest.approx(naive, abs=2e-3)
        assert record["logp"] == round(record["logp"], 4)
        assert record["tokens"] == len(draw.said)
    scored = zip(found, api.score(model, str(out), RowOptions()), strict=True)
    same = [(r, row) for r, row in scored if r["ended"] and row.tokens[0] == r["tokens"]]
    assert all(r["logp"] == pytest.approx(row.logps[0], abs=2e-3) for r, row in same)


def test_a_conversation_is_a_prompt(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    template += "{% if add_generation_prompt %}assistant: {% endif %}"
    folder = tiny.folder(tmp_path / "m", "llama", chat_template=template, num_hidden_layers=1)
    talk = [{"role": "user", "content": "the flat"}]
    path = write_prompts(tmp_path / "p", [talk])
    (found,) = sample(str(folder), str(path), SampleConfig(**SHORT), silent)
    assert found["prompt"] == talk


def test_a_prompt_that_leaves_no_room(model: str, tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "p", ["short", "the flat " * 400])
    with pytest.raises(UsageError, match=r"p:2: the prompt has \d+ tokens"):
        sample(model, str(path), SampleConfig(), silent, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_log_prob_that_is_no_number(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sampling_local,
        "score",
        lambda policy, items, budget: torch.full((len(items), 1), torch.nan),
    )
    with pytest.raises(PalateError, match="not a number"):
        sample(model, str(write_prompts(tmp_path / "p")), SampleConfig(), silent)


# ---- files that go on


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(size=5, words=3)
    monkeypatch.setattr(sampling, "_sampler", lambda *words: made)
    return made


FOUR = SampleConfig(n=4)


def test_a_file_cut_anywhere_becomes_the_same_file(fake: Fake, tmp_path: Path) -> None:
    """At every byte: what a kill, or a full disk, may leave."""
    path, out = str(write_prompts(tmp_path / "p")), tmp_path / "out.jsonl"
    fake.words = 5
    found = sample("m", path, FOUR, silent, out=out)
    whole = out.read_bytes()
    assert [json.loads(line) for line in whole.splitlines()] == list(found)
    assert len({len(list(g)) for _, g in itertools.groupby(found, lambda r: r["line"])}) > 1
    ends = {0, *itertools.accumulate(len(line) for line in whole.splitlines(keepends=True))}
    for size in sorted({*range(0, len(whole), 97), *ends, *(end - 1 for end in ends if end)}):
        out.write_bytes(whole[:size])
        fake.asked.clear()
        assert sample("m", path, FOUR, silent, out=out) == found
        assert out.read_bytes() == whole, size
        if size == len(whole):
            assert not fake.asked, "a finished file is asked for nothing"


def test_a_cut_file_of_a_model_becomes_the_same_file(model: str, tmp_path: Path) -> None:
    """The log-probs too, whose last bits other batches would change."""
    path, out = str(write_prompts(tmp_path / "p")), tmp_path / "out.jsonl"
    config = SampleConfig(n=3, temperatures=(0.8, 1.2), max_new_tokens=20)
    sample(model, path, config, silent, out=out)
    whole = out.read_bytes()
    for share in (0.15, 0.5, 0.9):
        out.write_bytes(whole[: int(len(whole) * share)])
        told = Told()
        sample(model, path, config, told, out=out)
        assert out.read_bytes() == whole
        assert any("5 prompts are there already" in note for note in told.notes) is (share > 0.2)
        done = [event.done for event in told if isinstance(event, Working)]
        assert done == sorted(done) and done[-1] == 15


def test_more_prompts_go_on_from_the_file(fake: Fake, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    sample("m", str(write_prompts(tmp_path / "p", PROMPTS[:2])), FOUR, silent, out=out)
    fake.asked.clear()
    path = str(write_prompts(tmp_path / "p"))
    sample("m", path, FOUR, silent, out=out)
    assert {ask.prompt for ask in fake.asked} == set(PROMPTS[2:])
    again = tmp_path / "again.jsonl"
    sample("m", path, FOUR, silent, out=again)
    assert out.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 7}, "seed 0 there, 7 now"),
        ({"n": 2}, "n 4 there, 2 now"),
        ({"n": 5}, "n 4 there, 5 now"),
        ({"temperature": 0.5, "top_p": 0.5}, "temperature 1.0 there, 0.5 now; top_p 1.0 there"),
        ({"temperatures": (1.0, 1.0, 1.0, 0.5)}, "temperature 1.0 there, 0.5 now"),
        ({"max_new_tokens": 9}, "max_new_tokens 256 there, 9 now"),
    ],
)
def test_a_file_made_otherwise_is_refused(
    fake: Fake, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    fake.words = 6
    path, out = str(write_prompts(tmp_path / "p")), tmp_path / "out.jsonl"
    sample("m", path, FOUR, silent, out=out)
    before = out.read_bytes()
    with pytest.raises(CheckpointError, match=words):
        sample("m", path, SampleConfig(**({"n": 4} | options)), silent, out=out)
    assert out.read_bytes() == before


def test_a_file_of_another_model_is_refused(fake: Fake, tmp_path: Path) -> None:
    path, out = str(write_prompts(tmp_path / "p")), tmp_path / "out.jsonl"
    fake.about = {"model": "one", "identity": "a" * 64}
    sample("m", path, FOUR, silent, out=out)
    for about, words in (
        ({"model": "two", "identity": "b" * 64}, "identity a{12} there, b{12} now"),
        ({"model": "one", "endpoint": "http://x/v1"}, "identity a{12} there, not set now"),
        ({"model": "one", "identity": "a" * 64, "plain": True}, "plain not set there, True now"),
        ({"model": "one", "identity": "a" * 64, "engine": "vllm"}, "engine not set there, vllm"),
    ):
        fake.about = about
        with pytest.raises(CheckpointError, match=words):
            sample("m", path, FOUR, silent, out=out)
    fake.about = {"model": "one, elsewhere", "identity": "a" * 64}
    sample("m", path, FOUR, silent, out=out)


@pytest.mark.parametrize("prompts", [PROMPTS[1:], (PROMPTS[0], "x"), (), PROMPTS[:3]])
def test_other_prompts_are_refused(fake: Fake, prompts: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    sample("m", str(write_prompts(tmp_path / "p")), FOUR, silent, out=out)
    before = out.read_bytes()
    with pytest.raises(PalateError, match=r"prompts|0 rows"):
        sample("m", str(write_prompts(tmp_path / "p", prompts)), FOUR, silent, out=out)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "held",
    [
        '{"prompt": "a", "chosen": "b", "rejected": "c"}\n',
        "not json\n",
        "[1]\n",
        '{"id": "1", "line": 1, "prompt": "a", "index": 0, "completion": "x", "seed": 0}\n',
        "\n",
    ],
)
def test_a_file_that_holds_something_else_is_left_alone(
    fake: Fake, held: str, tmp_path: Path
) -> None:
    out = tmp_path / "pairs.jsonl"
    out.write_text(held)
    with pytest.raises(CheckpointError, match="line 1, is no record of `palate sample`"):
        sample("m", str(write_prompts(tmp_path / "p")), FOUR, silent, out=out)
    assert out.read_text() == held


@pytest.mark.parametrize("held", ["dear diary", "[", '{"idea": 1}', "\0\0"])
def test_a_torn_line_that_is_not_ours_is_left_alone(fake: Fake, held: str, tmp_path: Path) -> None:
    out = tmp_path / "notes.txt"
    out.write_text(held)
    with pytest.raises(CheckpointError, match="no record"):
        sample("m", str(write_prompts(tmp_path / "p")), FOUR, silent, out=out)
    assert out.read_text() == held


def test_a_file_that_another_process_writes(fake: Fake, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with out.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another process is writing"):
            sample("m", str(write_prompts(tmp_path / "p")), FOUR, silent, out=out)
    with pytest.raises(UsageError, match="is a folder"):
        sample("m", str(write_prompts(tmp_path / "p")), FOUR, silent, out=tmp_path)
    assert fake.closed


def test_a_full_disk(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = str(write_prompts(tmp_path / "p")), tmp_path / "out.jsonl"
    writes = itertools.count()

    def full(handle: int, data: Any) -> int:
        if next(writes) == 2:
            raise OSError(28, "No space left on device")
        return os.write(handle, data)

    with monkeypatch.context() as patch:
        patch.setattr("palate.runs.atomic.os", SimpleNamespace(**vars(os) | {"write": full}))
        with pytest.raises(PalateError, match="2 of 5 prompts are in") as caught:
            sample("m", path, FOUR, silent, out=out)
    assert caught.value.exit_code == 5
    sample("m", path, FOUR, silent, out=out)
    assert len({json.loads(line)["line"] for line in out.read_text().splitlines()}) == 5


def test_ctrl_c_says_what_is_there(fake: Fake, tmp_path: Path) -> None:
    path, out = str(write_prompts(tmp_path / "p")), tmp_path / "out.jsonl"

    def stop_at(done: int) -> Any:
        def listen(event: Event) -> None:
            if isinstance(event, Working) and event.done == done:
                raise KeyboardInterrupt

        return listen

    with pytest.raises(Interrupted, match=r"2 of 5 prompts are in .*; the same command continues"):
        sample("m", path, FOUR, stop_at(8), out=out)
    assert fake.closed
    with pytest.raises(KeyboardInterrupt):
        sample("m", path, FOUR, stop_at(8))


# ---- an endpoint


class Speaker:
    """A server's mind: a text by seed; it breaks down at the `dies`-th request."""

    def __init__(self, dies: int = 10**9) -> None:
        self.dies, self.count = dies, itertools.count(1)

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        if next(self.count) >= self.dies:
            return Answer(400, b'{"error": "worn out"}')
        return said(f"text {body['seed'] % 5} of {body['seed'] % 3}", tokens=4)


def at(server: Server, **options: Any) -> SampleConfig:
    given: dict[str, Any] = {"n": 4, "endpoint": server.url} | options
    return SampleConfig(**given)


def test_an_endpoint_is_asked_text_by_text(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    path, told = write_prompts(tmp_path / "p", [talk, [talk[1]]]), Told()
    with Server(Speaker()) as server:
        config = at(server, n=2, temperatures=(0.7, 1.0), top_p=0.9, max_new_tokens=33, seed=3)
        found = sample("llama3", str(path), config, told)
        asked = sorted(server.asked, key=lambda each: each.body["seed"])
    assert {each.path for each in asked} == {"/v1/chat/completions"}
    assert len({each.body["seed"] for each in asked}) == len(asked)
    assert all(0 <= each.body["seed"] < 2**31 and "n" not in each.body for each in asked)
    assert {each.body["max_tokens"] for each in asked} == {33}
    assert talk in [each.body["messages"] for each in asked]
    assert found[0]["endpoint"] == server.url + "/v1" and found[0]["model"] == "llama3"
    assert all(r["logp"] is None and r["tokens"] == 4 for r in found)
    assert any("no log-probs" in note for note in told.notes)
    assert not any("one user turn" in note for note in told.notes)


def test_plain_prompts_at_an_endpoint(tmp_path: Path) -> None:
    path, told = str(write_prompts(tmp_path / "p", ["a"])), Told()
    with Server(lambda path, body: said("x", finish="length")) as server:
        (chat,) = sample("m", path, at(server, n=1), told)
        (text,) = sample("m", path, at(server, n=1, plain=True), told)
        one, other = server.asked
    assert (one.path, one.body["messages"]) == (
        "/v1/chat/completions",
        [{"role": "user", "content": "a"}],
    )
    assert (other.path, other.body["prompt"]) == ("/v1/completions", "a")
    assert not chat["ended"] and chat["id"] != text["id"] and text["plain"] is True
    assert sum("one user turn" in note for note in told.notes) == 1


def test_an_endpoint_down_half_way(tmp_path: Path) -> None:
    path = str(write_prompts(tmp_path / "p", [f"prompt {n}" for n in range(8)]))
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    mind = Speaker(dies=24)
    with Server(mind) as server:
        with pytest.raises(endpoint.EndpointError) as caught:
            sample("m", path, at(server), silent, out=out)
        there = {json.loads(line)["line"] for line in out.read_text().splitlines()}
        assert 0 < len(there) < 8
        assert f"worn out. {len(there)} of 8 prompts are in {out}; the same" in str(caught.value)
        mind.dies = 10**9
        server.asked.clear()
        sample("m", path, at(server), silent, out=out)
        names = {each.body["messages"][0]["content"] for each in server.asked}
        assert names == {f"prompt {n}" for n in range(8) if n + 1 not in there}
        sample("m", path, at(server), silent, out=whole)
    assert out.read_bytes() == whole.read_bytes()


def test_an_endpoint_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSE", 0.001)
    with Server(Speaker()) as server:
        config = at(server)
    out = tmp_path / "out.jsonl"
    with pytest.raises(endpoint.EndpointError, match=r"cannot be reached.*No prompt was finished"):
        sample("m", str(write_prompts(tmp_path / "p")), config, silent, out=out)
    assert not out.exists()


def test_the_key_is_in_no_file_and_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.KEY, "sk-canary-77")
    out, told = tmp_path / "out.jsonl", Told()
    with Server(Speaker()) as server:
        sample("m", str(write_prompts(tmp_path / "p")), at(server), told, out=out)
        assert server.asked[0].headers["authorization"] == "Bearer sk-canary-77"
    assert "canary" not in out.read_text() + repr(told)


def test_side_by_side() -> None:
    found = sampling_endpoint.side_by_side(lambda n: n * n, list(range(40)), 7)
    assert found == [n * n for n in range(40)]
    assert sampling_endpoint.side_by_side(str, [], 3) == []
    with pytest.raises(ZeroDivisionError):
        sampling_endpoint.side_by_side(lambda n: 1 // n, [3, 2, 1, 0], 2)


CHILD = """
import sys
from pathlib import Path
from palate.config import SampleConfig
from palate.study.sampling import sample
from palate.train.events import silent
url, prompts, out = sys.argv[1:]
sample("m", prompts, SampleConfig(n=4, endpoint=url), silent, out=Path(out))
assert "torch" not in sys.modules, "a server's texts need no torch"
"""


def test_a_process_that_is_killed_goes_on(tmp_path: Path) -> None:
    """SIGKILL at the 1st, 9th, 18th ... request: the bytes of a run that nobody killed."""
    path = str(write_prompts(tmp_path / "p", [f"prompt {n}" for n in range(10)]))
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    kills, running = iter([1, 9, 18]), list[Any]()
    kill_at = next(kills)
    count = itertools.count(1)

    def mind(route: str, body: dict[str, Any]) -> Any:
        if next(count) == kill_at:
            running[-1].send_signal(signal.SIGKILL)
        return Speaker()(route, body)

    with Server(mind) as server:
        while True:
            words = [sys.executable, "-c", CHILD, server.url, path, str(out)]
            running.append(subprocess.Popen(words))
            if running[-1].wait(60) == 0:
                break
            kill_at, count = next(kills, -1), itertools.count(1)
        assert len(running) == 4
        kill_at = -1
        sample("m", path, at(server), silent, out=whole)
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_model_that_is_killed_goes_on(model: str, tmp_path: Path) -> None:
    """The real command, SIGKILLed as soon as the file has grown again, until it is whole."""
    path = str(write_prompts(tmp_path / "p", [f"the flat {n}" for n in range(40)]))
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    config = SampleConfig(n=4, temperatures=(0.7, 1.3), max_new_tokens=60)
    sample(model, path, config, silent, out=whole)
    words = [sys.executable, "-m", "palate", "sample", model, path, "--n", "4", "--out", str(out)]
    words += ["--temperatures", "0.7,1.3", "--max-new-tokens", "60"]
    kills = 0
    while True:
        size = out.stat().st_size if out.exists() else 0
        running = subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})
        while running.poll() is None and kills < 3:
            if out.exists() and out.stat().st_size > size:
                running.kill()
                kills += 1
                break
        if running.wait(120) == 0:
            break
    assert kills > 1
    assert out.read_bytes() == whole.read_bytes()


# ---- vLLM, as far as it can be tested without it


class FakeLLM:
    """Takes token ids, gives token ids, as vLLM documents it."""

    made: list["FakeLLM"]

    def __init__(self, **options: Any) -> None:
        self.options, self.calls = options, list[Any]()
        type(self).made.append(self)

    def generate(self, prompts: Any, params: Any, *, use_tqdm: bool, lora_request: Any) -> Any:
        assert len(prompts) == len(params) and not use_tqdm
        self.calls.append((prompts, params, lora_request))
        return [self._one(p["prompt_token_ids"], each) for p, each in zip(prompts, params)]

    def _one(self, ids: list[int], params: Any) -> Any:
        generator = torch.Generator().manual_seed(params.seed)
        found = torch.randint(60, 300, (params.max_tokens,), generator=generator).tolist()
        ended = params.seed % 2 == 0
        found = [*found[:5], params.stop_token_ids[0]] if ended else found
        output = SimpleNamespace(token_ids=found, finish_reason="stop" if ended else "length")
        return SimpleNamespace(outputs=[output], prompt_token_ids=ids)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeLLM]]:
    """The module `vllm`, and its version, as if they were installed."""
    module, lora, request = (ModuleType(n) for n in ("vllm", "vllm.lora", "vllm.lora.request"))
    FakeLLM.made = []
    parts: dict[ModuleType, dict[str, Any]] = {
        module: {"LLM": FakeLLM, "SamplingParams": SimpleNamespace},
        request: {"LoRARequest": lambda *words: words},
    }
    for each, names in parts.items():
        for name, value in names.items():
            setattr(each, name, value)
    for each in (module, lora, request):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    monkeypatch.setattr(sampling_vllm, "version", lambda name: "0.18.1")
    yield FakeLLM.made


def test_vllm_draws(vllm: list[FakeLLM], model: str, tmp_path: Path) -> None:
    path, told = str(write_prompts(tmp_path / "p")), Told()
    config = SampleConfig(n=2, vllm=True, temperatures=(0.7, 1.0), top_p=0.9, max_new_tokens=12)
    found = sample(model, path, config, told)
    (engine,) = vllm
    assert engine.options["model"] == str(Path(model).resolve())
    assert engine.options["trust_remote_code"] is False
    assert engine.options["generation_config"] == "vllm"
    ((prompts, params, adapter),) = engine.calls
    assert adapter is None and len(prompts) == 10
    tokens: Any = load(model).tokenizer
    assert prompts[0]["prompt_token_ids"] == tokens(PROMPTS[0] + "\n")["input_ids"]
    assert [each.temperature for each in params[:2]] == [0.7, 1.0]
    assert {each.top_p for each in params} == {0.9} and params[0].stop_token_ids == [1]
    assert len({each.seed for each in params}) == 10
    assert {r["ended"] for r in found} == {True, False}
    assert all(r["tokens"] == (6 if r["ended"] else 12) for r in found)
    assert all(r["engine"] == "vllm" and r["logp"] is None for r in found)
    assert any("no log-probs" in note for note in told.notes)
    local = sample(model, path, config.model_copy(update={"vllm": False}), silent)
    assert not {r["id"] for r in found} & {r["id"] for r in local}


def test_vllm_with_an_adapter(vllm: list[FakeLLM], model: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tuned: Any = adapters.start_lora(load(model), adapters.Lora(12), seed=0)
    run.mkdir()
    adapters.save_final(tuned, run)
    sample(str(run), str(write_prompts(tmp_path / "p")), SampleConfig(vllm=True), silent)
    (engine,) = vllm
    assert engine.options["enable_lora"] and engine.options["max_lora_rank"] == 16
    assert engine.calls[0][2] == ("palate", 1, str(run))


def test_vllm_that_cannot_load(
    vllm: list[FakeLLM], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**options: Any) -> None:
        raise RuntimeError("no GPU\nat all")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", broken)
    with pytest.raises(ModelError, match=r"no GPU\. Leave --vllm out"):
        sample(model, str(write_prompts(tmp_path / "p")), SampleConfig(vllm=True), silent)


def test_vllm_must_be_there_and_new(
    vllm: list[FakeLLM], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_prompts(tmp_path / "p"))
    monkeypatch.setattr(sampling_vllm, "version", lambda name: "0.17.9")
    with pytest.raises(UsageError, match=r"0\.17\.9 .* Install vllm>=0\.18"):
        sample(model, path, SampleConfig(vllm=True), silent)

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(sampling_vllm, "version", absent)
    with pytest.raises(UsageError, match=r"not installed.*palate\[vllm\]"):
        sample(model, path, SampleConfig(vllm=True), silent)


# ---- the command


def test_the_command(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = str(write_prompts(tmp_path / "p")), tmp_path / "out.jsonl"
    words = ["sample", model, path, "--n", "2", "--max-new-tokens", "9", "--out", str(out)]
    words += ["--temperatures", "0.7,1.3"]
    for _ in range(2):
        assert cli.run(words) == 0
        verdict, next_ = capsys.readouterr().out.splitlines()
        assert verdict.startswith(f"10 completions of 5 prompts in {out}, ")
        assert "tokens each" in verdict
        assert next_ == f"next: palate judge taste.db --add {out}"
    assert cli.run([*words, "--seed", "4"]) == 3
    assert "seed 0 there, 4 now" in capsys.readouterr().err


def test_the_command_tells_what_is_missing(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.words = 2
    out = tmp_path / "out.jsonl"
    path = str(write_prompts(tmp_path / "p"))
    assert cli.run(["sample", "m", path, "--n", "4", "--out", str(out)]) == 0
    said_ = capsys.readouterr().out
    assert "near-identical or empty drawn again" in said_
    assert "warning: 5 prompts have fewer than 4 different texts" in said_
    assert cli.run(["sample", "m", path, "--n", "4", "--json"]) == 0
    told = capsys.readouterr()
    assert [json.loads(line) for line in told.out.splitlines()]
    assert "completions of 5 prompts," in told.err and "next:" not in told.err
