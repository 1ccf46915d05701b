"""One connection to one SQLite file: settings, transactions, and its errors in a user's words.

Writes are committed to the disk before they return (WAL, synchronous=FULL).  One writer: threads of
this process wait for each other, other processes for `wait` seconds.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from palate.errors import DiskError, StoreError
from palate.judge import schema

_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)


class Locked(StoreError):
    """Another process is writing to the store, or holds it; nothing was changed."""


class Database:
    """The connection behind a store.  Every method may be called from any thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._depth = 0

    @classmethod
    def open(cls, path: Path, *, wait: float) -> Self:
        """Create or open a file and bring its tables up to date.

        Raises StoreError (not a store, newer, damaged), Locked, DiskError.
        """
        _check_place(path)
        with told(path):
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            connection = sqlite3.connect(
                path, timeout=wait, isolation_level=None, check_same_thread=False
            )
        try:
            with told(path):
                connection.row_factory = sqlite3.Row
                _check_kind(path, connection)
                for setting in _SETTINGS:
                    connection.execute(setting)
                schema.migrate(connection)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        with self._lock:
            with suppress(sqlite3.Error):  # busy, full, closed already: the log stays, nothing lost
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several writes, all of them or none; one inside another is part of it."""
        with self._lock, told(self.path):
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                        self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._commit()

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def write(self, statement: str, values: Sequence[Any] = ()) -> None:
        """One statement, in a transaction of its own unless there is one."""
        with self.transaction():
            self._connection.execute(statement, values)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Every row of a query."""
        with self._lock, told(self.path):
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, if there is one."""
        with self._lock, told(self.path):
            found: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
            return found


@contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's errors, and the system's, as errors that say what to do."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a rule of the schema: the caller knows which, or it is a bug
    except (sqlite3.DatabaseError, OSError) as error:
        raise _in_words(path, error) from error


def _in_words(path: Path, error: Exception) -> StoreError | DiskError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return Locked(
            f"{path} is locked by another process.",
            hint="Close what writes to it, or wait; nothing was changed.",
        )
    if "full" in text or getattr(error, "errno", None) == 28:
        return DiskError(
            f"{path}: there is no room on the disk.", hint="Make some; all that was saved is there."
        )
    if "readonly" in text or isinstance(error, PermissionError):
        return StoreError(f"{path} cannot be written.", hint="Look at its permissions.")
    if "not a database" in text:
        return _foreign(path)
    if "malformed" in text or "corrupt" in text:
        hint = "sqlite3 has .recover for this; keep a copy of the file first."
        return StoreError(f"{path} is damaged ({text}).", hint=hint)
    return StoreError(f"{path} cannot be used as a store: {text}.", hint="Look at the path.")


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder.", hint="A store is one file, such as taste.db.")
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent}.", hint="Make it first.")


def _check_kind(path: Path, connection: sqlite3.Connection) -> None:
    if not schema.is_store(connection):
        raise _foreign(path)
    found, known = schema.version(connection), len(schema.MIGRATIONS)
    if found > known:
        raise StoreError(
            f"{path} was written by a newer palate (version {found} of the store; "
            f"this palate knows {known}).",
            hint="Update palate; the file was not touched.",
        )


def _foreign(path: Path) -> StoreError:
    hint = "Name another file; this one was not touched."
    return StoreError(f"{path} is not a store of palate.", hint=hint)
