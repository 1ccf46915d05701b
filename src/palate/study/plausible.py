"""How plausible a rejected answer is to a model, asked while it is being written.

The model is loaded by a thread of its own, which alone uses it: the page starts at once.  That
thread answers the newest question first and, when nobody asks, draws texts of the model to compare
with: some for prompts of its own, then some for the prompt that is being written about.  torch is
imported there and nowhere else.
"""

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from palate.errors import PalateError
from palate.study.checks.base import Floats, Ints, Measured, Samples
from palate.study.checks.cartoon import CARTOON, FOREIGN, cartoons
from palate.study.checks.plausible import FEWEST, levels
from palate.study.checks.words import percent
from palate.study.live import PlausibleReading

if TYPE_CHECKING:
    from palate.study.own_view import View

PROMPTS, EACH = 16, 4  # drawn first, on prompts of the model's own
HERE, AT_ONCE = 8, 2  # texts for the prompt that is written about, and how many in one go
WAIT: Final = 0.3  # seconds that a call waits for the model
REMEMBERED: Final = 128  # pairs, and prompts with their texts
FEW: Final = 0.05
LEAVE: Final = 30.0  # seconds that the end of a program waits for the model
LOST: Final = -8.0  # spreads: below, the chosen answer says nothing of the rejected one's level
LOADING: Final = "The model is still loading."
DRAWING: Final = "The model is writing texts of its own to compare with."
BEYOND: Final = "This model writes nothing like either answer, so it cannot tell."
NEVER: Final = "A cartoon to this model:"
READING: Final = "The model is still reading."


@dataclass(frozen=True, slots=True)
class Own:
    """A text of the model: its log-prob per token in nats, its tokens, and how many nats per token
    it gains by its prompt (PMI), where the model takes an empty one."""

    logp: float
    tokens: int
    gain: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a model says of a pair, chosen first: log-probs in nats, tokens, and the log-probs
    after an empty prompt, where it takes one."""

    logps: tuple[float, ...]
    tokens: tuple[int, ...]
    empty: tuple[float, ...] | None = None


# ---- figures


def reading(own: Mapping[str, Sequence[Own]], prompt: str, told: Told) -> PlausibleReading:
    """A pair held against texts of the model on this prompt and others, in words.

    The percentile is that of the doctor (`checks/plausible`, `checks/cartoon`), with one step
    before it: every text is taken relative to its prompt, as far as the texts tell how likely
    texts on that prompt are (`offsets`).
    """
    prompts = [name for name, texts in own.items() for _ in texts]
    texts = [text for several in own.values() for text in several]
    if len(texts) < FEWEST:
        return PlausibleReading(DRAWING, again=True)
    tokens_M = np.array([text.tokens for text in texts], np.int64)
    logps_M = np.array([text.logp for text in texts])
    of_prompt = offsets(prompts, logps_M, tokens_M)
    moved_M = logps_M - np.array([of_prompt[name] for name in prompts])
    here = of_prompt.get(prompt, 0.0)
    measured = _measured(told, here, Samples(np.zeros_like(tokens_M), moved_M, tokens_M, ()))
    found, seen = levels(measured), cartoons(measured)
    assert found is not None and seen is not None, "there are texts enough"
    if found.shift < LOST:
        return PlausibleReading(BEYOND)
    foreign = found.shift < FOREIGN
    rate = float((found.corrected_P2 if foreign else found.raw_P2)[0, 1])
    if not foreign and _off_topic(told, [text.gain for text in texts]):
        return PlausibleReading(
            f"{NEVER} it fits no better after this prompt than after none.", rate, True
        )
    if bool((seen.far_P if foreign else seen.hit_P)[0]):
        return PlausibleReading(f"{NEVER} it would essentially never say this.", rate, True)
    return PlausibleReading(_says(rate, foreign), rate)


def _off_topic(told: Told, gains: Sequence[float | None]) -> bool:
    """Whether the prompt helps the chosen answer and not the rejected one, which helps nearly every
    text of the model's own: where it hardly reads its prompt, gains are noise around 0."""
    known = [gain for gain in gains if gain is not None]
    if told.empty is None or not known:
        return False
    parts = zip(told.logps, told.empty, told.tokens, strict=True)
    chosen, rejected = ((logp - empty) / count for logp, empty, count in parts)
    return chosen > 0 and rejected <= min(0.0, float(np.quantile(known, CARTOON)))


def _says(rate: float, foreign: bool) -> str:
    share = percent(rate)
    if foreign:
        return (
            "Neither answer is quite this model's own kind. Moved to the level of the chosen one, "
            f"{share} of its own texts are less likely than the rejected one."
        )
    if rate < CARTOON:
        return "This model would hardly say it, but no sooner the chosen answer."
    if rate < FEW:
        return f"Unlikely for this model: only {share} of its own texts are less likely."
    return f"Plausible: {share} of the model's own texts are less likely."


def offsets(prompts: Sequence[str], logps_M: Floats, tokens_M: Ints) -> dict[str, float]:
    """How much likelier than others, per token, the texts on each prompt are.

    Means of what length does not explain, shrunk by n / (n + within / between), the variances
    within a prompt and between prompts (one-way random effects); 0 where prompts do not differ.
    """
    slope, start = np.polyfit(np.log(tokens_M), logps_M, 1) if np.ptp(tokens_M) else (0.0, 0.0)
    left_M = logps_M - slope * np.log(tokens_M) - start
    left_M -= left_M.mean()
    names, place_M = np.unique(np.array(prompts), return_inverse=True)
    count_Q = np.bincount(place_M)
    mean_Q = np.bincount(place_M, left_M) / count_Q
    free = len(left_M) - len(names)
    if free < 1 or len(names) < 2:
        return dict.fromkeys(map(str, names), 0.0)
    within = float(((left_M - mean_Q[place_M]) ** 2).sum() / free)
    between = max(0.0, float(mean_Q.var(ddof=1)) - within * float((1 / count_Q).mean()))
    shrunk_Q = mean_Q * between * count_Q / np.maximum(between * count_Q + within, 1e-12)
    return {str(name): float(value) for name, value in zip(names, shrunk_Q, strict=True)}


def _measured(told: Told, here: float, samples: Samples) -> Measured:
    """One pair as the doctor's checks read it, its prompt's offset taken away."""
    tokens_12 = np.array([told.tokens], np.int64)
    away_12 = here * tokens_12
    return Measured(
        model="",
        beta=0.1,
        limit=0,
        logps_P2=np.array([told.logps]) - away_12,
        tokens_P2=tokens_12,
        first_P=np.zeros(1, np.int64),
        ln_ches_P=np.zeros(1),
        states_P2D=np.zeros((1, 2, 0), np.float32),
        samples=samples,
    )


# ---- the thread


class _Question:
    """One call that waits; `answer` is set once, by the model's thread."""

    def __init__(self, prompt: str, chosen: str, rejected: str) -> None:
        self.pair = prompt, chosen, rejected
        self.answer: PlausibleReading | None = None


class Plausible:
    """A model that says how plausible a rejected answer is.  Thread-safe; the newest call wins."""

    def __init__(self, model: str, prompts: Sequence[str] = ()) -> None:
        self._model, self._prompts = model, tuple(prompts)
        self._changed = threading.Condition()
        self._asked: _Question | None = None
        self._ready = self._closed = False
        self._problem = ""
        self._writing = ("", 0)  # the prompt that is written about, and how often it was asked
        self._thread = threading.Thread(target=self._work, name="plausible", daemon=True)
        self._thread.start()
        atexit.register(self.close, LEAVE)

    def look(self, prompt: str, chosen: str, rejected: str) -> PlausibleReading | None:
        """How plausible the rejected answer is; None if a newer call came while this one waited.

        Returns within `WAIT` seconds, with a sentence and no percentile if the model is not so far.
        """
        mine = _Question(prompt, chosen, rejected)
        with self._changed:
            times = self._writing[1] + 1 if self._writing[0] == prompt else 1
            self._writing = prompt, times
            if self._problem or not self._ready:
                return PlausibleReading(self._problem or LOADING, again=not self._problem)
            self._asked = mine
            self._changed.notify_all()
            self._changed.wait_for(self._settled(mine), WAIT)
            if mine.answer is not None or self._problem:
                return mine.answer or PlausibleReading(self._problem)
            return PlausibleReading(READING, again=True) if self._asked is mine else None

    def wait(self, seconds: float) -> bool:
        """Wait until the model is loaded, or failed to; False if it is not there by then."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ready or bool(self._problem), seconds)

    def close(self, seconds: float = 0.0) -> None:
        """Let the thread end after what it is doing, and wait so long for that.

        At the end of a program it has to: torch aborts a process that leaves while it computes.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(seconds)

    def _settled(self, mine: _Question) -> Callable[[], bool]:
        return lambda: mine.answer is not None or self._asked is not mine or self._closed

    def _work(self) -> None:
        try:
            from palate.study.own_view import View

            desk = _Desk(View.open(self._model, self._prompts, PROMPTS))
        except PalateError as error:
            self._fail(f"The model could not be loaded: {error.message}")
            return
        with self._changed:
            self._ready = True
            self._changed.notify_all()
        try:
            while self._step(desk):
                pass
        except Exception as error:  # nobody waits for this thread: what ends it must be told
            self._fail(f"The model gave up ({type(error).__name__}: {error}).")

    def _fail(self, why: str) -> None:
        with self._changed:
            self._problem, self._asked = why, None
            self._changed.notify_all()

    def _step(self, desk: "_Desk") -> bool:
        """Answer, else draw, else sleep; False when it is over."""
        with self._changed:
            mine, (prompt, times) = self._asked, self._writing
            if self._closed:
                return False
            if mine is None or mine.answer is not None:
                # a prompt that was asked about once may be one in the making
                drawing = desk.wanted(prompt if times > 1 else "")
                if drawing is None:
                    self._changed.wait()
                    return True
                mine = None
        if mine is None:
            assert drawing is not None, "else it slept"
            desk.draw(*drawing)
            return True
        answer = desk.answer(*mine.pair)
        with self._changed:
            mine.answer = answer
            self._changed.notify_all()
        return True


class _Desk:
    """What the model's thread keeps: the model, its texts, and pairs it has read."""

    def __init__(self, view: "View") -> None:
        self.view = view
        self.own: OrderedDict[str, list[Own]] = OrderedDict()
        self.told: OrderedDict[tuple[str, str, str], Told] = OrderedDict()
        self.refused: set[str] = set()
        self.rounds: dict[str, int] = {}

    def answer(self, prompt: str, chosen: str, rejected: str) -> PlausibleReading:
        key = prompt, chosen, rejected
        if key not in self.told:
            try:
                self.told[key] = self.view.told(prompt, chosen, rejected)
            except PalateError as error:
                return PlausibleReading(f"The model cannot be given this pair: {error.message}")
            _forget(self.told)
        return reading(self.own, prompt, self.told[key])

    def wanted(self, prompt: str) -> tuple[list[str], int] | None:
        """The prompts to draw for next and how many texts for each; None: there are enough."""
        first = [name for name in self.view.prompts if name not in self.rounds]
        if first:
            return first[:EACH], EACH
        if not prompt.strip() or prompt in self.refused:
            return None
        total = sum(map(len, self.own.values()))
        enough = len(self.own.get(prompt, ())) >= HERE and total >= FEWEST
        return None if enough or self.rounds.get(prompt, 0) > FEWEST else ([prompt], AT_ONCE)

    def draw(self, prompts: list[str], each: int) -> None:
        seed = max(self.rounds.get(prompt, 0) for prompt in prompts)
        for prompt in prompts:
            self.rounds[prompt] = self.rounds.get(prompt, 0) + 1
        try:
            drawn = self.view.texts(prompts, each, seed)
        except PalateError:
            self.refused.update(prompts)
            return
        for prompt in prompts:
            self.own.setdefault(prompt, []).extend(drawn.get(prompt, ()))
            self.own.move_to_end(prompt)
        _forget(self.own)


def _forget(kept: OrderedDict[Any, Any]) -> None:
    """Drop what was put in first, beyond `REMEMBERED`."""
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
