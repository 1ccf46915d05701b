"""Is a text taken from a training text?  The longest run of words that both hold.

Words are compared without case and signs.  A run may be made of facts of the text's own prompt, and
then the prompt is where it came from: words in a stretch of `QUOTED` or more that stands in the
prompt are part of a run and not counted.  Fewer in a row are counted: "of the" is in any prompt.
How long a run is by itself says little; people who write of one subject repeat each other too,
and their held-out texts, measured in the same way, are the yardstick.

Every start of a run is followed at once, a word longer at each step, and what no training text
holds is dropped: exact, and as fast as the runs are short.

Shape suffixes: T words of all training texts, N starts of runs in the texts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palate.data.rewards import Answered
from palate.data.rows import Example, Pair, Text
from palate.stats import bootstrap_mean, rate
from palate.study.checklist import as_string
from palate.study.checks.words import words
from palate.study.evaluated import Copied, Quoted

LONG: Final = 12  # words in a row from one training text
QUOTED: Final = 4  # words in a row that stand in the prompt: the prompt's own
SHOWN: Final = 2000  # characters of a text that is kept
Ints = NDArray[np.int64]
_END: Final = -1


@dataclass(frozen=True, slots=True)
class Source:
    """A training text and where it stands."""

    text: str
    place: str


class Training:
    """Training texts, read once, to be asked for any number of models."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)
        self._ids: dict[str, int] = {}
        parts = [self._known(words(each.text), grow=True) for each in self.sources]
        # A mark after each text that no word equals: a run cannot go from one into the next.
        self.words_T = np.array([n for part in parts for n in (*part, _END)], dtype=np.int64)
        lengths = np.array([len(part) + 1 for part in parts], dtype=np.int64)
        self._text_T = np.repeat(np.arange(len(parts)), lengths)

    @classmethod
    def of_rows(cls, rows: Iterable[Example | Pair]) -> "Training":
        """Every completion of some rows, both sides of a pair."""
        return cls(
            Source(as_string(side), f"{row.origin}") for row in rows for side in row.sides.values()
        )

    def numbers(self, text: Sequence[str]) -> list[int]:
        """The words of a text as numbers; one that no training text holds as none of them."""
        return self._known(text, grow=False)

    def source_at(self, place: int) -> Source:
        """The training text that holds the word of that place."""
        return self.sources[int(self._text_T[place])]

    def _known(self, text: Sequence[str], *, grow: bool) -> list[int]:
        if grow:
            return [self._ids.setdefault(word, len(self._ids)) for word in text]
        return [self._ids.get(word, _END) for word in text]


@dataclass(frozen=True, slots=True)
class Run:
    """Words `start` up to `stop` of a text, found at `place` of the training texts.

    `counted` are those that do not stand in the text's own prompt.
    """

    start: int
    stop: int
    counted: int
    place: int


def of_texts(model: str, texts: Sequence[Answered], training: Training) -> Copied:
    """Words of the longest run of each text, the share of texts with `LONG`, and the worst.

    Texts of one prompt are one group.  Raises ValueError if there is no text.
    """
    runs = longest(texts, training)
    counted = [0 if run is None else run.counted for run in runs]
    prompts = [each.prompt for each in texts]
    mean = bootstrap_mean(counted, prompts)
    worst = max(range(len(runs)), key=lambda n: (counted[n], -n))
    run = runs[worst]
    return Copied(
        model=model,
        words=mean,
        share=rate([float(count >= LONG) for count in counted], prompts),
        worst=None if not run or not run.counted else _quoted(texts[worst].answer, run, training),
    )


def longest(texts: Sequence[Answered], training: Training) -> list[Run | None]:
    """Of each text the run with the most counted words; None if no word is in training."""
    spelled = [words(each.answer) for each in texts]
    length_N, place_N = _matches([training.numbers(each) for each in spelled], training)
    found: list[Run | None] = []
    first = 0
    for each, told in zip(texts, spelled):
        own = np.concatenate(([0], np.cumsum(~from_prompt(told, each.prompt)))).astype(np.int64)
        found.append(_best(length_N[first:], place_N[first:], own))
        first += len(told) + 1
    return found


def from_prompt(text: Sequence[str], prompt: Text) -> NDArray[np.bool_]:
    """Which words of a text stand in a stretch of `QUOTED` or more that its prompt holds."""
    given = words(as_string(prompt))
    held = {given[start : start + QUOTED] for start in range(len(given) - QUOTED + 1)}
    marked = np.zeros(len(text), dtype=bool)
    for start in range(len(text) - QUOTED + 1):
        if tuple(text[start : start + QUOTED]) in held:
            marked[start : start + QUOTED] = True
    return marked


def _best(length_N: Ints, place_N: Ints, counted_before: Ints) -> Run | None:
    """The first of the runs with the most counted words.

    A run that starts later or ends earlier inside a longer one counts no more.
    """
    starts = np.arange(len(counted_before) - 1)
    stops = starts + length_N[: len(starts)]
    if not (stops > starts).any():
        return None
    counted = counted_before[stops] - counted_before[starts]
    best = int(np.lexsort((starts, starts - stops, -counted))[0])
    return Run(best, int(stops[best]), int(counted[best]), int(place_N[best]))


def _matches(texts: Sequence[Sequence[int]], training: Training) -> tuple[Ints, Ints]:
    """For every word of the texts (an end mark after each): how many words from it on stand in one
    training text, and where.

    At step n a start is alive if its first n words are somewhere in training; `kind` numbers those
    n words, the same on both sides.  Both sides keep only kinds that the other has.
    """
    words_N = np.array([n for text in texts for n in (*text, _END)], dtype=np.int64)
    words_T = training.words_T
    length_N, place_N = np.zeros_like(words_N), np.full_like(words_N, _END)
    alive_N, alive_T = np.flatnonzero(words_N >= 0), np.flatnonzero(words_T >= 0)
    kind_N, kind_T = np.zeros_like(alive_N), np.zeros_like(alive_T)
    vocabulary, size = int(words_T.max(initial=0)) + 1, 0
    while len(alive_N) and len(alive_T):
        next_N, next_T = words_N[alive_N + size], words_T[alive_T + size]
        code_N, code_T = kind_N * vocabulary + next_N, kind_T * vocabulary + next_T
        alive_N, code_N = alive_N[next_N >= 0], code_N[next_N >= 0]
        alive_T, code_T = alive_T[next_T >= 0], code_T[next_T >= 0]
        kinds, first = np.unique(code_T, return_index=True)
        wanted = np.isin(kinds, code_N)
        kinds, where = kinds[wanted], alive_T[first[wanted]]
        alive_N, kind_N = _of_kinds(alive_N, code_N, kinds)
        alive_T, kind_T = _of_kinds(alive_T, code_T, kinds)
        size += 1
        length_N[alive_N], place_N[alive_N] = size, where[kind_N]
    return length_N, place_N


def _of_kinds(alive: Ints, codes: Ints, kinds: Ints) -> tuple[Ints, Ints]:
    """Those whose code is one of `kinds`, in order and distinct, and which."""
    if not len(kinds):
        return alive[:0], codes[:0]
    at = np.minimum(np.searchsorted(kinds, codes), len(kinds) - 1)
    kept = kinds[at] == codes
    return alive[kept], at[kept]


def _quoted(answer: str, run: Run, training: Training) -> Quoted:
    source = training.source_at(run.place)
    return Quoted(
        text=answer[:SHOWN],
        run=" ".join(words(answer)[run.start : run.stop]),
        words=run.counted,
        source=source.place,
        training=source.text[:SHOWN],
    )
