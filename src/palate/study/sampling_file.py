"""A file of samples that grows prompt by prompt and is taken up where it ended.

The records of a prompt are written in one piece and flushed to the disk; each says how many there
are, so that a piece that a kill tore is known and drawn again.  A file that holds anything else,
or texts made with other settings, is refused and stays as it is.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Self

from palate.errors import CheckpointError, UsageError
from palate.runs import atomic

SETTINGS: Final = (
    "model",
    "identity",
    "endpoint",
    "engine",
    "plain",
    "join",
    "chat_template",
    "seed",
    "n",
    "temperature",
    "top_p",
    "max_new_tokens",
    "as_drawn",
)
_FIELDS = {"line", "prompt", "index", "completion", "kept", "drawn", "id"}
_START: Final = b'{"id": "'
_OTHER = "Give another --out, or remove the file."
Record = dict[str, Any]
Settings = Callable[[int], Mapping[str, Any]]


class SampleFile:
    """`path`, held by this process.  Raises CheckpointError if another one writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise UsageError(f"{path} is a folder.", hint="Name a file for --out.")
        with atomic.disk_errors(path):
            atomic.make_folder(path.parent)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._handle)
                what = f"another process is writing to {path}."
                raise CheckpointError(what, hint="Wait for it, or use another --out.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of it; a file in which nothing was written is not left behind."""
        if not os.fstat(self._handle).st_size:
            self.path.unlink(missing_ok=True)
        os.close(self._handle)

    def begun(self, rows: Sequence[tuple[int, object]], settings: Settings) -> list[list[Record]]:
        """The blocks of the first of `rows` (line, prompt) that are there whole; the rest is cut.

        Raises CheckpointError if the file holds anything but these rows under these settings, and
        then nothing of it is changed.
        """
        blocks: list[list[Record]] = []
        end = 0
        for block, whole, stop in _blocks(self._lines(), self.path):
            if len(blocks) == len(rows):
                what = f"{self.path} has answers to more prompts than there are."
                raise CheckpointError(what, hint=_OTHER)
            for record in block:
                self._check(record, rows[len(blocks)], settings)
            if not whole:
                break
            blocks.append(block)
            end = stop
        with atomic.disk_errors(self.path):
            os.ftruncate(self._handle, end)
        return blocks

    def append(self, block: Sequence[Mapping[str, Any]]) -> None:
        """Write one prompt's records.  Raises DiskError; what was there stays."""
        data = "".join(json_line(record) + "\n" for record in block).encode()
        with atomic.disk_errors(self.path, need=len(data)):
            atomic.write_all(self._handle, data)
            os.fsync(self._handle)

    def _lines(self) -> Iterator[bytes]:
        """Every line that was written to its end; what a kill tore off must look like ours."""
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line
                elif line[: len(_START)] != _START[: len(line)]:
                    raise _foreign(self.path, "the end of it")

    def _check(self, record: Record, row: tuple[int, object], settings: Settings) -> None:
        line, prompt = row
        if record["line"] != line or record["prompt"] != prompt:
            what = f"{self.path} answers line {record['line']} where line {line} is next: the file"
            raise CheckpointError(f"{what} of prompts has changed.", hint=_OTHER)
        now = settings(record["index"]) if record["index"] < record["n"] else {}
        leave = {"model"} if record.get("identity") and "identity" in now else set()
        differs = [
            f"{name} {_told(record.get(name))} there, {_told(now.get(name))} now"
            for name in SETTINGS
            if name not in leave and record.get(name) != now.get(name)
        ]
        if differs:
            what = f"{self.path} was made with other settings: {'; '.join(differs)}."
            raise CheckpointError(what, hint=_OTHER)


def _blocks(lines: Iterator[bytes], path: Path) -> Iterator[tuple[list[Record], bool, int]]:
    """(records of one prompt, whether all of them are there, offset of their end), in order."""
    end = 0
    numbered = ((_record(line, place, path), len(line)) for place, line in enumerate(lines, 1))
    for _, group in groupby(numbered, lambda each: each[0]["line"]):
        found = list(group)
        block = [record for record, _ in found]
        end += sum(size for _, size in found)
        yield block, len(block) == block[0]["kept"], end


def _record(line: bytes, place: int, path: Path) -> Record:
    try:
        found = json.loads(line)
        if isinstance(found, dict) and found.keys() >= {*_FIELDS, "n"}:
            return found
    except (ValueError, RecursionError):
        pass
    raise _foreign(path, f"line {place}")


def _foreign(path: Path, where: str) -> CheckpointError:
    what = f"{path}, {where}, is no record of `palate sample`: the file is left as it is."
    return CheckpointError(what, hint="Give another --out.")


def _told(value: object) -> str:
    if value is None:
        return "not set"
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def json_line(record: Mapping[str, Any]) -> str:
    """One record as a line of JSON, without its end."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False)
