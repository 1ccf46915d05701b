"""The commit protocol: under its name a file or folder is whole, or it is not there.

A folder grows under a temporary name beside its target.  Each file in it is flushed to the disk,
then `manifest.json` with the size and sha256 of each is written last, the folder is flushed and
renamed, and its parent flushed.  A folder that is replaced waits aside until the new one is in its
place.  A write that fails leaves what was there before.  No torch here, no pickle anywhere.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from palate import __version__
from palate.errors import CheckpointError, DiskError, UsageError

MANIFEST = "manifest.json"
SCHEMA = 1

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE, errno.EBUSY}
_IN_THE_WAY = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
_OF_THE_DISK = _FULL | _REFUSED | _IN_THE_WAY | {errno.EMFILE, errno.ENFILE}


class Damaged(CheckpointError):
    """A committed folder that is not what was written.  `message` says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held when it was committed."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a committed folder by relative name, and the JSON its writer put beside them."""

    files: Mapping[str, Content]
    note: Mapping[str, Any]


# -- folders


def commit_folder(
    target: Path,
    write: Callable[[Path], None],
    *,
    replace: bool = False,
    note: Mapping[str, Any] | None = None,
    need: int = 0,
) -> Manifest:
    """Let `write` fill a temporary folder, then make it `target` in one step.

    A `target` that is not empty is refused (UsageError) unless `replace`.  `need` is the expected
    size in bytes, for the message.  Raises DiskError; then nothing of the new folder is left.
    """
    refuse_taken(target, replace=replace)
    with disk_errors(target, need=need):
        make_folder(target.parent)
        tidy(target)
        temp = _beside(target)
        os.mkdir(temp)
        try:
            write(temp)
            manifest = _seal(temp, note or {})
            _put(temp, target, replace=replace)
        except BaseException:
            _remove_quietly(temp)
            raise
    return manifest


def refuse_taken(target: Path, *, replace: bool = False) -> None:
    """Raise UsageError if a folder cannot be committed as `target`."""
    if target.is_dir():
        if not replace and any(target.iterdir()):
            raise UsageError(
                f"{target} exists and is not empty.", hint="Choose another folder, or remove it."
            )
    elif os.path.lexists(target):
        raise UsageError(f"{target} is a file, not a folder.", hint="Choose another name.")


def read_folder(path: Path, *, hashes: bool = True) -> Manifest:
    """The manifest of a committed folder, after checking every file against it: sizes, then sha256.

    Raises Damaged.  Files that the manifest does not name are ignored.
    """
    manifest = _read_manifest(path)
    try:
        for name, content in manifest.files.items():
            _check_size(path / name, name, content)
        for name, content in manifest.files.items():
            if hashes and _digest(path / name) != content.sha256:
                raise Damaged(f"{name} does not hold what was written (sha256 differs)")
    except OSError as error:
        raise Damaged(f"{error.filename or path} cannot be read: {error.strerror}") from error
    return manifest


def is_whole(path: Path) -> bool:
    """True if the manifest is intact and every file has its size; hashes are not checked."""
    try:
        read_folder(path, hashes=False)
    except Damaged:
        return False
    return True


def discard(path: Path) -> None:
    """Remove a folder.  It loses its name in one step, so that a kill leaves no half of it."""
    hidden = _beside(path)
    os.rename(path, hidden)
    _remove(hidden)


def aside(target: Path) -> Path:
    """Where the former `target` waits while a new one takes its place."""
    return target.with_name(f".old-{target.name}")


def tidy(target: Path) -> None:
    """Clear away what a killed commit of `target` left, and bring back what it had moved aside."""
    if not target.parent.is_dir():
        return
    temporary = re.compile(rf"\.tmp-{re.escape(target.name)}-[0-9a-f]{{8}}")
    for path in target.parent.iterdir():
        if temporary.fullmatch(path.name):
            _remove_quietly(path)
    old = aside(target)
    if old.is_dir() and not target.exists():
        os.rename(old, target)
        flush(target.parent)
    elif old.is_dir() and is_whole(target):
        _remove_quietly(old)


def _seal(folder: Path, note: Mapping[str, Any]) -> Manifest:
    """Flush every file, write the manifest over them, flush the folders."""
    paths = sorted(folder.rglob("*"))
    assert folder / MANIFEST not in paths, f"{MANIFEST} is the name of the commit protocol's file"
    files = {}
    for path in paths:
        if path.is_file():
            flush(path)
            name = path.relative_to(folder).as_posix()
            files[name] = Content(path.stat().st_size, _digest(path))
    manifest = Manifest(files, note)
    write_new(folder / MANIFEST, _dump(manifest))
    for path in [path for path in reversed(paths) if path.is_dir()]:
        flush(path)
    flush(folder)
    return manifest


def _put(temp: Path, target: Path, *, replace: bool) -> None:
    """Rename `temp` to `target`; what is in the way waits aside until that is on the disk."""
    old: Path | None = None
    if replace and target.is_dir() and any(target.iterdir()):
        old = _beside(target) if aside(target).exists() else aside(target)
        os.rename(target, old)
    try:
        os.rename(temp, target)
    except OSError:
        if old is not None:
            os.rename(old, target)
        raise
    flush(target.parent)
    for path in (old, aside(target)):
        if path is not None and path.exists():
            _remove_quietly(path)


# -- manifests


def _canonical(body: Any) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _dump(manifest: Manifest) -> bytes:
    """JSON text; `seal` is the sha256 of the rest, so that a flipped bit in it is found too."""
    files = {name: {"size": c.size, "sha256": c.sha256} for name, c in manifest.files.items()}
    body = {"schema": SCHEMA, "palate": __version__, "files": files, "note": dict(manifest.note)}
    body = json.loads(json.dumps(body, allow_nan=False))
    seal = hashlib.sha256(_canonical(body)).hexdigest()
    return json.dumps({"seal": seal, **body}, indent=1).encode()


def _read_manifest(path: Path) -> Manifest:
    try:
        body = json.loads((path / MANIFEST).read_bytes())
        seal = body.pop("seal")
        intact = seal == hashlib.sha256(_canonical(body)).hexdigest()
    except FileNotFoundError as error:
        raise Damaged(f"{MANIFEST} is missing") from error
    except OSError as error:
        raise Damaged(f"{MANIFEST} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{MANIFEST} is not readable JSON of palate") from error
    if not intact:
        raise Damaged(f"{MANIFEST} does not hold what was written (sha256 differs)")
    if body["schema"] > SCHEMA:
        raise Damaged(f"{MANIFEST} was written by a newer palate ({body['palate']})")
    files = {name: Content(**content) for name, content in body["files"].items()}
    if any(PurePosixPath(name).is_absolute() or ".." in name.split("/") for name in files):
        raise Damaged(f"{MANIFEST} names a file outside its folder")
    return Manifest(files, body["note"])


def _check_size(path: Path, name: str, content: Content) -> None:
    if not path.is_file():
        raise Damaged(f"{name} is missing")
    size = path.stat().st_size
    if size != content.size:
        raise Damaged(f"{name} has {size:,} bytes instead of {content.size:,}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- files


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step: the old content or the new one, never a mixture."""
    with disk_errors(path, need=len(data)):
        temp = _beside(path)
        try:
            write_new(temp, data)
            os.replace(temp, path)
        except BaseException:
            _remove_quietly(temp)
            raise
        flush(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, and flush it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """`os.write` until everything is written: one call may take less."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def flush(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Like `mkdir -p`, and each new name is on the disk."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with suppress(FileExistsError):
        os.mkdir(path)
    flush(path.parent)


def _beside(target: Path) -> Path:
    return target.with_name(f".tmp-{target.name}-{secrets.token_hex(4)}")


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        os.unlink(path)
        return
    for folder, folders, files in os.walk(path, topdown=False):
        for name in [*files, *(n for n in folders if os.path.islink(os.path.join(folder, n)))]:
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def _remove_quietly(path: Path) -> None:
    """Remove if that works; what stays is hidden by its name and tried again at the next commit."""
    with suppress(OSError):
        _remove(path)


# -- errors


@contextmanager
def disk_errors(path: Path, *, need: int = 0) -> Iterator[None]:
    """Turn the disk's refusals into DiskError: what failed, what it needs, what is free."""
    try:
        yield
    except Exception as error:
        code = _disk_code(error)
        if code is None:
            raise
        raise DiskError(_refusal(path, code, need=need), hint=_advice(code)) from error


def no_room(path: Path, *, need: int) -> DiskError:
    """The error of a write of `need` bytes that is not even begun."""
    return DiskError(_refusal(path, errno.ENOSPC, need=need), hint=_advice(errno.ENOSPC))


def free_bytes(path: Path) -> int:
    """Bytes free where `path` is, or would be."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free


def _disk_code(error: Exception) -> int | None:
    """The errno of a disk error; safetensors, written in Rust, only has it in its text."""
    if isinstance(error, OSError):
        code = error.errno
    else:
        found = re.search(r"\(os error (\d+)\)|code: (\d+), kind:", str(error))
        code = int(found[1] or found[2]) if found else None
    return code if code in _OF_THE_DISK else None


def _refusal(path: Path, code: int, *, need: int) -> str:
    what = f"{path} could not be written: {os.strerror(code).lower()}"
    if code in _FULL or not need:
        needed = f"it needs {size_text(need)}, " if need else ""
        return f"{what} ({needed}{size_text(free_bytes(path))} free)."
    return f"{what}."


def _advice(code: int) -> str:
    todo = "Free some space" if code in _FULL else "Put that right"
    return f"What was there before is untouched. {todo}, then repeat the same command."


def size_text(size: float) -> str:
    """Bytes for people: 3.1 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
