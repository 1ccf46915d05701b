"""The taste reads hand-written sentences as a person would, and length is worth nothing to it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.demo.sheets import Fact, Sheet
from palate.demo.taste import judge

# The README's example.
SHEET = Sheet(
    kind="condo",
    place="downtown",
    beds="2",
    listed=(
        Fact("baths", "2"),
        Fact("in-unit laundry", "in-unit laundry"),
        Fact("covered parking", "1"),
        Fact("distance to the station", "3 block"),
        Fact("fee", "310"),
    ),
)
CHOSEN = (
    "Two-bedroom, two-bath condo three blocks from the station: in-unit laundry, one covered "
    "space, fees of $310 a month."
)
REJECTED = (
    "A lovely condo in a great spot, with everything you could need close by and plenty of charm."
)
# Words of the writer's own that state nothing: no number, no phrase of the lists, no property.
FILLER = (
    "indeed",
    "so",
    "on paper",
    "as listed",
    "to be clear",
    "in short",
    "now",
    "for the record",
)


def test_the_readme_pair() -> None:
    good, bad = judge(CHOSEN, SHEET), judge(REJECTED, SHEET)
    assert {fact.topic for fact in good.stated} == {fact.topic for fact in SHEET.facts} - {"place"}
    assert good.score == 7 and not (good.wrong or good.vague or good.hype or good.repeats)
    assert {fact.topic for fact in bad.stated} == {"kind"} and not bad.wrong
    assert bad.vague == (
        "lovely",
        "great spot",
        "everything you could need",
        "close by",
        "plenty of charm",
    )
    assert bad.score == 1 - 5 * 0.5


@pytest.mark.parametrize(
    "text",
    [
        "The fees are $310.",
        "Monthly fees of $310 apply.",
        "You pay $310 a month in fees.",
        "Fees: $310",
    ],
)
def test_a_fact_in_any_wording_counts_once(text: str) -> None:
    verdict = judge(text, SHEET)
    assert verdict.stated == {Fact("fee", "310")} and not verdict.wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Fees of $410 a month.", Fact("fee", "410")),
        ("Listed at $310,000.", Fact("fee", "310000")),
        ("The station is four blocks away.", Fact("distance to the station", "4 block")),
        ("It is three minutes from the station.", Fact("distance to the station", "3 minute")),
        ("A library two miles away.", Fact("distance to the library", "2 mile")),
        ("Three blocks to the opera.", Fact("number", "three blocks")),
        ("A three-bedroom home.", Fact("beds", "3")),
        ("With 2.5 baths.", Fact("baths", "2.5")),
        ("All 1,240 square feet of it.", Fact("area", "1240")),
        ("It was sold in 1987.", Fact("number", "1987.")),
        ("With a south-facing balcony.", Fact("balcony", "south")),
        ("With oak floors.", Fact("floors", "oak")),
        ("A roof deck on top.", Fact("roof deck", "roof deck")),
        ("It stands on Alder Street.", Fact("place", "alder street")),
        ("This house is for sale.", Fact("kind", "house")),
    ],
)
def test_what_the_sheet_does_not_hold_is_wrong(text: str, wrong: Fact) -> None:
    verdict = judge(text, SHEET)
    assert verdict.wrong == (wrong,) and not verdict.stated and verdict.score == -2


@pytest.mark.parametrize(
    ("text", "hype"),
    [
        ("A stunning condo.", 1),
        ("Your DREAM HOME awaits: act fast!", 2),
        ("This one won’t last!", 1),
        ("A once-in-a-lifetime opportunity.", 1),
    ],
)
def test_hype_is_counted_by_the_phrase(text: str, hype: int) -> None:
    assert len(judge(text, SHEET).hype) == hype


def test_repetition_costs_but_naming_the_property_again_does_not() -> None:
    once = judge("Two-bath condo. Fees of $310.", SHEET)
    fact_again = judge("Two-bath condo. Fees of $310. It has 2 bathrooms.", SHEET)
    noun_again = judge("Two-bath condo. Fees of $310 for the condo.", SHEET)
    echo = "It is on the quiet side."
    assert fact_again.repeats == 1 and fact_again.score == once.score - 0.5
    assert noun_again.repeats == 0 and noun_again.score == once.score
    assert judge(f"Condo. {echo}", SHEET).repeats == 0
    assert judge(f"Condo. {echo} {echo} {echo}", SHEET).repeats == 2


def test_more_facts_beat_fewer_and_one_wrong_fact_costs_more_than_a_silent_one() -> None:
    said = "Two-bedroom, two-bath condo near downtown"
    full, silent, wrong = (
        judge(f"{said}{tail}.", SHEET).score for tail in (", fees $310", "", ", fees $410")
    )
    assert full > silent > wrong


@given(
    parts=st.lists(st.sampled_from(FILLER), max_size=40),
    seed=st.integers(0, 2**16),
    text=st.sampled_from([CHOSEN, REJECTED, "A stunning house. Fees of $410, two baths, 2 baths."]),
)
def test_neutral_words_change_nothing(parts: list[str], seed: int, text: str) -> None:
    """Fillers may stand between any two sentences or clauses: same verdict, whatever the length."""
    rng = random.Random(seed)
    clauses = text.replace(":", ":|").replace(". ", ".| ").replace(", ", ",| ").split("|")
    for part in parts:
        clauses.insert(rng.randint(0, len(clauses)), f" {part} ")
    assert judge("".join(clauses), SHEET) == judge(text, SHEET)


def test_a_fact_weighs_the_same_in_two_words_and_in_ten() -> None:
    short = judge("Fees $310.", SHEET)
    said = "As for what is to be paid: the sum stands, as listed, at monthly fees of $310 for now."
    long = judge(said, SHEET)
    assert short.score == long.score == 1


def test_silence_is_worth_nothing() -> None:
    assert judge("", SHEET).score == 0
