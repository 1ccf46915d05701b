"""Token by token: what the engine says of every scored token, and what an objective pushes there.

Shape suffixes: T scored tokens of one sequence; all arrays float64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from palate.data.rows import Item
from palate.data.rows import Sequence as Tokens
from palate.engine.pack import pack
from palate.engine.policy import Policy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PART = 256


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One sequence: log-probs, the softmax's squared norm, and the five likeliest tokens."""

    places_T: Ints
    logps_T: Floats
    square_T: Floats
    top_T5: Ints
    top_logps_T5: Floats

    @property
    def lengths_T(self) -> Floats:
        """||softmax - onehot|| at every token: sqrt(sum p^2 - 2 p_target + 1)."""
        squared_T: Floats = self.square_T - 2 * np.exp(self.logps_T) + 1
        found_T: Floats = np.sqrt(np.maximum(squared_T, 0.0))
        return found_T


@torch.no_grad()
def measure(
    policy: Policy, items: Sequence[Item], budget: int
) -> Iterator[tuple[int, tuple[Measured, ...]]]:
    """(index, its sequences) of every item, in no order; one pass of the engine."""
    for start in range(0, len(items), PART):
        part = items[start : start + PART]
        for row in pack(part, budget):
            output = policy(row, with_statistics=True)
            found = output.statistics
            assert found is not None, "the plan gives no statistics"
            columns = [
                column.double().cpu().numpy()
                for column in (output.logps_K, found.square_K, found.top_K5, found.top_logps_K5)
            ]
            place = 0
            for index, size in zip(row.items, row.sizes, strict=True):
                sequences = part[index].sequences
                yield (
                    start + index,
                    tuple(
                        _of(
                            columns, output.row.token_E[output.row.seq_E == place + n], sequences[n]
                        )
                        for n in range(size)
                    ),
                )
                place += size


def scored_places(sequence: Tokens) -> Ints:
    """Indices of the scored tokens in the sequence's ids."""
    return np.concatenate([np.arange(start, stop) for start, stop in sequence.spans])


def shared_tokens(item: Item) -> int:
    """How many tokens, prompt included, the first two sequences share at their start; 0 of one."""
    return common_start(item.sequences[0], item.sequences[1]) if len(item.sequences) > 1 else 0


def common_start(one: Tokens, other: Tokens) -> int:
    """Tokens that both sequences have at their start."""
    pairs = zip(one.ids, other.ids, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one.ids), len(other.ids)))


def pulls(item: Item, weights_N: Sequence[float], side: int) -> Floats:
    """Weight of every scored token of a side (T,): the sum over the sequences that hold it."""
    mine = item.sequences[side]
    places_T = scored_places(mine)
    total_T = np.zeros(len(places_T))
    for other, weight in zip(item.sequences, weights_N, strict=False):
        held = places_T < common_start(mine, other)
        total_T += np.where(held & np.isin(places_T, scored_places(other)), weight, 0.0)
    return total_T


def net_at_fork(
    weights: tuple[float, float], chosen: Measured, rejected: Measured, at: int
) -> float:
    """Length of both sides' pushes summed, at the context of their first different token.

    || w_c (e_c - p) + w_r (e_r - p) ||, which is w sqrt(2) where w_r = -w_c = -w.
    """
    (w_c, w_r), p_c, p_r = (
        weights,
        float(np.exp(chosen.logps_T[at])),
        float(np.exp(rejected.logps_T[at])),
    )
    square = float(chosen.square_T[at])
    total = w_c**2 * (square - 2 * p_c + 1) + w_r**2 * (square - 2 * p_r + 1)
    total += 2 * w_c * w_r * (square - p_c - p_r)
    return float(np.sqrt(max(total, 0.0)))


def _of(columns: Sequence[NDArray[np.float64]], index: Ints, sequence: Tokens) -> Measured:
    logps, square, top, top_logps = (column[index] for column in columns)
    return Measured(scored_places(sequence), logps, square, top.astype(np.int64), top_logps)
