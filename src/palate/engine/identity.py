"""Which weights are these: sha256 by content, so that a reference or a cache is never mistaken.

Large files are hashed once and remembered by (path, size, time of change, inode) in $PALATE_CACHE
or ~/.cache/palate.  The memory is only a shortcut: lost or damaged, it is made again.
"""

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

REMEMBER_FROM = 32 * 2**20  # bytes; smaller files are hashed each time
# Where the adapter lies and how it was last used do not change what it computes.
_NOT_CONTENT = ("base_model_name_or_path", "revision", "inference_mode", "peft_version")


def cache_folder() -> Path:
    """Where palate keeps what it can make again."""
    return Path(os.environ.get("PALATE_CACHE") or "~/.cache/palate").expanduser()


def model_identity(base: Path, adapter: Path | None = None) -> str:
    """sha256 hex over the base's weights and configuration, and the adapter's if there is one."""
    total = hashlib.sha256()
    for path in [*weight_files(base), base / "config.json"]:
        total.update(f"{path.name} {file_digest(path)}\n".encode())
    if adapter is not None:
        for path in weight_files(adapter):
            total.update(f"adapter {path.name} {file_digest(path)}\n".encode())
        config = json.loads((adapter / "adapter_config.json").read_bytes())
        total.update(_canonical({k: v for k, v in config.items() if k not in _NOT_CONTENT}))
    return total.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files, by name."""
    return sorted(folder.glob("*.safetensors"))


def file_digest(path: Path) -> str:
    """sha256 hex of a file; of a large one only if it changed since it was last asked."""
    path = path.resolve()
    state = path.stat()
    if state.st_size < REMEMBER_FROM:
        return _digest(path)
    key = [state.st_size, state.st_mtime_ns, state.st_ino]
    known = _remembered().get(str(path))
    if isinstance(known, list) and len(known) == 2 and known[0] == key:
        return str(known[1])
    digest = _digest(path)
    _remember(str(path), [key, digest])
    return digest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(config: dict[str, object]) -> bytes:
    """Lists of names (target modules) are sets: their order says nothing."""
    flat = {k: sorted(v, key=str) if isinstance(v, list) else v for k, v in config.items()}
    return json.dumps(flat, sort_keys=True).encode()


def _memory() -> Path:
    return cache_folder() / "hashes.json"


def _remembered() -> dict[str, object]:
    with suppress(OSError, ValueError):
        found = json.loads(_memory().read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def _remember(path: str, entry: object) -> None:
    """Best effort: a read-only home must not stop anybody."""
    with suppress(OSError):
        _memory().parent.mkdir(parents=True, exist_ok=True)
        temp = _memory().with_suffix(f".{secrets.token_hex(4)}")
        temp.write_text(json.dumps(_kept(_remembered()) | {path: entry}, indent=1))
        os.replace(temp, _memory())


def _kept(entries: dict[str, object]) -> dict[str, object]:
    """Forget files that are gone."""
    return {path: entry for path, entry in entries.items() if os.path.exists(path)}
