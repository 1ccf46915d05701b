"""A rubric file to checks: TOML, one table per check, as `palate taste --rubric` drafts it.

    [[check]]
    name = "no-exclamation"     unique
    kind = "not_contains"       one of rubric.KINDS
    value = "!"
    why = "..."                 may be left out

Everything wrong with the file is reported at once, each with its line and the number of its table.
"""

import difflib
import re
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from palate.errors import DataError, Problem
from palate.study.rubric import KINDS, Check, Kind

TABLE: Final = "check"
KEYS: Final = ("name", "kind", "value", "why")
NEEDED: Final = ("name", "kind", "value")
_HEADER = re.compile(r"\s*\[\[?\s*[\"']?([\w-]+)[\"']?\s*\]")
_KEY = re.compile(r"\s*[\"']?([\w-]+)[\"']?\s*=")
_DRAFT: Final = "`palate taste STORE --rubric FILE` drafts one."
Table = Mapping[str, Any]


def read(path: Path) -> tuple[Check, ...]:
    """The checks in file order.  Raises DataError with every problem found."""
    text = _text(path)
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        what = str(error) or "nested too deeply"
        raise DataError(f"{path} is not TOML: {what}.", hint=_DRAFT) from None
    lines = Lines(str(path), text)
    problems = list(_around(tables, lines))
    found = tables.get(TABLE, [])
    checks = found if isinstance(found, list) else []
    lines.expect(len(checks))
    for number, table in enumerate(checks, start=1):
        problems += _of_table(table, number, lines)
    problems += _named_twice(checks, lines)
    if problems:
        raise DataError(problems)
    if not checks:
        raise DataError(f"{path} holds no [[{TABLE}]]: there is nothing to check.", hint=_DRAFT)
    return tuple(_check(table) for table in checks)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", hint=f"Name a rubric. {_DRAFT}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None


def _check(table: Table) -> Check:
    kind = cast(Kind, table["kind"])
    return Check(table["name"], kind, table["value"], table.get("why", ""), evidence="")


class Lines:
    """Where tables and their keys stand: TOML's own reader does not say.

    Lines that look like a table inside a long text would be counted too: so where the count is not
    that of the tables, only the table's number is told.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self._tables: list[dict[str, int]] = []
        self._tops: dict[str, int] = {}
        inside = False
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.match(line):
                self._tops.setdefault(header[1], number)
                inside = header[1] == TABLE
                if inside:
                    self._tables.append({"": number})
            elif key := _KEY.match(line):
                place = self._tables[-1] if inside else self._tops
                place.setdefault(key[1], number)

    def expect(self, count: int) -> None:
        """How many tables there are."""
        if count != len(self._tables):
            self._tables = []

    def top(self, name: str) -> int:
        return self._tops.get(name, 0)

    def at(self, number: int, key: str) -> int:
        """The line of a key, or of its table, 1 for the first; 0 if it is not known."""
        if number > len(self._tables):
            return 0
        table = self._tables[number - 1]
        return table.get(key, table[""])

    def problem(self, number: int, key: str, what: str, todo: str) -> Problem:
        """One thing wrong with the table of that number."""
        return Problem(self.path, self.at(number, key), key, f"of check {number} {what}", todo)


# ---------------------------------------------------------------------- what may be wrong


def _around(tables: Table, lines: Lines) -> Iterator[Problem]:
    """What stands beside the checks, or is no list of them."""
    for name, held in tables.items():
        if name != TABLE:
            what = "is nothing that a rubric holds"
            todo = f"A rubric is a list of [[{TABLE}]] tables; see {_DRAFT}"
            yield Problem(lines.path, lines.top(name), name, what, todo)
        elif not isinstance(held, list) or not all(isinstance(each, dict) for each in held):
            line = lines.top(name)
            todo = f"Write [[{TABLE}]], in two brackets, above each check."
            yield Problem(lines.path, line, name, "is no list of tables", todo)


def _of_table(table: object, number: int, lines: Lines) -> Iterator[Problem]:
    """Everything wrong with one check by itself."""
    if not isinstance(table, dict):
        return  # said already
    for key in table:
        if key not in KEYS:
            yield lines.problem(number, key, "is no key of a check", _nearest(key, KEYS))
    for key in NEEDED:
        if key not in table:
            yield lines.problem(number, key, "is missing", f"Write {key} = ... in the table.")
    for key in ("name", "why"):
        held = table.get(key, "a text")
        if not isinstance(held, str) or (key == "name" and not held.strip()):
            yield lines.problem(number, key, f"is {_told(held)}, no text", 'Put it in "quotes".')
    yield from _of_kind(table, number, lines)


def _of_kind(table: Table, number: int, lines: Lines) -> Iterator[Problem]:
    """A kind that is known, and a value that it can take."""
    kind = table.get("kind")
    if kind is None:
        return
    if not isinstance(kind, str) or kind not in KINDS:
        todo = _nearest(kind if isinstance(kind, str) else "", KINDS)
        yield lines.problem(number, "kind", f"is {_told(kind)}, which is no kind of check", todo)
    elif "value" in table:
        fault = _value_fault(kind, table["value"])
        if fault is not None:
            yield lines.problem(number, "value", *fault)


def _value_fault(kind: Kind, value: object) -> tuple[str, str] | None:
    """What is wrong with a value of that kind, and what to do."""
    means = f"{kind}: {KINDS[kind]}."
    if kind == "numbers_in_prompt":
        if value is True:
            return None
        return f"is {_told(value)}, and can only be true", f"Or leave the check out. {means}"
    if kind == "at_most_words":
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return None
        return f"is {_told(value)}, no number of words from 1 on", means
    if not isinstance(value, str):
        return f"is {_told(value)}, no text", f'Put it in "quotes". {means}'
    if not value.strip():
        return "is an empty text", means
    return _pattern_fault(value) if kind == "regex" else None


def _pattern_fault(value: str) -> tuple[str, str] | None:
    try:
        compiled(value)
    except (re.error, OverflowError, RecursionError) as error:
        todo = "Python's `re` must take it; 'single quotes' keep its backslashes."
        return f"is no pattern: {error}", todo
    return None


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, without a warning of what a later Python may read in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.compile(pattern)


def _named_twice(tables: Iterable[object], lines: Lines) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, table in enumerate(tables, start=1):
        name = table.get("name") if isinstance(table, dict) else None
        if not isinstance(name, str):
            continue
        if name in first:
            what = f"is '{name}', as of check {first[name]}"
            yield lines.problem(number, "name", what, "Give each check a name of its own.")
        first.setdefault(name, number)


def _nearest(word: str, known: Iterable[str]) -> str:
    """The known word that it may have been meant for, and all of them."""
    near = difflib.get_close_matches(word.casefold().replace("-", "_"), list(known), 1)
    meant = f"Did you mean '{near[0]}'? " if near else ""
    return f"{meant}Known: {', '.join(known)}."


def _told(value: object) -> str:
    """A value as TOML has it, short."""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
