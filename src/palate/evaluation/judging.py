"""Who is better on each prompt, by a judge that is no person: a program, a model or a reward.

A model is asked in both orders and where they disagree it is a tie; its verdicts are kept in a
store of the evaluation's own, so that the same command asks nothing twice.  Of several texts per
prompt it is asked about the first; a program or a reward reads all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from palate.data.judged import AskedPrompt, JudgeKind
from palate.data.rewards import Answered, Reward
from palate.data.rows import Text
from palate.errors import ModelError
from palate.evaluation.verdicts import Kept
from palate.judge.store import Store
from palate.judge.values import digest, prompt_of
from palate.judge.verdicts import Couple, Judge, run_judge
from palate.runs.atomic import make_folder
from palate.stats import Interval, share
from palate.study import orders
from palate.study.drawn import Drawn
from palate.study.orders import GREY
from palate.study.tally import settled
from palate.train.events import Listener

MEASURED: Final = 50  # of a person's own verdicts that a model is asked about too
ANSWERED: Final = 0.5  # of the pairs; with fewer verdicts a judge has answered nothing
Yes = Callable[[str, Text, str], bool | None]  # question, prompt, answer -> yes, no, unreadable
Scores = tuple[
    tuple[float | None, ...], ...
]  # by prompt, of each text: 1, 0, a half; None: no word


@dataclass(frozen=True, slots=True)
class Means:
    """What was handed in to judge with; `yes` answers a rubric's questions."""

    judge: Judge | None = None
    reward: Reward | None = None
    yes: Yes | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A judge's word on one model against another, and how far to trust it."""

    judge: str
    kind: JudgeKind
    scores: Scores
    consistency: Interval | None = None
    agreement: Interval | None = None

    @property
    def trusted(self) -> bool:
        return self.consistency is None or self.consistency.value >= GREY


Points = tuple[tuple[float, ...], ...]


def points_of(reward: Reward, drawn: Drawn) -> Points:
    """The reward of every text, by prompt.  Raises what the reward raises."""
    ended = drawn.ended or tuple((True,) * len(texts) for texts in drawn.texts)
    flat = [
        Answered(prompt, text, whole)
        for prompt, texts, ends in zip(drawn.prompts, drawn.texts, ended, strict=True)
        for text, whole in zip(texts, ends, strict=True)
    ]
    given = iter(reward.score(flat))
    return tuple(tuple(next(given) for _ in texts) for texts in drawn.texts)


def by_reward(reward: Reward, ours: Points, theirs: Points) -> Said:
    """More points win; equal ones are a tie."""
    scores = tuple(
        tuple(_won(a - b) for a, b in zip(one, other, strict=True))
        for one, other in zip(ours, theirs, strict=True)
    )
    return Said(reward.name, reward.kind, scores)


def _won(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def by_program(judge: Judge, ours: Drawn, theirs: Drawn) -> Said:
    """One order, every text against the other model's text of the same seed."""
    found = []
    for prompt, one, other in zip(ours.prompts, ours.texts, theirs.texts, strict=True):
        asked = prompt_of(prompt, ())
        found.append(tuple(_score(judge, asked, *two) for two in zip(one, other, strict=True)))
    return Said(judge.name, judge.kind, tuple(found))


def _score(judge: Judge, asked: AskedPrompt, mine: str, other: str) -> float | None:
    if mine == other:
        return 0.5
    verdict = judge.compare(asked, mine, other).verdict
    return {"left": 1.0, "right": 0.0, "skip": None}.get(verdict, 0.5)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a model judges: its store, and whose verdicts to hold it against."""

    path: Path
    judge: Judge
    kept: Kept | None
    listen: Listener
    _known: dict[str, Interval | None] = field(default_factory=dict)

    def compare(self, ours: Drawn, theirs: Drawn) -> Said:
        """First texts, both orders.  Raises ModelError where hardly an answer could be read."""
        make_folder(self.path.parent)
        with Store.open(self.path) as store:
            texts = list(zip(ours.prompts, ours.firsts, theirs.firsts, strict=True))
            couples = [_stored(store, *three) for three in texts if three[1] != three[2]]
            run_judge(store, self.judge, couples, listen=self.listen)
            wanted = {frozenset((each.one, each.other)) for each in couples}
            standing = store.standing(self.judge.name)
            own = {e.of.couple: e for e in settled(standing) if e.of.couple in wanted}
            both = orders.both_orders([e for e in standing if e.of.couple in wanted])
        if len(own) < ANSWERED * len(wanted):
            raise ModelError(
                f"{self.judge.name} gave a verdict that could be read on {len(own)} of"
                f" {len(wanted)} pairs of texts.",
                hint="Use another --judge-model, or evaluate without --judge-with.",
            )
        scores: list[tuple[float | None, ...]] = []
        for prompt, mine, other in texts:
            ids = [digest(prompt_of(prompt, ()).id, text) for text in (mine, other)]
            found = own.get(frozenset(ids))
            if mine == other:
                scores.append((0.5,))
            elif found is None:
                scores.append((None,))
            else:
                scores.append((0.5 if found.chosen is None else float(found.chosen.id == ids[0]),))
        consistency = None if both is None else both.consistent
        return Said(self.judge.name, "model", tuple(scores), consistency, self.agreement())

    def agreement(self) -> Interval | None:
        """With the person, on up to 50 held-out pairs that the person decided; asked once."""
        if self.kept is None:
            return None
        if "rate" not in self._known:
            self._known["rate"] = self._agreement(self.kept)
        return self._known["rate"]

    def _agreement(self, kept: Kept) -> Interval | None:
        ranked = sorted(kept.pairs, key=lambda pair: digest("measured", pair.origin.path))
        with Store.open(self.path) as store:
            found: dict[frozenset[str], str] = {}
            couples = []
            for pair in ranked[:MEASURED]:
                couple = _stored(store, pair.prompt, _flat(pair.chosen), _flat(pair.rejected))
                found[frozenset((couple.one, couple.other))] = couple.one
                couples.append(couple)
            run_judge(store, self.judge, couples, listen=self.listen)
            own = [e for e in settled(store.standing(self.judge.name)) if e.of.couple in found]
        decided = [each for each in own if each.chosen is not None]
        hits = sum(e.chosen is not None and e.chosen.id == found[e.of.couple] for e in decided)
        return share(hits, len(decided)) if decided else None


def _stored(store: Store, prompt: Text, mine: str, other: str) -> Couple:
    asked = store.add_prompt(prompt)
    ids = [store.add_answer(asked.id, text, "sample").id for text in (mine, other)]
    return Couple(ids[0], ids[1])


def _flat(text: Text) -> str:
    return text if isinstance(text, str) else text[-1].content
