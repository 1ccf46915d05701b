"""Files of examples to rows: all of it, or every problem found, with file:line and field.

Reads JSONL, a JSON array, CSV, Parquet, or a hub data set by id.  Starts nothing when one row is
bad, drops nothing in silence, and never needs a model.
"""

import difflib
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload

from palate.data import container, forms, verdicts
from palate.data.arrays import read_array
from palate.data.decode import Found, Record
from palate.data.fields import Fields, Seen
from palate.data.jsonl import Tally, is_array, read_objects
from palate.data.proposals import FIELDS
from palate.data.rows import Example, Pair, Ranking, Text
from palate.data.tables import read_csv, read_hub, read_parquet
from palate.errors import DataError, Problem, UsageError

Row = TypeVar("Row", Example, Pair, Ranking)
Form = tuple[str, ...]
ChooseForm = Callable[[Mapping[str, object], Mapping[str, str], str], Form]
_SUFFIXES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".pq", ".txt", ".gz")
_NO_MAP: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Dataset(Generic[Row]):
    """Rows in file order, what was noted while reading, and the sha256 of the rows' content."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    digest: str


@overload
def read(
    source: str, *, kind: Literal["sft", "weighted", "labelled"], mapping: Mapping[str, str] = ...
) -> Dataset[Example]: ...


@overload
def read(
    source: str, *, kind: Literal["pairs"], mapping: Mapping[str, str] = ...
) -> Dataset[Pair]: ...


@overload
def read(
    source: str, *, kind: Literal["ranked"], mapping: Mapping[str, str] = ...
) -> Dataset[Ranking]: ...


def read(
    source: str, *, kind: forms.Kind, mapping: Mapping[str, str] = _NO_MAP
) -> Dataset[Example] | Dataset[Pair] | Dataset[Ranking]:
    """Every row of a file or hub data set.  Raises DataError with all problems, UsageError."""
    if kind == "pairs":
        return _read(source, forms.pair_form, verdicts.pairs, mapping)
    if kind == "ranked":
        return _read(source, verdicts.ranked_form, _one(verdicts.ranking), mapping)
    choose, build = {
        "sft": (forms.sft_form, forms.example),
        "weighted": (verdicts.weighted_form, verdicts.weighted),
        "labelled": (verdicts.labelled_form, verdicts.labelled),
    }[kind]
    return _read(source, choose, _one(build), mapping)


def read_prompts(source: str, *, mapping: Mapping[str, str] = _NO_MAP) -> Dataset[Example]:
    """The prompts of a file of any form, as examples with an empty completion."""
    return _read(source, forms.prompt_form, _one(forms.prompt_only), mapping)


_OF_PAIRS = {"chosen", "rejected", "completions"}


def sniff(source: str, mapping: Mapping[str, str] = _NO_MAP) -> Literal["sft", "pairs"]:
    """Whether a file holds preferences, by `--map` and its first record."""
    if mapping:
        check_map(mapping)
        return "pairs" if _OF_PAIRS & mapping.keys() else "sft"
    found, _ = _open(source)
    first = next((record for record in found if isinstance(record, Record)), None)
    fields = first.fields if first else {}
    return "pairs" if _OF_PAIRS & fields.keys() else "sft"


def records(source: str) -> Iterator[Record]:
    """The records of a file as they stand, every field kept, without those that hold a fault."""
    found, _ = _open(source)
    yield from (record for record in found if isinstance(record, Record))


def parse_map(flags: Iterable[str]) -> dict[str, str]:
    """`prompt=mr,completion=human` to a mapping from palate's field to the file's.  UsageError."""
    mapping: dict[str, str] = {}
    for part in itertools.chain.from_iterable(flag.split(",") for flag in flags):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not (name and equals and column):
            raise UsageError(f"--map '{part}' is not FIELD=COLUMN.", hint="As in prompt=mr.")
        if mapping.setdefault(name, column) != column:
            raise UsageError(f"--map names {name} twice: {mapping[name]} and {column}.")
    check_map(mapping)
    return mapping


def check_map(mapping: Mapping[str, str]) -> None:
    """Every renamed field must be one that palate knows.  Raises UsageError."""
    for name in mapping:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, 1)
            swapped = f" Did you mean {mapping[name]}={name}?" if mapping[name] in FIELDS else ""
            guess = f" Did you mean {near[0]}?" if near and not swapped else swapped
            hint = f"The fields are {', '.join(FIELDS)}.{guess}"
            raise UsageError(f"--map: '{name}' is no field of palate.", hint=hint)


# ------------------------------------------------------------------ reading


def _one(build: Callable[[Fields], Row | None]) -> Callable[[Fields], tuple[Row, ...] | None]:
    """A record that makes one row."""

    def built(fields: Fields) -> tuple[Row, ...] | None:
        row = build(fields)
        return None if row is None else (row,)

    return built


def _read(
    source: str,
    choose: ChooseForm,
    build: Callable[[Fields], tuple[Row, ...] | None],
    mapping: Mapping[str, str],
) -> Dataset[Row]:
    check_map(mapping)
    found, tally = _open(source)
    seen, rows, form, records = Seen(), [], None, 0
    digest = hashlib.sha256()
    for record in found:
        if isinstance(record, Problem):
            seen.problems.append(record)
            continue
        if form is None:
            form = choose(record.fields, mapping, record.path)
            _check_effect(mapping, form)
        fields = Fields(record, form, mapping, seen)
        fields.note_ignored()
        records += 1
        for row in build(fields) or ():
            rows.append(row)
            digest.update(_canonical(row))
    _raise(source, seen.problems, records)
    return Dataset(tuple(rows), _notes(source, tally, seen), digest.hexdigest())


def _check_effect(mapping: Mapping[str, str], form: Form) -> None:
    """A renaming that nothing reads is a mistake."""
    for name in mapping:
        if name not in form:
            hint = f"This file is read as {', '.join(form)}."
            raise UsageError(f"--map {name}={mapping[name]} has no effect here.", hint=hint)


def _raise(source: str, problems: Sequence[Problem], records: int) -> None:
    if not problems and not records:
        todo = "Give a file with at least one row."
        raise DataError([Problem(source, 0, "", "has 0 rows", todo)])
    if problems:
        raise DataError(_gathered(problems, records))


def _gathered(problems: Sequence[Problem], records: int) -> list[Problem]:
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


def _notes(source: str, tally: Tally, seen: Seen) -> tuple[str, ...]:
    ignored = f"{source}: fields without use here: {', '.join(seen.ignored)}"
    return (*tally.notes(source), *([ignored] if seen.ignored else []))


def _canonical(row: Example | Pair | Ranking) -> bytes:
    """A row's content, without where it stands."""
    texts = [_plain(text) for text in (row.prompt, *row.sides.values())]
    value = [row.value] if row.value != 1 else []
    return json.dumps([type(row).__name__, *texts, *value]).encode() + b"\n"


def _plain(text: Text | None) -> object:
    return [[m.role, m.content] for m in text] if isinstance(text, tuple) else text


def _open(source: str) -> tuple[Iterator[Found], Tally]:
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
