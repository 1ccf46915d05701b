"""`palate convert`: any file that palate reads, written as JSON Lines in its own fields."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.errors import DataError, Problem, UsageError

if TYPE_CHECKING:
    from palate.data.scan import Scan
    from palate.data.written import Written

SHOWN = 5
NOUNS = {
    "sft": "example",
    "weighted": "weighted example",
    "pairs": "pair",
    "labelled": "verdict",
    "ranked": "ranked list",
}
_OTHERS = (".csv", ".tsv", ".parquet", ".pq", ".gz")


def convert(
    source: str,
    out: Path,
    /,
    *,
    format: str = "auto",
    map: tuple[str, ...] = (),
    skip_bad: bool = False,
    json: bool = False,
) -> None:
    """Write a file's rows in palate's own fields, one JSON object per line.

    Parameters
    ----------
    source:
        JSONL, JSON, CSV, Parquet, or a hub data set id, in any known format
    out:
        the file to write; one that exists is never overwritten
    format:
        whose fields the file has (default: told by its first row); see palate sft --help
    map:
        rename fields: prompt=mr,completion=human
    skip_bad:
        leave out rows with problems, and name them, instead of stopping
    json:
        one JSON object on stdout that says what was read, written and left out
    """
    from palate.data.sources import gathered, parse_map, scan
    from palate.data.written import lines, written
    from palate.runs import atomic

    _refuse(out)
    scanned = scan(source, mapping=parse_map(map), format=format)
    found = written(scanned)
    whole_file = [problem for problem in found.problems if not problem.line]
    if whole_file or not found.objects or (found.problems and not skip_bad):
        raise DataError(gathered(found.problems, scanned.records), hint=_hint(found, whole_file))
    with atomic.disk_errors(out):
        atomic.make_folder(out.parent)
        _refuse(out)
        atomic.write_file(out, lines(found.objects))
    about = _about(scanned, found, out)
    print(_as_json(about) if json else "\n".join(_told(about)))


def _refuse(out: Path) -> None:
    """What exists is never overwritten; what is written is JSON Lines."""
    if os.path.lexists(out):
        raise UsageError(f"{out} exists; it is never overwritten.", hint="Choose another name.")
    if out.suffix.lower() in _OTHERS:
        hint = f"Call it {out.with_suffix('.jsonl').name}."
        raise UsageError(f"{out}: palate convert writes JSON Lines.", hint=hint)


def _hint(found: "Written", whole_file: Sequence[Problem]) -> str:
    if whole_file or not found.objects:
        return ""
    return f"Mend them, or leave them out with --skip-bad ({len(found.objects)} rows are sound)."


def _about(scanned: "Scan", found: "Written", out: Path) -> dict[str, Any]:
    """What was read, written and left out, as plain values."""
    return {
        "source": scanned.source,
        "out": str(out),
        "format": scanned.dialect or "palate",
        "kind": scanned.kind,
        "records": scanned.records,
        "written": len(found.objects),
        "notes": list(scanned.notes),
        "left_out": [
            {"why": why, "count": len(at), "lines": list(dict.fromkeys(at))}
            for why, at in found.left_out.items()
        ],
        "bad_rows": [_bad(problem) for problem in found.problems],
    }


def _bad(problem: Problem) -> dict[str, Any]:
    """A row left out.  Rows of an array on one line share the line, so `place` names the row."""
    place = f"{problem.path}:{problem.line}"
    about = {"place": place, "line": problem.line, "field": problem.field}
    return {**about, "what": problem.what, "todo": problem.todo, "said": str(problem)}


def _as_json(about: dict[str, Any]) -> str:
    import json

    return json.dumps(about, ensure_ascii=False, allow_nan=False)


def _told(about: dict[str, Any]) -> Iterator[str]:
    """The same for a person."""
    from palate.cli.words import safe

    aside = {one["why"] for one in about["left_out"]}
    for note in about["notes"]:
        if not any(why in note for why in aside):
            yield safe(note)
    noun = NOUNS[about["kind"]]
    yield safe(f"read {_count(about['records'], 'record')} of {about['source']}")
    yield safe(f"wrote {_count(about['written'], noun)} to {about['out']}")
    for one in about["left_out"]:
        yield f"{one['why']}: {one['count']} ({_first(one['lines'])})"
    bad = about["bad_rows"]
    if bad:
        rows = len({one["place"] for one in bad})
        yield f"left out by --skip-bad: {_count(rows, 'row')} with {_count(len(bad), 'problem')}"
        yield from (f"  {safe(one['said'])}" for one in bad)


def _first(at: Iterable[int]) -> str:
    at = list(at)
    shown = ", ".join(map(str, at[:SHOWN])) + (" ..." if len(at) > SHOWN else "")
    return f"line{'s' * (len(at) > 1)} {shown}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
