"""`palate objectives`: what can be learnt, one line each, or all about one of them."""

import json
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palate.objectives.describe import Described

WIDTH = 100


def objectives(name: str | None = None, /, *, json: bool = False) -> None:
    """The objectives: what each learns from, and when to use it.

    Parameters
    ----------
    name:
        one of them, to see its formula, paper and options
    json:
        one JSON object per objective on stdout
    """
    from palate.objectives import OBJECTIVES
    from palate.objectives.describe import described

    found = [described(each) for each in ([name] if name else OBJECTIVES)]
    if json:
        lines = [_json(each) for each in found]
    else:
        lines = _details(found[0]) if name else _table(found)
    for line in lines:
        print(line)


def _json(found: "Described") -> str:
    from palate.objectives.describe import OF_PAIRS

    options = (*found.options, *(OF_PAIRS if found.pairs else ()))
    fields = asdict(found) | {"options": [asdict(option) for option in options]}
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def _table(found: list["Described"]) -> list[str]:
    """Name, rows, reference, when: aligned."""
    rows = [("", "rows", "reference", "when to use it")]
    rows += [(e.name, e.rows, "yes" if e.reference else "no", e.when) for e in found]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
    return [*lines, "", "next: palate objectives NAME"]


def _details(found: "Described") -> list[str]:
    """The sentence first, then the formula, then what it takes."""
    from palate.objectives.describe import LEGEND, OF_PAIRS

    facts = [
        ("formula", found.formula),
        ("where", LEGEND),
        ("paper", found.paper),
        ("rows", found.rows),
        ("reference", "yes" if found.reference else "no: none is loaded or computed"),
    ]
    if found.coupled:
        facts.append(("coupled", "the rows of a step influence each other: mind the batch size"))
    options = [str(option) for option in (*found.options, *(OF_PAIRS if found.pairs else ()))]
    facts += [("options" if place == 0 else "", each) for place, each in enumerate(options)]
    if found.notes:
        facts.append(("notes", found.notes.replace("`", "")))
    column = max(len(title) for title, _ in facts) + 2
    lines = [line for title, text in facts for line in _wrapped(title.ljust(column), text)]
    return [f"{found.name}: {found.when}", "", *lines, "", f"next: {_next(found)}"]


def _next(found: "Described") -> str:
    chosen = "" if found.name == found.stage else f" --objective {found.name}"
    return f"palate {found.stage} --model MODEL --data FILE --out runs/{found.name}{chosen}"


def _wrapped(title: str, text: str) -> list[str]:
    """The text in its own column."""
    room = WIDTH - len(title)
    first, *rest = textwrap.wrap(text, room, break_long_words=False) or [""]
    return [title + first, *(" " * len(title) + line for line in rest)]
