"""Shared by the engine's tests: random pairs with shared starts, and the naive oracle."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Tokens


def tokens(ids: Sequence[int], prompt: int) -> Tokens:
    """A sequence whose completion is all that follows the prompt."""
    return Tokens(tuple(ids), ((prompt, len(ids)),), prompt)


def pairs(
    *, prompts: int = 3, per_prompt: int = 2, seed: int = 0, vocabulary: int = 60
) -> list[Item]:
    """Pairs whose completions often share a start: few token values, several pairs a prompt."""
    rng = np.random.default_rng(seed)
    items = []
    for group in range(prompts):
        prompt = [int(x) for x in rng.integers(3, vocabulary, rng.integers(3, 14))]
        for number in range(per_prompt):
            sides = [rng.integers(3, 6, rng.integers(2, 12)).tolist() for _ in range(2)]
            while sides[0] == sides[1]:
                sides[1] = rng.integers(3, 6, rng.integers(2, 12)).tolist()
            both = tuple(tokens(prompt + side, len(prompt)) for side in sides)
            items.append(Item(both, group, Origin("made.jsonl", number + 1)))
    return items


def singles(items: Sequence[Item]) -> list[Item]:
    """The chosen sides as SFT items."""
    return [Item(item.sequences[:1], item.group, item.origin) for item in items]


def naive_logps(model: Any, items: Sequence[Item]) -> Tensor:
    """Log-probs (I,N): every sequence alone, full logits, nothing clever."""
    rows = []
    for item in items:
        row = []
        for sequence in item.sequences:
            ids = torch.tensor(sequence.ids)
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
            normal = logits - logits.logsumexp(-1, keepdim=True)
            places = [t for start, stop in sequence.spans for t in range(start, stop)]
            row.append(torch.stack([normal[t - 1, ids[t]] for t in places]).sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def worst(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    """Largest relative difference over parameters."""
    assert got.keys() == want.keys()
    total = max(float(g.norm()) for g in want.values())
    return max(
        float((got[n] - g).norm()) / max(float(g.norm()), 1e-6 * total) for n, g in want.items()
    )
