"""Words and two-word phrases that stand on one side of a pair only, counted without length bias.

Everything is counted in integers: a feature is a code, a (row, feature) couple one 64-bit key.
Signs count as tokens too, so that a lone star or a dash can be a feature.

Shape suffixes: F features, N couples (row, feature).
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as _numbers
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from palate.study.checks.base import Ints, PairText
from palate.study.checks.probe import groups

_TOKEN = re.compile("[^\\W_]+(?:['\u2019][^\\W\\d_]+)*|[^\\w\\s]|_")
_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z]+)*|[^a-z0-9\s]")
SEEN: Final = 5
ANYWHERE, OPENING, CLOSING = 0, 1, 2
BITS: Final = 22
Small = NDArray[np.int32]
Bytes = NDArray[np.int8]
SIDES: Final = ("chosen", "rejected")


@dataclass(frozen=True, slots=True, eq=False)
class Grams:
    """Features that tell the sides of some pair apart, with what is known of each.

    `only_chosen_F` and `only_rejected_F` are discordant counts; `both_F` pairs with it on both
    sides; `own_F` discordant pairs whose own prompt
    holds it or the rarer of its words, `prompts_F` prompts that do;
    `spread_F` different prompts of its discordant pairs; `same_F`
    is equal for features of exactly the same pairs.  `rows` gives the pairs of one feature: its
    couples end at `end_F`, and `side_N` is 1 where the rejected answer has it.
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
    end_F: Ints
    row_N: Small
    side_N: Bytes

    def rows(self, feature: int, *, chosen: bool) -> Ints:
        """Indices of the pairs that hold this feature on that side only."""
        part = slice(int(self.end_F[feature - 1]) if feature else 0, int(self.end_F[feature]))
        kept = self.side_N[part] == (0 if chosen else 1)
        return np.asarray(self.row_N[part][kept], dtype=np.int64)

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
    low = text.lower()
    return (_ASCII if low.isascii() else _TOKEN).findall(low)


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
    ids: defaultdict[str, int] = defaultdict(_numbers().__next__)
    sides = [_flat([getattr(each, side) for each in pairs], ids, grow=True) for side in SIDES]
    vocabulary, times = _prune(ids, sides)
    size = len(vocabulary)
    keys = _keys(sides, size, len(pairs))
    del sides
    code_F, total_F, both_F, row_N, side_N = _couples(keys, len(pairs))
    del keys
    end_F, plain_F = np.cumsum(total_F), code_F % span(size)
    rejected_F = _sums(side_N, end_F)
    prompts = _flat([each.prompt for each in pairs], ids)
    # A prompt that holds a phrase holds its rarer word: that one alone need be looked up.
    own_N = _held(prompts, np.repeat(_rarer(plain_F, times), total_F), row_N, size)
    return Grams(
        vocabulary,
        code_F,
        total_F - rejected_F,
        rejected_F,
        both_F,
        _sums(own_N, end_F),
        _prompts(prompts, plain_F, size),
        _spread(groups(pairs), row_N, total_F),
        _signatures(row_N, end_F),
        end_F,
        row_N,
        side_N,
    )


def _keys(sides: Sequence[tuple[Ints, Ints]], size: int, count: int) -> Ints:
    """((feature, row), side) of every answer as one number each, in order, each once."""
    found = [_answer_keys(flat, row, size, count) * 2 + at for at, (flat, row) in enumerate(sides)]
    return _distinct(np.concatenate(found))


def _couples(keys: Ints, count: int) -> tuple[Ints, Ints, Ints, Small, Bytes]:
    """The features (F) that `SEEN` answers hold and one side alone does, and every such couple (N).

    Neighbours that differ in the side only stand on both.  Gives each feature's code, its couples
    and the pairs with it on both sides; then the row and the side of each couple.
    """
    code = keys // (2 * count)
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    ends = np.append(starts, len(code))[1:]
    lengths = ends - starts
    twin = np.zeros(len(code) + 1, dtype=np.bool_)
    twin[1:-1] = keys[1:] == keys[:-1] | 1
    both = _sums(twin[1:], ends)
    kept = (lengths >= SEEN) & (lengths > 2 * both)
    alone = np.flatnonzero(np.repeat(kept, lengths) & ~twin[1:] & ~twin[:-1])
    left = keys[alone]
    side_N = (left & 1).astype(np.int8)
    left >>= 1
    row_N = (left - code[alone] * count).astype(np.int32)
    return code[starts[kept]], (lengths - 2 * both)[kept], both[kept], row_N, side_N


def _sums(flag_N: NDArray[Any], end_F: Ints) -> Ints:
    """How many couples of each feature are marked; none of the features is empty."""
    starts = np.concatenate([[0], end_F[:-1]])[: len(end_F)]
    return np.add.reduceat(flag_N, starts, dtype=np.int64) if len(end_F) else end_F


def span(size: int) -> int:
    """Codes of one place: words, then two-word phrases."""
    return size + size * size


def _flat(texts: Sequence[str], ids: dict[str, int], *, grow: bool = False) -> tuple[Ints, Ints]:
    """Token numbers of all texts in one line (−1 unknown), and the row of each."""
    parts = []
    for text in texts:
        found = tokens(text)
        numbers = map(ids.__getitem__, found) if grow else map(ids.get, found, repeat(-1))
        parts.append(np.fromiter(numbers, dtype=np.int32, count=len(found)))
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
    """Sorted, each once; sorts in place.  (np.unique hashes: ten times slower on such keys.)"""
    keys.sort()
    new = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return keys[new]


def _among(values: Ints, ordered: Ints) -> NDArray[np.bool_]:
    """Which values are in a sorted array."""
    if not len(ordered):
        return np.zeros(len(values), dtype=np.bool_)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[place] == values)


def _pairs_of(flat: Ints, size: int) -> Ints:
    """Code of the two-word phrase that starts at each token but the last; −1 with a rare word."""
    rare = (flat[:-1] < 0) | (flat[1:] < 0)
    return np.where(rare, -1, size + flat[:-1] * size + flat[1:])


def _answer_keys(flat: Ints, row: Ints, size: int, count: int) -> Ints:
    """(feature, row) keys of one side's answers, neither sorted nor each once."""
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
        (where * span(size) + codes[codes >= 0]) * count + rows[codes >= 0]
        for rows, codes, where in parts
    ]
    return np.concatenate(found)


def _held(prompts: tuple[Ints, Ints], word_N: Ints, row_N: Small, size: int) -> NDArray[np.bool_]:
    """Whether the prompt of each couple holds the word of its feature."""
    flat, row = prompts
    known = _distinct(row[flat >= 0] * size + flat[flat >= 0])
    word_N += row_N * np.int64(size)
    # A table of the low bits sorts most of them out, a search through `known` the few others.
    table = np.zeros(1 << BITS, dtype=np.bool_)
    table[known & (len(table) - 1)] = True
    found: NDArray[np.bool_] = table[word_N & (len(table) - 1)]
    where = np.flatnonzero(found)
    found[where] = _among(word_N[where], known)
    return found


def _prompts(prompts: tuple[Ints, Ints], plain_F: Ints, size: int) -> Ints:
    """How many prompts hold each feature."""
    flat, row = prompts
    if not len(flat) or not len(plain_F):
        return np.zeros(len(plain_F), dtype=np.int64)
    wanted = _distinct(plain_F.copy())
    two, same = _pairs_of(flat, size), row[:-1] == row[1:]
    two = np.where(same, two, -1)
    code, holder = np.concatenate([flat, two]), np.concatenate([row, row[:-1]])
    place = np.minimum(np.searchsorted(wanted, code), len(wanted) - 1)
    good = wanted[place] == code
    known = _distinct(place[good] * (int(row[-1]) + 1) + holder[good])
    times = np.bincount(known // (int(row[-1]) + 1), minlength=len(wanted))
    return times[np.searchsorted(wanted, plain_F)]


def _spread(group_P: Ints, row_N: Small, total_F: Ints) -> Ints:
    """How many different prompts each feature's discordant pairs have."""
    several_P = np.bincount(group_P)[group_P] > 1
    some = np.flatnonzero(several_P[row_N])
    index = np.searchsorted(np.cumsum(total_F), some, side="right")
    many = int(group_P.max(initial=0)) + 1
    twice = np.bincount(index, minlength=len(total_F))
    once = _distinct(index * many + group_P[row_N[some]]) // many
    return total_F - twice + np.bincount(once, minlength=len(total_F))


def _signatures(row_N: Small, end_F: Ints) -> Ints:
    """One number per feature, the same for features of exactly the same pairs (64-bit sums)."""
    draw = np.random.default_rng(0).integers(-(2**62), 2**62, int(row_N.max(initial=0)) + 1)
    return _sums(draw[row_N], end_F)
