"""Who gives the verdicts: a program or a model that is asked, or a person at the page.

Either way a task is a list of pairs, and what was judged before is not asked again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from palate.data.judged import JudgeKind, Judgement, Showing
from palate.judge.store import Pick, Store
from palate.judge.values import digest, number
from palate.judge.verdicts import Couple, Judge, run_judge
from palate.train.events import Listener

Mode = Literal["pair", "audit"]


@dataclass(frozen=True, slots=True)
class Task:
    """Pairs to judge.  `title` is what the page is called."""

    title: str
    mode: Mode
    picks: tuple[Pick, ...]


class Voice(Protocol):
    """Brings a task to its goal, or as far as its judge goes today."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> JudgeKind: ...

    def work(self, store: Store, task: Task, listen: Listener) -> bool:
        """Have the pairs judged that were not.  Returns whether the goal is reached."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A judge that is no person: it goes on to the end of the task."""

    judge: Judge

    @property
    def name(self) -> str:
        return self.judge.name

    @property
    def kind(self) -> JudgeKind:
        return self.judge.kind

    def work(self, store: Store, task: Task, listen: Listener) -> bool:
        couples = [Couple(pick.one, pick.other, pick.selector, task.mode) for pick in task.picks]
        run_judge(store, self.judge, couples, listen=listen)
        return True


@dataclass(frozen=True, slots=True)
class AtThePage:
    """A person.  `show` opens the page for so many more verdicts, and returns when they are given
    (True) or the person leaves (False)."""

    name: str
    show: Callable[[Store, Task, int, Listener], bool]
    kind: JudgeKind = "person"

    def work(self, store: Store, task: Task, listen: Listener) -> bool:
        """The plan of the page is the task."""
        store.add_judge(self.name, self.kind)
        with store.transaction():
            if task.mode == "pair":
                store.set_plan(task.picks)
            else:
                for pick in task.picks:
                    self._present(store, pick)
        left = len(task.picks) - len(verdicts(store, self.name, task.picks))
        return left <= 0 or self.show(store, task, left, listen)

    def _present(self, store: Store, pick: Pick) -> None:
        """Note an audit down to be shown, its sides drawn; the same one once."""
        one, other = sorted((pick.one, pick.other))
        id = digest("audit", self.name, one, other)
        left, right = (one, other) if number(id) % 2 else (other, one)
        store.present(left, right, Showing(self.name, "audit", "random"), id=id)


def verdicts(store: Store, judge: str, picks: Sequence[Pick]) -> dict[frozenset[str], Judgement]:
    """What a judge said of these pairs, as it stands; a skipped pair has no verdict."""
    wanted = {frozenset((pick.one, pick.other)) for pick in picks}
    found = {
        each.of.couple: each
        for each in store.standing(judge)
        if each.of.couple in wanted and each.verdict != "skip" and not each.of.is_reask
    }
    return found
