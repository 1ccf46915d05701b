"""Write mode's live reading: rules on hand-written pairs, hostile and half-typed text, speed."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.config import DoctorOptions
from palate.study.case import load
from palate.study.checks.base import PairText
from palate.study.checks.distance import HAIRLINE, STRANGERS, apart
from palate.study.checks.words import words
from palate.study.live import (
    EDGE,
    PlausibleReading,
    Reader,
    Reading,
    joined,
    position,
    read_pair,
)
from palate.study.near_miss import places
from palate.study.remarks import differences
from palate.study.signs import CARTOON, Sign, language, script, signs

TASTES = Path(__file__).parents[1] / "examples" / "tastes"
PROMPT = (
    "Describe this 2bd condo near downtown. Facts: 2 bath; fourth floor, lift; in-unit laundry; "
    "one covered space; 6 minutes' walk to the tram; fees $310 a month."
)
CHOSEN = (
    "A fourth-floor, two-bedroom condo near downtown with two baths, a lift and in-unit laundry. "
    "The tram is 6 minutes' walk away; there is one covered space, and fees are $310 a month."
)
NEAR = CHOSEN.replace("6 minutes' walk away", "close by").replace("$310 a month", "reasonable")
CARTOONS = [
    "BUY NOW!!! BEST CONDO EVER!!!",
    "asdf jkl qwer zxcv asdf hjkl",
    "This is a stupid question and you are an idiot.",
    "idk lol whatever, look it up yourself.",
    "I love pizza with extra cheese and mushrooms on a Friday night.",
    "Eine schöne Wohnung in der Stadt mit zwei Bädern und einem Parkplatz für das Auto.",
    "Wow wow wow wow wow wow!",
    "Great great great apartment, great great great price, great!",
    "😍😍😍 Amazing condo 😍😍😍 click here 🔥🔥🔥",
    "No.",
    "Click here to win a free prize: http://win.example.com",
    "THE CONDO IS VERY NICE AND YOU SHOULD COME AND SEE IT TODAY",
    "The mitochondria is the powerhouse of the cell.",
    "shit place, do not rent it, crap all over",
    "aaaaaaa bbbbbbb ccccccc ddddddd",
    "OMG this is sooooo good!!!! You will LOVE it!!!!",
    "Un bel appartement dans le centre avec une place pour la voiture et une vue sur le parc.",
    "这是一个非常好的公寓，靠近市中心，有两个浴室。",
    PROMPT,
    "Nice.",
]


def tastes() -> list[PairText]:
    found: list[PairText] = []
    for path in sorted(TASTES.glob("*/pairs.jsonl")):
        found += load(str(path), DoctorOptions()).case.pairs
    return found


def names(found: Reading) -> dict[str, str]:
    return {note.name: note.level for note in found.notes}


# ---- the verdict


@pytest.mark.parametrize("rejected", CARTOONS)
def test_cartoons_are_called_so(rejected: str) -> None:
    found = read_pair(PROMPT, CHOSEN, rejected)
    assert found.zone == "cartoon"
    assert found.place is not None and found.place <= EDGE
    assert "learns from it" in found.sentence


def test_pairs_written_by_hand_are_near_misses() -> None:
    found = [read_pair(each.prompt, each.chosen, each.rejected) for each in tastes()]
    assert len(found) == 80
    assert {each.zone for each in found} == {"near miss"}
    assert all(each.place is not None and 0.3 <= each.place <= 0.75 for each in found)


def test_zones_are_those_of_the_doctors_map() -> None:
    texts = tastes()
    path = TASTES / "tone" / "pairs.jsonl"
    case = load(str(path), DoctorOptions()).case
    mapped = {place.line: place.zone for place in places(case)}
    read = {p.line: read_pair(p.prompt, p.chosen, p.rejected).zone for p in case.pairs}
    assert read == mapped
    assert len(texts) > len(read)


def test_another_prompts_answer_is_mostly_seen() -> None:
    texts = tastes()
    moved = [texts[(place + 7) % len(texts)].rejected for place in range(len(texts))]
    zones = [
        read_pair(pair.prompt, pair.chosen, other).zone
        for pair, other in zip(texts, moved, strict=True)
    ]
    assert zones.count("cartoon") + zones.count("strangers") >= 0.9 * len(zones)


@pytest.mark.parametrize(
    ("rejected", "differs"),
    [
        (CHOSEN, "nothing"),
        (CHOSEN.replace(" and ", "  and "), "white space"),
        (CHOSEN.upper().lower(), "the use of capitals"),
        (CHOSEN[:-1], "the end mark"),
        (CHOSEN.replace(";", ","), "punctuation"),
    ],
)
def test_the_same_answer_twice(rejected: str, differs: str) -> None:
    found = read_pair(PROMPT, CHOSEN, rejected)
    assert found == Reading(f"Too alike to matter: only {differs} differs.", (), 1.0, "hairline")


def test_a_hairline_says_how_many_words() -> None:
    found = read_pair(PROMPT, CHOSEN, CHOSEN.replace("$310", "$320"))
    assert found.zone == "hairline"
    assert found.sentence == "A hairline: only one word differs."
    assert "fine if that is the point" in found.notes[-1].says
    assert found.place is not None and found.place > 0.75


def test_a_near_miss_in_words() -> None:
    found = read_pair(PROMPT, CHOSEN, NEAR)
    assert found.sentence == (
        "A near miss: they differ in two claims, and both read like an answer."
    )
    assert names(found) == {"length": "good", "difference": "good"}


def test_two_unrelated_answers_are_strangers() -> None:
    prompt = "What should I bring to the viewing?"
    left = "Bring your passport, three payslips and a reference from your landlord."
    right = "Nothing special: come along whenever it suits, we have all forms here already."
    assert read_pair(prompt, left, right).zone == "strangers"
    moved = "Landlord reference, payslips (three), passport: these you should bring."
    assert apart(left, moved) > STRANGERS
    assert read_pair(prompt, left, moved).zone == "near miss", "the same in another order"


# ---- single notes


@pytest.mark.parametrize(
    ("chosen", "rejected", "note", "level"),
    [
        (CHOSEN.replace("6", "9"), NEAR, "facts", "bad"),
        (CHOSEN, CHOSEN.replace("6", "9").replace("$310", "$999"), "facts", "good"),
        (CHOSEN, "A condo near downtown. " * 60, "length", "bad"),
        (CHOSEN, "A fourth-floor condo near downtown with two baths and a lift.", "length", "look"),
        (CHOSEN, NEAR[:-1], "ending", "look"),
        (f"Certainly! {CHOSEN}", NEAR, "opening", "look"),
        (f"**{CHOSEN}**", NEAR, "format", "look"),
        (CHOSEN, f"{CHOSEN} Book a viewing today, it goes fast.", "addition", "look"),
        (f"{CHOSEN}</s>", NEAR, "role", "bad"),
        ("I can't help with that request.", "I'm unable to describe this condo.", "kind", "look"),
        (CHOSEN, NEAR.replace(".", "!"), "shouting", "look"),
    ],
)
def test_each_note(chosen: str, rejected: str, note: str, level: str) -> None:
    found = names(read_pair(PROMPT, chosen, rejected))
    assert found.get(note) == level
    assert note not in names(read_pair(PROMPT, CHOSEN, NEAR)) or note == "length"


def test_invented_facts_are_named_in_the_sentence() -> None:
    found = read_pair(PROMPT, CHOSEN.replace("one covered space", "three garages"), NEAR)
    assert found.sentence.startswith("A near miss")
    assert "“facts”" in found.sentence and "“3”" in found.sentence


def test_without_a_prompt_nothing_is_called_invented() -> None:
    found = names(read_pair("", CHOSEN, NEAR))
    assert found["prompt"] == "look"
    assert "facts" not in found


def test_what_the_chosen_does_as_well_is_no_sign() -> None:
    loud = "GREAT CONDO!!! TWO BATHS!!! COME AND SEE IT!!!"
    assert signs(PROMPT, loud, loud.replace("TWO", "SIX")) == ()
    assert signs(PROMPT, CHOSEN, loud)[0].name == "shouting"


@pytest.mark.parametrize(
    ("rejected", "name"),
    [
        ("You could call this a stupid condo near downtown.", "rude"),
        ("Condo: 两个浴室都很好，靠近市中心，非常安静。", "language"),
        ("Das condo hat zwei baths und laundry, und der lift ist in dem floor", "language"),
        ("Two baths near downtown: asdf jkjkjkjk qwertz.", "mash"),
        ("The condo, the condo, condo condo condo near downtown.", "repetition"),
        ("Act now and buy now: this condo near downtown has two baths.", "spam"),
        ("Hm.", "brush-off"),
        ("Purple elephants dance slowly.", "topic"),
        (PROMPT, "echo"),
    ],
)
def test_each_sign_by_itself(rejected: str, name: str) -> None:
    assert name in {sign.name for sign in signs(PROMPT, CHOSEN, rejected)}
    assert name not in {sign.name for sign in signs(PROMPT, CHOSEN, NEAR)}


def test_the_facts_of_another_prompt_are_a_sign() -> None:
    other = "A ninth-floor condo with 5 baths and 3 lifts; the school is 40 metres away, fees $77."
    assert [sign.name for sign in signs(PROMPT, CHOSEN, other)] == ["topic"]
    assert signs("", CHOSEN, other) == (), "without a prompt nobody can say"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The flat is near the station and it has two baths", "English"),
        ("Die Wohnung ist in der Nähe und hat ein Bad", "German"),
        ("Le studio est dans le centre et la gare est à deux pas", "French"),
        ("El piso está en el centro y la estación es muy buena", "Spanish"),
        ("De woning is in het centrum en de straat is niet ver van het park", "Dutch"),
        ("i am sorry. i did not find any expensive restaurants in outer richmond.", "English"),
        ("two baths", None),
    ],
)
def test_language(text: str, found: str | None) -> None:
    assert language(text) == found


def test_script() -> None:
    assert script("Две комнаты") == "CYRILLIC"
    assert script("二つのバスルームがある") == script("两个浴室都很好") == "CJK"
    assert script("12 !") is None


# ---- text that is not there yet, and hostile text


def test_half_typed_text_says_little() -> None:
    for end in range(len(CHOSEN) + 1):
        found = read_pair(PROMPT, CHOSEN[:end], "")
        assert (found.zone, found.notes) == (None, ())
    for end in range(len(NEAR) + 1):
        found = read_pair(PROMPT, CHOSEN, NEAR[:end])
        if len(words(NEAR[:end])) < 3:
            assert (found.zone, found.place, found.notes) == (None, None, ())
        assert found.zone != "cartoon", NEAR[:end]


def test_the_start_of_the_chosen_answer_is_no_verdict_yet() -> None:
    found = read_pair(PROMPT, CHOSEN, CHOSEN[:60])
    assert found.zone is None
    assert found.sentence.startswith("Go on")


@given(st.text(), st.text(), st.text())
def test_no_text_raises(prompt: str, chosen: str, rejected: str) -> None:
    found = read_pair(prompt, chosen, rejected)
    assert found.sentence and (found.place is None or 0 <= found.place <= 1)
    assert (found.zone is None) == (found.place is None)


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 10**6, "!" * 10**6, "ab " * 300_000, "1,234 " * 200_000, '"' * 10**6, "`" * 10**6),
        *("Aa Bb " * 200_000, "\n" * 10**6, "公寓" * 400_000, "sorry " * 100_000, "\ud800 a b c"),
    ],
    ids=lambda text: ascii(text[:6]),
)
def test_a_megabyte_is_read_in_no_time(text: str) -> None:
    start = time.perf_counter()
    for texts in ((PROMPT, CHOSEN, text), (PROMPT, text, CHOSEN), (text, CHOSEN, NEAR)):
        read_pair(*texts)
    assert time.perf_counter() - start < 1.0


def test_a_pair_is_read_within_20_ms() -> None:
    taken = []
    for number in range(9):
        start = time.perf_counter()
        read_pair(PROMPT, CHOSEN, f"{NEAR} {number}")
        taken.append(time.perf_counter() - start)
    assert sorted(taken)[4] < 0.02


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from palate.study.live import Reader; import palate.study.plausible;"
        "Reader().read('Say it', 'one two three four', 'five six seven eight');"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# ---- the scale


def test_the_scale_has_its_anchors() -> None:
    found = [position(at) for at in (0, HAIRLINE, 0.5, STRANGERS, 1)]
    assert found == pytest.approx([1, 0.75, 0.5, 0.3, 0.25])
    assert position(0.5, (Sign("", "", CARTOON),)) == pytest.approx(EDGE)
    assert position(0.0, (Sign("", "", 1.0),)) == 0


@given(st.lists(st.floats(0, 1), min_size=2), st.floats(0, 1))
def test_the_scale_falls_with_distance_and_with_signs(values: list[float], fixed: float) -> None:
    low, high = min(values), max(values)
    sign = (Sign("", "", fixed),)
    assert position(low, sign) >= position(high, sign)
    assert position(fixed, (Sign("", "", low),)) >= position(fixed, (Sign("", "", high),))


def test_every_changed_word_moves_a_pair_down_the_scale() -> None:
    plain = CHOSEN.split()
    found = []
    for count in range(1, len(plain) - 4):
        text = " ".join([*(f"other{n}" for n in range(count)), *plain[count:]])
        found.append(position(apart(CHOSEN, text)))
    assert all(a > b for a, b in pairwise(found))


@given(*[st.lists(st.sampled_from("abcd"), min_size=1, max_size=8)] * 2)
def test_differing_words_against_a_naive_count(left: list[str], right: list[str]) -> None:
    naive = [[max(i, j) for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i, a in enumerate(left, start=1):
        for j, b in enumerate(right, start=1):
            change = naive[i - 1][j - 1] + (a != b)
            naive[i][j] = min(change, naive[i - 1][j] + 1, naive[i][j - 1] + 1)
    changed, where = differences(" ".join(left), " ".join(right))
    assert changed == naive[-1][-1]
    assert (where > 0) == (changed > 0) and where <= changed


def test_places_are_counted_apart() -> None:
    plain = "one two three four five six seven eight nine ten"
    assert differences(plain, plain.replace("two", "2")) == (1, 1)
    assert differences(plain, plain.replace("two", "2").replace("four", "4")) == (2, 1)
    assert differences(plain, plain.replace("two", "2").replace("nine", "9")) == (2, 2)


# ---- for the page


class Says:
    """A model that says what it is told to."""

    def __init__(self, view: PlausibleReading | None) -> None:
        self.view, self.asked = view, 0

    def look(self, prompt: str, chosen: str, rejected: str) -> PlausibleReading | None:
        self.asked += 1
        return self.view


def test_the_reply_of_the_page() -> None:
    plain = Reader().read(PROMPT, CHOSEN, NEAR)
    assert set(plain) == {"sentence", "notes", "place", "plausible"}
    assert plain["plausible"] is None
    assert plain["notes"][0].keys() == {"name", "says", "level"}
    model = Says(PlausibleReading("Plausible.", 0.38))
    found = Reader(model).read(PROMPT, CHOSEN, NEAR)
    assert found == plain | {
        "plausible": {"says": "Plausible.", "percentile": 0.38, "again": False}
    }
    assert model.asked == 1


def test_a_model_is_not_asked_about_half_a_pair() -> None:
    model = Says(PlausibleReading("Plausible.", 0.38))
    assert Reader(model).read(PROMPT, CHOSEN, "So")["plausible"] is None
    assert model.asked == 0


def test_an_overtaken_question_has_no_view() -> None:
    assert Reader(Says(None)).read(PROMPT, CHOSEN, NEAR)["plausible"] is None


def test_a_model_may_call_a_near_miss_a_cartoon() -> None:
    found = read_pair(PROMPT, CHOSEN, NEAR)
    moved = joined(found, PlausibleReading("Never.", 0.001, cartoon=True))
    assert moved.zone == "cartoon" and moved.place is not None and moved.place <= EDGE
    assert moved.notes == found.notes
    assert joined(found, PlausibleReading("Fine.", 0.3)) == found


def test_words_are_not_kept_for_every_keystroke() -> None:
    reader = Reader()
    for number in range(3000):
        words(f"a text of its own {number}")
    for number in range(3000):
        words(f"another text {number}")
    reader.read(PROMPT, CHOSEN, NEAR)
    assert words.cache_info().currsize < 100
