"""How plausible a text is to a model, asked live: figures against naive ones, the thread, words."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from palate.data.rows import Origin, Pair
from palate.errors import ModelError
from palate.study import own_view, plausible
from palate.study.checks.base import Measured, Samples
from palate.study.checks.plausible import levels
from palate.study.live import Reader
from palate.study.own_view import View
from palate.study.plausible import Own, Plausible, Told, offsets, reading

PROMPTS = tuple(f"the flat by the {place} has" for place in ("river", "park", "tram", "lake"))
PAIR = ("the flat is near", "the station and the river", "the lift and the garden")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.folder(tmp_path_factory.mktemp("model")))


# ---- the model's side, against a plain forward


def naive(view: View, ids: Sequence[int], start: int) -> float:
    """Log-prob of ids[start:] after ids[:start], by the model's own forward."""
    assert view.policy is not None
    view.policy.restore()
    core: Any = view.opened.loaded.core
    with torch.no_grad():
        logits = core(input_ids=torch.tensor([list(ids)])).logits[0].double()
    logps = logits.log_softmax(-1)
    return float(sum(logps[t - 1, ids[t]] for t in range(max(start, 1), len(ids))))


def test_log_probs_of_a_pair_are_those_of_a_plain_forward(model: str) -> None:
    view = View.open(model, PROMPTS, 4)
    told = view.told(*PAIR)
    item = view.opened.renderer.item(Pair(*PAIR, Origin("", 1)))
    for place, sequence in enumerate(item.sequences):
        ids, start = sequence.ids, sequence.prompt
        assert told.logps[place] == pytest.approx(naive(view, ids, start), abs=1e-3)
        assert told.tokens[place] == len(ids) - start
        assert told.empty is not None
        first = naive(view, ids[: start + 1], start)
        assert told.empty[place] == pytest.approx(naive(view, ids[start:], 0) + first, abs=1e-3)


def test_own_texts_are_the_models_and_each_is_scored(model: str) -> None:
    view = View.open(model, PROMPTS, 4)
    found = view.texts(PROMPTS[:2], 3, 0)
    assert list(found) == list(PROMPTS[:2])
    assert all(len(texts) == 3 for texts in found.values())
    assert found == View.open(model, PROMPTS, 4).texts(PROMPTS[:2], 3, 0)
    assert found != view.texts(PROMPTS[:2], 3, 1)
    for text in (text for texts in found.values() for text in texts):
        assert text.logp < 0 and 0 < text.tokens <= own_view.LONGEST + 1
        assert text.gain is not None and np.isfinite(text.gain)


def test_a_pair_may_come_between_two_draws(model: str) -> None:
    """Drawing and scoring set the same model's attention in turn."""
    view = View.open(model, PROMPTS, 4)
    before = view.told(*PAIR)
    view.texts(PROMPTS[:1], 2, 0)
    assert view.told(*PAIR) == before


# ---- figures


def own_texts(count: int = 60, prompts: int = 6, *, between: float = 0.0) -> dict[str, list[Own]]:
    """Texts around −2 nats per token; prompts differ by `between`, standard deviation."""
    draw = np.random.default_rng(0)
    found: dict[str, list[Own]] = {}
    for prompt in range(prompts):
        middle = -2 + between * float(draw.standard_normal())
        found[f"prompt {prompt}"] = [
            Own(middle + 0.2 * float(draw.standard_normal()), int(draw.integers(15, 40)), 0.5)
            for _ in range(count // prompts)
        ]
    return found


def told(chosen: float, rejected: float, *, gains: tuple[float, float] = (0.5, 0.5)) -> Told:
    """A pair by its nats per token."""
    tokens = 25
    logps = chosen * tokens, rejected * tokens
    empty = logps[0] - gains[0] * tokens, logps[1] - gains[1] * tokens
    return Told(logps, (tokens, tokens), empty)


def test_the_percentile_is_that_of_the_doctors_check() -> None:
    own = own_texts()
    texts = [text for several in own.values() for text in several]
    samples = Samples(
        np.zeros(len(texts), np.int64),
        np.array([text.logp for text in texts]),
        np.array([text.tokens for text in texts]),
        (),
    )
    for logp in (-2.3, -2.1, -2.0, -1.8):
        pair = told(-1.9, logp)
        measured = Measured(
            "", 0.1, 0, np.array([pair.logps]), np.array([pair.tokens]), np.zeros(1, np.int64),
            np.zeros(1), np.zeros((1, 2, 0), np.float32), samples=samples,
        )  # fmt: skip
        expected = levels(measured)
        assert expected is not None
        found = reading(own, "elsewhere", pair).percentile
        assert found == pytest.approx(float(expected.raw_P2[0, 1]), abs=0.05)


def test_a_prompt_of_its_own_level_is_taken_into_account() -> None:
    own = own_texts(between=0.0)
    own["hard"] = [Own(-3 + 0.2 * n / 10, 25, 0.5) for n in range(-10, 10)]
    here = reading(own, "hard", told(-2.9, -3.0))
    elsewhere = reading(own, "prompt 0", told(-2.0, -3.0))
    assert here.percentile is not None and elsewhere.percentile is not None
    assert here.percentile > 0.3 > 0.05 > elsewhere.percentile


def test_offsets_against_simulated_prompts() -> None:
    draw = np.random.default_rng(1)
    true = {f"p{n}": float(draw.normal(0, 0.3)) for n in range(40)}
    names = [name for name in true for _ in range(8)]
    logps = np.array([true[name] - 2 + draw.normal(0, 0.3) for name in names])
    tokens = draw.integers(10, 60, len(names))
    found = offsets(names, logps, tokens)
    center = np.mean(list(true.values()))
    plain = {n: float(logps[[m == n for m in names]].mean()) - float(logps.mean()) for n in true}

    def error(guess: dict[str, float]) -> float:
        return float(np.mean([(guess[name] - true[name] + center) ** 2 for name in true]))

    assert error(found) < error(plain) < error(dict.fromkeys(true, 0.0))


def test_prompts_that_do_not_differ_have_no_offset() -> None:
    same = own_texts(between=0.0)
    names = [name for name, texts in same.items() for _ in texts]
    texts = [text for several in same.values() for text in several]
    logps = np.array([text.logp for text in texts])
    found = offsets(names, logps, np.array([text.tokens for text in texts]))
    assert max(map(abs, found.values())) < 0.1 < 0.2  # half the spread of single texts


@pytest.mark.parametrize(
    ("chosen", "rejected", "gains", "says", "cartoon"),
    [
        (-2.0, -2.0, (0.5, 0.5), "Plausible: ", False),
        (-2.0, -2.38, (0.5, 0.5), "Unlikely for this model", False),
        (-2.0, -4.0, (0.5, 0.5), "A cartoon to this model: it would essentially never", True),
        (-2.0, -2.0, (0.5, -0.1), "A cartoon to this model: it fits no better", True),
        (-2.0, -2.0, (-0.2, -0.1), "Plausible: ", False),
        (-2.7, -2.8, (0.5, 0.5), "Neither answer is quite", False),
        (-9.0, -9.0, (0.5, 0.5), "This model writes nothing like either", False),
    ],
)
def test_words(
    chosen: float, rejected: float, gains: tuple[float, float], says: str, cartoon: bool
) -> None:
    found = reading(own_texts(), "elsewhere", told(chosen, rejected, gains=gains))
    assert found.says.startswith(says)
    assert found.cartoon == cartoon


def test_where_prompts_hardly_matter_nothing_is_off_topic() -> None:
    own = own_texts()
    noisy = {
        name: [Own(text.logp, text.tokens, 0.3 * (-1) ** n) for n, text in enumerate(texts)]
        for name, texts in own.items()
    }
    assert not reading(noisy, "elsewhere", told(-2, -2, gains=(0.1, -0.1))).cartoon
    assert reading(own, "elsewhere", told(-2, -2, gains=(0.1, -0.1))).cartoon


def test_too_few_texts_of_its_own_give_no_figure() -> None:
    found = reading(own_texts(30), "elsewhere", told(-2, -2))
    assert (found.says, found.again) == (plausible.DRAWING, True)


# ---- the thread


class FakeView:
    """A view without a model, which takes as long as it is told to."""

    prompts = PROMPTS

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.busy = seconds, threading.Lock()
        self.asked: list[str] = []
        self.drawn: list[tuple[str, ...]] = []

    def told(self, prompt: str, chosen: str, rejected: str) -> Told:
        assert self.busy.acquire(blocking=False), "two threads at one model"
        self.asked.append(rejected)
        time.sleep(self.seconds)
        self.busy.release()
        return told(-2.0, -2.0)

    def texts(self, prompts: Sequence[str], each: int, seed: int) -> dict[str, list[Own]]:
        assert self.busy.acquire(blocking=False), "two threads at one model"
        self.drawn.append(tuple(prompts))
        several = next(iter(own_texts(60, 1).values()))
        self.busy.release()
        return {prompt: several[n * each : (n + 1) * each] for n, prompt in enumerate(prompts)}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[FakeView], Plausible]]:
    """A `Plausible` over a fake view, closed at the end."""
    made: list[Plausible] = []

    def start(view: FakeView) -> Plausible:
        monkeypatch.setattr(View, "open", lambda *_: view)
        made.append(Plausible("none"))
        assert made[-1].wait(10)
        return made[-1]

    yield start
    for each in made:
        each.close(5)
        assert not each._thread.is_alive()


def until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.perf_counter() + seconds
    while not true() and time.perf_counter() < end:
        time.sleep(0.005)
    return true()


def test_the_page_starts_before_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(*_: object) -> FakeView:
        gate.wait(5)
        return FakeView()

    monkeypatch.setattr(View, "open", slow)
    start = time.perf_counter()
    model = Plausible("none")
    found = model.look(*PAIR)
    assert time.perf_counter() - start < 0.7
    assert found is not None and found.says == plausible.LOADING
    gate.set()
    assert model.wait(5)
    model.close()


def test_a_model_that_is_none_is_told_and_nothing_else_breaks(tmp_path: Path) -> None:
    model = Plausible(str(tmp_path / "nothing"))
    assert model.wait(60)
    found = model.look(*PAIR)
    assert found is not None and "could not be loaded" in found.says
    assert found.percentile is None and not found.again and str(tmp_path) in found.says


def test_texts_are_drawn_first_for_its_own_prompts_then_for_the_one_written_about(
    started: Callable[[FakeView], Plausible],
) -> None:
    view = FakeView()
    model = started(view)
    assert until(lambda: len(view.drawn) == 1)
    assert view.drawn == [PROMPTS]
    model.look(*PAIR)
    assert len(view.drawn) == 1, "a prompt in the making is not drawn for"
    model.look(*PAIR)
    assert until(lambda: len(view.drawn) >= 13)
    time.sleep(0.05)
    assert set(view.drawn[1:]) == {(PAIR[0],)}
    total = len(view.drawn)
    model.look(*PAIR)
    time.sleep(0.05)
    assert len(view.drawn) == total, "there are enough"
    found = model.look(*PAIR)
    assert found is not None and found.percentile is not None


def test_the_newest_call_wins(started: Callable[[FakeView], Plausible]) -> None:
    view = FakeView(seconds=0.1)
    model = started(view)
    found: dict[int, Any] = {}

    def ask(number: int) -> None:
        found[number] = model.look("p", "c", f"text {number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert found[7] is not None
    assert [found[number] for number in range(7)] == [None] * 7
    assert len(view.asked) < 5, "overtaken calls are not computed"
    assert view.asked[-1] == "text 7"


def test_a_slow_model_does_not_hold_a_call_up(started: Callable[[FakeView], Plausible]) -> None:
    view = FakeView(seconds=0.6)
    model = started(view)
    start = time.perf_counter()
    found = model.look(*PAIR)
    assert time.perf_counter() - start < plausible.WAIT + 0.7
    assert found is not None and (found.says, found.again) == (plausible.READING, True)
    assert until(lambda: (model.look(*PAIR) or found).says != plausible.READING)
    assert len(view.asked) == 1, "what was read is remembered"


def test_a_fault_in_the_thread_is_told(
    started: Callable[[FakeView], Plausible], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = FakeView()
    model = started(view)
    monkeypatch.setattr(view, "told", lambda *_: 1 / 0)
    found = model.look(*PAIR)
    assert found is not None and "gave up (ZeroDivisionError" in found.says
    again = model.look(*PAIR)
    assert again is not None and "gave up" in again.says


def test_a_pair_that_the_model_cannot_take_is_told(
    started: Callable[[FakeView], Plausible], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = FakeView()
    model = started(view)

    def refuse(*_: str) -> Told:
        raise ModelError("it is too long")

    monkeypatch.setattr(view, "told", refuse)
    found = model.look(*PAIR)
    assert found is not None and found.says.endswith("it is too long")
    monkeypatch.undo()


@pytest.fixture(scope="module")
def stories(shared_data: Path) -> Iterator[Plausible]:
    """A trained model of 260,032 parameters that tells stories for children."""
    names = ("Tim", "Lily", "Ben", "Sue", "Max", "Mia", "Tom", "Ann", "Sam", "Amy")
    prompts = [f"Once upon a time, there was a child named {name}." for name in names]
    opened = Plausible(str(shared_data / "stories260K"), prompts)
    assert opened.wait(60)
    yield opened
    opened.close(20)


def test_a_program_that_ends_waits_for_the_thread(model: str) -> None:
    code = (
        "import atexit; from palate.study.plausible import Plausible; made = [];"
        "atexit.register(lambda: print(made[0]._thread.is_alive()));"
        f"made.append(Plausible({model!r}, {list(PROMPTS)!r})); made[0].wait(60)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stdout.strip(), found.stderr) == (0, "False", "")


ONCE = "Once upon a time, there was a little girl named Lily."
PARK = "She loved to play outside in the park. One day, she saw a big red ball."


@pytest.mark.parametrize(
    ("rejected", "likely"),
    [
        ("She liked to play in the garden. One day, she found a big tree.", True),
        ("Quarterly revenue rose by 4% on robust demand for logistics software.", False),
        ("asdf jkl qwer zxcv asdf hjkl", False),
    ],
)
def test_a_real_model_tells_its_own_kind(stories: Plausible, rejected: str, likely: bool) -> None:
    found = stories.look(ONCE, PARK, rejected)
    for _ in range(400):
        if found is not None and found.percentile is not None:
            break
        time.sleep(0.05)
        found = stories.look(ONCE, PARK, rejected)
    assert found is not None and found.percentile is not None
    assert found.cartoon is not likely


def test_a_call_is_answered_at_once(stories: Plausible) -> None:
    reader = Reader(stories)
    slowest = 0.0
    for number in range(20):
        start = time.perf_counter()
        reader.read(ONCE, PARK, f"She liked to play in the garden with {number} friends.")
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < plausible.WAIT + 0.7
