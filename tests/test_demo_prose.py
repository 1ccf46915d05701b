"""Sheets and prose are functions of their seed, and the taste reads back what the prose wrote."""

import itertools
import random
from dataclasses import replace

import pytest

from palate.demo.corpus import documents
from palate.demo.prose import Style, describe, prompt, statement
from palate.demo.sheets import Fact, Sheet, other, sheets
from palate.demo.taste import judge
from palate.demo.topics import ALL, Topic

SHEETS = sheets(400, "tests")


def texts(style: Style) -> list[tuple[Sheet, str]]:
    rng = random.Random(f"{style}")
    return [(sheet, describe(sheet, style, rng)) for sheet in SHEETS]


def test_a_seed_gives_the_same_sheets_and_another_seed_others() -> None:
    assert sheets(50, 7) == sheets(50, 7) == sheets(90, 7)[:50]
    assert not set(sheets(200, 7)) & set(sheets(200, 8))


def test_a_seed_gives_the_same_documents() -> None:
    first, again, others = (list(itertools.islice(documents(seed), 60)) for seed in (3, 3, 4))
    assert first == again and first != others


def test_sheets_rarely_agree_and_hold_each_topic_once() -> None:
    many = sheets(5000, "space")
    assert len({prompt(sheet) for sheet in many}) == len(many)
    for sheet in many[:500]:
        topics = [fact.topic for fact in sheet.facts]
        assert len(topics) == len(set(topics)) and 6 <= len(topics) <= 12


def test_the_prompt_holds_every_fact_and_nothing_else() -> None:
    for sheet in SHEETS:
        verdict = judge(prompt(sheet), sheet)
        assert verdict.stated == set(sheet.facts) and not verdict.wrong and not verdict.repeats


@pytest.mark.parametrize("topic", ALL, ids=lambda topic: topic.name)
def test_every_value_of_a_topic_is_read_back_from_every_form(topic: Topic) -> None:
    rng = random.Random(0)
    for value in topic.options:
        for form in topic.forms:
            for words in (0.0, 1.0):
                said = topic.say(value, form, rng, words=words).lower()
                heard = [found for _, _, found in topic.hear(f"so {said}.")]
                assert heard == [value.lower()], (said, form)


def test_grounded_texts_state_every_fact_and_invent_nothing() -> None:
    for sheet, text in texts(Style()):
        verdict = judge(text, sheet)
        assert verdict.stated == set(sheet.facts), text
        assert verdict.score == len(sheet.facts), text


def test_vague_texts_state_next_to_nothing() -> None:
    for sheet, text in texts(Style(keep=0.0, vague=2)):
        verdict = judge(text, sheet)
        assert {fact.topic for fact in verdict.stated} == {"kind"} and len(verdict.vague) >= 2, text
        assert not verdict.wrong and not verdict.hype, text


def test_hype_texts_are_flagged() -> None:
    for sheet, text in texts(Style(keep=0.0, hype=2)):
        verdict = judge(text, sheet)
        assert len(verdict.hype) >= 2 and not verdict.wrong, text


@pytest.mark.parametrize("count", [1, 2])
def test_wrong_facts_are_flagged(count: int) -> None:
    found = [len(judge(text, sheet).wrong) for sheet, text in texts(Style(wrong=count))]
    assert max(found) == count
    assert sum(found) > 0.95 * count * len(found)  # a second change may undo or hit the first


def test_texts_about_one_sheet_rarely_agree() -> None:
    rng = random.Random(0)
    assert len({describe(SHEETS[0], Style(), rng) for _ in range(300)}) == 300


def test_a_wrong_value_is_another_value_of_the_same_topic() -> None:
    rng = random.Random(0)
    fee = Fact("fee", "310")
    changed = other(fee, rng)
    assert changed is not None and changed.topic == "fee" and changed != fee
    assert other(Fact("bike storage", "bike storage"), rng) is None


def test_an_apartment_has_its_article() -> None:
    rng = random.Random(0)
    sheet = replace(SHEETS[0], kind="apartment")
    assert statement(Fact("kind", "apartment"), rng) == "an apartment"
    for style in (Style(keep=0.0), Style(keep=0.0, vague=1), Style(keep=0.0, hype=1)):
        for _ in range(60):
            assert "a apartment" not in describe(sheet, style, rng).lower()
