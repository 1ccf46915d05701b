"""Diversity of several texts per prompt, against the plainest way to count."""

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.study.checks.words import words
from palate.study.diversity import apart, distinct, of_texts, overlap

TEXTS = st.lists(st.text("ab c.", max_size=14), min_size=2, max_size=5)


def naive_distinct(texts: Sequence[str], size: int) -> float:
    seen: list[str] = []
    for text in texts:
        told = words(text)
        seen += [" ".join(told[n : n + size]) for n in range(len(told)) if n + size <= len(told)]
    return len(set(seen)) / len(seen) if seen else 0.0


def naive_overlap(texts: Sequence[str]) -> float:
    shared = []
    for one, other in itertools.combinations(map(words, texts), 2):
        mine, yours = naive_grams(one), naive_grams(other)
        both = [each for each in mine if each in yours]
        either = mine + [each for each in yours if each not in mine]
        shared.append(len(both) / len(either))
    return sum(shared) / len(shared)


def naive_grams(told: Sequence[str]) -> list[tuple[str, ...]]:
    found = [tuple(told[n : n + 4]) for n in range(len(told) - 3)]
    return list(dict.fromkeys(found)) or [tuple(told)]


@given(TEXTS)
def test_as_the_plainest_way_counts(texts: list[str]) -> None:
    assert distinct(texts, 1) == pytest.approx(naive_distinct(texts, 1))
    assert distinct(texts, 2) == pytest.approx(naive_distinct(texts, 2))
    assert overlap(texts) == pytest.approx(naive_overlap(texts))


@given(TEXTS, st.randoms())
def test_order_changes_nothing(texts: list[str], rng: random.Random) -> None:
    turned = rng.sample(texts, len(texts))
    assert overlap(texts) == pytest.approx(overlap(turned))
    assert apart(texts) == apart(turned)


def test_by_hand() -> None:
    texts = ["a b a b", "a b c d e"]
    assert distinct(texts, 1) == 5 / 9
    assert distinct(texts, 2) == 5 / 7  # ab ba ab | ab bc cd de
    assert overlap(texts) == 0
    assert overlap(["a b c d e", "x a b c d"]) == 1 / 3
    assert overlap(["a b", "A, b!"]) == 1 and overlap(["a b", "a c"]) == 0
    assert overlap(["", ""]) == 1


def test_copies_are_one_text() -> None:
    long = "a two-bedroom flat near the park with one covered space and a garden"
    assert apart([long, long + " ", long.replace("covered", "Covered")]) == 1
    assert apart([long, long.replace("flat", "flats"), "another one altogether"]) == 2
    assert apart([f"{long}; fees $300", f"{long}; fees $310"]) == 2, "other numbers: never the same"
    found = of_texts("m", [[long, long, long.upper()], ["a", "b", "a"]])
    assert (found.distinct_texts.value, found.texts) == (2.0, 3)
    assert found.distinct_near is not None and found.distinct_near.value == 1.5


def test_a_model_that_repeats_itself_is_told_from_one_that_does_not() -> None:
    """The seeded fault: half of the texts of each prompt are copies."""
    rng = random.Random(0)
    pool = [f"w{n}" for n in range(200)]
    free = [[" ".join(rng.choices(pool, k=20)) for _ in range(4)] for _ in range(60)]
    stuck = [[each[0], each[1], each[0], each[1]] for each in free]
    one, other = of_texts("free", free), of_texts("stuck", stuck)
    assert other.distinct_2.high < one.distinct_2.low
    assert other.distinct_texts.value == 2 and one.distinct_texts.value == 4
    assert other.overlap.low > one.overlap.high
    assert other.overlap.value == pytest.approx(1 / 3)  # 2 of 6 couples are the same text


def test_prompts_are_compared_at_the_same_number_of_texts() -> None:
    """Distinct-n falls with every further text, so a longer list would look poorer."""
    found = of_texts("m", [["a b", "a c", "a d", "a e"], ["a b", "a c"]])
    assert found.texts == 2
    assert found.distinct_1.value == pytest.approx(0.75) and found.distinct_1.count == 2


@pytest.mark.parametrize("texts", [[], [["a"]], [["a", "b"], ["a"]]])
def test_one_text_tells_nothing(texts: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="differs from nothing"):
        of_texts("m", texts)
