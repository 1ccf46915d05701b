"""One JSON array of objects, read as a stream, however its elements are laid over lines.

Memory is bounded by one element (16 MB), also when the whole file is one line.  An element that is
not JSON is a fault and the next one is read; a comment line between elements is skipped.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from palate.data.container import undecodable
from palate.data.decode import NESTING_LIMIT, Found, Record, decode, patient
from palate.data.jsonl import SIZE_LIMIT, Tally
from palate.errors import Problem

_CHUNK = 1 << 16
_HOPELESS = 10 * NESTING_LIMIT
_OUTSIDE = re.compile(r'["{}\[\],#\n]')
_INSIDE = re.compile(r'["\\\n]')
_COMMENT = re.compile(r"\n")


def read_array(path: Path, tally: Tally) -> Iterator[Found]:
    """Every element and every fault, in file order."""
    return patient(str(path), _found(path, tally))


def _found(path: Path, tally: Tally) -> Iterator[Found]:
    tally.array = True
    row, shown = 0, 0
    for element in _elements(path, tally):
        if isinstance(element, Problem):
            yield element
            continue
        row += 1
        line, text = element
        name = str(path) if line > shown else f"{path} row {row}"
        shown = line
        found = decode(text, name, line)
        tally.rows += isinstance(found[0], Record)
        yield from found


@dataclass(slots=True)
class _Scan:
    """Where the scan stands: the element being collected, and what encloses the next character."""

    line: int = 1
    depth: int = -1
    pattern: re.Pattern[str] = _OUTSIDE
    skip: int = 0
    begun: int = 1
    size: int = 0
    pieces: list[str] = field(default_factory=list)

    def add(self, piece: str) -> None:
        """Collect text of the element; what stands before the array is not kept."""
        if self.depth >= 0:
            self.pieces.append(piece)
            self.size += len(piece)

    def close(self, piece: str) -> None:
        """Collect the last text of the last element too, though the array has ended."""
        self.pieces.append(piece)

    def turn(self, mark: str) -> bool:
        """Take note of one mark.  Whether it opens the array."""
        if mark == "\n":
            self.line += 1
            self.pattern = _OUTSIDE if self.pattern is _COMMENT else self.pattern
        elif mark == '"':
            self.pattern = _OUTSIDE if self.pattern is _INSIDE else _INSIDE
        elif mark == "#":
            self.pattern = _COMMENT
        elif mark in "[{":
            self.depth += 1
            if self.depth == 0:
                self.begun = self.line
                return True
        elif mark in "]}":
            self.depth -= 1
        return False

    def take(self) -> tuple[int, str]:
        """(line, text) of the element collected so far; the next one begins here."""
        text = "".join(self.pieces)
        blank = text[: len(text) - len(text.lstrip())]
        line, self.begun = self.begun + blank.count("\n"), self.line
        self.pieces, self.size = [], 0
        return line, text.strip()


def _elements(path: Path, tally: Tally) -> Iterator[tuple[int, str] | Problem]:
    scan, ended = _Scan(), False
    for chunk in _chunks(path):
        if isinstance(chunk, Problem):
            yield chunk
            return
        if ended:
            yield from _after(path, scan.line, chunk)
            if chunk.strip():
                return
            continue
        position = 0
        while not ended and (stop := _next_stop(chunk, position, scan, tally)) is not None:
            position = stop + 1
            line, text = scan.take()
            ended = scan.depth < 0
            if text or not ended:
                yield line, text
        if ended:
            rest = chunk[position:]
            yield from _after(path, scan.line, rest)
            if rest.strip():
                return
        elif scan.depth > _HOPELESS:
            what = f"is nested more than {_HOPELESS} deep (limit {NESTING_LIMIT})"
            todo = "Is a bracket missing? The rest was not read."
            yield Problem(str(path), scan.begun, "", what, todo)
            return
        elif scan.size > SIZE_LIMIT:
            what = f"holds an element of more than {SIZE_LIMIT / 2**20:.0f} MB"
            todo = "Is a quote or bracket missing?"
            yield Problem(str(path), scan.begun, "", what, todo)
            return
    if not ended:
        what = "is cut off: the file ends inside the array"
        yield Problem(str(path), scan.take()[0], "", what, "Copy the file again, or add ']'.")


def _after(path: Path, line: int, rest: str) -> Iterator[Problem]:
    """Only white space may follow the array."""
    if rest.strip():
        line += rest[: len(rest) - len(rest.lstrip())].count("\n")
        todo = "Write one array, or one object per line."
        yield Problem(str(path), line, "", "text follows the array", todo)


def _next_stop(chunk: str, position: int, scan: _Scan, tally: Tally) -> int | None:
    """Position of the next comma between elements, or of the closing bracket (depth is then -1)."""
    begin = position
    position += scan.skip
    scan.skip = 0
    while found := scan.pattern.search(chunk, position):
        position, mark = found.end(), found.group()
        if mark == "#":
            tally.comments += 1
            scan.add(chunk[begin : position - 1])
        elif scan.pattern is _COMMENT:
            begin = position - 1
        elif mark == "\\":
            position += 1
        if scan.turn(mark):
            begin = position
        if (mark == "," and scan.depth == 0) or (mark == "]" and scan.depth < 0):
            scan.close(chunk[begin : position - 1])
            return position - 1
    scan.skip = max(0, position - len(chunk))
    if scan.pattern is not _COMMENT:
        scan.add(chunk[begin:])
    return None


def _chunks(path: Path) -> Iterator[str | Problem]:
    """The text in pieces that never split a character; a fault where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    with path.open("rb") as file:
        while raw := file.read(_CHUNK):
            held = decoder.getstate()[0]
            try:
                text = decoder.decode(raw)
            except UnicodeDecodeError as error:
                whole = held + raw
                start = whole.rfind(b"\n", 0, error.start) + 1
                line += whole[: error.start].count(b"\n")
                error.start -= start
                yield undecodable(str(path), line, whole[start:], error)
                return
            line += text.count("\n")
            yield text
