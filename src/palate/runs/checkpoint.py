"""Checkpoints of a run: saved whole or not at all, and read back only if intact.

`checkpoints/step-N/` holds one safetensors file per group of tensors and the JSON state in its
manifest.  A damaged checkpoint is passed over and named, and reading deletes nothing.  Values that
are not finite are never saved.  No pickle.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from palate.errors import CheckpointError, DiskError, NumericsError
from palate.runs import atomic
from palate.runs.atomic import Damaged, commit_folder

__all__ = ["Found", "commit_folder", "last_good", "newest", "save", "tidy"]

Groups = Mapping[str, Mapping[str, Tensor]]

_NAME = re.compile(r"(?:\.old-)?step-(\d+)")
_LEFTOVER = re.compile(r"\.(?:tmp|old)-(step-\d+)(?:-[0-9a-f]{8})?")
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Found:
    """The newest intact checkpoint, and why newer ones were passed over."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    skipped: tuple[str, ...]


def save(
    run_path: Path, step: int, tensors: Groups, state: Mapping[str, Any], *, keep: int
) -> Path:
    """Commit checkpoint `step`, read it back, then remove all but the newest `keep`.

    Tensors that share memory must have been reduced to one.  Raises NumericsError (a value that is
    not finite) or DiskError; what was saved before stays as it was.
    """
    assert keep >= 2 and step >= 0, (keep, step)
    plain = _finite_state(step, state)
    _refuse_non_finite(step, tensors)
    folder = _folder(run_path)
    target = folder / f"step-{step}"
    need = sum(t.numel() * t.element_size() for group in tensors.values() for t in group.values())
    try:
        if atomic.free_bytes(folder) < need:
            raise atomic.no_room(target, need=need)
        tidy(run_path)
        written = commit_folder(
            target,
            lambda temp: _write(temp, tensors),
            replace=True,
            note={"step": step, "state": plain},
            need=need,
        )
        _read_back(target, written)
    except DiskError as error:
        error.hint = f"{_last_good_text(run_path, step)} {error.hint}"
        raise
    _prune(folder, step, keep=keep)
    return target


def newest(run_path: Path) -> Found | None:
    """The newest intact checkpoint; None if there is none at all.

    Raises CheckpointError, with the reason for each, if there are some and every one is damaged.
    """
    skipped: list[str] = []
    for step, path in _candidates(run_path):
        try:
            tensors, state = _load(path, step)
        except Damaged as why:
            skipped.append(f"{path.name}: {why.message}.")
        else:
            return Found(step, tensors, state, tuple(skipped))
    if skipped:
        raise CheckpointError(
            "\n".join([f"{run_path} has no checkpoint that can be used.", *skipped]),
            hint="Nothing was deleted. Restore one of them, or start again with another --out.",
        )
    return None


def tidy(run_path: Path) -> None:
    """Clear away what killed saves left, of any step."""
    folder = _folder(run_path)
    if not folder.is_dir():
        return
    names = {found[1] for path in folder.iterdir() if (found := _LEFTOVER.fullmatch(path.name))}
    for name in sorted(names):
        with suppress(OSError):
            atomic.tidy(folder / name)


def last_good(run_path: Path) -> int | None:
    """The step of the newest checkpoint whose files have their sizes; hashes are not checked."""
    return next((step for step, path in _candidates(run_path) if atomic.is_whole(path)), None)


# -- writing


def _write(temp: Path, tensors: Groups) -> None:
    for group, named in tensors.items():
        assert group.isidentifier(), group
        write_tensors(temp / f"{group}{_SUFFIX}", named)


def write_tensors(path: Path, named: Mapping[str, Tensor]) -> None:
    """One safetensors file.  The library wants contiguous tensors."""
    save_file({name: tensor.detach().contiguous() for name, tensor in named.items()}, path)


def _refuse_non_finite(step: int, tensors: Groups) -> None:
    for group, named in tensors.items():
        for name, tensor in named.items():
            if not (tensor.is_floating_point() or tensor.is_complex()):
                continue
            if not bool(torch.isfinite(tensor).all()):
                bad = int((~torch.isfinite(tensor)).sum())
                raise _not_saved(step, f"'{name}' of {group} has {bad} of {tensor.numel()} values")


def _finite_state(step: int, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state as JSON gives it back."""
    for name, value in state.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _not_saved(step, f"'{name}' of the state is {value},")
    plain: dict[str, Any] = json.loads(json.dumps(dict(state), allow_nan=False))
    return plain


def _not_saved(step: int, what: str) -> NumericsError:
    return NumericsError(
        f"Checkpoint of step {step} was not written: {what} not finite.",
        hint="Earlier checkpoints are untouched. Try a lower --lr.",
    )


def _read_back(target: Path, written: atomic.Manifest) -> None:
    try:
        same = atomic.read_folder(target).files == written.files
    except Damaged as why:
        raise DiskError(
            f"{target} was written but does not read back: {why.message}.",
            hint="No older checkpoint was removed. Check the disk, then repeat the same command.",
        ) from why
    assert same, "another process writes to this run"


def _last_good_text(run_path: Path, step: int) -> str:
    good = [s for s, path in _candidates(run_path) if s != step and atomic.is_whole(path)]
    return f"The last good checkpoint is step-{good[0]}." if good else "No checkpoint exists yet."


def _prune(folder: Path, step: int, *, keep: int) -> None:
    """Remove what is older than `keep` checkpoints that were read back, this one among them.

    Steps after this one can only be damaged ones that a resume passed over, so they neither count
    nor go.  One that lacks files stays for the user to look at.  A removal that fails is tried
    again later.
    """
    intact = 1
    for s, path in _candidates(folder.parent):
        if s >= step or path.name.startswith("."):
            continue
        if intact < keep:
            intact += _reads_back(path)
        elif atomic.is_whole(path):
            with suppress(OSError):
                atomic.discard(path)


def _reads_back(path: Path) -> bool:
    try:
        atomic.read_folder(path)
    except Damaged:
        return False
    return True


# -- reading


def kept_weights(run_path: Path) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """(step, weights) of every intact checkpoint that is still there, oldest first."""
    for step, path in reversed(_candidates(run_path)):
        try:
            tensors, _ = _load(path, step)
        except Damaged:
            continue
        yield step, tensors["weights"]


def _folder(run_path: Path) -> Path:
    return run_path / "checkpoints"


def _candidates(run_path: Path) -> list[tuple[int, Path]]:
    """(step, folder), newest first.  One kept aside comes after the one in its place."""
    folder = _folder(run_path)
    if not folder.is_dir():
        return []
    found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    steps = [(int(match[1]), path) for match, path in found if match]
    return sorted(steps, key=lambda pair: (-pair[0], pair[1].name.startswith(".")))


def _load(path: Path, step: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    manifest = atomic.read_folder(path)
    if manifest.note.get("step") != step:
        raise Damaged(f"it holds step {manifest.note.get('step')}, not {step}")
    names = [name for name in manifest.files if name.endswith(_SUFFIX)]
    try:
        tensors = {name.removesuffix(_SUFFIX): read_tensors(path / name) for name in names}
    except (OSError, SafetensorError) as error:
        raise Damaged(f"its tensors cannot be read: {error}") from error
    return tensors, dict(manifest.note["state"])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Copies in memory of their own: mapped ones lack the alignment that kernels round by."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}
