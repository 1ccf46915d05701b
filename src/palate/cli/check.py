"""`palate check`: a file by itself, before any model: every fault with file, line and field.

With `--json` stdout holds one JSON object and nothing else.  Exit code 0: sound; 1: sound, with
warnings; 2: faults.
"""

import re
import textwrap
from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from palate.data.overview import Doubt, Group, Overview

WIDTH = 100
_HOLDS = {
    "pairs": "pairs",
    "ranked": "ranked lists",
    "labelled": "single verdicts",
    "weighted": "weighted examples",
    "sft": "examples to imitate",
}


def check(
    file: str,
    /,
    *,
    heldout: str | None = None,
    map: tuple[str, ...] = (),
    format: str = "auto",
    json: bool = False,
) -> int:
    """Is this file sound?

    Parameters
    ----------
    file:
        examples, pairs, verdicts or ranked lists: JSONL, JSON, CSV, Parquet, or a hub data set id
    heldout:
        the file to evaluate on: checked too, and for prompts that both have
    map:
        rename fields: prompt=mr,completion=human
    format:
        whose fields the data has (default: told by its first row)
    json:
        one JSON object on stdout
    """
    from palate.data.mapping import parse_map
    from palate.data.overview import look

    found = look(file, heldout, mapping=parse_map(map), format=format)
    if json:
        _print_json(found)
    else:
        for line in _page(found, format):
            print(line)
    return 2 if found.groups else 1 if found.doubts else 0


# -- one object


def _print_json(found: "Overview") -> None:
    import json

    body = {
        "sound": not found.groups,
        "verdict": verdict(found),
        "kind": found.kind,
        "dialect": found.dialect,
        "map": dict(found.mapping),
        "files": [_counts(one) for one in found.counts],
        "problems": [problem for group in found.groups for problem in _as_json(group)],
        "problem_counts": {group.kind: group.count for group in found.groups},
        "warnings": [
            {
                "kind": doubt.kind,
                "what": doubt.text,
                "todo": doubt.todo,
                "count": doubt.count,
                "lines": doubt.lines,
            }
            for doubt in found.doubts
        ],
        "notes": found.notes,
    }
    print(json.dumps(body, ensure_ascii=False))


def _counts(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("path", "records", "rows", "prompts")}


def _as_json(group: "Group") -> Iterator[dict[str, Any]]:
    for problem in group.first:
        names = ("path", "line", "field", "what", "todo")
        yield {name: getattr(problem, name) for name in names} | {"kind": group.kind}


# -- the page


def verdict(found: "Overview") -> str:
    """The sentence that says it all."""
    first = found.counts[0]
    rows = f"{first.rows:,} {_HOLDS[found.kind]} on {_many(first.prompts, 'prompt')}"
    if found.groups:
        kinds = f" of {len(found.groups)} kinds" if len(found.groups) > 1 else ""
        return f"{first.path} cannot be used as it is: {_many(found.problems, 'problem')}{kinds}"
    if found.doubts:
        return f"{first.path} is sound, with {_many(len(found.doubts), 'warning')}: {rows}"
    return f"{first.path} is sound: {rows}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _page(found: "Overview", format: str) -> Iterator[str]:
    from palate.cli.words import safe

    yield safe(verdict(found))
    yield ""
    yield from _read_as(found)
    for group in found.groups:
        yield ""
        yield from _group(group, found.counts[0].records)
    if found.doubts:
        yield ""
        yield "warnings"
        for doubt in found.doubts:
            yield from _doubt(doubt)
    if found.notes:
        yield ""
        yield "notes"
        for note in found.notes:
            yield from _wrapped(safe(note))
    yield ""
    for place, command in enumerate(_next(found, format)):
        yield ("next: " if place == 0 else "      ") + safe(command)


def _read_as(found: "Overview") -> Iterator[str]:
    from palate.cli.words import safe

    fields = found.dialect or "palate's own fields"
    renamed = ", ".join(f"{name} from '{column}'" for name, column in found.mapping.items())
    yield f"read as   {_HOLDS[found.kind]}, {safe(renamed or fields)}"
    width = max(len(f"{one.records:,}") for one in found.counts)
    for place, one in enumerate(found.counts):
        counts = f"{one.records:>{width},} records, {one.rows:>{width},} sound rows"
        counts += f", {_many(one.prompts, 'prompt')}"
        yield f"{'held out' if place else 'holds   '}  {counts}"


def _group(group: "Group", records: int) -> Iterator[str]:
    """A kind of fault: how often, then the first of them; what all rows share is said once."""
    from palate.cli.words import safe

    yield safe(f"{group.count:,} × {group.kind}")
    every = group.alike and group.count > 1 and group.count >= records
    for problem in group.first[:1] if every else group.first:
        yield from _wrapped(safe(str(problem)))
    hidden = group.count - len(group.first)
    if every:
        yield f"  ... and so in all {group.count:,} rows"
    elif hidden > 0:
        yield f"  ... and {hidden:,} more of this kind"


def _doubt(doubt: "Doubt") -> Iterator[str]:
    from palate.cli.words import safe

    yield from _wrapped(safe(f"{doubt.text}. {doubt.todo}"))
    if len(doubt.lines) > 1 and doubt.kind != "overlap":
        sets = [_set(list(dict.fromkeys(lines))) for lines in doubt.lines]
        yield from _wrapped(f"lines: {', '.join(sets)}{' ...' * (len(sets) == 20)}")


def _set(lines: list[int]) -> str:
    """`10+29+36`, the rest of a long set as a number."""
    more = f"+{len(lines) - 5} more" if len(lines) > 6 else ""
    return "+".join(map(str, lines[: 5 if more else 6])) + more


def _next(found: "Overview", format: str) -> Iterator[str]:
    """The command to type now, with the options that this file was read with."""
    path = quote(found.counts[0].path)
    more = f" --format {format}" if format != "auto" else ""
    if found.mapping:
        more += " --map " + quote(",".join(f"{name}={of}" for name, of in found.mapping.items()))
    if found.groups and (flag := _remedy(found)):
        yield f"palate check {path}{flag}"
    elif found.groups:
        yield f"palate check {path}{more}    # once these rows are mended"
    elif found.kind == "pairs":
        yield f"palate doctor {path}{more}"
    else:
        yield _train(found.kind) + f" --data {path}{more}"


def _remedy(found: "Overview") -> str:
    """The flag that mends every row, if every fault is one of all rows and names the same."""
    if not all(each.alike and each.count >= found.counts[0].records for each in found.groups):
        return ""
    pattern = re.compile(r"Use (--(?:map|format) \S+?)[.,]?(?: |$)")
    named = {
        match and match[1] for match in (pattern.search(g.first[0].todo) for g in found.groups)
    }
    flag = named.pop()
    return f" {flag}" if flag and not named else ""


def _train(kind: str) -> str:
    objective = {"labelled": "kto", "ranked": "plackett_luce", "weighted": "weighted_sft"}
    stage = "sft" if kind in ("sft", "weighted") else "dpo"
    chosen = f" --objective {objective[kind]}" if kind in objective else ""
    return f"palate {stage} --model MODEL --out runs/{stage}{chosen}"


def _wrapped(text: str) -> list[str]:
    """Paths are not broken: a line is to be copied."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
