"""The folder of `palate teach`: what was asked, one store over all rounds, a folder per round.

    teach.json             what was asked, of which model and prompts
    store.db               prompts, answers and every verdict, over all rounds
    prompts.jsonl          the prompts that are judged; measured.jsonl: those that only measure
    start.jsonl            the starting model's texts for the measured prompts
    round-1/               samples.jsonl, plan.json, pairs.jsonl, heldout.jsonl, doctor.json,
                           dpo/ (a run), after.jsonl, compare.json, wins.json
    lock                   held while a process works here; the kernel lets go when it dies

A file of texts grows, and a run is taken up, as those of their own commands.  Every other file is
written whole, in one step, and never again: it says that its step is done, which is all that a
killed command needs in order to continue.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from palate import __version__
from palate.errors import CheckpointError, UsageError
from palate.runs import atomic
from palate.runs.lock import LOCK, Held, take_lock

RECORD: Final = "teach.json"
SCHEMA: Final = 1
Rows = Iterable[Mapping[str, Any]]


class Folder(Held):
    """A teaching that this process holds: `with Folder.open(...) as folder`."""

    def __init__(self, path: Path, record: dict[str, Any], lock: int) -> None:
        super().__init__(path, lock)
        self.record = record

    @classmethod
    def open(cls, path: Path, frozen: Mapping[str, Any]) -> Self:
        """Create the folder, or take up the one that is there, and lock it.

        Raises UsageError (a folder of another kind), CheckpointError (in use, damaged, or made
        with other settings, each of which is named).
        """
        _refuse_foreign(path)
        with atomic.disk_errors(path):
            atomic.make_folder(path)
            lock = take_lock(path)
        try:
            asked = json.loads(json.dumps(dict(frozen)))
            with atomic.disk_errors(path):
                atomic.tidy(path / RECORD)
            if (path / RECORD).exists():
                record = read(path)
                _refuse_changes(path, record["frozen"], asked)
            else:
                record = {"schema": SCHEMA, "palate": __version__, "frozen": asked}
                _write(path / RECORD, record)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, record, lock)

    @property
    def store(self) -> Path:
        return self.path / "store.db"

    @property
    def prompts(self) -> Path:
        """Prompts whose texts are judged."""
        return self.path / "prompts.jsonl"

    @property
    def measured(self) -> Path:
        """Prompts that only measure."""
        return self.path / "measured.jsonl"

    def round(self, number: int) -> Path:
        """The folder of a round, made if it is not there."""
        path = self.path / f"round-{number}"
        with atomic.disk_errors(path):
            atomic.make_folder(path)
        return path


def read(path: Path) -> dict[str, Any]:
    """The record of a folder.  Raises CheckpointError if it cannot be read or is newer."""
    try:
        record: dict[str, Any] = json.loads((path / RECORD).read_bytes())
        newer = record["schema"] > SCHEMA
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / RECORD} cannot be read: {error}.",
            hint="Restore it, or start again with another --out.",
        ) from error
    if newer:
        raise CheckpointError(
            f"{path} was made by palate {record.get('palate')}; this is {__version__}.",
            hint="Install that version, or use another --out.",
        )
    return record


# ---- files that are written once


def once(path: Path, make: Callable[[], Any]) -> Any:
    """The JSON value of a file; made and written if it is not there."""
    if not path.exists():
        atomic.tidy(path)
        _write(path, make())
    return json.loads(path.read_bytes())


def once_lines(path: Path, make: Callable[[], Rows]) -> list[dict[str, Any]]:
    """The rows of a JSONL file; made and written if it is not there."""
    if not path.exists():
        atomic.tidy(path)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in make())
        atomic.write_file(path, text.encode())
    with atomic.disk_errors(path), path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    atomic.write_file(path, text.encode() + b"\n")


# ---- refusals


def _refuse_foreign(path: Path) -> None:
    if path.is_dir():
        names = {found.name for found in path.iterdir()}
        ours = {LOCK, *(name for name in names if name.startswith(f".tmp-{RECORD}-"))}
        if RECORD not in names and names - ours:
            raise UsageError(
                f"{path} is not empty and was not made by palate teach: it has no {RECORD}.",
                hint="Use another --out; nothing in it was touched.",
            )
    elif os.path.lexists(path):
        raise UsageError(f"{path} is a file, not a folder.", hint="Use another --out.")


def _refuse_changes(path: Path, was: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise CheckpointError naming everything that differs."""
    names = [name for name in {**was, **asked} if was.get(name) != asked.get(name)]
    if names:
        told = [
            f"{path} was begun with {name.replace('_', ' ')} {_show(was.get(name))}; "
            f"you ask for {_show(asked.get(name))}."
            for name in names
        ]
        raise CheckpointError("\n".join(told), hint="Use another --out, or ask for the same again.")


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]} ..." if len(text) == 64 and text.isalnum() else text
