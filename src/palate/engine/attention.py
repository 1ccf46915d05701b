"""One attention function for every model: a token sees its ancestors in the prefix tree.

Registered with transformers as "palate".  It reads each layer's own window, soft-cap and scale, so
no 4-D mask is built, which several families would drop or refuse.  Work is done per tree segment:
its keys are those of its ancestors and its own, in path order, so the mask is a band at the lower
right.

Shape suffixes: B batch (1), H heads, T tokens, D head dimension.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from palate.engine.pack import Ints

NAME = "palate"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the row without a branch; `path`: the segments from the root to this one."""

    length: int
    depth: int
    path: tuple[int, ...]


@dataclass(slots=True)
class Tree:
    """What attention needs of a row: its segments, and the masks made so far (shared by layers)."""

    segments: tuple[Segment, ...]
    masks: dict[tuple[int, int, int | None], Tensor] = field(default_factory=dict)

    @property
    def lengths(self) -> list[int]:
        return [segment.length for segment in self.segments]

    def visible(self, segment: Segment, window: int | None, device: torch.device) -> Tensor | None:
        """Boolean (queries, keys): keys are path positions 0..; None if plain causal will do."""
        total = segment.depth + segment.length
        if segment.depth == 0 and (window is None or window >= total):
            return None
        key = (segment.length, segment.depth, window)
        if key not in self.masks:
            query = torch.arange(segment.depth, total, device=device)[:, None]
            past = query - torch.arange(total, device=device)
            self.masks[key] = (past >= 0) & (past < (window or total))
        return self.masks[key]


def tree(pos_T: Ints, end_T: Ints) -> Tree:
    """Cut a row into segments, from `pos` and `end` alone."""
    inner = (pos_T[1:] == pos_T[:-1] + 1) & (end_T[1:] == end_T[:-1])
    starts = [0, *(np.flatnonzero(~inner) + 1).tolist()]
    segments: list[Segment] = []
    open_path: list[int] = []
    for index, (start, stop) in enumerate(itertools.pairwise([*starts, len(pos_T)])):
        depth = int(pos_T[start])
        while open_path and segments[open_path[-1]].depth + segments[open_path[-1]].length > depth:
            open_path.pop()
        open_path.append(index)
        segments.append(Segment(stop - start, depth, tuple(open_path)))
    return Tree(tuple(segments))


def tree_attention(  # noqa: PLR0913  transformers calls it by this signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    palate_tree: Tree,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention over a packed row.  query (1,H,T,D), key and value (1,H',T,D) -> (1,T,H,D)."""
    lengths = palate_tree.lengths
    queries, keys, values = (x.split(lengths, dim=2) for x in (query, key, value))
    outputs = []
    for segment, q in zip(palate_tree.segments, queries, strict=True):
        k, v = (_along(segment.path, parts) for parts in (keys, values))
        mask = palate_tree.visible(segment, sliding_window, q.device)
        outputs.append(_attend(q, k, v, mask, scaling, softcap).transpose(1, 2))
    return torch.cat(outputs, dim=1), None


def _along(path: tuple[int, ...], parts: tuple[Tensor, ...]) -> Tensor:
    return parts[path[0]] if len(path) == 1 else torch.cat([parts[i] for i in path], dim=2)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None, softcap: float | None
) -> Tensor:
    """Causal where `mask` is None.  A soft-cap takes the plain formula, which SDPA has not."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if softcap is not None:
        return _capped(q, k, v, _explicit(mask, q, k), scale, softcap)
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def _explicit(mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor:
    """The mask, made if it is the plain causal one."""
    if mask is not None:
        return mask
    return torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()


def _capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, softcap: float) -> Tensor:
    heads = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(heads, dim=1) for x in (k, v))
    scores = softcap * torch.tanh(q @ k.transpose(2, 3) * (scale / softcap))
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
    return weights.to(v.dtype) @ v


AttentionInterface.register(NAME, tree_attention)
