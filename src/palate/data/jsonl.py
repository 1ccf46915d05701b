"""JSON Lines, and the form people write by hand: bytes to objects, bounded, every fault placed.

By hand means comment lines that start with `#`, blank lines, an object over several lines.
Memory is bounded by one object (16 MB).  A fault ends one object, never the reading, so that all
faults are reported together.  A file that opens with `[` is one array: `arrays.py` reads it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from palate.data.container import UTF8_MARK, Lines
from palate.data.decode import NESTING_LIMIT, Found, Record, decode, patient, too_deep
from palate.errors import Problem

SIZE_LIMIT = 16 * 1024 * 1024
_BLANK_LIMIT = 1_000_000
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|["{}\[\]]')
_COPY = "Copy the file again, or close the object."


@dataclass(slots=True)
class Tally:
    """What was met while reading, for the notes."""

    rows: int = 0
    comments: int = 0
    blank: int = 0
    spread: int = 0
    array: bool = False
    mark: bool = False
    carriage: int = 0

    def notes(self, name: str) -> tuple[str, ...]:
        """Each thing said once."""
        notes = [f"{name}: read as one JSON array of {self.rows} rows"] if self.array else []
        met = (
            (self.comments, "comment line", " skipped"),
            (self.blank, "blank line", " skipped"),
            (self.spread, "object", " over several lines"),
        )
        parts = [f"{n} {noun}{'s' * (n > 1)}{what}" for n, noun, what in met if n]
        if parts and not self.array:
            notes.append(f"{name}: read as written by hand ({', '.join(parts)})")
        if self.carriage:
            notes.append(f"{name}: {self.carriage:,} lines end in CRLF, which is fine")
        if self.mark:
            notes.append(f"{name}: starts with a UTF-8 byte order mark, skipped")
        return tuple(notes)

    def skips(self, line: str) -> bool:
        """Is this a blank or comment line?  Counts it."""
        text = line.strip()
        self.blank += not text
        self.comments += text.startswith("#")
        return not text or text.startswith("#")


def is_array(path: Path, tally: Tally) -> bool:
    """Whether the first character outside comment lines is `[`."""
    with path.open("rb") as file:
        tally.mark = file.read(3) == UTF8_MARK
        file.seek(3 if tally.mark else 0)
        comment = False
        while block := file.read(1 << 16):
            while block:
                if comment:
                    comment, block = b"\n" not in block, block.partition(b"\n")[2]
                block = block.lstrip()
                if block and not comment and not block.startswith(b"#"):
                    return block.startswith(b"[")
                comment = comment or bool(block)
    return False


def read_objects(path: Path, tally: Tally) -> Iterator[Found]:
    """Objects that each start on a line of their own, and the faults, in file order."""
    return patient(str(path), _objects(path, tally))


def _objects(path: Path, tally: Tally) -> Iterator[Found]:
    lines = _Pushable(path, tally)
    while (line := lines.next()) is not None:
        if isinstance(line, Problem):
            yield line
        elif tally.skips(line):
            if tally.blank + tally.comments > _BLANK_LIMIT and not tally.rows:
                what = f"has {_BLANK_LIMIT:,} blank or comment lines before its first object"
                yield Problem(str(path), 0, "", what, "Is this the right file?")
                return
        else:
            start = lines.number
            text = line if _complete(line) else _gather(line, lines, tally)
            if isinstance(text, Problem):
                yield text
                _resume(line, lines)
                continue
            found = decode(text, str(path), start)
            whole = isinstance(found[0], Record)
            tally.rows += whole
            tally.spread += whole and lines.number > start
            yield from found


class _Pushable:
    """The lines of a file, one at a time, with one line of push-back."""

    def __init__(self, path: Path, tally: Tally) -> None:
        self.path, self.number, self._tally = str(path), 0, tally
        self._lines = iter(Lines(path, SIZE_LIMIT))
        self._again: list[str | Problem] = []

    def next(self) -> str | Problem | None:
        """The next line, a fault in its place, or None at the end."""
        self.number += 1
        if self._again:
            return self._again.pop()
        line = next(self._lines, (0, None))[1]
        self._tally.carriage += isinstance(line, str) and line.endswith("\r\n")
        return line

    def push(self, line: str | Problem) -> None:
        """Give the latest line back."""
        self._again.append(line)
        self.number -= 1


def _complete(line: str) -> bool:
    """Whether the line is to be judged alone: a closed object, or nothing that opens one."""
    text = line.strip()
    return text[0] != "{" or (text[-1] == "}" and not _brackets(text, []))


def _brackets(text: str, stack: list[str]) -> list[str] | None:
    """Open brackets after this text, innermost last; None if a string does not end on its line.

    Goes no further where they are too deep.
    """
    stack = list(stack)
    for found in _TOKENS.finditer(text):
        token = found.group()
        if token == '"':
            return None
        if token in "{[":
            stack.append(token)
            if len(stack) > NESTING_LIMIT + 1:
                break
        elif token in "}]" and stack:
            stack.pop()
    return stack


def _gather(first: str, lines: _Pushable, tally: Tally) -> str | Problem:
    """The text of an object that goes on over the next lines; skipped lines stay as empty ones."""
    start, text, size, line = lines.number, [first], len(first), first
    stack = _brackets(first, [])
    last = first.rstrip()[-1:]
    while stack:
        if len(stack) > NESTING_LIMIT + 1:
            return Problem(lines.path, start, *too_deep())
        following = lines.next()
        if not isinstance(following, str):
            what = "is cut off: the file ends inside an object"
            return following or Problem(lines.path, start, "", what, _COPY)
        comment = following.lstrip().startswith("#")
        tally.comments += comment
        line = "\n" if comment else following
        if line.lstrip().startswith("{") and not _value_may_start(last, stack):
            lines.push(following)
            what = "is not closed: the next object starts before its '}'"
            return Problem(lines.path, start, "", what, "Close the object.")
        size += len(line)
        if size > SIZE_LIMIT:
            what = f"is an object of more than {SIZE_LIMIT / 2**20:.0f} MB"
            return Problem(lines.path, start, "", what, "Is a closing '}' missing?")
        text.append(line)
        stack = _brackets(line, stack)
        last = line.rstrip()[-1:] or last
    return _open_string(lines) if stack is None else "".join(text)


def _value_may_start(last: str, stack: list[str]) -> bool:
    """Whether a `{` may follow: after a colon, or where a list wants an element."""
    return last == ":" or (last in "[," and stack[-1] == "[")


def _open_string(lines: _Pushable) -> Problem:
    """A string that does not end on its line: the file is cut off, or holds a raw newline."""
    number, following = lines.number, lines.next()
    if following is None:
        what = "(last line) ends inside a string; the file was cut off"
        return Problem(lines.path, number, "", what, _COPY)
    lines.push(following)
    todo = 'Write a line break as \\n, and close each text with ".'
    return Problem(lines.path, number, "", "ends inside a string", todo)


def _resume(first: str, lines: _Pushable) -> None:
    """After a fault: go on at the next line that opens an object no deeper than the faulty one."""
    margin = len(first) - len(first.lstrip())
    while (line := lines.next()) is not None:
        if isinstance(line, Problem):
            lines.push(line)
            return
        if line.lstrip().startswith("{") and len(line) - len(line.lstrip()) <= margin:
            lines.push(line)
            return
