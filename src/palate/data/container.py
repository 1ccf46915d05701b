"""What a file is by its first bytes, whatever its name says, and what its bytes decode to.

Refuses compressed files, UTF-16, web pages and Git-LFS pointers by name, so that no reader behind
this one has to explain them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from palate.errors import DataError, Problem

Shape = Literal["json", "csv", "parquet"]
UTF8_MARK = b"\xef\xbb\xbf"
_PACKED = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\x00", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
)
_POINTER = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html")


def shape(path: Path) -> Shape:
    """How to read the file.  Raises DataError for what no reader here can read."""
    with path.open("rb") as file:
        head = file.read(512)
    refused = _refused(str(path), path.name, head)
    if refused is not None:
        raise DataError([refused])
    named = _by_name(path.suffix.lower())
    if head.startswith(b"PAR1") != (named == "parquet"):
        found = "Parquet data" if head.startswith(b"PAR1") else "not Parquet data"
        todo = f"Rename it to {path.stem}.{'parquet' if head.startswith(b'PAR1') else 'jsonl'}."
        raise DataError([Problem(str(path), 0, "", f"is {found}", todo)])
    return named


def _by_name(suffix: str) -> Shape:
    if suffix in (".csv", ".tsv"):
        return "csv"
    return "parquet" if suffix in (".parquet", ".pq") else "json"


def _refused(path: str, name: str, head: bytes) -> Problem | None:
    for magic, kind, tool in _PACKED:
        if head.startswith(magic):
            return Problem(path, 0, "", f"is {kind} data", f"Unpack it first: {tool} {name}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        todo = f"Convert it to UTF-8: iconv -f utf16 -t utf8 {name}"
        return Problem(path, 0, "", "starts with a UTF-16 mark", todo)
    if head[1:64:2].count(0) > 20 or head[0:64:2].count(0) > 20:
        todo = f"Convert it to UTF-8: iconv -f utf16le -t utf8 {name}"
        return Problem(path, 0, "", "looks like UTF-16 without a mark", todo)
    if head.startswith(_POINTER):
        todo = "Fetch the data itself: git lfs pull"
        return Problem(path, 0, "", "is a Git LFS pointer, not the data", todo)
    if head.lstrip().lower().startswith(_PAGE):
        return Problem(path, 0, "", "is a web page (HTML), not data", "Download the raw file.")
    return None


def undecodable(path: str, line: int, raw: bytes, error: UnicodeDecodeError) -> Problem:
    """The fault of one line that is not UTF-8."""
    column = len(raw[: error.start].decode("utf-8", "replace")) + 1
    latin = raw[error.start] >= 0x80 and error.reason != "unexpected end of data"
    guess = " (looks like Latin-1)" if latin else ""
    what = f"byte 0x{raw[error.start]:02X} at column {column} is not UTF-8{guess}"
    return Problem(path, line, "", what, "Convert it: iconv -f latin1 -t utf8.")


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a file as text, or a fault in a line's place, numbered from 1."""

    path: Path
    limit: int

    def __iter__(self) -> Iterator[tuple[int, str | Problem]]:
        with self.path.open("rb") as file:
            number = 0
            while raw := file.readline(self.limit + 1):
                number += 1
                size = len(raw)
                while not raw.endswith(b"\n") and size > self.limit:
                    rest = file.readline(self.limit)
                    size += len(rest)
                    if rest.endswith(b"\n") or not rest:
                        break
                yield number, self._text(number, raw, size)

    def _text(self, number: int, raw: bytes, size: int) -> str | Problem:
        if size > self.limit:
            what = f"is {size / 2**20:.1f} MB (limit {self.limit / 2**20:.0f} MB)"
            return Problem(str(self.path), number, "", what, "Is a newline missing?")
        try:
            return raw.removeprefix(UTF8_MARK if number == 1 else b"").decode("utf-8")
        except UnicodeDecodeError as error:
            return undecodable(str(self.path), number, raw, error)
