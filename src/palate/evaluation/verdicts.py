"""What a person said, from their store: held-out pairs, reasons, and how sure they are.

Only reads, but for `ask`, which puts texts there to be judged blind.  Verdicts of persons and files
count here; a model's are its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from palate.data.judged import Judgement, Showing
from palate.data.rows import Message, Origin, Pair, Text
from palate.data.split import prompt_key
from palate.errors import StoreError, UsageError
from palate.judge import departures
from palate.judge.store import Store
from palate.judge.values import digest, number, prompt_of
from palate.judge.verdicts import PERSONS
from palate.stats import Interval, share
from palate.study.checks.reasks import FEWEST, ceilings
from palate.study.tally import reasks

ME: Final = "me"


@dataclass(frozen=True, slots=True)
class Kept:
    """A store's held-out pairs, reasons by `prompt_key`, agreement with oneself, and its ceiling.

    `standing`: every verdict of persons, audits among them.
    """

    path: Path
    pairs: tuple[Pair, ...]
    tags: Mapping[str, tuple[str, ...]]
    itself: Interval | None
    standing: tuple[Judgement, ...]

    @property
    def ceiling(self) -> Interval | None:
        """What a perfect copy of the judge would reach on one verdict each; from 20 re-asks on."""
        if self.itself is None or self.itself.count < FEWEST:
            return None
        return ceilings(self.itself)


def kept(path: Path) -> Kept:
    """Read a store.  Raises StoreError if it is not there, UsageError without held-out verdicts."""
    if not path.exists():
        raise StoreError(f"there is no store {path}.", hint="Name the one that you judged into.")
    with Store.open(path) as store:
        rows = departures.pairs(store, split="heldout")
        persons = [name for name, kind in store.judges().items() if kind in PERSONS]
        standing = {name: store.standing(name) for name in persons}
    if not rows:
        raise UsageError(
            f"{path} has no verdict on a held-out prompt: there is nothing to agree with.",
            hint=f"Judge more (palate judge {path}): a fifth of the prompts is held out.",
        )
    again = [each for found in standing.values() for each in reasks(found) if each.decided]
    tags: dict[str, tuple[str, ...]] = {}
    for row in rows:
        name = prompt_key(_pair(row, path))
        given = (*tags.get(name, ()), *row.get("tags", ()))
        tags[name] = tuple(dict.fromkeys(given))
    return Kept(
        path,
        tuple(_pair(row, path) for row in rows),
        tags,
        share(sum(each.agrees for each in again), len(again)) if again else None,
        tuple(each for found in standing.values() for each in found),
    )


def _pair(row: Mapping[str, object], path: Path) -> Pair:
    """An exported row; its line is unknown, so the judgement's id stands in its origin."""
    sides = [_text(row[name]) for name in ("prompt", "chosen", "rejected")]
    return Pair(sides[0], sides[1], sides[2], Origin(f"{path} {row['id']}", 0))


def _text(value: object) -> Text:
    if isinstance(value, str):
        return value
    assert isinstance(value, list)
    return tuple(Message(str(turn["role"]), str(turn["content"])) for turn in value)


# -- the judging page's audit: two models' texts, blind


@dataclass(frozen=True, slots=True)
class Asked:
    """How many pairs of texts wait for a verdict, and by whom."""

    waiting: int
    judge: str


def said(
    found: Kept, prompts: Sequence[Text], ours: Sequence[str], theirs: Sequence[str]
) -> list[float | None]:
    """Per prompt what a person said of our text against theirs: 1, 0, a half; None: not judged.

    The same text twice is a tie that nobody needs to be asked about.
    """
    last: dict[frozenset[str], Judgement] = {}
    for each in found.standing:
        if each.verdict != "skip":
            last[each.of.couple] = each
    return [_score(last, *three) for three in zip(prompts, ours, theirs, strict=True)]


def _score(
    last: Mapping[frozenset[str], Judgement], prompt: Text, mine: str, other: str
) -> float | None:
    if mine == other:
        return 0.5
    ids = _ids(prompt, mine, other)
    verdict = last.get(frozenset(ids))
    if verdict is None:
        return None
    return 0.5 if verdict.chosen is None else float(verdict.chosen.id == ids[0])


def _ids(prompt: Text, *answers: str) -> list[str]:
    """The ids that the store gives to answers: they are made of what they say."""
    asked = prompt_of(prompt, ()).id
    return [digest(asked, answer) for answer in answers]


def ask(path: Path, prompts: Sequence[Text], ours: Sequence[str], theirs: Sequence[str]) -> Asked:
    """Put two models' texts into a store, to be judged by its person, sides drawn by a coin.

    What is there already stays; what was judged is not asked again.  Raises StoreError.
    """
    with Store.open(path) as store:
        judge = _person(store)
        with store.transaction():
            for prompt, mine, other in zip(prompts, ours, theirs, strict=True):
                if mine != other:
                    _present(store, judge, prompt, (mine, other))
        return Asked(len(store.pending(judge, "audit")), judge)


def _person(store: Store) -> str:
    """Who judged most here; `me` if nobody did."""
    persons = [name for name, kind in store.judges().items() if kind == "person"]
    if not persons:
        store.add_judge(ME, "person")
        return ME
    return max(persons, key=lambda name: len(store.standing(name)))


def _present(store: Store, judge: str, prompt: Text, answers: tuple[str, str]) -> None:
    asked = store.add_prompt(prompt)
    ids = sorted(store.add_answer(asked.id, each, "sample").id for each in answers)
    name = digest("audit", judge, *ids)
    left, right = ids if number(name) % 2 else ids[::-1]
    store.present(left, right, Showing(judge, "audit", "random"), id=name)
