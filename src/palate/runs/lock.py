"""One process at a time in a folder: the kernel lets go of the lock when the process ends."""

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from palate.errors import CheckpointError
from palate.runs import atomic

LOCK: Final = "lock"


def take_lock(path: Path) -> int:
    """An open handle that holds the lock of a folder; closing it lets go.

    Raises CheckpointError, which names the holder, if another process has it.
    """
    handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(handle)
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise CheckpointError(
                f"{path} is in use: {holder}.", hint="Wait for it to end, or use another --out."
            ) from error
        raise
    try:
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
        os.ftruncate(handle, 0)
        atomic.write_all(handle, json.dumps(me).encode())
    except BaseException:
        os.close(handle)
        raise
    return handle


class Held:
    """A folder that this process works in: `with` lets go of its lock at the end."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")


def _holder(handle: int) -> str:
    try:
        who = json.loads(os.pread(handle, 4096, 0))
        return f"locked by pid {who['pid']} on host {who['host']} since {who['since']}"
    except (ValueError, KeyError, TypeError):
        return "locked by another process"
