"""From a file to what the checks read: sound rows as text, and every problem beside them.

Faulty rows stop nothing here.  One pass over the file; of a record only the fields that a verdict
may carry (`fields.EXTRAS`) are kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from palate.config import PromptOptions
from palate.data.decode import Record
from palate.data.fields import EXTRAS
from palate.data.forms import Kind
from palate.data.rows import Example, Pair, Ranking, Row, Text
from palate.data.sources import gathered, parse_map, scan
from palate.errors import DataError, Problem
from palate.study.checks.base import Case, ExampleText, PairText


@dataclass(frozen=True, slots=True)
class Material:
    """A file as the doctor has it: the case, the same rows unrendered, and what was unsound.

    `pairs` are the rows of `case.pairs`, in its order.  `records` counts what should be rows.
    """

    case: Case
    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    records: int


@dataclass(frozen=True, slots=True)
class _File:
    rows: tuple[tuple[Row, Mapping[str, Any]], ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    records: int


def load(
    path: str, options: PromptOptions, *, heldout: str | None = None, kind: Kind | None = None
) -> Material:
    """Read a file, and what is held out from it.

    Raises DataError if no row can be used or the held-out file is unsound, UsageError.
    """
    found = _read(path, options, kind)
    if not found.rows:
        raise DataError(gathered(found.problems, found.records))
    pairs, texts, examples = [], [], []
    for row, extra in found.rows:
        if isinstance(row, Example):
            examples.append(_example(row))
        for pair in _pairs(row):
            pairs.append(pair)
            texts.append(_pair(pair, extra))
    case = Case(path, tuple(texts), tuple(examples))
    if heldout is not None:
        case = replace(case, heldout=_heldout(heldout, options, kind), heldout_path=heldout)
    return Material(case, tuple(pairs), found.problems, found.notes, found.records)


def flat(text: Text | None) -> str:
    """A text as it is; a conversation as lines of `role: text`, a lone answer without its role."""
    if text is None or isinstance(text, str):
        return text or ""
    if len(text) == 1 and text[0].role == "assistant":
        return text[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in text)


def _read(path: str, options: PromptOptions, kind: Kind | None) -> _File:
    scanned = scan(path, kind=kind, mapping=parse_map(options.map), format=options.format)
    rows: list[tuple[Row, Mapping[str, Any]]] = []
    problems: list[Problem] = []
    numbers: list[int] = []
    lines: set[int] = set()
    torn = 0  # lines that made no record
    for step in scanned.steps():
        torn += step.record is None and any(problem.line for problem in step.problems)
        if step.record is not None:
            lines.add(step.record.line)
        extra = _extra(step.record)
        rows += [(row, extra) for row in step.rows]
        numbers += [scanned.records] * len(step.rows)
        problems += step.problems
    notes = scanned.notes
    if scanned.kind == "labelled":
        told = "single verdicts are examined as examples; the checks of pairs have nothing to read"
        notes = (*notes, f"{path}: {told}")
    if len(lines) < scanned.records:
        rows = [(_at(row, number), extra) for (row, extra), number in zip(rows, numbers)]
        notes = (*notes, f"{path}: several rows share a line, so rows are counted from 1 instead")
    return _File(tuple(rows), tuple(problems), notes, scanned.records + torn)


def _at(row: Row, number: int) -> Row:
    return replace(row, origin=replace(row.origin, line=number))


def _extra(record: Record | None) -> Mapping[str, Any]:
    fields = {} if record is None else record.fields
    return {name: fields[name] for name in EXTRAS if fields.get(name) is not None}


def _heldout(
    path: str, options: PromptOptions, kind: Kind | None
) -> tuple[PairText | ExampleText, ...]:
    found = _read(path, options, kind)
    if found.problems:
        raise DataError(gathered(found.problems, found.records))
    texts: list[PairText | ExampleText] = []
    for row, extra in found.rows:
        texts += [_pair(pair, extra) for pair in _pairs(row)]
        if isinstance(row, Example):
            texts.append(_example(row))
    return tuple(texts)


def _pairs(row: Row) -> Iterable[Pair]:
    """A pair as it is; of a ranking, each answer against the next one."""
    if isinstance(row, Pair):
        yield row
    elif isinstance(row, Ranking):
        for better, worse in zip(row.completions, row.completions[1:], strict=False):
            yield Pair(row.prompt, better, worse, row.origin)


def _pair(pair: Pair, extra: Mapping[str, Any]) -> PairText:
    line, tag = pair.origin.line, pair.tag
    return PairText(line, flat(pair.prompt), flat(pair.chosen), flat(pair.rejected), tag, extra)


def _example(row: Example) -> ExampleText:
    return ExampleText(row.origin.line, flat(row.prompt), flat(row.completion))
