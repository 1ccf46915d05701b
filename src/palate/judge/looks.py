"""The queue of what is looked at once more: an answer to improve, or a verdict to check.

Which verdicts deserve it, and in what order, `second_look` says.  Here each is handed out once.
"""

from collections import deque
from typing import TYPE_CHECKING

from palate.data.judged import Mode, Presentation
from palate.judge.ledger import Ledger
from palate.judge.store import Store

if TYPE_CHECKING:
    from palate.judge.second_look import Look


class Looks:
    """One list per mode, read when it is first asked for, and again when it is used up and
    something was judged since; that of `recheck`, which takes long, once."""

    def __init__(self, store: Store, judge: str, ledger: Ledger) -> None:
        self._store = store
        self._judge = judge
        self._ledger = ledger
        self._lists: dict[Mode, deque[Look]] = {}
        self._read_at: dict[Mode, int] = {}
        self._notes: dict[tuple[Mode, frozenset[str]], str] = {}

    def take(self, mode: Mode) -> "Look | None":
        """The next, if there is one."""
        found = self._list(mode)
        return found.popleft() if found else None

    def left(self, mode: Mode) -> int:
        """How many are known."""
        return len(self._list(mode))

    def note(self, of: Presentation) -> str:
        """What is said above a presentation; less where an earlier server showed it first."""
        from palate.judge import second_look

        first = self._ledger.lines.get(of.again or "")
        plain = {"audit": second_look.FRESH, "edit": "Make one of these two better."}
        if of.mode == "edit" and first is not None and first.verdict == "both_bad":
            plain["edit"] = second_look.BAD
        said = plain.get(of.mode, second_look.AGAIN)
        return self._notes.get((of.mode, of.couple), said)

    def _list(self, mode: Mode) -> "deque[Look]":
        from palate.judge.second_look import looks

        found = self._lists.setdefault(mode, deque())
        new = mode not in self._read_at or self._read_at[mode] != self._ledger.made
        if not found and new and (mode != "recheck" or mode not in self._read_at):
            self._read_at[mode] = self._ledger.made
            for look in looks(self._store, self._judge, mode):
                self._notes[mode, frozenset((look.one, look.other))] = look.note
                found.append(look)
        return found
