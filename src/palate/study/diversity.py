"""How much a model's texts for one prompt differ from each other.

Only texts that were kept as drawn say anything: a sampler that draws again what came twice would
measure itself.  Distinct-n falls with length, so models are compared at the same number of texts
and the same temperature, and beside their lengths.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from palate.stats import bootstrap_mean
from palate.study.checks.near import groups
from palate.study.checks.words import words
from palate.study.evaluated import Diversity
from palate.study.sampling import nearly_same

GRAM: Final = 4  # words of what `overlap` counts


def of_texts(model: str, texts_by_prompt: Sequence[Sequence[str]]) -> Diversity:
    """Figures per prompt, intervals over prompts.

    Of each prompt as many texts as the one with the fewest has, the first ones.  Raises ValueError
    below two.
    """
    least = min(map(len, texts_by_prompt), default=0)
    if least < 2:
        raise ValueError("one text of a prompt differs from nothing")
    same = [tuple(texts[:least]) for texts in texts_by_prompt]
    return Diversity(
        model=model,
        texts=least,
        distinct_1=bootstrap_mean([distinct(texts, 1) for texts in same]),
        distinct_2=bootstrap_mean([distinct(texts, 2) for texts in same]),
        overlap=bootstrap_mean([overlap(texts) for texts in same]),
        distinct_texts=bootstrap_mean([len(set(map(_plain, texts))) for texts in same]),
        distinct_near=bootstrap_mean([apart(texts) for texts in same]),
    )


def distinct(texts: Sequence[str], size: int) -> float:
    """Different runs of `size` words among all of them, over their number.  Li et al. 2016.

    0 where there is none: texts of nothing do not vary.
    """
    runs = [run for text in texts for run in _runs(text, size)]
    return len(set(runs)) / max(1, len(runs))


def overlap(texts: Sequence[str]) -> float:
    """Over pairs of texts: 4-grams in both over 4-grams in either, the mean.

    A text that is shorter is one gram; two empty ones are the same.
    """
    sets = [frozenset(_runs(text, GRAM)) or frozenset([words(text)]) for text in texts]
    shared = [len(one & other) / len(one | other) for one, other in combinations(sets, 2)]
    return sum(shared) / len(shared)


def apart(texts: Sequence[str]) -> int:
    """Texts, those that are nearly the same as one, whichever comes first."""
    several = list(dict.fromkeys(map(_plain, texts)))
    edges = [
        (one, other)
        for one, other in combinations(range(len(several)), 2)
        if nearly_same(several[one], several[other])
    ]
    return len(several) - sum(len(group) - 1 for group in groups(len(several), edges))


def _runs(text: str, size: int) -> list[tuple[str, ...]]:
    told = words(text)
    return [told[start : start + size] for start in range(len(told) - size + 1)]


def _plain(text: str) -> str:
    """Texts that differ in white space alone are one."""
    return " ".join(text.split())
