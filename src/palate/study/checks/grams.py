"""Words and two-word phrases that stand on one side of a pair only, counted without length bias.

Everything is counted in integers: a feature is a code, a (row, feature) couple one 64-bit key.
Signs count as tokens too, so that a lone star or a dash can be a feature.

Shape suffixes: F features, N couples (row, feature).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palate.study.checks.base import Ints, PairText
from palate.study.checks.probe import groups

_TOKEN = re.compile("[^\\W_]+(?:['\u2019][^\\W\\d_]+)*|[^\\w\\s]|_")
SEEN: Final = 5
ANYWHERE, OPENING, CLOSING = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class Grams:
    """Features that tell the sides of some pair apart, with what is known of each.

    `only_chosen_F` and `only_rejected_F` are discordant counts; `both_F` pairs with it on both
    sides; `own_F` discordant pairs whose own prompt
    holds it or the rarer of its words, `prompts_F` prompts that do;
    `spread_F` different prompts of its discordant pairs; `same_F`
    is equal for features of exactly the same pairs.  `rows` gives the pairs of one feature.
    """

    vocabulary: tuple[str, ...]
    code_F: Ints
    only_chosen_F: Ints
    only_rejected_F: Ints
    both_F: Ints
    own_F: Ints
    prompts_F: Ints
    spread_F: Ints
    same_F: Ints
    chosen_N: tuple[Ints, Ints]
    rejected_N: tuple[Ints, Ints]

    def rows(self, feature: int, *, chosen: bool) -> Ints:
        """Indices of the pairs that hold this feature on that side only."""
        index_N, row_N = self.chosen_N if chosen else self.rejected_N
        start, stop = np.searchsorted(index_N, [feature, feature + 1])
        return row_N[start:stop]

    def place(self, feature: int) -> int:
        """ANYWHERE, OPENING or CLOSING."""
        return int(self.code_F[feature]) // span(len(self.vocabulary))

    def tokens(self, feature: int) -> tuple[str, ...]:
        """One or two tokens."""
        size = len(self.vocabulary)
        code = int(self.code_F[feature]) % span(size)
        if code < size:
            return (self.vocabulary[code],)
        return self.vocabulary[(code - size) // size], self.vocabulary[(code - size) % size]


def tokens(text: str) -> list[str]:
    """Words in lower case, and signs."""
    return _TOKEN.findall(text.lower())


def original(text: str, phrase: Sequence[str]) -> str:
    """The phrase as `text` spells it, or its tokens with spaces if it is not there."""
    found = list(_TOKEN.finditer(text))
    plain = [each.group().lower() for each in found]
    for start in range(len(found) - len(phrase) + 1):
        if plain[start : start + len(phrase)] == list(phrase):
            return text[found[start].start() : found[start + len(phrase) - 1].end()]
    return " ".join(phrase)


def count(pairs: Sequence[PairText]) -> Grams:
    """Count every word, two-word phrase, opening and closing of the pairs."""
    ids: dict[str, int] = {}
    sides = [
        _flat([each.chosen for each in pairs], ids, grow=True),
        _flat([each.rejected for each in pairs], ids, grow=True),
    ]
    vocabulary, times = _prune(ids, sides)
    size = len(vocabulary)
    width = 3 * span(size)
    left, right = _frequent([_answer_keys(flat, row, size) for flat, row in sides], width)
    shared = _among(left, right)
    keys = [left[~shared], right[~_among(right, left)]]
    code_F = _distinct(np.concatenate(keys) % width)
    index = [np.searchsorted(code_F, each % width) for each in keys]
    rows = [each // width for each in keys]
    both = left[shared] % width
    both = both[_among(both, code_F)]
    plain_F = code_F % span(size)
    rarer_F = _rarer(plain_F, times)
    wanted = _distinct(np.concatenate([plain_F, rarer_F]))
    known = _prompt_keys(_flat([each.prompt for each in pairs], ids), size, wanted)
    index_N, row_N = np.concatenate(index), np.concatenate(rows)
    own = _among(row_N * span(size) + plain_F[index_N], known)
    own |= _among(row_N * span(size) + rarer_F[index_N], known)
    order = [np.argsort(each, kind="stable") for each in index]
    return Grams(
        vocabulary,
        code_F,
        np.bincount(index[0], minlength=len(code_F)),
        np.bincount(index[1], minlength=len(code_F)),
        np.bincount(np.searchsorted(code_F, both), minlength=len(code_F)),
        np.bincount(index_N[own], minlength=len(code_F)),
        _prompts(known % span(size), plain_F),
        _spread(index_N, groups(pairs)[row_N], len(code_F)),
        _signatures(index_N, row_N, len(code_F)),
        (index[0][order[0]], rows[0][order[0]]),
        (index[1][order[1]], rows[1][order[1]]),
    )


def span(size: int) -> int:
    """Codes of one place: words, then two-word phrases."""
    return size + size * size


def _flat(texts: Sequence[str], ids: dict[str, int], *, grow: bool = False) -> tuple[Ints, Ints]:
    """Token numbers of all texts in one line (−1 unknown), and the row of each."""
    parts = [
        np.array(
            [ids.setdefault(token, len(ids)) if grow else ids.get(token, -1) for token in found],
            dtype=np.int32,
        )
        for found in map(tokens, texts)
    ]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    flat = np.concatenate(parts, dtype=np.int64) if parts else np.zeros(0, dtype=np.int64)
    return flat, np.repeat(np.arange(len(parts), dtype=np.int64), lengths)


def _prune(ids: dict[str, int], sides: list[tuple[Ints, Ints]]) -> tuple[tuple[str, ...], Ints]:
    """Renumber, in place, tokens that occur `SEEN` times; the others can tell nothing: −1.

    Gives the tokens that are left and how often each occurs.
    """
    times = np.bincount(np.concatenate([flat for flat, _ in sides]), minlength=len(ids))
    kept = {
        token: place
        for place, token in enumerate(
            token
            for token, number in ids.items()
            if times[number] >= SEEN and unicodedata.category(token[0])[0] != "M"
        )
    }
    renumber = np.array([kept.get(token, -1) for token in ids], dtype=np.int64)
    sides[:] = [(renumber[flat], row) for flat, row in sides]
    left = np.array([times[ids[token]] for token in kept] or [0], dtype=np.int64)
    ids.clear()
    ids.update(kept)
    return tuple(kept) or ("",), left


def _rarer(plain_F: Ints, times: Ints) -> Ints:
    """Of a two-word phrase the rarer word, which is what it is about; a word is its own."""
    size = len(times)
    two = np.maximum(plain_F - size, 0)
    one, other = two // size, two % size
    rarer = np.where(times[one] <= times[other], one, other)
    return np.where(plain_F < size, plain_F, rarer)


def _distinct(keys: Ints) -> Ints:
    """Sorted, each once.  (np.unique hashes, which is ten times slower on such keys.)"""
    ordered = np.sort(keys)
    return ordered[np.diff(ordered, prepend=-1) > 0]


def _among(values: Ints, ordered: Ints) -> NDArray[np.bool_]:
    """Which values are in a sorted array."""
    if not len(ordered):
        return np.zeros(len(values), dtype=np.bool_)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[place] == values)


def _frequent(keys: Sequence[Ints], width: int) -> list[Ints]:
    """The keys whose feature is in at least `SEEN` answers."""
    ordered = np.sort(np.concatenate(keys) % width)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    lengths = np.diff(starts, append=len(ordered))
    kept = ordered[starts[lengths >= SEEN]]
    return [each[_among(each % width, kept)] for each in keys]


def _pairs_of(flat: Ints, size: int) -> Ints:
    """Code of the two-word phrase that starts at each token but the last; −1 with a rare word."""
    rare = (flat[:-1] < 0) | (flat[1:] < 0)
    return np.where(rare, -1, size + flat[:-1] * size + flat[1:])


def _answer_keys(flat: Ints, row: Ints, size: int) -> Ints:
    width = span(size)
    if not len(flat):
        return np.zeros(0, dtype=np.int64)
    two, same = _pairs_of(flat, size), row[:-1] == row[1:]
    first = np.flatnonzero(np.diff(row, prepend=-1))
    last = np.flatnonzero(np.diff(row, append=row[-1] + 1))
    opens, closes = first[first < len(same)], last[last > 0] - 1
    opens, closes = opens[same[opens]], closes[same[closes]]
    parts = [
        *((row, flat, ANYWHERE), (row[:-1][same], two[same], ANYWHERE)),
        *((row[first], flat[first], OPENING), (row[opens], two[opens], OPENING)),
        *((row[last], flat[last], CLOSING), (row[closes], two[closes], CLOSING)),
    ]
    found = [
        rows[codes >= 0] * (3 * width) + where * width + codes[codes >= 0]
        for rows, codes, where in parts
    ]
    return _distinct(np.concatenate(found))


def _prompt_keys(prompts: tuple[Ints, Ints], size: int, wanted: Ints) -> Ints:
    """(row, feature) keys of the prompts, for the wanted features."""
    flat, row = prompts
    if not len(flat):
        return np.zeros(0, dtype=np.int64)
    width = span(size)
    two, same = _pairs_of(flat, size), row[:-1] == row[1:]
    good = same & _among(two, wanted)
    one = _among(flat, wanted)
    return _distinct(
        np.concatenate([row[one] * width + flat[one], row[:-1][good] * width + two[good]])
    )


def _prompts(known: Ints, code_F: Ints) -> Ints:
    """How many prompts hold each feature."""
    ordered = np.sort(known)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    found, counts = ordered[starts], np.diff(starts, append=len(ordered))
    place = np.minimum(np.searchsorted(found, code_F), max(len(found) - 1, 0))
    if not len(found):
        return np.zeros(len(code_F), dtype=np.int64)
    return np.where(found[place] == code_F, counts[place], 0)


def _spread(index_N: Ints, group_N: Ints, count: int) -> Ints:
    """How many different prompts each feature's discordant pairs have."""
    many = int(group_N.max(initial=0)) + 1
    return np.bincount(_distinct(index_N * many + group_N) // many, minlength=count)


def _signatures(index_N: Ints, row_N: Ints, count: int) -> Ints:
    """One number per feature, the same for features of exactly the same pairs (64-bit sums)."""
    if not count:
        return np.zeros(0, dtype=np.int64)
    draw = np.random.default_rng(0).integers(-(2**62), 2**62, int(row_N.max()) + 1)
    order = np.argsort(index_N, kind="stable")
    starts = np.searchsorted(index_N[order], np.arange(count))
    return np.add.reduceat(draw[row_N[order]], starts)
