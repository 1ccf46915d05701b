"""Rows to palate's own fields: what `palate convert` writes, and reading gives the same rows again.

Fields that say something of a row without being learnt (`tag`, `reason`, ...) are kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from palate.data.fields import EXTRAS
from palate.data.forms import Kind
from palate.data.rows import Conversation, Example, Message, Ranking, Row, Text
from palate.data.scan import Scan
from palate.errors import Problem

AS_TURNS = "text written as one user and one assistant turn, as other rows are conversations"
NO_JSON = "a field that JSON cannot hold left out"

_ENDS = {end: f"\\u{end:04x}" for end in (0x85, 0x2028, 0x2029)}


@dataclass(slots=True)
class Written:
    """JSON objects in the order of the file, problems, and what was left out: reason -> lines."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=dict)


def written(scan: Scan) -> Written:
    """Every sound row of a file in palate's fields."""
    found, rows = Written(), []
    for step in scan.steps():
        found.problems += step.problems
        extras = step.record.fields if step.record else {}
        rows += [(row, extras) for row in step.rows]
    found.left_out.update(scan.aside)
    assert scan.kind is not None
    mixed = len({_talks(row) for row, _ in rows}) > 1
    for row, extras in rows:
        if mixed and not _talks(row):
            found.left_out.setdefault(AS_TURNS, []).append(row.origin.line)
        kept = {name: extras[name] for name in EXTRAS if extras.get(name) is not None}
        for name in [name for name, value in kept.items() if not _is_json(value)]:
            del kept[name]
            found.left_out.setdefault(NO_JSON, []).append(row.origin.line)
        found.objects.append({**as_fields(row, scan.kind, turns=mixed), **kept})
    return found


def as_fields(row: Row, kind: Kind, *, turns: bool = False) -> dict[str, Any]:
    """One row.  `turns`: plain text becomes a user's and an assistant's turn."""
    if isinstance(row, Example) and row.prompt is None:
        name = "messages" if isinstance(row.completion, tuple) else "text"
        return {name: _plain(row.completion), **_verdict(row, kind)}
    prompt, sides = row.prompt, list(row.sides.values())
    assert prompt is not None
    if turns:
        prompt = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        sides = [(Message("assistant", s),) if isinstance(s, str) else s for s in sides]
    sides = _whole(prompt, sides)
    found: dict[str, Any] = {"prompt": _plain(prompt)}
    if isinstance(row, Ranking):
        return {**found, "completions": [_plain(side) for side in sides]}
    found.update((name, _plain(side)) for name, side in zip(row.sides, sides))
    return {**found, **_verdict(row, kind)}


def lines(objects: Sequence[dict[str, Any]]) -> bytes:
    """JSON Lines.  What some programs take for the end of a line is escaped."""
    return "".join(f"{_dumped(one).translate(_ENDS)}\n" for one in objects).encode()


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _verdict(row: Row, kind: Kind) -> dict[str, Any]:
    if kind == "labelled":
        return {"label": row.value > 0}
    return {"weight": row.value} if kind == "weighted" else {}


def _talks(row: Row) -> bool:
    return any(isinstance(text, tuple) for text in (row.prompt, *row.sides.values()))


def _whole(prompt: Text, sides: list[Text]) -> list[Text]:
    """Sides that would be taken for whole conversations are written as such: the prompt first."""
    if not isinstance(prompt, tuple):
        return sides
    talks: list[Conversation] = [side for side in sides if isinstance(side, tuple)]
    if any(talk[: len(prompt)] != prompt for talk in talks):
        return sides
    return [(*prompt, *talk) for talk in talks]


def _plain(text: Text) -> str | list[dict[str, str]]:
    if isinstance(text, str):
        return text
    return [{"role": message.role, "content": message.content} for message in text]


def _is_json(value: Any) -> bool:
    try:
        _dumped(value)
    except (TypeError, ValueError):
        return False
    return True
