"""The folder of a run: what it was made with, its metrics, and its lock.

    run.json        what was asked, what it was made from, whether it is finished
    metrics.jsonl   one line per step, each step once
    lock            held while a process works on the run; the kernel lets go when it dies

A folder that is no run is refused and left alone, and so is a run that was made with other options.
No torch here.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from palate import __version__
from palate.errors import CheckpointError, UsageError
from palate.runs import atomic
from palate.runs.lock import LOCK, Held, now, take_lock

RECORD = "run.json"
METRICS = "metrics.jsonl"
SCHEMA = 1


class Metrics:
    """`metrics.jsonl`: one JSON object per line, its "step" larger than the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: float | None = None

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line and flush it.  Raises ValueError if the step is not after the last one."""
        if self._last is None:
            self.rewind(math.inf)
        step = row["step"]
        if self._last is not None and step <= self._last:
            raise ValueError(
                f"{self.path} has step {self._last} already; step {step} comes too late"
            )
        line = json.dumps(_plain(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with atomic.disk_errors(self.path, need=len(line)):
            self._write(line)
        self._last = step

    def rewind(self, step: float) -> tuple[str, ...]:
        """Drop lines after `step`, a torn last line, and damaged ones, which the notes name."""
        kept, notes, last = [], [], -math.inf
        lines = self._lines()
        for number, line in enumerate(lines, start=1):
            found = _step_of(line)
            if found is None and number < len(lines):
                notes.append(f"{self.path}:{number} is damaged and was left out")
            elif found is not None and last < found <= step:
                kept.append(line)
                last = found
        if len(kept) < len(lines):
            atomic.write_file(self.path, b"".join(kept))
        self._last = last
        return tuple(notes)

    def rows(self) -> list[dict[str, Any]]:
        """Every intact line."""
        return [json.loads(line) for line in self._lines() if _step_of(line) is not None]

    def _lines(self) -> list[bytes]:
        with atomic.disk_errors(self.path):
            return self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []

    def _write(self, line: bytes) -> None:
        """Append, or leave the file as it was."""
        is_new = not self.path.exists()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(handle).st_size
            try:
                atomic.write_all(handle, line)
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        if is_new:
            atomic.flush(self.path.parent)


class Run(Held):
    """A run that this process holds: `with Run.open(...) as run`.  `Run.read` only looks."""

    def __init__(self, path: Path, record: dict[str, Any], *, lock: int, is_new: bool) -> None:
        super().__init__(path, lock)
        self.record = record
        self.metrics = Metrics(path / METRICS)
        self.is_new = is_new

    @classmethod
    def open(cls, path: Path, record: Mapping[str, Any], *, frozen: Mapping[str, Any]) -> Self:
        """Create the run at `path`, or take up the one that is there, and lock it.

        `record` is written down when the run is new.  `frozen` must be what it was then.  Raises
        UsageError (the folder is not a run), CheckpointError (in use, damaged, or made otherwise).
        """
        _refuse_foreign(path)
        with atomic.disk_errors(path):
            atomic.make_folder(path)
            lock = take_lock(path)
        try:
            with atomic.disk_errors(path):
                atomic.tidy(path / RECORD)
                atomic.tidy(path / METRICS)
            is_new = not (path / RECORD).exists()
            if is_new:
                found = _new_record(record, frozen)
                _write_record(path, found)
            else:
                found = cls.read(path)
                _refuse_changes(path, found, _as_json(frozen))
        except BaseException:
            os.close(lock)
            raise
        return cls(path, found, lock=lock, is_new=is_new)

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """The record of a run, without its lock."""
        try:
            record = json.loads((path / RECORD).read_bytes())
            schema = record["schema"]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(
                f"{path} is not a run of palate: it has no {RECORD}.",
                hint="Name a folder that palate wrote.",
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path / RECORD} cannot be read: {error}.",
                hint="Restore it, or start again with another --out.",
            ) from error
        if schema > SCHEMA:
            raise CheckpointError(
                f"{path} was made by palate {record.get('palate')}; this is {__version__}.",
                hint="Install that version, or use another --out.",
            )
        assert isinstance(record, dict)
        return record

    @property
    def finished(self) -> bool:
        """Whether the command that made the run came to its end."""
        return bool(self.record["finished"])

    def update(self, **fields: Any) -> None:
        """Write `fields` down in run.json, in one step."""
        assert self._lock is not None, "the run was closed"
        self.record = _as_json({**self.record, **fields})
        _write_record(self.path, self.record)


# -- run.json


def _new_record(record: Mapping[str, Any], frozen: Mapping[str, Any]) -> dict[str, Any]:
    return _as_json(
        {
            "schema": SCHEMA,
            "palate": __version__,
            "created": now(),
            "finished": False,
            "best_step": None,
            **record,
            "frozen": frozen,
        }
    )


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    atomic.write_file(path / RECORD, text.encode() + b"\n")


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON gives back: tuples become lists."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    return plain


# -- refusals


def _refuse_foreign(path: Path) -> None:
    """A folder with files of another kind is not ours to write into."""
    if path.is_dir():
        names = {p.name for p in path.iterdir()}
        ours = {LOCK, *(name for name in names if name.startswith(f".tmp-{RECORD}-"))}
        if RECORD not in names and names - ours:
            raise UsageError(
                f"{path} is not empty and is not a run of palate: it has no {RECORD}.",
                hint="Use another --out; nothing in it was touched.",
            )
    elif os.path.lexists(path):
        raise UsageError(f"{path} is a file, not a folder.", hint="Use another --out.")


def _refuse_changes(path: Path, record: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise CheckpointError naming everything that differs from what the run was made with."""
    was = record["frozen"]
    names = [name for name in {**was, **asked} if _value(was, name) != _value(asked, name)]
    if not names:
        return
    flags = set(record.get("config") or {}) & set(names)
    todo = [_flag(name, was.get(name)) for name in names if name in flags]
    todo += [f"go back to the same {_words(name)}" for name in names if name not in flags]
    raise CheckpointError(
        "\n".join(_difference(path, name, was, asked) for name in names),
        hint=f"Use another --out, or {' and '.join(todo)}.",
    )


def _difference(path: Path, name: str, was: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    old, new = _value(was, name), _value(asked, name)
    made = (
        f"made without {_words(name)}" if old is None else f"made with {_words(name)} {_show(old)}"
    )
    return f"{path} was {made}; you {'leave it out' if new is None else f'ask for {_show(new)}'}."


def _flag(name: str, value: Any) -> str:
    """How to ask for the recorded value again."""
    flag = f"--{name.replace('_', '-')}"
    if value in (None, False, []):
        return f"leave {flag} out"
    return f"pass {flag}" if value is True else f"pass {flag} {_show(value)}"


def _value(values: Mapping[str, Any], name: str) -> Any:
    """None and an empty list both mean that nothing was asked."""
    value = values.get(name)
    return None if value == [] else value


def _words(name: str) -> str:
    return name.replace("_", " ")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ",".join(_show(each) for each in value)
    if isinstance(value, str):
        return value[:12] if re.fullmatch(r"[0-9a-f]{32,}", value) else value
    return json.dumps(value)


# -- metrics


def _step_of(line: bytes) -> int | None:
    """The step of a whole, intact line; None otherwise."""
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def _plain(value: Any) -> Any:
    """JSON has no nan and no infinity: they are written as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
