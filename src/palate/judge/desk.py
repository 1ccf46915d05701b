"""One judge at work: every call of the page as a method, one at a time.

A method returns after the commit.  The ids of writes are made by the page, so a call that is sent
again changes nothing and says the same.  A lock around store, ledger and queue keeps the three in
step; what only reads the store does not take it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import RLock

from palate.data.judged import Judgement, Mode, Said, Showing, Side
from palate.errors import UsageError
from palate.judge.ledger import Counts, Ledger, Line, edit_id, edited_at
from palate.judge.queue import Item, Pace, Queue, Turn
from palate.judge.store import Conflict, Store
from palate.judge.values import digest, number

WRITE_DRAFT = "write"


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt, its better and its worse answer, as a person wrote them."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Undone:
    """What is shown again and what had been said of it."""

    item: Item
    was: Judgement


class Desk:
    """The store as one judge uses it from the page.  Any thread may call."""

    def __init__(
        self,
        store: Store,
        judge: str,
        *,
        pace: Pace = Pace(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.name = judge
        self._lock = RLock()
        self._ledger = Ledger.read(store, judge)
        self._queue = Queue(store, judge, self._ledger, pace=pace, clock=clock)
        self._reopened: set[str] = set()  # undone, or an edit there was
        self.given = 0  # verdicts since this desk was opened

    def next(self, mode: Mode, tab: str, n: int, last: str) -> Turn:
        """See `Queue.next`.  New presentations are on the disk."""
        with self._lock:
            return self._queue.next(mode, tab, n, last)

    def left(self, mode: Mode) -> int:
        """How many more there are, counted up to a limit."""
        with self._lock:
            return self._queue.left(mode)

    def counts(self) -> Counts:
        with self._lock:
            return self._ledger.counts()

    def tally(self) -> Mapping[str, int]:
        """Tag -> how often it was given."""
        with self._lock:
            return self._ledger.tally()

    def judge(self, id: str, presentation: str, said: Said, supersedes: str | None) -> str:
        """Append a verdict.  What was skipped may be judged later without further words.

        Raises KeyError (not shown to this judge), Conflict (a verdict stands).
        """
        with self._lock:
            if self.store.knows(id):
                return id
            line = self._line(presentation)
            if supersedes is None and (line.verdict == "skip" or presentation in self._reopened):
                supersedes = line.judgement
            try:
                with self.store.transaction():
                    done = self.store.judge(id, presentation, said, supersedes=supersedes)
                    self.store.drop_draft(presentation)
            except Conflict:
                self._queue.answered(presentation)
                raise
            self._note(done)
            return id

    def undo(self, id: str, target: str | None, tab: str) -> Undone | None:
        """Append that a verdict no longer stands, and show the pair again; None: nothing to undo.

        An edit that is undone is shown where it was made, with its text in the box.
        Raises KeyError for a target that never was.
        """
        with self._lock:
            fresh = not self.store.knows(id)
            found = self.store.undo(id, target, judge=self.name)
            if found is None:
                return None
            shown = edited_at(found.id) or found.id
            if fresh:
                self._line(found.id)
                self._ledger.undone(found.id)
                self._reopened.add(shown)
                self._queue.put_back(shown, tab)
            return self._undone(found.id, shown, id)

    def save_draft(self, name: str, text: str) -> None:
        """Keep what is being typed; nothing typed is no draft.  Raises KeyError."""
        with self._lock:
            if name != WRITE_DRAFT:
                self._line(name)
            if text:
                self.store.save_draft(name, text)
            else:
                self.store.drop_draft(name)

    def edit(self, id: str, presentation: str, side: Side, text: str, said: Said) -> None:
        """Improve one of two answers: a new one, better than the one it was made of.

        Raises KeyError, UsageError if nothing was changed.
        """
        with self._lock:
            if self.store.knows(id):
                return
            self._line(presentation)
            of = self.store.presentation(presentation)
            parent = of.left if side == "left" else of.right
            if text.strip() == parent.text.strip():
                raise UsageError("nothing was changed: there is nothing to prefer.")
            with self.store.transaction():
                better = self.store.add_answer(of.prompt.id, text, "edit", parent=parent.id)
                both = (better.id, parent.id)
                done = self._append(id, both, said, ("edit", edit_id(presentation, id)))
                self.store.drop_draft(presentation)
            self._note(done)
            self._queue.answered(presentation)

    def write(self, id: str, written: Written, said: Said) -> None:
        """A pair written by hand.  Raises UsageError if its two answers are one."""
        if written.chosen.strip() == written.rejected.strip():
            raise UsageError("chosen and rejected are the same text: there is nothing to prefer.")
        with self._lock:
            if self.store.knows(id):
                return
            with self.store.transaction():
                prompt = self.store.add_prompt(written.prompt)
                texts = (written.chosen, written.rejected)
                both = [self.store.add_answer(prompt.id, text, "human") for text in texts]
                shown = digest("write", id)
                done = self._append(id, (both[0].id, both[1].id), said, ("write", shown))
                self.store.drop_draft(WRITE_DRAFT)
            self._note(done)

    # ---- inside

    def _append(
        self, id: str, both: tuple[str, str], said: Said, how: tuple[Mode, str]
    ) -> Judgement:
        """A presentation of two answers, the better one given first, and the verdict on it.

        Where the better one stands is a hash, so that nothing can be read from sides.
        """
        mode, shown = how
        left = number(digest("side", shown)) % 2 == 1
        one, other = both if left else both[::-1]
        self.store.present(one, other, Showing(self.name, mode, "given"), id=shown)
        verdict = Said("left" if left else "right", said.strength, said.reason, said.tags, said.ms)
        return self.store.judge(id, shown, verdict)

    def _note(self, done: Judgement) -> None:
        self._ledger.said(done)
        self._queue.answered(done.of.id)
        self._reopened.discard(done.of.id)
        self.given += 1

    def _undone(self, undone: str, shown: str, undo: str) -> Undone:
        was, item = self.store.judgement(undo), self._queue.item(shown)
        if undone != shown and was.chosen is not None:
            item = replace(item, draft=was.chosen.text)
        return Undone(item, was)

    def _line(self, presentation: str) -> Line:
        """What was shown to this judge, by whichever process.  Raises KeyError."""
        if presentation not in self._ledger.lines:
            of = self.store.presentation(presentation)
            if of.judge != self.name:
                raise KeyError(presentation)
            self._ledger.shown(of)
        return self._ledger.lines[presentation]
