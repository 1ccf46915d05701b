"""Sequences of an optimiser step -> prefix trees -> packed rows.  Pure and deterministic.

All sequences of a group (one prompt) form one trie; every distinct token path is laid once, in
depth-first pre-order.  Then `pos` (depth on the path) and `end` (one past the subtree) say it all:
k is visible to q iff k <= q < end[k].  Refuses nothing: a tree somewhat above the
budget gets a row of its own, one far above it is cut between items.

Shape suffixes: T packed tokens, K scored tokens, E incidences (token, sequence), S sequences.
"""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.data.rows import Item
from palate.data.rows import Sequence as Tokens

Ints = NDArray[np.int64]
WHOLE = 2  # budgets that one tree may fill: cutting it would compute its prompt again


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One packed row.  Hidden state `source_K` predicts token `target_K`; `logps_S` sums over E.

    `items` are indices, `sizes` how many of the row's sequences each of them has.
    """

    items: tuple[int, ...]
    sizes: tuple[int, ...]
    ids_T: Ints
    pos_T: Ints
    end_T: Ints
    source_K: Ints
    target_K: Ints
    token_E: Ints
    seq_E: Ints
    paths: tuple[Ints, ...]

    @property
    def sequences(self) -> int:
        """S, the number of sequences in the row."""
        return len(self.paths)

    def unshared(self) -> "Row":
        """The same sequences, each as a tree of its own: the plain path's row."""
        tokens = [self.ids_T[path] for path in self.paths]
        order_E = np.argsort(self.seq_E, kind="stable")
        starts = np.cumsum([0, *(len(ids) for ids in tokens)])
        depth_E = self.pos_T[self._scored()[self.token_E[order_E]]]
        seq_E = self.seq_E[order_E]
        scored_K = starts[seq_E] + depth_E
        ids_T = np.concatenate(tokens)
        return Row(
            items=self.items,
            sizes=self.sizes,
            ids_T=ids_T,
            pos_T=np.concatenate([np.arange(len(ids)) for ids in tokens]),
            end_T=np.repeat(starts[1:], np.diff(starts)),
            source_K=scored_K - 1,
            target_K=ids_T[scored_K],
            token_E=np.arange(len(scored_K)),
            seq_E=seq_E,
            paths=tuple(np.arange(a, b) for a, b in itertools.pairwise(starts)),
        )

    def _scored(self) -> Ints:
        """Tree index of each scored token (K,): the child of `source` that carries `target`."""
        scored_K = np.empty(len(self.source_K), np.int64)
        for token, seq in zip(self.token_E, self.seq_E, strict=True):
            path = self.paths[seq]
            scored_K[token] = path[self.pos_T[self.source_K[token]] + 1]
        return scored_K


def pack(items: Sequence[Item], budget: int) -> list[Row]:
    """Lay the items of one optimiser step into rows of about `budget` tokens at most.

    Items of a group share one tree; a group above `WHOLE` budgets is cut between items and repeats
    its prompt.  Every item lies in exactly one row, rows are ordered by their first item.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.group, []).append(index)
    trees = [tree for members in groups.values() for tree in _cut(items, members, budget)]
    bins: list[tuple[int, list[list[int]]]] = []
    for size, members in sorted(trees, key=lambda tree: -tree[0]):
        place = next((i for i, (used, _) in enumerate(bins) if used + size <= budget), None)
        if place is None:
            bins.append((size, [members]))
        else:
            used, held = bins[place]
            bins[place] = (used + size, [*held, members])
    filled = [sorted(held) for _, held in bins]
    return [_lay(items, held) for held in sorted(filled)]


def _cut(items: Sequence[Item], members: Sequence[int], budget: int) -> list[tuple[int, list[int]]]:
    """One group -> (tokens, items) of its trees, each within `WHOLE` budgets if an item allows."""
    trees: list[tuple[int, list[int]]] = []
    held: list[Ints] = []
    for index in members:
        ids = [np.asarray(sequence.ids, np.int64) for sequence in items[index].sequences]
        new = _new_tokens(held, ids)
        if trees and trees[-1][0] + new <= WHOLE * budget:
            size, before = trees[-1]
            trees[-1] = (size + new, [*before, index])
            held += ids
        else:
            held = list(ids)
            trees.append((_new_tokens([], ids), [index]))
    return trees


def _new_tokens(held: Sequence[Ints], added: Sequence[Ints]) -> int:
    """Trie nodes that `added` brings to a trie of `held`."""
    seen, new = list(held), 0
    for ids in added:
        new += len(ids) - max((_common(ids, other) for other in seen), default=0)
        seen.append(ids)
    return new


def _common(a: Ints, b: Ints) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


@dataclass(slots=True)
class _Growth:
    """A row while its trees grow: tokens so far, and the path of each sequence through them."""

    sequences: list[Tokens]
    ids_S: list[Ints]
    ids: list[Ints]
    pos: list[Ints]
    end: list[Ints]
    paths: list[list[Ints]]
    size: int = 0

    def grow(self, members: Sequence[int], depth: int) -> None:
        """Lay the subtree below `depth` of the sequences `members`, which agree so far."""
        first = self.ids_S[members[0]]
        stop = min(_common(first, self.ids_S[m]) for m in members)
        start, place = self.size, len(self.end)
        segment = np.arange(start, start + stop - depth)
        self.ids.append(first[depth:stop])
        self.pos.append(np.arange(depth, stop))
        self.end.append(segment)
        self.size += len(segment)
        branches: dict[int, list[int]] = {}
        for member in members:
            self.paths[member].append(segment)
            if len(self.ids_S[member]) > stop:
                branches.setdefault(int(self.ids_S[member][stop]), []).append(member)
        for branch in branches.values():
            self.grow(branch, stop)
        self.end[place] = np.full(len(segment), self.size)


def _lay(items: Sequence[Item], trees: Sequence[Sequence[int]]) -> Row:
    """Grow the trees one after another and read the row's index vectors off the paths."""
    order = tuple(index for members in trees for index in members)
    sequences = [sequence for index in order for sequence in items[index].sequences]
    ids_S = [np.asarray(sequence.ids, np.int64) for sequence in sequences]
    growth = _Growth(sequences, ids_S, [], [], [], [[] for _ in sequences])
    first = 0
    for members in trees:
        count = sum(len(items[index].sequences) for index in members)
        _grow_forest(growth, range(first, first + count))
        first += count
    paths = tuple(np.concatenate(parts) for parts in growth.paths)
    scored = [_scored_places(sequence) for sequence in sequences]
    after_E = np.concatenate([path[t] for path, t in zip(paths, scored, strict=True)])
    before_E = np.concatenate([path[t - 1] for path, t in zip(paths, scored, strict=True)])
    scored_K, first_K, token_E = np.unique(after_E, return_index=True, return_inverse=True)
    ids_T = np.concatenate(growth.ids)
    return Row(
        items=order,
        sizes=tuple(len(items[index].sequences) for index in order),
        ids_T=ids_T,
        pos_T=np.concatenate(growth.pos),
        end_T=np.concatenate(growth.end),
        source_K=before_E[first_K],
        target_K=ids_T[scored_K],
        token_E=token_E,
        seq_E=np.repeat(np.arange(len(sequences)), [len(t) for t in scored]),
        paths=paths,
    )


def _grow_forest(growth: _Growth, members: Sequence[int]) -> None:
    """A group's sequences usually share their first token; those that do not are trees apart."""
    roots: dict[int, list[int]] = {}
    for member in members:
        roots.setdefault(int(growth.ids_S[member][0]), []).append(member)
    for root in roots.values():
        growth.grow(root, 0)


def _scored_places(sequence: Tokens) -> Ints:
    """Indices of the scored tokens of a sequence, ascending."""
    spans = [np.arange(start, stop) for start, stop in sequence.spans]
    return np.concatenate(spans or [np.arange(0)])
