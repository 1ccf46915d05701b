"""Files of examples to rows: all of it, or every problem found, with file:line and field.

Reads JSONL, a JSON array, CSV, Parquet, or a hub data set by id, in palate's own fields or another
tool's.  Starts nothing when one row is bad, drops nothing in silence, and never needs a model.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, overload

from palate.data import forms
from palate.data.decode import Record
from palate.data.dialects.table import AUTO, recognise
from palate.data.mapping import check_format, check_map, parse_map
from palate.data.rows import Example, Pair, Ranking, Text
from palate.data.rows import Row as AnyRow
from palate.data.scan import Scan, kind_of, open_records
from palate.errors import DataError, Problem

__all__ = [
    "Dataset",
    "Scan",
    "Survey",
    "check_map",
    "gathered",
    "parse_map",
    "read",
    "read_prompts",
    "records",
    "scan",
    "sniff",
    "survey",
]

Row = TypeVar("Row", Example, Pair, Ranking)
_NO_MAP: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Dataset(Generic[Row]):
    """Rows in file order, what was noted while reading, and the sha256 of the rows' content."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Survey:
    """Sound rows and every problem, each in file order; `records` counts what was one object."""

    rows: tuple[AnyRow, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    dialect: str | None
    kind: forms.Kind
    records: int


@overload
def read(
    source: str,
    *,
    kind: Literal["sft", "weighted", "labelled"],
    mapping: Mapping[str, str] = ...,
    format: str = ...,
) -> Dataset[Example]: ...


@overload
def read(
    source: str, *, kind: Literal["pairs"], mapping: Mapping[str, str] = ..., format: str = ...
) -> Dataset[Pair]: ...


@overload
def read(
    source: str, *, kind: Literal["ranked"], mapping: Mapping[str, str] = ..., format: str = ...
) -> Dataset[Ranking]: ...


def read(
    source: str, *, kind: forms.Kind, mapping: Mapping[str, str] = _NO_MAP, format: str = AUTO
) -> Dataset[Example] | Dataset[Pair] | Dataset[Ranking]:
    """Every row of a file or hub data set.  Raises DataError with all problems, UsageError."""
    return _sound(survey(source, kind=kind, mapping=mapping, format=format))


def read_prompts(
    source: str, *, mapping: Mapping[str, str] = _NO_MAP, format: str = AUTO
) -> Dataset[Example]:
    """The prompts of a file of any form, as examples with an empty completion."""
    return _sound(_collected(Scan(source, None, mapping, format, prompts=True)))


def survey(
    source: str,
    *,
    kind: forms.Kind | None = None,
    mapping: Mapping[str, str] = _NO_MAP,
    format: str = AUTO,
) -> Survey:
    """A file read to its end, whatever is wrong with its rows.  Raises UsageError."""
    return _collected(scan(source, kind=kind, mapping=mapping, format=format))


def scan(
    source: str,
    *,
    kind: forms.Kind | None = None,
    mapping: Mapping[str, str] = _NO_MAP,
    format: str = AUTO,
) -> Scan:
    """A file, not yet read; without a kind, its first record says what it holds."""
    return Scan(source, kind, mapping, format)


def sniff(
    source: str, mapping: Mapping[str, str] = _NO_MAP, format: str = AUTO
) -> Literal["sft", "pairs", "labelled"]:
    """Whether a file holds preferences or single verdicts, by `--map` and its first record.

    A ranked list is read as pairs, a weight left aside.
    """
    check_map(mapping)
    check_format(format, mapping)
    found, _ = open_records(source)
    first = next((record for record in found if isinstance(record, Record)), None)
    if first is None:
        return "sft"
    dialect = None if mapping else recognise(first.fields, format, first.path)
    kind = dialect.kind if dialect else kind_of(first.fields, mapping)
    if kind == "labelled":
        return kind
    return "pairs" if kind in ("pairs", "ranked") else "sft"


def records(source: str) -> Iterator[Record]:
    """The records of a file as they stand, every field kept, without those that hold a fault."""
    found, _ = open_records(source)
    yield from (record for record in found if isinstance(record, Record))


def _collected(scanned: Scan) -> Survey:
    found: list[AnyRow | Problem] = list(scanned)
    assert scanned.kind is not None
    return Survey(
        tuple(row for row in found if not isinstance(row, Problem)),
        tuple(row for row in found if isinstance(row, Problem)),
        scanned.notes,
        scanned.dialect,
        scanned.kind,
        scanned.records,
    )


def _sound(found: Survey) -> Dataset[Any]:
    if found.problems:
        raise DataError(gathered(found.problems, found.records))
    digest = hashlib.sha256()
    for row in found.rows:
        digest.update(_canonical(row))
    return Dataset(found.rows, found.notes, digest.hexdigest())


def gathered(problems: Sequence[Problem], records: int) -> list[Problem]:
    """In order of lines; what is wrong with every single row is said once."""
    every = Counter((p.field, p.what, p.todo) for p in problems)
    rows = max(records, len({(p.path, p.line) for p in problems}))
    said: set[tuple[str, str, str]] = set()
    gathered = []
    for problem in sorted(problems, key=lambda p: p.line):
        same = (problem.field, problem.what, problem.todo)
        if every[same] > 1 and every[same] >= rows:
            if same not in said:
                what = f"{problem.what}, in all {every[same]} rows"
                gathered.append(replace(problem, what=what))
            said.add(same)
        else:
            gathered.append(problem)
    return gathered


def _canonical(row: Example | Pair | Ranking) -> bytes:
    """A row's content, without where it stands."""
    texts = [_plain(text) for text in (row.prompt, *row.sides.values())]
    value = [row.value] if row.value != 1 else []
    return json.dumps([type(row).__name__, *texts, *value]).encode() + b"\n"


def _plain(text: Text | None) -> object:
    return [[m.role, m.content] for m in text] if isinstance(text, tuple) else text
