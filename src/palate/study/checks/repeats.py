"""Pairs that say nearly the same, found once for the checks that ask.

A record is compared whole: at most 15% of all its words may differ, at most a quarter in any of its
texts, and the numbers must stay.  Records that fill one template twice are told apart.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from rapidfuzz.distance import Levenshtein

from palate.study.checks import near
from palate.study.checks.base import Case
from palate.study.checks.words import normalised, words

Record = tuple[str, ...]
ALL_EDITS, TEXT_EDITS, TEXT_LEAST = 0.15, 0.25, 2
LEAST: Final = 16


@lru_cache(maxsize=1)
def similar(case: Case) -> tuple[tuple[int, int], ...]:
    """Places of two different pairs that share most two-word phrases, sides left out of account.

    Of pairs that are the same word for word, or turned round, only the first is compared.
    """
    first: dict[tuple[str, ...], int] = {}
    for place, pair in enumerate(case.pairs):
        answers = sorted((normalised(pair.chosen), normalised(pair.rejected)))
        first.setdefault((normalised(pair.prompt), *answers), place)
    kept = list(first.values())
    records = [
        (case.pairs[place].prompt, case.pairs[place].chosen, case.pairs[place].rejected)
        for place in kept
    ]
    return tuple((kept[left], kept[right]) for left, right in near.record_candidates(records))


def same(one: Record, two: Record) -> bool:
    """Are these records (prompt first) the same but for a few words?"""
    left, right = [words(text) for text in one], [words(text) for text in two]
    if left == right:
        return True
    total = max(sum(map(len, left)), sum(map(len, right)))
    if total < LEAST:
        return False
    edits = 0
    for a, b in zip(left, right, strict=True):
        allowed = max(TEXT_LEAST, int(TEXT_EDITS * max(len(a), len(b))))
        found = Levenshtein.distance(a, b, score_cutoff=allowed)
        if found > allowed or (found and not set(a) & set(b)):
            return False
        edits += found
    if edits > ALL_EDITS * total or other_subject(left, right):
        return False
    return near.same_numbers(
        [word for text in left for word in text], [word for text in right for word in text]
    )


def other_subject(one: Sequence[near.Words], two: Sequence[near.Words]) -> bool:
    """Do the words in which the prompts differ come back in the answers, on both sides?

    Then a template was filled in twice ("near the park", "near the lake"), and not said again.
    """
    left, right = set(one[0]) - set(two[0]), set(two[0]) - set(one[0])
    return any(left & set(text) for text in one[1:]) and any(right & set(text) for text in two[1:])
