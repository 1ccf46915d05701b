"""What one judge is shown next, tab by tab.

Two tabs never hold the same presentation; a tab that is loaded again gets its own back.  What was
shown and not judged comes first, then a re-ask if one is due, the plan, and random pairs.  What was
skipped comes back when nothing else is left, once.  Everything here can be lost: a presentation
without a verdict is found again in the store.  The caller holds a lock.
"""

import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from palate.data.judged import SECOND_LOOKS, Mode, Presentation, Showing
from palate.judge.ledger import Ledger, Line
from palate.judge.looks import Looks
from palate.judge.ranking import Ranking
from palate.judge.store import Pick, Store
from palate.judge.values import digest, number

if TYPE_CHECKING:
    from palate.judge.second_look import Look

AHEAD: Final = 100  # pairs looked up at a time; as many are counted as left
EVERY: Final = 1_000_000
STALE: Final = 5.0  # seconds after which another process may have brought something new
SILENT: Final = 600.0  # seconds after which another tab may have what a tab holds
HELD: Final = 50  # presentations that a tab may hold without judging any
TABS: Final = 64
NOTED: Final[frozenset[Mode]] = SECOND_LOOKS | {"audit", "edit"}


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a pair is shown again, sides swapped, and how long after; our defaults."""

    share: float = 0.1
    items: int = 30
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Item:
    """A presentation as it goes to the page.  `step` of `steps` in rank mode; `note` in words."""

    of: Presentation
    draft: str
    step: int = 0
    steps: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a tab gets.  `left` counts `AHEAD` at most; `done`: nothing is left for this tab."""

    items: tuple[Item, ...]
    left: int
    done: bool


class Queue:
    """Reservations, and where the next pair comes from."""

    def __init__(
        self,
        store: Store,
        judge: str,
        ledger: Ledger,
        *,
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._judge = judge
        self._ledger = ledger
        self._pace = pace
        self._clock = clock
        self._tabs: dict[tuple[str, Mode], list[str]] = {}
        self._heard: dict[tuple[str, Mode], float] = {}
        self._again: set[str] = set()  # skipped, and offered once more
        self._ripe: list[str] = []
        self._just_reasked = False
        self._picks: deque[Pick] = deque()
        self._planned_at = float("-inf")
        self._prompts: deque[str] = deque()
        self._all_known = False
        self._used_up = False
        self._looked_up = float("-inf")
        self._before = (ledger.asked, len(ledger.reasked))
        self._ranking = Ranking(store, ledger, judge)
        self._looks = Looks(store, judge, ledger)

    def next(self, mode: Mode, tab: str, n: int, last: str = "") -> Turn:
        """The first `n` that the tab holds, behind `last` if it holds that; taken up as needed."""
        held = self._of_tab(tab, mode)
        start = held.index(last) + 1 if last in held else 0
        while len(held) - start < n and len(held) < HELD:
            found = self._found(mode, held)
            if found is None:
                break
            held.append(found)
        items = tuple(self.item(id) for id in held[start : start + n])
        left = min(len(held) - start + self._more(mode), AHEAD)
        return Turn(items, left, not held)

    def left(self, mode: Mode) -> int:
        """How many there are for a tab that holds none, `AHEAD` at most."""
        free = sum(1 for _ in self._ledger.pending(mode))
        return min(free + self._more(mode), AHEAD)

    def item(self, id: str) -> Item:
        """A presentation with what was typed into it."""
        of, draft = self._store.presentation(id), self._store.draft(id)
        step, steps = self._ranking.marks(of) if of.mode == "rank" else (0, 0)
        note = self._looks.note(of) if of.mode in NOTED else ""
        return Item(of, draft, step, steps, note)

    def answered(self, id: str) -> None:
        """Nobody needs to be shown this any more."""
        for held in self._tabs.values():
            if id in held:
                held.remove(id)
        self._ranking.touch(self._ledger.lines[id].prompt)

    def put_back(self, id: str, tab: str) -> None:
        """A verdict was undone: the tab sees the pair next."""
        self.answered(id)
        line = self._ledger.lines[id]
        held = self._of_tab(tab, line.mode)
        if line.mode == "rank":  # what follows in this prompt depends on what will be said
            held[:] = [each for each in held if self._ledger.lines[each].prompt != line.prompt]
        held.insert(0, id)

    # ---- reservations

    def _of_tab(self, tab: str, mode: Mode) -> list[str]:
        """What a tab holds; what silent tabs held is free again."""
        now, key = self._clock(), (tab, mode)
        self._heard[key] = now
        for other, heard in sorted(self._heard.items(), key=lambda each: each[1]):
            if other != key and (now - heard > SILENT or len(self._heard) > TABS):
                del self._heard[other]
                self._tabs.pop(other, None)
        return self._tabs.setdefault(key, [])

    def _free(self, lines: Iterable[Line]) -> Line | None:
        """The first that no tab holds."""
        held = set(itertools.chain.from_iterable(self._tabs.values()))
        return next((line for line in lines if line.id not in held), None)

    # ---- where the next one comes from

    def _found(self, mode: Mode, held: list[str]) -> str | None:
        if mode in ("write", "import") or (mode == "rank" and held):
            return None  # who meets the winner of a pair is known when it is judged
        if mode == "rank":
            line = self._ranked()
        else:
            line = self._free(self._ledger.pending(mode)) or self._new(mode)
        line = line or self._put_off(mode)
        if line is not None and mode == "pair":
            self._just_reasked = line.reask
        return None if line is None else line.id

    def _new(self, mode: Mode) -> Line | None:
        if mode == "pair":
            return self._reask() or self._planned() or self._random()
        look = self._looks.take(mode)
        return None if look is None else self._look(look, mode)

    def _put_off(self, mode: Mode) -> Line | None:
        put_off = (line for line in self._ledger.skipped(mode) if line.id not in self._again)
        line = self._free(put_off)
        if line is not None:
            self._again.add(line.id)
        return line

    def _reask(self) -> Line | None:
        """One of those judged long enough ago, at a moment that nobody can foresee.

        While they are fewer than their share of what this server showed, every fifth pair on
        average; never two together.
        """
        asked = self._ledger.asked
        drawn = number(digest("reask", self._judge, str(asked))) / 2**48
        now = (asked - self._before[0], len(self._ledger.reasked) - self._before[1])
        behind = now[1] < self._pace.share * now[0]
        if not behind or self._just_reasked or drawn >= 2 * self._pace.share:
            return None
        self._ripen()
        while self._ripe:
            place = number(digest("which", self._judge, str(asked))) % len(self._ripe)
            self._ripe[place], self._ripe[-1] = self._ripe[-1], self._ripe[place]
            line = self._ledger.lines[self._ripe.pop()]
            if self._may_be_reasked(line):
                showing = Showing(self._judge, "pair", "reask", again=line.id)
                return self._present(line.right, line.left, showing)
        return None

    def _may_be_reasked(self, line: Line) -> bool:
        first = line.mode == "pair" and line.again is None and line.id not in self._ledger.reasked
        return first and line.verdict in ("left", "right", "tie")

    def _ripen(self) -> None:
        """Move what is old enough to where it may be drawn from.  A clock that went backwards says
        nothing of an age; then the count of items decides."""
        now, fresh = self._clock(), self._ledger.fresh
        while fresh:
            line = self._ledger.lines[fresh[0]]
            age = now - line.created
            if self._ledger.made - line.place < self._pace.items or 0 <= age < self._pace.seconds:
                return
            self._ripe.append(fresh.popleft())

    def _planned(self) -> Line | None:
        stale = not 0 <= self._clock() - self._planned_at < STALE
        if stale:
            self._picks = deque(self._store.plan(self._judge, AHEAD))
            self._planned_at = self._clock()
        while self._picks:
            pick = self._picks.popleft()
            prompt = self._store.answer(pick.one).prompt_id
            if frozenset((pick.one, pick.other)) not in self._seen(prompt):
                return self._drawn(
                    pick.one, pick.other, Showing(self._judge, "pair", pick.selector)
                )
        return None

    def _random(self) -> Line | None:
        """A pair of the next prompt in the store's own shuffle, held-out prompts as they come."""
        while self._prompts or self._look_up():
            while self._prompts:
                line = self._random_of(self._prompts.popleft())
                if line is not None:
                    self._used_up = False
                    return line
        return None

    def _look_up(self) -> bool:
        """Read ahead; false if there is nothing more.

        Prompts that are new are found fast, and a few are read.  Those with pairs left are counted
        over everything that was shown: all of them are read at once, and not again for a while.
        """
        if self._used_up and 0 <= self._clock() - self._looked_up < STALE:
            return False
        found = self._store.unjudged(self._judge, limit=AHEAD)
        self._all_known = not found or bool(self._seen(found[-1].id))
        if self._all_known:
            found = self._store.unjudged(self._judge, limit=EVERY)
            if len(found) <= 5 * AHEAD:
                found = [prompt for prompt in found if self._unseen(prompt.id)]
        self._all_known = self._all_known or len(found) < AHEAD
        self._looked_up, self._used_up = self._clock(), True
        self._prompts = deque(prompt.id for prompt in found)
        return bool(found)

    def _random_of(self, prompt: str) -> Line | None:
        couples = self._unseen(prompt)
        if not couples:
            return None
        one, other = min(couples, key=lambda couple: digest("couple", self._judge, *couple))
        return self._drawn(one, other, Showing(self._judge, "pair", "random"))

    def _unseen(self, prompt: str) -> list[tuple[str, str]]:
        seen = self._seen(prompt)
        answers = sorted(answer.id for answer in self._store.answers(prompt))
        couples = itertools.combinations(answers, 2)
        return [couple for couple in couples if frozenset(couple) not in seen]

    def _seen(self, prompt: str) -> set[frozenset[str]]:
        return {line.couple for line in self._ledger.of_prompt(prompt)}

    def _ranked(self) -> Line | None:
        """The prompt that is being ranked, or another one that no tab is at."""
        ranked = (held for (_, mode), held in self._tabs.items() if mode == "rank")
        busy = {self._ledger.lines[id].prompt for held in ranked for id in held}
        match = self._ranking.next(busy)
        if match is None:
            return None
        if match.shown is not None:
            return self._ledger.lines[match.shown]
        return self._drawn(match.holder, match.challenger, Showing(self._judge, "rank", "random"))

    def _look(self, look: "Look", mode: Mode) -> Line:
        return self._present(look.one, look.other, Showing(self._judge, mode, "given", look.again))

    def _drawn(self, one: str, other: str, showing: Showing) -> Line:
        """Sides by a hash of the presentation's id, which is random."""
        id = uuid.uuid4().hex
        left, right = (one, other) if number(digest("side", id)) % 2 else (other, one)
        return self._ledger.shown(self._store.present(left, right, showing, id=id))

    def _present(self, left: str, right: str, showing: Showing) -> Line:
        return self._ledger.shown(self._store.present(left, right, showing))

    def _more(self, mode: Mode) -> int:
        """How many more are known beside those that were shown."""
        if mode == "pair":
            if not self._prompts and not self._all_known:
                self._look_up()
            return len(self._picks) + (len(self._prompts) if self._all_known else AHEAD)
        if mode == "rank":
            return self._ranking.left(AHEAD)
        return 0 if mode in ("write", "import") else self._looks.left(mode)
