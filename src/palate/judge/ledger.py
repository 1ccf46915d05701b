"""What one judge was shown and said, in memory: enough to decide what comes next, and to count.

The store is the truth and is read once; afterwards each write is noted here as well.  Nothing here
is ever saved, and no text is held.
"""

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from palate.data.judged import SECOND_LOOKS, Judgement, Mode, Presentation, Verdict
from palate.judge.store import Store
from palate.judge.values import digest


@dataclass(slots=True)
class Line:
    """One presentation, and the verdict that stands, if one does.  `place` counts verdicts."""

    id: str
    prompt: str
    left: str
    right: str
    mode: Mode
    again: str | None
    judgement: str | None = None
    verdict: Verdict | None = None
    tags: tuple[str, ...] = ()
    created: float = 0.0
    place: int = 0

    @property
    def couple(self) -> frozenset[str]:
        return frozenset((self.left, self.right))

    @property
    def reask(self) -> bool:
        """A pair shown once more, unmarked."""
        return self.mode == "pair" and self.again is not None

    @property
    def counts(self) -> bool:
        """Whether its verdict is one of the pairs; the others measure, or lead to an edit."""
        return self.mode != "audit" and (self.again is None or self.mode in SECOND_LOOKS)


@dataclass(frozen=True, slots=True)
class Counts:
    """The figures beside the page.  `pairs` are those that an export would hold."""

    judged: int
    pairs: int
    ties: int
    both_bad: int
    skipped: int


@dataclass(slots=True)
class Ledger:
    """Lines by id and by what is asked of them; every question is answered in constant time."""

    lines: dict[str, Line] = field(default_factory=dict)
    made: int = 0
    asked: int = 0  # presentations of mode pair
    reasked: set[str] = field(default_factory=set)
    fresh: deque[str] = field(default_factory=deque)  # judged pairs that may be asked again, later
    _of_prompt: dict[str, list[str]] = field(default_factory=dict)
    _open: dict[Mode, dict[str, None]] = field(default_factory=dict)
    _skipped: dict[Mode, dict[str, None]] = field(default_factory=dict)
    _verdicts: Counter[Verdict] = field(default_factory=Counter)
    _tags: Counter[str] = field(default_factory=Counter)
    _pairs: set[str] = field(default_factory=set)
    _replaced: Counter[str] = field(default_factory=Counter)
    _edits: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, store: Store, judge: str) -> "Ledger":
        """Everything that the judge was shown, in order."""
        ledger = cls()
        rows = store.outline(judge)
        for row in rows:
            parts = (row["prompt_id"], row["left_id"], row["right_id"])
            ledger._add(Line(row["id"], *parts, row["mode"], row["again"]))
        given = sorted((row for row in rows if row["verdict"]), key=lambda row: row["created"])
        for row in given:
            said = (row["judgement"], row["verdict"], tuple(json.loads(row["tags"])))
            ledger._give(row["id"], said, row["created"])
        return ledger

    # ---- notes of what was written

    def shown(self, one: Presentation) -> Line:
        """A presentation was made, or is known."""
        if one.id not in self.lines:
            sides = (one.prompt.id, one.left.id, one.right.id)
            self._add(Line(one.id, *sides, one.mode, one.again))
        return self.lines[one.id]

    def said(self, one: Judgement) -> None:
        """A verdict stands, in place of the one before, if there was one."""
        self.shown(one.of)
        self.undone(one.of.id)
        self._give(one.of.id, (one.id, one.verdict, one.tags), one.created)

    def undone(self, id: str) -> None:
        """No verdict stands on this presentation any longer."""
        line = self.lines[id]
        if line.verdict is not None:
            self._count(line, -1)
            line.judgement, line.verdict, line.tags = None, None, ()
            self._open.setdefault(line.mode, {})[id] = None

    # ---- questions

    def pending(self, mode: Mode) -> Iterator[Line]:
        """Shown, without a verdict and without an edit in its place; the oldest first."""
        for id in self._open.get(mode, {}):
            if id not in self._edits and not edited_at(id):
                yield self.lines[id]

    def edited(self, id: str) -> bool:
        """Whether one of the two answers was improved there and then."""
        return id in self._edits

    def skipped(self, mode: Mode) -> list[Line]:
        """What was put off, in the order in which it was."""
        return [self.lines[id] for id in self._skipped.get(mode, {})]

    def of_prompt(self, prompt: str) -> list[Line]:
        """What was shown of a prompt, in order."""
        return [self.lines[id] for id in self._of_prompt.get(prompt, [])]

    def prompts(self) -> Iterable[str]:
        """The prompts of which anything was shown, in order."""
        return self._of_prompt.keys()

    def counts(self) -> Counts:
        found = self._verdicts
        replaced = sum(id in self._pairs for id in self._replaced)
        return Counts(
            judged=found.total() - found["skip"],
            pairs=len(self._pairs) - replaced,
            ties=found["tie"],
            both_bad=found["both_bad"],
            skipped=found["skip"],
        )

    def tally(self) -> dict[str, int]:
        """Tag -> how many pairs it decided, re-asks left out, the most frequent first."""
        return dict(sorted(self._tags.items(), key=lambda each: (-each[1], each[0])))

    # ---- inside

    def _add(self, line: Line) -> None:
        self.lines[line.id] = line
        self._of_prompt.setdefault(line.prompt, []).append(line.id)
        self._open.setdefault(line.mode, {})[line.id] = None
        self.asked += line.mode == "pair"
        if line.reask and line.again is not None:
            self.reasked.add(line.again)

    def _give(self, id: str, said: tuple[str, Verdict, tuple[str, ...]], created: float) -> None:
        line = self.lines[id]
        self.made += not line.place
        line.judgement, line.verdict, line.tags = said
        line.created = created
        if not line.place:
            line.place = self.made
            self.fresh.append(id)
        self._open.get(line.mode, {}).pop(id, None)
        self._count(line, 1)

    def _count(self, line: Line, by: int) -> None:
        """Add a standing verdict to the figures, or take it off again."""
        assert line.verdict is not None
        self._verdicts[line.verdict] += by
        if line.verdict == "skip":
            put_off = self._skipped.setdefault(line.mode, {})
            put_off.update({line.id: None}) if by > 0 else put_off.pop(line.id, None)
        if not line.reask and line.verdict in ("left", "right"):
            self._tags.update({tag: by for tag in set(line.tags)})
            self._tags = +self._tags
        if line.counts and line.verdict in ("left", "right"):
            (self._pairs.add if by > 0 else self._pairs.discard)(line.id)
        if line.again is not None and line.mode in SECOND_LOOKS and line.verdict != "skip":
            _move(self._replaced, line.again, by)
        if edited_at(line.id):
            _move(self._edits, edited_at(line.id), by)


def edit_id(presentation: str, call: str) -> str:
    """The presentation of an edited answer beside the one that it was made of.

    It says where the edit was made: an answer may be improved instead of a verdict, and then
    nothing more is asked there.
    """
    return f"{presentation}.{digest('edit', call)[:12]}"


def edited_at(id: str) -> str:
    """The presentation at which an edit was made; nothing for one that is no edit."""
    return id.rpartition(".")[0]


def _move(counter: Counter[str], name: str, by: int) -> None:
    """Add, and forget what is back at nothing."""
    counter[name] += by
    if not counter[name]:
        del counter[name]
