"""Winner stays: the answers of a prompt in a random order, each against the best so far.

k answers take k - 1 verdicts, every one about two answers that were seen side by side.  A tie, both
bad or a skip leaves the holder where it is.  Where a prompt stands is read from its verdicts, so an
undo or a restart needs nothing else.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from palate.data.judged import Presentation
from palate.judge.ledger import Ledger
from palate.judge.store import Store
from palate.judge.values import digest


@dataclass(frozen=True, slots=True)
class Match:
    """The next two of a prompt, and their presentation if they were shown already."""

    holder: str
    challenger: str
    shown: str | None


class Ranking:
    """The prompts that are being ranked, and those that come after them."""

    def __init__(self, store: Store, ledger: Ledger, judge: str) -> None:
        self._store = store
        self._ledger = ledger
        self._judge = judge
        self._open = dict.fromkeys(id for id in ledger.prompts() if self._begun(id))
        self._ahead: deque[str] = deque()

    def touch(self, prompt: str) -> None:
        """A verdict of this prompt was given or undone."""
        if self._begun(prompt):
            self._open[prompt] = None

    def next(self, busy: Collection[str]) -> Match | None:
        """A match of the first prompt that nobody ranks at this moment."""
        for prompt in [each for each in self._open if each not in busy]:
            match = self._match(prompt)
            if match is not None:
                return match
            del self._open[prompt]
        new = self._new()
        if new is None:
            return None
        self._open[new] = None
        return self._match(new)

    def marks(self, of: Presentation) -> tuple[int, int]:
        """Which comparison of how many this is."""
        order = self._order(of.prompt.id)
        places = [order.index(id) for id in of.couple if id in order]
        return max(places, default=0), max(len(order) - 1, 0)

    def left(self, limit: int) -> int:
        """How many prompts are still to be ranked, `limit` at most."""
        self._look_up(limit)
        return min(len(self._open.keys() | set(self._ahead)), limit)

    def _match(self, prompt: str) -> Match | None:
        """Play the verdicts back; None when every answer had its turn."""
        shown = {
            line.couple: line for line in self._ledger.of_prompt(prompt) if line.mode == "rank"
        }
        order = self._order(prompt)
        holder = order[0] if order else ""
        for challenger in order[1:]:
            line = shown.get(frozenset((holder, challenger)))
            if line is None or line.verdict is None:
                return Match(holder, challenger, None if line is None else line.id)
            if line.verdict in ("left", "right"):
                holder = line.left if line.verdict == "left" else line.right
        return None

    def _order(self, prompt: str) -> list[str]:
        """The answers that came from outside, shuffled; what was written here is no candidate."""
        answers = [each for each in self._store.answers(prompt) if each.origin in _FROM_OUTSIDE]
        return sorted((each.id for each in answers), key=lambda id: digest("rank", self._judge, id))

    def _begun(self, prompt: str) -> bool:
        return any(line.mode == "rank" for line in self._ledger.of_prompt(prompt))

    def _new(self) -> str | None:
        self._look_up(1)
        return self._ahead.popleft() if self._ahead else None

    def _look_up(self, least: int) -> None:
        """Read on until `least` prompts are known that nobody ranked, or all are."""
        limit = max(least, _AHEAD)
        while len(self._ahead) < least:
            found = self._store.unjudged(self._judge, limit=limit)
            ids = (prompt.id for prompt in found)
            self._ahead = deque(
                id for id in ids if not self._begun(id) and len(self._order(id)) > 1
            )
            if len(found) < limit:
                return
            limit *= 2


_FROM_OUTSIDE = ("sample", "import")
_AHEAD = 100
