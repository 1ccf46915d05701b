"""The held-out split: by prompt, by content and seed alone, never empty where it need not be."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.data.rows import Example, Message, Origin, Pair
from palate.data.split import HALVED, halves, prompt_key, split
from palate.errors import UsageError

PROMPTS = st.lists(st.sampled_from(["a", "b", "c", "d", "é", "a ", "f\n", "g"]), max_size=40)

HELD = ["1", "8", "9", "15"]


def rows(prompts: list[str]) -> list[Example]:
    return [Example(p, f"answer {n}", Origin("x", n + 1)) for n, p in enumerate(prompts)]


@given(prompts=PROMPTS, share=st.floats(0, 0.99), seed=st.integers(0, 9))
def test_every_row_once_and_no_prompt_on_both_sides(
    prompts: list[str], share: float, seed: int
) -> None:
    given_rows = rows(prompts)
    train, held = split(given_rows, share=share, seed=seed)
    assert sorted(train + held, key=lambda row: row.origin.line) == given_rows
    assert [row.origin.line for row in train] == sorted(row.origin.line for row in train)
    assert not {prompt_key(row) for row in train} & {prompt_key(row) for row in held}
    keys = {prompt.strip() for prompt in prompts}
    assert bool(held) == (share > 0 and len(keys) > 1)
    assert bool(train) == bool(prompts)
    assert abs(len({prompt_key(row) for row in held}) - share * len(keys)) <= 1


@given(prompts=PROMPTS, seed=st.integers(0, 9))
def test_order_does_not_matter(prompts: list[str], seed: int) -> None:
    given_rows = rows(prompts)
    shuffled = random.Random(seed).sample(given_rows, len(given_rows))
    held = split(given_rows, share=0.3, seed=seed)[1]
    assert set(split(shuffled, share=0.3, seed=seed)[1]) == set(held)


def test_the_seed_moves_prompts_and_a_new_prompt_moves_few() -> None:
    given_rows = rows([str(n) for n in range(200)])
    held = {row.prompt for row in split(given_rows, share=0.1, seed=0)[1]}
    assert len(held) == 20
    assert {row.prompt for row in split(given_rows, share=0.1, seed=1)[1]} != held
    more = rows([str(n) for n in range(201)])
    assert len({row.prompt for row in split(more, share=0.1, seed=0)[1]} & held) >= 19


def test_the_split_of_a_seed_is_written_down() -> None:
    """Another release must hold out the same prompts."""
    held = split(rows([str(n) for n in range(20)]), share=0.2, seed=0)[1]
    assert [row.prompt for row in held] == HELD


def test_what_is_one_prompt() -> None:
    origin = Origin("x", 1)
    user, answer = Message("user", "q"), Message("assistant", "a")
    system = Message("system", "s")
    same: list[Example | Pair] = [
        Example("q", "x", origin),
        Example(" q\n", "y", origin),
        Example((user,), (answer,), origin),
        Example(None, (user, answer, Message("user", "r"), answer), origin),
        Pair("q", "a", "b", origin),
    ]
    assert {prompt_key(row) for row in same} == {"q"}
    others: list[Example | Pair] = [
        Example(None, (system, user, answer), origin),
        Example(None, "whole text", origin),
        Pair((user, answer, user), (answer,), (user,), origin),
        Example("", "x", origin),
    ]
    assert len({prompt_key(row) for row in others} | {"q"}) == 5


@pytest.mark.parametrize("share", [-0.1, 1.0, 5])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(UsageError, match=r"is not in \[0, 1\)"):
        split(rows(["a", "b"]), share=share, seed=0)


@given(prompts=st.lists(st.integers(0, 60).map(str), max_size=80), seed=st.integers(0, 9))
def test_one_half_chooses_and_the_other_reports(prompts: list[str], seed: int) -> None:
    given_rows = rows(prompts)
    choose, report = halves(given_rows, seed=seed)
    assert sorted(choose + report, key=lambda row: row.origin.line) == given_rows
    assert not {prompt_key(row) for row in choose} & {prompt_key(row) for row in report}
    count = len(set(prompts))
    told_apart = len({prompt_key(row) for row in report})
    assert told_apart == (count - count // 2 if count >= HALVED else 0)


def test_the_halves_are_not_a_matter_of_order() -> None:
    given_rows = rows([str(n) for n in range(50)])
    assert set(halves(given_rows[::-1], seed=3)[0]) == set(halves(given_rows, seed=3)[0])
    assert halves(given_rows, seed=3)[0] != halves(given_rows, seed=4)[0]
