"""The demo's judge reads the sheet that the prompt was written from, and agrees with the taste."""

import random

import pytest

from palate.data.judged import AskedPrompt
from palate.demo import taste
from palate.demo.judge import MUCH, TAGS, DemoJudge, sheet
from palate.demo.prose import Style, describe, prompt
from palate.demo.sheets import Sheet, draw, sheets
from palate.errors import DataError, PalateError
from palate.judge.verdicts import Opinion

SHEETS = sheets(300, "judge")
STYLES = (
    Style(),
    Style(keep=0.7),
    Style(wrong=1),
    Style(vague=1),
    Style(hype=1),
    Style(0.5, 1, 2, 1),
)


def asked(about: Sheet) -> AskedPrompt:
    return AskedPrompt("p", prompt(about), "train")


def two_texts(about: Sheet, rng: random.Random) -> tuple[str, str]:
    one, other = (describe(about, rng.choice(STYLES), rng) for _ in "ab")
    return one, other


def test_the_sheet_comes_back_out_of_its_prompt() -> None:
    rng = random.Random("round trip")
    for number in range(2000):
        about = draw(rng, wide=number % 2 == 0)
        assert sheet(prompt(about)) == about
        assert sheet(f"  {prompt(about, rng)}\n") == about


def test_the_verdict_is_the_taste_of_the_sheet_that_the_prompt_was_written_from() -> None:
    """The oracle knows the sheet; the judge sees the prompt alone."""
    rng, kinds = random.Random("verdicts"), set()
    for about in SHEETS:
        left, right = two_texts(about, rng)
        gap = taste.judge(left, about).score - taste.judge(right, about).score
        found = DemoJudge().compare(asked(about), left, right)
        assert found.verdict == ("left" if gap > 0 else "right" if gap < 0 else "tie")
        assert found.strength == (2 if abs(gap) >= MUCH else 1)
        kinds.add((found.verdict, found.strength))
    assert kinds == {("left", 1), ("left", 2), ("right", 1), ("right", 2), ("tie", 1)}


def test_sides_swapped_the_same_text_wins_for_the_same_reason() -> None:
    rng, other = random.Random("sides"), {"left": "right", "right": "left", "tie": "tie"}
    for about in SHEETS:
        left, right = two_texts(about, rng)
        found = DemoJudge().compare(asked(about), left, right)
        swapped = DemoJudge().compare(asked(about), right, left)
        assert (swapped.reason, swapped.tags) == (found.reason, found.tags)
        assert swapped.verdict == other[found.verdict]


GROUNDED = "Two-bedroom condo near downtown: 2 bath, in-unit laundry, fees $310."
ABOUT = "Describe this 2bd condo near downtown. Facts: 2 bath; in-unit laundry; fees $310."


@pytest.mark.parametrize(
    ("worse", "tags"),
    [
        ("Two-bedroom condo near downtown: 2 bath, in-unit laundry.", ("grounded",)),
        (f"{GROUNDED} A finished basement.", ("grounded",)),
        (f"{GROUNDED} Act fast!", ("no-hype",)),
        (f"{GROUNDED} A lovely place to live.", ("specific",)),
        (f"{GROUNDED} It has in-unit laundry.", ("shorter",)),
        ("Stunning condo near downtown in a great spot.", ("grounded", "no-hype", "specific")),
    ],
)
def test_tags_name_what_differs(worse: str, tags: tuple[str, ...]) -> None:
    found = DemoJudge().compare(AskedPrompt("p", ABOUT, "train"), worse, GROUNDED)
    assert (found.verdict, found.tags) == ("right", tags)
    assert found.reason and "\n" not in found.reason
    assert set(tags) <= set(TAGS)


def test_equal_texts_are_a_tie_and_two_poor_ones_are_not_both_bad() -> None:
    one, other = "Act fast! A must-see.", "Act fast! A must-see. Unbeatable. Stunning."
    about = AskedPrompt("p", ABOUT, "train")
    assert DemoJudge().compare(about, one, one) == Opinion("tie", reason="−2 points each")
    assert DemoJudge().compare(about, one, other).verdict == "left"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Describe this 2bd condo near downtown.",
        "What is the capital of France?",
        "Describe this 2bd castle near downtown. Facts: 2 bath; fees $310.",
        "Describe this 2bd condo on Nowhere Street. Facts: 2 bath; fees $310.",
        "Describe this 2bd condo near downtown. Facts: 2 bath; a dragon; fees $310.",
        "Describe this 2bd condo near downtown. Facts: 2 bath and fees $310.",
        "Describe this 99bd condo near downtown. Facts: 2 bath.",
    ],
)
def test_another_prompt_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(DataError, match="no fact sheet of the demo") as caught:
        DemoJudge().compare(AskedPrompt("p", text, "train"), "a", "b")
    assert isinstance(caught.value, PalateError) and "--judge-with" in caught.value.hint
