"""A stand-in for `os` that fails, dies or loses power at the n-th operation.

Put it in place of `palate.runs.atomic.os`.  After a crash every further operation dies too, as in
a dead process.  `lose_power` then undoes what was never flushed: the data of files, and the names
that were made or changed in a folder.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

When = Literal["never", "before", "torn", "after"]


class Crash(BaseException):
    """The process is gone."""


class NoFlush:
    """`os` without the wait for the disk."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, handle: int) -> None:
        pass


class Handle:
    """A handle of our own, closed when nobody needs it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@dataclass
class Disk:
    """Operations are counted from 1.  `code` is an errno: the operation fails instead of dying.

    `file`: the first operation whose path holds this, instead of a number.
    """

    at: int = 0
    when: When = "never"
    code: int = 0
    file: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)
    _dead: bool = False
    _paths: dict[int, str] = field(default_factory=dict)
    _unflushed: dict[str, Handle] = field(default_factory=dict)
    _names: list[tuple[int, Callable[[], None]]] = field(default_factory=list)  # inode, undo

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @property
    def crashed(self) -> bool:
        return self._dead

    def _step(self, name: str, path: Any, act: Callable[[bool], Any]) -> Any:
        """Run `act(torn)` as one operation."""
        if self._dead:
            raise Crash
        self.log.append((name, str(path)))
        if self.file and not self.at and self.file in str(path):
            self.at = len(self.log)
        here = len(self.log) == self.at
        if here and self.code:
            raise OSError(self.code, os.strerror(self.code), str(path))
        self._dead = here and self.when != "never"
        if self._dead and (self.when == "before" or (self.when == "torn" and name != "write")):
            raise Crash
        try:
            return act(self._dead and self.when == "torn")
        finally:
            if self._dead:
                raise Crash

    def _changed(self, parent: Path, undo: Callable[[], None]) -> None:
        self._names.append((parent.stat().st_ino, undo))

    # the operations that palate uses

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        if not flags & os.O_CREAT:
            handle = os.open(path, flags, mode)
            self._paths[handle] = str(path)
            return handle
        return int(self._step("create", path, lambda torn: self._create(Path(path), flags, mode)))

    def _create(self, path: Path, flags: int, mode: int) -> int:
        is_new = not path.exists()
        handle = os.open(path, flags, mode)
        self._paths[handle] = str(path)
        if is_new:
            name, folder = path.name, Handle(os.open(path.parent, os.O_RDONLY))
            self._changed(path.parent, lambda: os.unlink(name, dir_fd=folder.number))
        return handle

    def write(self, handle: int, data: Any) -> int:
        path = self._paths.get(handle, "opened elsewhere")

        def act(torn: bool) -> int:
            self._unflushed.setdefault(path, Handle(os.dup(handle)))
            size = len(data) // 2 if torn or len(data) > 300 else len(data)
            return os.write(handle, data[:size])

        return int(self._step("write", path, act))

    def fsync(self, handle: int) -> None:
        self._step("fsync", self._paths[handle], lambda torn: self._flushed(handle))

    def _flushed(self, handle: int) -> None:
        self._unflushed.pop(self._paths[handle], None)
        inode = os.fstat(handle).st_ino
        self._names = [(folder, undo) for folder, undo in self._names if folder != inode]

    def mkdir(self, path: Any) -> None:
        def act(torn: bool) -> None:
            os.mkdir(path)
            name, folder = Path(path).name, Handle(os.open(Path(path).parent, os.O_RDONLY))
            self._changed(Path(path).parent, lambda: shutil.rmtree(name, dir_fd=folder.number))

        self._step("mkdir", path, act)

    def rename(self, source: Any, target: Any) -> None:
        def act(torn: bool) -> None:
            before = Path(target).read_bytes() if Path(target).is_file() else None
            os.rename(source, target)
            self._changed(Path(target).parent, lambda: undo(before))

        def undo(before: bytes | None) -> None:
            os.rename(target, source)
            if before is not None:
                Path(target).write_bytes(before)

        self._step("rename", f"{source} -> {target}", act)

    replace = rename

    def unlink(self, path: Any) -> None:
        self._step("unlink", path, lambda torn: os.unlink(path))

    def rmdir(self, path: Any) -> None:
        self._step("rmdir", path, lambda torn: os.rmdir(path))

    def ftruncate(self, handle: int, size: int) -> None:
        self._step("ftruncate", self._paths[handle], lambda torn: os.ftruncate(handle, size))

    # what a crash leaves

    def let_go(self) -> None:
        """Close what a dead process would not hold."""
        self._unflushed.clear()
        self._names.clear()

    def lose_power(self) -> None:
        """Unflushed data and names are gone, the newest first."""
        for handle in self._unflushed.values():
            os.ftruncate(handle.number, 0)
        for _, undo in reversed(self._names):
            try:
                undo()
            except FileNotFoundError:
                continue  # removed since
