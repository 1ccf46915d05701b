"""Texts that are nearly the same: records by MinHash, prompts by their rare words.

Records that share many two-word phrases are candidates; `repeats` then compares them exactly.

Prompts are held side by side as bags of word beginnings and numbers, each weighted by how few texts
of the file hold it: a template weighs nothing, and order, digits or a new frame change little.  How
alike is alike enough is read off the file itself: more than its different texts ever are.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from palate.study.checks.base import Floats
from palate.study.checks.words import ONES, words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Words = tuple[str, ...]
Codes = NDArray[np.uint64]
LEAST, STEM, LONG = 4, 4, 20
FLOOR, UNTOLD, CEILING = 0.5, 0.8, 0.95
UNKNOWN: Final = 0.2
SAMPLE, ENOUGH = 1000, 20
_SPREAD: Final = 4.7
_CHUNK: Final = 250
_PERMUTATIONS, _BANDS, _ROWS = 64, 16, 4
_FINE, _COMMON_TEXTS, _COMMON_SHARE = 2, 20, 0.1
_DIGITS = re.compile(r"\d+")
_PARTS = re.compile(r"\d+|[^\W\d_]+")
_SMALL: Final = {name: str(value) for name, value in ONES.items() if value <= 12}


@dataclass(frozen=True, slots=True)
class Echo:
    """A text and one of the others that says it again, by their places; how alike, 0 to 1."""

    left: int
    right: int
    alike: float


def same_numbers(left: Sequence[str], right: Sequence[str]) -> bool:
    """Do both hold the same numbers?  One of every five may be on one side only."""
    one, two = _numbers(left), _numbers(right)
    spare = (one - two).total() + (two - one).total()
    return spare <= 0.2 * max(one.total(), two.total())


def features(text: str) -> frozenset[str]:
    """Numbers in digits and the first four letters of every word: `2bd`, `Two` -> 2, bd."""
    parts = [part for word in words(text) for part in _PARTS.findall(word)]
    return frozenset(_SMALL.get(part, part if part.isdigit() else part[:STEM]) for part in parts)


def echoes(texts: Sequence[str], others: Sequence[str]) -> list[Echo]:
    """Every text that one of the others repeats: alike beyond `limit`, with the same numbers.

    Alike is the weight that both hold over the weight that either holds.  A feature weighs
    ln((texts + 1) / texts that hold it), none where more than 20 and a tenth of the texts do, and
    .2 of a full weight in `others` if no text holds it.  Fewer than four features of weight tell
    nothing.
    """
    bag = _Bags(texts)
    if not bag.size:
        return []
    least = limit(bag.nearest())
    if least > CEILING:
        return []
    found = []
    for right, left, alike in bag.compare(others, least):
        if same_numbers(words(texts[left]), words(others[right])):
            found.append(Echo(left, right, alike))
    return found


def limit(nearest_N: Floats) -> float:
    """From which likeness on two texts are one: what chance would reach once in 10,000.

    `nearest_N` holds how alike each text is to the nearest other one.  A largest of many follows a
    Gumbel law: median + 4.7 (90th percentile - median).  At least .5; .8 below 20 texts.
    """
    if len(nearest_N) < ENOUGH:
        return UNTOLD
    middle, high = np.quantile(nearest_N, [0.5, 0.9])
    return max(FLOOR, float(middle + _SPREAD * (high - middle)))


class _Bags:
    """The texts as rows of a sparse matrix of weights, for comparisons with all of them at once."""

    def __init__(self, texts: Sequence[str]) -> None:
        bags = [features(text) for text in texts]
        held = Counter(each for bag in bags for each in bag)
        self.size = len(texts)
        most = max(_COMMON_TEXTS, _COMMON_SHARE * self.size)
        self.known = frozenset(held)
        self.ids = {each: n for n, each in enumerate(sorted(e for e in held if held[e] <= most))}
        counts = np.array([held[each] for each in self.ids], dtype=float)
        self.weight_F = np.log((self.size + 1) / counts) if len(counts) else counts
        self.rows = self._matrix(bags)
        self.total_N = np.asarray(self.rows @ self.weight_F)
        self.count_N = np.asarray(self.rows.sum(axis=1)).ravel()
        self.weighted: Any = self.rows.multiply(self.weight_F[None]).T.tocsr()

    def nearest(self) -> Floats:
        """How alike the nearest other text is, of up to 1,000 texts spread over the file."""
        places = np.unique(np.linspace(0, self.size - 1, min(self.size, SAMPLE)).astype(int))
        found = []
        for start in range(0, len(places), _CHUNK):
            part = places[start : start + _CHUNK]
            alike = self._alike(self.rows[part], self.total_N[part], self.count_N[part])
            alike[np.arange(len(part)), part] = 0.0
            found.append(alike.max(axis=1))
        return np.concatenate(found)

    def compare(self, others: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
        """(place of the other, place of the text, how alike), from `least` on."""
        fresh = UNKNOWN * math.log(self.size + 1)
        for start in range(0, len(others), _CHUNK):
            bags = [features(text) for text in others[start : start + _CHUNK]]
            rows = self._matrix(bags)
            known = np.asarray(rows @ self.weight_F)
            new = np.array([len(bag - self.known) for bag in bags])
            count = np.asarray(rows.sum(axis=1)).ravel()
            alike = self._alike(rows, known + fresh * new, count)
            for right, left in zip(*np.nonzero(alike >= least), strict=True):
                yield start + int(right), int(left), float(alike[right, left])

    def _matrix(self, bags: Sequence[frozenset[str]]) -> "csr_matrix":
        from scipy.sparse import csr_matrix

        places = [sorted(self.ids[each] for each in bag if each in self.ids) for bag in bags]
        ends = np.cumsum([0, *map(len, places)])
        flat = np.fromiter((each for row in places for each in row), np.int64, ends[-1])
        return csr_matrix((np.ones(len(flat)), flat, ends), shape=(len(bags), len(self.ids)))

    def _alike(self, rows: "csr_matrix", total_M: Floats, count_M: Floats) -> Floats:
        shared = np.asarray((rows @ self.weighted).todense())
        alike = shared / np.maximum(total_M[:, None] + self.total_N[None] - shared, 1e-9)
        alike[count_M < LEAST] = 0.0
        alike[:, self.count_N < LEAST] = 0.0
        return np.asarray(alike)


def record_candidates(records: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """Places of records whose texts, in any order, share many two-word phrases."""
    flat = _numbered([words(text) for record in records for text in record])
    codes, start = [], 0
    for record in records:
        parts = [_windows(each, _FINE) for each in flat[start : start + len(record)]]
        codes.append(np.unique(np.concatenate(parts)))
        start += len(record)
    return candidates(_informative(codes))


def candidates(codes: Sequence[Codes]) -> Iterator[tuple[int, int]]:
    """Pairs of places that share a band of their MinHash, in order, each once.

    16 bands of 4: a Jaccard index of .6 is seen with a chance of .89, .7 with .99.
    """
    from datasketch import MinHash, MinHashLSH

    first = MinHash(_PERMUTATIONS, hashfunc=int)
    index = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _ROWS))
    for place, each in enumerate(codes):
        sketch = first.copy()
        sketch.update_batch((each & np.uint64(0xFFFFFFFF)).tolist())
        yield from ((int(other), place) for other in sorted(index.query(sketch)))
        index.insert(place, sketch, check_duplication=False)


def groups(count: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Places joined by edges, groups of two and more, each in order."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for left, right in edges:
        parent[max(root(left), root(right))] = min(root(left), root(right))
    found: dict[int, list[int]] = {}
    for place in range(count):
        found.setdefault(root(place), []).append(place)
    return [each for each in found.values() if len(each) > 1]


def _numbers(text: Sequence[str]) -> Counter[str]:
    found = Counter[str]()
    for word in text:
        if word in _SMALL:
            found[_SMALL[word]] += 1
        elif not word.isalpha():
            found.update(_DIGITS.findall(word))
    return found


def _numbered(texts: Sequence[Words]) -> list[Codes]:
    """Words as numbers, the same word the same number in all texts."""
    ids: dict[str, int] = {}
    for text in texts:
        for word in text:
            if word not in ids:
                ids[word] = len(ids) + 1
    return [np.fromiter(map(ids.__getitem__, text), np.uint64, len(text)) for text in texts]


def _windows(ids: Codes, size: int) -> Codes:
    """One mixed 64-bit number per run of `size` words; one for a shorter text."""
    size = min(size, max(len(ids), 1))
    mixed = np.zeros(max(len(ids) - size + 1, 1), dtype=np.uint64)
    for start in range(size):
        part = ids[start : start + len(mixed)] if len(ids) else mixed
        mixed = (mixed ^ part) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _common(codes: Codes, count: int) -> Codes:
    """Of all codes of `count` texts, those of more than 20 and more than a tenth of the texts."""
    if count <= _COMMON_TEXTS:
        return codes[:0]
    values, counts = np.unique(codes, return_counts=True)
    return values[counts > max(_COMMON_TEXTS, _COMMON_SHARE * count)]


def _informative(codes: Sequence[Codes]) -> list[Codes]:
    """The codes without the common ones; all of them where fewer than four are left."""
    if not codes:
        return []
    flat = np.concatenate(codes)
    common = _common(flat, len(codes))
    if not len(common):
        return list(codes)
    ends = np.cumsum([len(each) for each in codes])[:-1]
    masks = np.split(~np.isin(flat, common), ends)
    rare = [each[mask] for each, mask in zip(codes, masks, strict=True)]
    return [few if len(few) > 3 else every for few, every in zip(rare, codes, strict=True)]
