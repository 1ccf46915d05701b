"""The text of one JSON object to its fields, with every fault that JSON readers let pass.

Python's `json` accepts NaN, duplicate keys, lone surrogates and NUL, and overflows its stack on
deep nesting.  All of these are faults here, and so is a text that would cost far more memory than
its size.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from palate.errors import Problem

NESTING_LIMIT = 64
FIELD_LIMIT = 1000
PATIENCE = 10_000
_OBJECT_LIMIT = 1_000_000  # an empty object of 3 characters costs 64 bytes
_NAME_LIMIT = 1000
_SAID = 20
_UNFIT = re.compile("[\ud800-\udfff\x00]")
_KINDS = {str: "text", list: "a list", dict: "an object", type(None): "null", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Record:
    """One object of a file: its name in messages, the line it starts on, and its fields."""

    path: str
    line: int
    fields: dict[str, Any]


Found = Record | Problem


def patient(path: str, found: Iterator[Found]) -> Iterator[Found]:
    """`found`, but a file with 10,000 faults and fewer sound records is not read to its end."""
    faults = sound = 0
    for one in found:
        yield one
        if not isinstance(one, Problem):
            sound += 1
            continue
        faults += 1
        if faults >= PATIENCE and faults > sound:
            what = f"has {faults:,} faults by now; the rest was not read"
            yield Problem(path, 0, "", what, "Is this the right file?")
            return


def kind(value: object) -> str:
    """What a value is, in words."""
    return _KINDS.get(type(value), f"{type(value).__name__} {value}"[:40])


def decode(text: str, path: str, line: int) -> list[Found]:
    """The record, or everything that is wrong with it."""
    faults: list[tuple[str, str, str]] = []
    if len(text) > _OBJECT_LIMIT and text.count("{") + text.count("[") > _OBJECT_LIMIT:
        what = f"holds more than {_OBJECT_LIMIT:,} lists and objects"
        return [Problem(path, line, "", what, "Is this one record? Put each on its own line.")]
    try:
        value = json.loads(text, object_pairs_hook=_Pairs(faults), parse_constant=_Constant(faults))
    except RecursionError:
        faults = [too_deep()]
        value = {}
    except json.JSONDecodeError as error:
        what, todo = _syntax(text, error)
        return [Problem(path, line + error.lineno - 1, "", what, todo)]
    except ValueError:
        faults, value = [("", "holds a number of too many digits", "Quote it as text.")], {}
    if not faults:
        faults = unfit(value)
    if not faults and not isinstance(value, dict):
        todo = 'Write objects: {"prompt": "...", "completion": "..."}.'
        faults = [("", f"is {kind(value)}, expected an object", todo)]
    return [Problem(path, line, *fault) for fault in faults] or [Record(path, line, value)]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Builds an object, and notes a key that appears twice."""

    faults: list[tuple[str, str, str]]

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) < len(pairs):
            for key, count in Counter(key for key, _ in pairs).most_common(_SAID):
                if count > 1 and len(self.faults) < _SAID:
                    times = "twice" if count == 2 else f"{count} times"
                    todo = "JSON keeps only one; remove the other."
                    self.faults.append((printable(key), f"appears {times}", todo))
        return built


@dataclass(frozen=True, slots=True)
class _Constant:
    """Notes NaN and infinities, which JSON does not have."""

    faults: list[tuple[str, str, str]]

    def __call__(self, name: str) -> None:
        todo = "Write a finite number, or null."
        fault = "", f"holds {name}, which JSON does not have", todo
        if fault not in self.faults:
            self.faults.append(fault)


def too_deep() -> tuple[str, str, str]:
    """(field, what, todo) of what is nested deeper than 64."""
    return "", f"is nested too deep (limit {NESTING_LIMIT})", "Flatten it to text or messages."


def unfit(value: object) -> list[tuple[str, str, str]]:
    """Nesting over the limit, and texts that no tokenizer accepts, by the top field they are in."""
    faults = []
    fields = value.items() if isinstance(value, dict) else [("", value)]
    if len(fields) > FIELD_LIMIT or any(len(str(name)) > _NAME_LIMIT for name, _ in fields):
        return [too_wide([str(name) for name, _ in fields])]
    for name, inner in fields:
        fault = unfit_text(str(name), name) or _unfit_field(str(name), inner)
        if fault:
            faults.append(fault)
    return faults


def too_wide(names: list[str]) -> tuple[str, str, str]:
    """(field, what, todo) of a record with too many fields, or too long a name."""
    if len(names) > FIELD_LIMIT:
        what = f"has {len(names):,} fields (limit {FIELD_LIMIT:,})"
    else:
        what = f"has a field name of {max(map(len, names)):,} characters (limit {_NAME_LIMIT:,})"
    return "", what, "Is this one record? Put each on its own line."


def printable(name: str) -> str:
    """A field's name as a message can hold it."""
    return _UNFIT.sub("?", name)[:80]


def _unfit_field(name: str, value: object) -> tuple[str, str, str] | None:
    level, depth = [value], 1
    while level:
        depth += 1
        if depth > NESTING_LIMIT + 1:
            return too_deep()
        inner: list[object] = []
        for item in level:
            fault = unfit_text(name, item)
            if fault:
                return fault
            if isinstance(item, dict):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
        level = inner
    return None


def unfit_text(field: str, value: object) -> tuple[str, str, str] | None:
    """(field, what, todo) of a lone surrogate or NUL in a text."""
    found = _UNFIT.search(value) if isinstance(value, str) else None
    if found is None:
        return None
    field = printable(field)
    if found.group() == "\x00":
        return field, f"contains NUL at character {found.start() + 1}", "Remove it."
    what = f"contains the lone surrogate U+{ord(found.group()):04X}, which no tokenizer accepts"
    return field, what, "Remove or repair the text."


def _syntax(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    """What is not JSON here, and what to do, in the words of the usual mistakes."""
    rest = text[error.pos :].lstrip()
    before = text[: error.pos].rstrip()
    where = f"col {error.colno}"
    if text.lstrip().startswith(("{'", "[{'")) or rest.startswith(("None", "True", "False")):
        what = f"{where}: looks like a Python dict (single quotes, None, True)"
        return what, "Write it with json.dumps, not str()."
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return f"{where} is not JSON: trailing comma before '{rest[0]}'", "Remove the comma."
    if error.msg == "Extra data":
        return _extra(where, rest)
    if error.msg.startswith("Invalid control character"):
        todo = "Write it as \\n or \\t."
        return f"{where} is not JSON: a raw line break, tab or control character in a text", todo
    if error.msg.startswith("Unterminated string"):
        return f"{where} is not JSON: ends inside a string", 'Close the text with ".'
    if not rest:
        return f"{where} is not JSON: ends inside an object", "Was the line cut off?"
    return (
        f"{where} is not JSON: {error.msg[0].lower()}{error.msg[1:]}",
        "Write it with json.dumps.",
    )


def _extra(where: str, rest: str) -> tuple[str, str]:
    if rest.startswith(","):
        return f"{where}: a comma follows the object", "Remove it: one object, no comma between."
    if rest.startswith("{"):
        return f"{where}: a second object on the same line", "Put each object on a line of its own."
    return f"{where} is not JSON: text follows the object", "Remove it."
