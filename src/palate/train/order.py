"""Data order: a pure function of (data hash, seed, epoch).  A resume needs no iterator state.

Rows of one prompt stay together: groups are laid one after another in shuffled order, and the whole
is cut every `batch_size` rows; one group may straddle a cut.
"""

import hashlib
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np


class Order:
    """The order of a run's rows over all its epochs."""

    def __init__(self, groups: Sequence[Hashable], *, digest: str, seed: int) -> None:
        members: dict[Hashable, list[int]] = {}
        for index, group in enumerate(groups):
            members.setdefault(group, []).append(index)
        self._members = list(members.values())
        self._rows = len(groups)
        self._key = (digest, seed)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def batch(self, step: int, size: int, total: int) -> list[int]:
        """Row indices of optimiser step `step` (0-based): places [step*size, ...) of the run."""
        places = range(step * size, min((step + 1) * size, total))
        return [self._epoch(place // self._rows)[place % self._rows] for place in places]

    def _shuffled(self, epoch: int) -> list[int]:
        seed = hashlib.sha256(repr((*self._key, epoch)).encode()).digest()
        order = np.random.default_rng(int.from_bytes(seed[:8])).permutation(len(self._members))
        return [row for place in order for row in self._members[place]]
