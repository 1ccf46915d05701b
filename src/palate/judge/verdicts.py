"""Judges that are no person: a program or a model, under a name of its own.

A model is asked in both orders, because the order of two similar answers decides for it more often
than not: where the orders disagree the verdict is a tie.  What counts stands on the first order,
once both are known, and both are written in one transaction; the second is a re-ask, which no
export takes for a pair.  Ids are made from what was compared, so a run that was stopped asks
nothing twice and counts nothing twice.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from palate.data.judged import (
    Answer,
    AskedPrompt,
    JudgeKind,
    Judgement,
    Mode,
    Presentation,
    Said,
    Selector,
    Showing,
    Verdict,
)
from palate.judge import values
from palate.judge.store import Store
from palate.stats import Interval, share
from palate.study import orders
from palate.study.orders import Orders
from palate.study.tally import settled, share99
from palate.train.events import Listener, Working

PERSONS: Final[frozenset[JudgeKind]] = frozenset({"person", "file"})


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge says of two answers, in the words of the screen: left and right."""

    verdict: Verdict
    strength: int = 1
    reason: str = ""
    tags: tuple[str, ...] = ()


class Judge(Protocol):
    """Anything that compares two answers.  `skip` means that it came to no verdict."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> JudgeKind: ...

    def compare(self, prompt: AskedPrompt, left: str, right: str) -> Opinion:
        """Which is better.  Raises a PalateError where it cannot go on."""


@dataclass(frozen=True, slots=True)
class Couple:
    """Two answers of one prompt, in any order, and why these are compared."""

    one: str
    other: str
    selector: Selector = "given"
    mode: Mode = "pair"


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run did: pairs with a verdict and without one, questions asked, and how long."""

    judged: int
    skipped: int
    calls: int
    seconds: float


def run_judge(
    store: Store,
    judge: Judge,
    couples: Sequence[Couple],
    *,
    both_orders: bool | None = None,
    listen: Listener = lambda event: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Ran:
    """Have every couple compared that this judge has not compared before.

    `both_orders` by default for models alone.  A couple without a verdict is written down as a skip
    when the run ends; if the run fails or is stopped it is asked again by the next one.  Raises
    what the judge raises, with everything judged so far in the store.
    """
    store.add_judge(judge.name, judge.kind)
    both = judge.kind == "model" if both_orders is None else both_orders
    desk = _Desk(store, judge, both, clock)
    try:
        for place, couple in enumerate(couples, start=1):
            desk.take(couple)
            listen(Working("pairs judged", place, len(couples)))
        desk.write_skips()
    finally:
        desk.write_cost()
    return Ran(desk.judged, len(desk.open), desk.calls, desk.seconds)


class _Desk:
    """One run of one judge over a store."""

    def __init__(self, store: Store, judge: Judge, both: bool, clock: Callable[[], float]) -> None:
        self._store, self._judge, self._both, self._clock = store, judge, both, clock
        self.open: list[tuple[Presentation, str]] = []
        self.judged = self.calls = 0
        self.seconds = 0.0

    def take(self, couple: Couple) -> None:
        """Compare two answers, unless there is a verdict."""
        left, right = _sides(couple)
        first = self._present(left, right, Showing(self._judge.name, couple.mode, couple.selector))
        if _judged(self._store, first):
            return
        one = self._first_opinion(first)
        if one.verdict == "skip" or not self._both:
            self._close(first, one)
            return
        # Only looked at until it has a verdict: a second row for half a comparison helps nobody.
        swapped = self._ask(first.prompt, first.right, first.left)
        if swapped.verdict == "skip":
            self._leave(first, swapped.reason)
        else:
            self._write_both(first, one, swapped)

    def _first_opinion(self, first: Presentation) -> Opinion:
        """From before a stop, if there is one: the first order is not asked for twice."""
        kept = self._store.draft(first.id)
        if kept:
            found = json.loads(kept)
            return Opinion(**{**found, "tags": tuple(found["tags"])})
        opinion = self._ask(first.prompt, first.left, first.right)
        if self._both and opinion.verdict != "skip":
            self._store.save_draft(first.id, json.dumps(asdict(opinion)))
        return opinion

    def _ask(self, prompt: AskedPrompt, left: Answer, right: Answer) -> Opinion:
        began = self._clock()
        try:
            return self._judge.compare(prompt, left.text, right.text)
        finally:
            self.calls += 1
            self.seconds += self._clock() - began

    def _close(self, first: Presentation, one: Opinion) -> None:
        """The only order that is asked for."""
        if one.verdict == "skip":
            self._leave(first, one.reason)
            return
        self._append(first, _said(one))
        self.judged += 1

    def _leave(self, first: Presentation, reason: str) -> None:
        self.open.append((first, reason))

    def _write_both(self, first: Presentation, one: Opinion, swapped: Opinion) -> None:
        """Both orders at once: a consistent verdict, or a tie that says what was said."""
        verdict, why = orders.verdict_of(one.verdict, swapped.verdict)
        counts = Opinion(verdict, min(one.strength, swapped.strength), one.reason, one.tags)
        if why:
            counts = Opinion(verdict, reason=f"{why} {one.reason}".strip())
        with self._store.transaction():
            showing = Showing(self._judge.name, first.mode, "reask", first.id)
            again = self._present(first.right.id, first.left.id, showing)
            self._append(first, _said(counts))
            self._append(again, _said(swapped))
            self._store.drop_draft(first.id)
        self.judged += 1

    def write_skips(self) -> None:
        """Pairs without a verdict, now that the run has come to its end."""
        with self._store.transaction():
            for first, reason in self.open:
                self._append(first, Said("skip", reason=reason))
                self._store.drop_draft(first.id)

    def write_cost(self) -> None:
        """Add to what this judge has cost so far."""
        if self.calls:
            calls, seconds = cost(self._store, self._judge.name)
            told = json.dumps([calls + self.calls, round(seconds + self.seconds, 3)])
            self._store.set_meta(_cost_name(self._judge.name), told)

    def _present(self, left: str, right: str, showing: Showing) -> Presentation:
        id = values.digest(self._judge.name, left, right)
        return self._store.present(left, right, showing, id=id)

    def _append(self, shown: Presentation, said: Said) -> None:
        self._store.judge(_judgement_id(shown), shown.id, said)


def _sides(couple: Couple) -> tuple[str, str]:
    """The same two answers stand on the same sides, whichever came first; which, is a coin's."""
    one, other = sorted((couple.one, couple.other))
    return (one, other) if values.number(values.digest(one, other)) % 2 else (other, one)


def _judgement_id(shown: Presentation) -> str:
    return values.digest("verdict", shown.id)


def _judged(store: Store, shown: Presentation) -> bool:
    try:
        store.judgement(_judgement_id(shown))
    except KeyError:
        return False
    return True


def _said(opinion: Opinion) -> Said:
    """A judge that is no person has no reading time: 0 ms is "not known", never "fast"."""
    return Said(opinion.verdict, opinion.strength, opinion.reason, opinion.tags)


# -- what the verdicts are worth


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a judge chose what a person chose; `open` pairs had a tie of either."""

    person: str
    rate: Interval | None
    open: int


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that a judge which is no person has said, and how far to trust it.

    `left` has a 99% interval and counts every single question.  `orders` is None for a judge that
    was asked in one order.  `calls` and `seconds` are those of all its runs.
    """

    name: str
    pairs: int
    ties: int
    skipped: int
    left: Interval | None
    orders: Orders | None
    agreements: tuple[Agreement, ...]
    calls: int
    seconds: float

    @property
    def trusted(self) -> bool:
        """Not greyed out: consistent in 65% of pairs or more, or asked in one order."""
        return self.orders is None or self.orders.trusted


def record(store: Store, name: str) -> Record:
    """The record of one judge, from the verdicts that stand."""
    own = store.standing(name)
    counted = settled(own)
    sides = [orders.as_said(each) for each in own]
    lefts = [side == each.of.left for side, each in zip(sides, own) if side is not None]
    persons = [each for each, kind in store.judges().items() if kind in PERSONS and each != name]
    found = [agreement(each, counted, settled(store.standing(each))) for each in persons]
    return Record(
        name,
        sum(each.chosen is not None for each in counted),
        sum(each.chosen is None for each in counted),
        sum(each.verdict == "skip" for each in own),
        share99(sum(lefts), len(lefts)) if lefts else None,
        orders.both_orders(own),
        tuple(each for each in found if each.rate is not None or each.open),
        *cost(store, name),
    )


def agreement(person: str, own: Sequence[Judgement], theirs: Sequence[Judgement]) -> Agreement:
    """On the same two answers, of settled verdicts; of a person's several the last one counts."""
    last = {each.of.couple: each for each in theirs}
    both = [(each, last[each.of.couple]) for each in own if each.of.couple in last]
    decided = [
        (one.chosen.id, other.chosen.id) for one, other in both if one.chosen and other.chosen
    ]
    hits = sum(one == other for one, other in decided)
    rate = share(hits, len(decided)) if decided else None
    return Agreement(person, rate, len(both) - len(decided))


def cost(store: Store, name: str) -> tuple[int, float]:
    """Questions asked of a judge and seconds waited for it, over all runs."""
    calls, seconds = json.loads(store.meta(_cost_name(name), "[0, 0]"))
    return int(calls), float(seconds)


def _cost_name(name: str) -> str:
    return f"cost of {name}"
