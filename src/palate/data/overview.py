"""What a file holds, before any model: its faults by kind, repeats, contradictions, overlap.

Streams: a row leaves four 8-byte numbers behind, a fault is counted, and 20 of a kind are kept.
Rows are compared by a 64-bit hash of their content, so only what is exactly equal is found.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from palate.data.dialects.table import AUTO
from palate.data.forms import Kind
from palate.data.rows import Example, Pair, Ranking, Row
from palate.data.scan import Scan
from palate.data.sources import scan
from palate.data.split import prompt_key
from palate.errors import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

SHOWN = 20
_KINDS = 200
_OTHER = "something else"
_DETAIL = re.compile(r"^col \d+:? | ?\([^)]*\)")
_NUMBER = re.compile(r"\b(?:int|float) \S+?(?=,|$)")
_FIGURE = re.compile(r"(?<![\w-])(?:0x[0-9A-F]+|\d[\d.,]*\b)")
_LONGEST = 400
DoubtKind = Literal["duplicates", "contradictions", "overlap"]


@dataclass(frozen=True, slots=True)
class Group:
    """Faults of one kind: how many, the first 20, and whether all of them say the same."""

    kind: str
    count: int
    first: tuple[Problem, ...]
    alike: bool


@dataclass(frozen=True, slots=True)
class Doubt:
    """Sound rows that do not go together.  `lines` has the first 20 sets; `count` counts rows.

    Overlap: each set is (line held out, line of the file).
    """

    kind: DoubtKind
    count: int
    text: str
    todo: str
    lines: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """How much is there: records as they stand, sound rows, different prompts."""

    path: str
    records: int
    rows: int
    prompts: int


@dataclass(frozen=True, slots=True)
class Overview:
    """One file, and the one held out beside it if there is one (`counts` then has two)."""

    kind: Kind
    dialect: str | None
    mapping: Mapping[str, str]
    counts: tuple[Counted, ...]
    groups: tuple[Group, ...]
    doubts: tuple[Doubt, ...]
    notes: tuple[str, ...]

    @property
    def problems(self) -> int:
        """How many faults there are."""
        return sum(group.count for group in self.groups)


def look(
    source: str, heldout: str | None = None, *, mapping: Mapping[str, str], format: str = AUTO
) -> Overview:
    """Read to the end, whatever is wrong.  Raises UsageError, and DataError for a missing file."""
    faults = _Faults()
    first = scan(source, mapping=mapping, format=format)
    marks = _read(first, faults)
    scans, counts = [first], [marks.counted(first)]
    assert first.kind is not None
    doubts = [*_duplicates(marks, first.kind), *_contradictions(marks, first.kind)]
    if heldout is not None:
        scans.append(scan(heldout, kind=first.kind, mapping=mapping, format=format))
        other = _read(scans[1], faults)
        counts.append(other.counted(scans[1]))
        doubts += _overlap(marks, other, (source, heldout))
    return Overview(
        first.kind,
        first.dialect,
        dict(mapping),
        tuple(counts),
        tuple(_of_few(group, first.records) for group in faults.groups()),
        tuple(doubts),
        tuple(note for one in scans for note in one.notes),
    )


def _of_few(group: "Group", records: int) -> "Group":
    """A field that only some rows lack is mended there: renaming it would break the others."""
    if group.count >= records:
        return group
    todo = "Add the field to this row, or rename what stands in its place."
    first = tuple(replace(one, todo=todo) if "--map" in one.todo else one for one in group.first)
    return replace(group, first=first)


def _read(source: Scan, faults: "_Faults") -> "_Marks":
    marks = _Marks()
    for found in source:
        if isinstance(found, Problem):
            faults.add(found)
        else:
            marks.add(found)
    return marks


# ------------------------------------------------------------------ faults


@dataclass(slots=True)
class _Faults:
    """Faults by kind, in the order in which the kinds were met; bounded, whatever the file says."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[Problem]] = field(default_factory=dict)
    alike: dict[str, bool] = field(default_factory=dict)

    def add(self, problem: Problem) -> None:
        kind = kind_of_fault(problem)
        if kind not in self.counts and len(self.counts) >= _KINDS:
            kind = _OTHER
        kept = self.first.setdefault(kind, [])
        self.counts[kind] = self.counts.get(kind, 0) + 1
        same = not kept or (kept[0].what, kept[0].todo) == (problem.what, problem.todo)
        self.alike[kind] = self.alike.get(kind, True) and same
        if len(kept) < SHOWN:
            kept.append(replace(problem, what=problem.what[:_LONGEST]))

    def _named(self, kind: str) -> str:
        """The kind in words; what was met once keeps its figures."""
        if kind == _OTHER or self.counts[kind] > 1:
            return kind
        first = self.first[kind][0]
        what = _DETAIL.sub("", first.what)[:80].strip()
        return f"'{first.field}' {what}" if first.field else what

    def groups(self) -> tuple[Group, ...]:
        return tuple(
            Group(self._named(kind), self.counts[kind], tuple(self.first[kind]), self.alike[kind])
            for kind in self.counts
        )


def kind_of_fault(problem: Problem) -> str:
    """What is wrong, without the figures that differ from row to row: `'chosen' is empty`."""
    what = _NUMBER.sub("a number", _DETAIL.sub("", problem.what))
    what = _FIGURE.sub("N", what)[:80].strip()
    return f"'{problem.field}' {what}" if problem.field else what


# ------------------------------------------------------------------ rows that meet again


@dataclass(slots=True)
class _Marks:
    """Four numbers of each row: its content, the opposite of it, its prompt, its line."""

    content: "array[int]" = field(default_factory=lambda: array("q"))
    opposite: "array[int]" = field(default_factory=lambda: array("q"))
    prompt: "array[int]" = field(default_factory=lambda: array("q"))
    line: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, row: Row) -> None:
        content, opposite = _content(row)
        self.content.append(content)
        self.opposite.append(opposite)
        self.prompt.append(hash(prompt_key(row)))
        self.line.append(row.origin.line)

    def counted(self, source: Scan) -> Counted:
        import numpy as np

        prompts = len(np.unique(_ints(self.prompt)))
        return Counted(source.source, source.records, len(self.line), prompts)


def _content(row: Row) -> tuple[int, int]:
    """(hash of a row, hash of the row with the opposite verdict); a ranking has no one opposite."""
    if isinstance(row, Pair):
        return (
            hash((row.prompt, row.chosen, row.rejected)),
            hash((row.prompt, row.rejected, row.chosen)),
        )
    if isinstance(row, Ranking):
        return hash((row.prompt, row.completions)), 0
    assert isinstance(row, Example)
    said = (row.prompt, row.completion)
    return hash((*said, row.value)), hash((*said, -row.value))


def _ints(values: "array[int]") -> "Ints":
    import numpy as np

    return np.frombuffer(values, dtype=np.int64) if values else np.zeros(0, np.int64)


def _sets(keys: "Ints") -> Iterator["Ints"]:
    """Positions that share a key with another, set by set, in order of their first position."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0]) if len(keys) else order
    sizes = np.diff(np.r_[starts, len(keys)])
    repeated = np.flatnonzero(sizes > 1)
    for at in repeated[np.argsort(order[starts[repeated]])]:
        yield order[starts[at] : starts[at] + sizes[at]]


_NOUNS: dict[Kind, str] = {"pairs": "pair", "labelled": "verdict", "ranked": "ranking"}


def _duplicates(marks: _Marks, kind: Kind) -> Iterator[Doubt]:
    """Rows that are equal to an earlier one."""
    sets = [tuple(_ints(marks.line)[found].tolist()) for found in _sets(_ints(marks.content))]
    count = sum(len(lines) - 1 for lines in sets)
    if count:
        same = f"{_named(sets[0])} the same {_NOUNS.get(kind, 'example')}"
        share = f"{count / len(marks.line):.1%}"
        text = f"{same}; {count} of {len(marks.line)} rows repeat an earlier one ({share})"
        todo = "Each counts again; keep one of them."
        yield Doubt("duplicates", count, text, todo, tuple(sets[:SHOWN]))


def _contradictions(marks: _Marks, kind: Kind) -> Iterator[Doubt]:
    """Two rows with the same texts and the opposite verdict."""
    import numpy as np

    if kind not in ("pairs", "labelled"):
        return
    content, opposite = _ints(marks.content), _ints(marks.opposite)
    forward, lines = content < opposite, _ints(marks.line)
    sets = [
        tuple(lines[found].tolist())
        for found in _sets(np.minimum(content, opposite))
        if forward[found].any() and not forward[found].all()
    ]
    if sets:
        what = "prefer opposite answers to one prompt" if kind == "pairs" else "disagree on a text"
        many = f"{len(sets)} contradiction{'s' * (len(sets) > 1)}"
        text = f"lines {_joined(sets[0])} {what}; {many}"
        todo = "They cancel out; keep the verdict that you mean."
        yield Doubt("contradictions", len(sets), text, todo, tuple(sets[:SHOWN]))


def _overlap(marks: _Marks, heldout: _Marks, paths: tuple[str, str]) -> Iterator[Doubt]:
    """Held-out rows whose prompt is in the file too."""
    import numpy as np

    prompts, first = np.unique(_ints(marks.prompt), return_index=True)
    asked = _ints(heldout.prompt)
    shared = np.flatnonzero(np.isin(asked, prompts))
    if len(shared):
        there = _ints(marks.line)[first[np.searchsorted(prompts, asked[shared])]]
        sets = tuple(zip(_ints(heldout.line)[shared].tolist(), there.tolist()))
        (line, other), of = sets[0], len(heldout.line)
        text = f"{paths[1]}:{line} has the same prompt as {paths[0]}:{other} ({len(sets)} of {of})"
        todo = (
            "Evaluation would be inflated; remove these rows from one of the files, or leave"
            " --heldout out: palate divides by prompt."
        )
        yield Doubt("overlap", len(sets), text, todo, sets[:SHOWN])


def _named(lines: tuple[int, ...]) -> str:
    """`lines 10 and 512 are`; a record that makes several rows may repeat itself."""
    if len(set(lines)) == 1:
        return f"line {lines[0]} holds twice"
    return f"lines {_joined(lines)} are"


def _joined(lines: tuple[int, ...], shown: int = 5) -> str:
    """`10 and 512`, `3, 4 and 9`, `3, 4, 5, 6, 7 ...`."""
    once = list(dict.fromkeys(lines))
    if len(once) > shown:
        return ", ".join(map(str, once[:shown])) + " ..."
    return " and ".join(filter(None, [", ".join(map(str, once[:-1])), str(once[-1])]))
