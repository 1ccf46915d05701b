"""What a file is by its first bytes, whatever its name says, and what its bytes decode to.

Refuses compressed files, UTF-16, web pages, Git-LFS pointers and other tools' files by name, so
that no reader behind this one has to explain them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from palate.errors import DataError, Problem

Shape = Literal["json", "csv", "parquet"]
UTF8_MARK = b"\xef\xbb\xbf"
_PACKED = (
    (b"\x1f\x8b", "gzip", "gunzip", (".gz", ".tgz")),
    (b"PK\x03\x04", "zip", "unzip", ()),
    (b"BZh", "bzip2", "bunzip2", (".bz2",)),
    (b"\xfd7zXZ\x00", "xz", "unxz", (".xz",)),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd", (".zst",)),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4", (".lz4",)),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x", ()),
)
_FOREIGN = (
    (b"ARROW1", "an Arrow file", "Write it as Parquet: pyarrow.parquet.write_table."),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV."),
    (b"%PDF", "a PDF", "Give the data itself."),
    (b"\x93NUMPY", "a NumPy array", "Write one JSON object per line."),
    (b"\x80\x04", "a Python pickle", "palate opens none; write one JSON object per line."),
)
_HEADER = re.compile(rb'"?[A-Za-z_][\w.-]*"?(?:([,;\t])"?[A-Za-z_][\w.-]*"?)+\r?\n')
_BLOCK = 1 << 20
_POINTER = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html")


def shape(path: Path) -> Shape:
    """How to read the file.  Raises DataError for what no reader here can read."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    refused = _refused(str(path), path.name, head)
    if refused is not None:
        raise DataError([refused])
    named = _by_name(path.suffix.lower())
    if head.startswith(b"PAR1") != (named == "parquet"):
        found = "Parquet data" if head.startswith(b"PAR1") else "not Parquet data"
        todo = f"Rename it to {path.stem}.{'parquet' if head.startswith(b'PAR1') else 'jsonl'}."
        raise DataError([Problem(str(path), 0, "", f"is {found}", todo)])
    misnamed = _misnamed(path, named, head.removeprefix(UTF8_MARK))
    if misnamed is not None:
        raise DataError([misnamed])
    return named


def _misnamed(path: Path, named: Shape, head: bytes) -> Problem | None:
    """CSV that is called JSON, or the other way round."""
    text = head.lstrip()
    if named == "csv" and text.startswith((b'{"', b'[{"', b"[\n")):
        return Problem(str(path), 0, "", "is JSON, not CSV", f"Rename it to {path.stem}.jsonl.")
    header = _HEADER.match(text) if named == "json" else None
    if header is None:
        return None
    first = header.group().decode().strip()
    suffix = "tsv" if header[1] == b"\t" else "csv"
    what = f"looks like CSV, not JSON: its first line is {first[:60]}"
    return Problem(str(path), 0, "", what, f"Rename it to {path.stem}.{suffix}.")


_AGAIN = "Copy the file again, or remove them."


def _by_name(suffix: str) -> Shape:
    if suffix in (".csv", ".tsv"):
        return "csv"
    return "parquet" if suffix in (".parquet", ".pq") else "json"


def _refused(path: str, name: str, head: bytes) -> Problem | None:
    for magic, kind, tool, suffixes in _PACKED:
        if head.startswith(magic):
            named = not suffixes or name.lower().endswith(suffixes)
            how = f"{tool} {name}" if named else f"{tool} < {name} > unpacked.jsonl"
            if kind == "zip" and name.lower().endswith((".xlsx", ".ods")):
                return Problem(path, 0, "", "is a spreadsheet", "Save it as CSV.")
            return Problem(path, 0, "", f"is {kind} data", f"Unpack it first: {how}")
    for magic, kind, todo in _FOREIGN:
        if head.startswith(magic):
            return Problem(path, 0, "", f"is {kind}", todo)
    if head and not head.strip(b"\x00"):
        return Problem(path, 0, "", "begins with NUL bytes: it was never written", _AGAIN)
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
    byte, after = raw[error.start], raw[error.start + 1 : error.start + 2]
    what = f"byte 0x{byte:02X} at column {column} is not UTF-8"
    if error.reason == "unexpected end of data":
        return Problem(path, line, "", what, "Convert it: iconv -f latin1 -t utf8.")
    if byte >= 0xC0 and b"\x80" <= after < b"\xc0":
        todo = "It is damaged: write it again as UTF-8."
        return Problem(path, line, "", f"{what} (a form that UTF-8 forbids)", todo)
    name, code = ("Latin-1", "latin1") if byte >= 0xA0 else ("Windows-1252", "cp1252")
    todo = f"Convert it: iconv -f {code} -t utf8."
    return Problem(path, line, "", f"{what} (looks like {name})", todo)


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
                if size > self.limit and not raw.endswith(b"\n"):
                    size += _skip_line(file)
                yield number, self._text(number, raw, size)

    def _text(self, number: int, raw: bytes, size: int) -> str | Problem:
        if (at := raw.find(b"\x00")) >= 0:
            what = f"holds NUL bytes from column {at + 1} on: it was not written to its end"
            return Problem(str(self.path), number, "", what, _AGAIN)
        if size > self.limit:
            what = f"is {size / 2**20:.1f} MB (limit {self.limit / 2**20:.0f} MB)"
            return Problem(str(self.path), number, "", what, "Is a newline missing?")
        try:
            return raw.removeprefix(UTF8_MARK if number == 1 else b"").decode("utf-8")
        except UnicodeDecodeError as error:
            return undecodable(str(self.path), number, raw, error)


def _skip_line(file: BinaryIO) -> int:
    """Go to the next line; how many bytes that was."""
    size = 0
    while block := file.read(_BLOCK):
        at = block.find(b"\n") + 1
        if at:
            file.seek(at - len(block), 1)
            return size + at
        size += len(block)
    return size
