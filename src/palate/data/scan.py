"""One file read lazily, in file order: the rows of each record, or what is wrong with it.

The first record says what the file is: whose fields it has (`dialects`) and, unless the caller
knows, what its rows are for.  Holds one record at a time.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palate.data import container, forms, verdicts
from palate.data.arrays import read_array
from palate.data.decode import PATIENCE, Found, Record
from palate.data.dialects.base import Dialect
from palate.data.dialects.table import AUTO, nearly, recognise
from palate.data.fields import EXTRAS, Fields, Seen
from palate.data.jsonl import Tally, is_array, read_objects
from palate.data.mapping import check_format, check_map
from palate.data.rows import Row
from palate.data.tables import read_csv, read_hub, read_parquet
from palate.errors import DataError, Problem, UsageError

_NO_NAMES: Mapping[str, str] = {}
_CARRIED = ("tag", "weight")
Form = tuple[str, ...]
ChooseForm = Callable[[Mapping[str, Any], Mapping[str, str], str], Form]
Build = Callable[[Fields], Any]
_TELLING = {"completion", "messages", "text", "chosen", "rejected", "completions", "label"}
_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".pq", ".txt", ".gz")
_READERS: dict[forms.Kind, tuple[ChooseForm, Build]] = {
    "sft": (forms.sft_form, forms.example),
    "pairs": (forms.pair_form, verdicts.pairs),
    "weighted": (verdicts.weighted_form, verdicts.weighted),
    "labelled": (verdicts.labelled_form, verdicts.labelled),
    "ranked": (verdicts.ranked_form, verdicts.ranking),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one record gave.  No record: a fault of the file between records."""

    record: Record | None
    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class Scan:
    """Iterates `Row | Problem`.  After that `notes`, `dialect` (in words), `kind` and `records`."""

    source: str
    kind: forms.Kind | None
    mapping: Mapping[str, str]
    format: str
    prompts: bool = False
    dialect: str | None = None
    notes: tuple[str, ...] = ()
    records: int = 0
    aside: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_map(self.mapping)
        check_format(self.format, self.mapping)

    def __iter__(self) -> Iterator[Row | Problem]:
        for step in self.steps():
            yield from step.problems
            yield from step.rows

    def steps(self) -> Iterator[Step]:
        """Record by record.  Raises UsageError, and DataError if there is no such file."""
        try:
            found, tally = open_records(self.source)
            reader = _Reader(self)
            yield from self._steps(found, reader)
        except DataError as error:
            if not error.problems:
                raise
            yield Step(None, (), error.problems)
            return
        finally:
            self.kind = self.kind or "sft"
        self.notes = (*tally.notes(self.source), *reader.notes())
        if reader.problems or reader.rows:
            return
        yield Step(None, (), (self._empty(),))

    def _steps(self, found: Iterator[Found], reader: "_Reader") -> Iterator[Step]:
        for record in found:
            if isinstance(record, Problem):
                step = Step(None, (), (record,))
            else:
                self.records += 1
                step = reader.step(record)
            reader.rows += len(step.rows)
            reader.problems += len(step.problems)
            yield step
            if reader.problems >= PATIENCE and reader.problems > reader.rows:
                what = f"has {reader.problems:,} faults by now; the rest was not read"
                problem = Problem(self.source, 0, "", what, "Is this the right file?")
                yield Step(None, (), (problem,))
                return

    def _empty(self) -> Problem:
        """A file without a row, and why."""
        if not self.aside:
            return Problem(self.source, 0, "", "has 0 rows", "Give a file with at least one row.")
        why = "; ".join(f"{what}: {len(lines)}" for what, lines in self.aside.items())
        what = f"has 0 usable rows in {self.records} records ({why})"
        return Problem(self.source, 0, "", what, "Give a file with at least one usable row.")


@dataclass(slots=True)
class _Reader:
    """How the records of one file are read; made up at the first one."""

    scan: Scan
    seen: Seen = field(default_factory=Seen)
    dialect: Dialect | None = None
    form: Form | None = None
    build: Build = forms.example
    begun: bool = False
    rows: int = 0
    problems: int = 0

    def step(self, record: Record) -> Step:
        """The rows of one record.  Raises DataError if the file is not what was asked for."""
        scan = self.scan
        if not self.begun:
            self.dialect = None
            if not scan.mapping:
                self.dialect = recognise(record.fields, scan.format, record.path)
            self._begin(record)
        if self.dialect is None:
            return self._built(record, [record.fields])
        kind = self.dialect.kind if scan.prompts or scan.kind is None else scan.kind
        converted, faults = self.dialect.read(record, kind)
        if scan.prompts:
            whole = not faults.problems
            converted = converted[:1] or (list(self.dialect.prompt_of(record)) if whole else [])
        else:
            for why in faults.aside:
                scan.aside.setdefault(why, []).append(record.line)
        used = {*self.dialect.known, *EXTRAS}
        self.seen.ignored.update(dict.fromkeys(n for n in record.fields if n not in used))
        self.seen.ignored.update(dict.fromkeys(faults.ignored))
        names = {
            ours: faults.called.get(theirs, theirs) for ours, theirs in self.dialect.names.items()
        }
        step = self._built(record, converted, names)
        return Step(record, step.rows, (*faults.problems, *step.problems))

    def _begin(self, first: Record) -> None:
        """What the file is, from its first record."""
        self.begun, scan = True, self.scan
        if self.dialect is not None:
            scan.dialect = self.dialect.title
            scan.kind = scan.kind or self.dialect.kind
            if not scan.prompts:
                self.dialect.refuse(scan.kind, first.path)
        elif scan.format == AUTO and not scan.mapping:
            self.seen.advice = nearly(first.fields)
        scan.kind = scan.kind or kind_of(first.fields, scan.mapping)

    def _built(
        self, record: Record, converted: list[dict[str, Any]], names: Mapping[str, str] = _NO_NAMES
    ) -> Step:
        """Rows of the record's content in palate's fields."""
        scan, seen = self.scan, self.seen
        rows: list[Row] = []
        before = len(seen.problems)
        for fields in converted:
            if self.dialect:
                seen.forms.clear()
                fields = {n: record.fields[n] for n in _CARRIED if n in record.fields} | fields
            one = Record(record.path, record.line, fields)
            if self.form is None:
                self._choose(one)
            assert self.form is not None
            view = Fields(one, self.form, scan.mapping, seen, names)
            if self.dialect is None:
                view.note_ignored()
            made = self.build(view)
            rows += made if isinstance(made, tuple) else [] if made is None else [made]
        problems = tuple(seen.problems[before:])
        del seen.problems[before:]
        return Step(record, tuple(rows), problems)

    def _choose(self, first: Record) -> None:
        """The form of all rows.  A renaming that nothing reads is a mistake."""
        scan = self.scan
        assert scan.kind is not None
        choose, self.build = _READERS[scan.kind]
        if scan.prompts:
            choose, self.build = forms.prompt_form, forms.prompt_only
        self.form = choose(first.fields, scan.mapping, first.path)
        for name in scan.mapping:
            if name not in self.form:
                hint = f"This file is read as {', '.join(self.form)}."
                said = f"--map {name}={scan.mapping[name]} has no effect here."
                raise UsageError(said, hint=hint)

    def notes(self) -> tuple[str, ...]:
        """The dialect and its mapping; what made no row, and why; fields without use."""
        source, notes = self.scan.source, []
        if self.dialect is not None:
            notes.append(f"{source}: read as {self.dialect.title}: {self.dialect.says}")
        for why, lines in self.scan.aside.items():
            notes.append(f"{source}: {why}: {len(lines)} ({_lines(lines)})")
        if self.seen.ignored and self.rows:
            notes.append(f"{source}: fields without use here: {', '.join(self.seen.ignored)}")
        return tuple(notes)


def _lines(lines: list[int], shown: int = 5) -> str:
    """`line 4`, `lines 4, 9, 12`, `lines 4, 9, 12, 14, 20 ...`; a line is named once."""
    once = list(dict.fromkeys(lines))
    named = ", ".join(map(str, once[:shown])) + (" ..." if len(once) > shown else "")
    return f"line{'s' * (len(once) > 1)} {named}"


def kind_of(fields: Mapping[str, Any], mapping: Mapping[str, str]) -> forms.Kind:
    """What the rows of a file are for: by `--map` if that says it, else by its first record."""
    names = set(mapping) if mapping.keys() & _TELLING else {*mapping, *fields}
    if {"chosen", "rejected"} & names:
        return "pairs"
    if "completions" in names:
        return "ranked"
    if "label" in names and ("label" in mapping or forms.judged(fields) == "completion"):
        return "labelled"
    return "weighted" if "weight" in names else "sft"


# ------------------------------------------------------------------ where records come from


def open_records(source: str) -> tuple[Iterator[Found], Tally]:
    """The records of a file, a folder or a hub data set, not yet read."""
    path, tally = Path(source).expanduser(), Tally()
    if path.is_file():
        readers = {"csv": read_csv, "parquet": read_parquet}
        shape = container.shape(path)
        if shape == "json":
            return (read_array if is_array(path, tally) else read_objects)(path, tally), tally
        return readers[shape](path), tally
    if not path.is_dir() and _looks_like_a_path(source):
        raise _absent(path)
    return read_hub(source), tally


def _looks_like_a_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.lower().endswith(_SUFFIXES)


def _absent(path: Path) -> DataError:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, 1)
    hint = f"Near: {path.parent / near[0]}." if near else ""
    return DataError(f"{path} does not exist.", hint=hint)
