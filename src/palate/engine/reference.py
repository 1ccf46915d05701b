"""Reference log-probs: computed once by the same engine, cached on disk by content, reused by runs.

The last bits of a log-prob depend on its neighbours in the row.  So the pass runs in fixed chunks
(prompts in the order of their content, packing a function of the chunk alone), each committed
whole: neither a kill nor a warm cache can change the vector.  A chunk's key holds the weights, the
adapter, the rendered ids, dtype, plan, budget and thread count.

Shape suffixes: I items, N sequences of an item.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from palate.data.rows import Item
from palate.engine.policy import Policy
from palate.engine.scoring import score
from palate.errors import NumericsError
from palate.runs import atomic

ENGINE_VERSION = 1
CHUNK_ITEMS = 64
NOISE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


@dataclass(frozen=True, slots=True)
class Reference:
    """Whose log-probs these are: the hash of weights and adapter, and how they are computed."""

    identity: str
    budget: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Pass:
    """What a reference pass gave: log-probs (I,N), and how many chunks were found in the cache."""

    logps_IN: Tensor
    computed: int
    reused: int


def reference_logps(
    policy: Policy,
    items: Sequence[Item],
    reference: Reference,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pass:
    """Log-probs (I,N) of items under the model as it is now, which must be the reference.

    Raises NumericsError if a value is not finite, or a cached one differs from a live one.
    """
    chunks = _chunks(items)
    found: list[Tensor] = []
    reused: list[int] = []
    for number, chunk in enumerate(chunks):
        members = [items[index] for index in chunk]
        path = reference.folder / f"{_key(policy, members, reference)}.safetensors"
        values = _read(path, members)
        if values is None:
            values = score(policy, members, reference.budget).cpu()
            _check_finite(values, members)
            _write(path, values)
        else:
            reused.append(number)
        found.append(values)
        progress(number + 1, len(chunks))
    if reused:
        place = reused[len(reused) // 2]
        _spot_check(policy, [items[i] for i in chunks[place]], found[place], reference.budget)
    logps_IN = found[0].new_zeros(len(items), max(values.shape[1] for values in found))
    for chunk, values in zip(chunks, found, strict=True):
        logps_IN[list(chunk), : values.shape[1]] = values
    return Pass(logps_IN, len(chunks) - len(reused), len(reused))


def _chunks(items: Sequence[Item]) -> list[list[int]]:
    """Item indices in content order, cut into chunks that keep a prompt's items together."""
    groups: dict[Hashable, list[int]] = {}
    for index in sorted(range(len(items)), key=lambda i: _content(items[i])):
        groups.setdefault(items[index].group, []).append(index)
    chunks: list[list[int]] = [[]]
    for members in groups.values():
        if chunks[-1] and len(chunks[-1]) + len(members) > CHUNK_ITEMS:
            chunks.append([])
        chunks[-1] += members
    return chunks


def _content(item: Item) -> bytes:
    body = [[list(s.ids), [list(span) for span in s.spans]] for s in item.sequences]
    return hashlib.sha256(json.dumps(body).encode()).digest()


def _key(policy: Policy, members: Sequence[Item], reference: Reference) -> str:
    """sha256 over everything that the bits of a chunk depend on."""
    about = {
        "engine": ENGINE_VERSION,
        "identity": reference.identity,
        "dtype": str(next(policy.model.parameters()).dtype),
        "device": policy.device.type,
        "shared": policy.plan.shared,
        "chunked": policy.plan.chunked,
        "budget": reference.budget,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for item in members:
        digest.update(_content(item))
    return digest.hexdigest()


def _read(path: Path, members: Sequence[Item]) -> Tensor | None:
    """A cached chunk; None if it is not there or not what was written."""
    try:
        found = safetensors.torch.load(path.read_bytes())
        values, digest = found["logps"], found["sha256"]
    except (OSError, SafetensorError, KeyError):
        return None
    whole = values.shape == (len(members), max(len(item.sequences) for item in members))
    return values if whole and torch.equal(digest, _digest(values)) else None


def _write(path: Path, values: Tensor) -> None:
    with atomic.disk_errors(path):
        atomic.make_folder(path.parent)
        found = {"logps": values.contiguous(), "sha256": _digest(values)}
        atomic.write_file(path, safetensors.torch.save(found))


def _digest(values: Tensor) -> Tensor:
    """sha256 of the values as 32 bytes: a flipped bit in a number is a number too."""
    content = hashlib.sha256(values.contiguous().numpy().tobytes()).digest()
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _check_finite(values: Tensor, members: Sequence[Item]) -> None:
    bad = [str(members[i].origin) for i in (~values.isfinite().all(-1)).nonzero()[:, 0].tolist()]
    if bad:
        raise NumericsError(
            f"the reference gives no finite log-prob to {len(bad)} rows, first {bad[0]}.",
            hint="Use another --dtype, or look at the row.",
        )


def _spot_check(policy: Policy, members: Sequence[Item], cached: Tensor, budget: int) -> None:
    """One reused chunk against a live pass."""
    live = score(policy, members, budget).cpu()
    allowed = NOISE[next(policy.model.parameters()).dtype]
    worst = float(((live - cached).abs() / (1 + live.abs())).max())
    if not worst <= allowed:
        raise NumericsError(
            f"cached reference log-probs differ from a live pass by {worst:.1e} "
            f"(allowed {allowed:.0e}).",
            hint="Remove the cache folder and start again.",
        )
