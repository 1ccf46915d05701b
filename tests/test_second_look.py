"""What is looked at twice: planted contradictions, circles, flipped labels; and what the export
makes of the second look."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from palate.data.judged import Answer, Judgement, Mode, Said, Showing, Verdict
from palate.judge.departures import pairs
from palate.judge.second_look import AGAINST_FILE, BOTH, CIRCLE, OF_FILES, Look, looks
from palate.judge.store import Store


class Judging:
    """A store, and verdicts by the texts of the better and the worse answer."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = itertools.count()
        store.add_judge("me", "person")
        store.add_judge("import", "file")

    def answer(self, prompt: str, text: str) -> Answer:
        return self.store.add_answer(self.store.add_prompt(prompt).id, text, "sample")

    def say(
        self,
        prompt: str,
        better: str,
        worse: str,
        verdict: Verdict = "left",
        *,
        judge: str = "me",
        mode: Mode = "pair",
        again: str | None = None,
        strength: int = 1,
        ms: int = 4000,
    ) -> Judgement:
        sides = self.answer(prompt, better), self.answer(prompt, worse)
        showing = Showing(judge, mode, "given", again)
        shown = self.store.present(sides[0].id, sides[1].id, showing)
        return self.store.judge(
            f"j{next(self.number)}", shown.id, Said(verdict, strength=strength, ms=ms)
        )

    def look(self, look: Look, mode: Mode, better: str) -> Judgement:
        """Take the second look, and prefer the answer with this text."""
        shown = self.store.present(look.one, look.other, Showing("me", mode, "given", look.again))
        verdict: Verdict = "left" if shown.left.text == better else "right"
        return self.store.judge(f"j{next(self.number)}", shown.id, Said(verdict, ms=4000))

    def texts(self, mode: Mode) -> list[set[str]]:
        found = looks(self.store, "me", mode)
        return [{self.store.answer(id).text for id in (look.one, look.other)} for look in found]

    def rows(self) -> list[tuple[str, str]]:
        return [(row["chosen"], row["rejected"]) for row in pairs(self.store, split=None)]


@pytest.fixture
def judging(tmp_path: Path) -> Iterator[Judging]:
    ticks = itertools.count(1_000_000)
    with Store.open(tmp_path / "taste.db", clock=lambda: float(next(ticks))) as store:
        yield Judging(store)


# ---- resolve


def test_nothing_to_resolve_where_verdicts_agree(judging: Judging) -> None:
    first = judging.say("p", "a", "b")
    judging.say("p", "a", "b", again=first.of.id)
    judging.say("p", "b", "c")
    judging.say("p", "a", "c")
    judging.say("q", "a", "b", "tie")
    assert judging.texts("resolve") == []


def test_a_reask_that_disagreed_is_resolved_and_the_result_is_exported(judging: Judging) -> None:
    first = judging.say("p", "a", "b")
    judging.say("p", "b", "a", again=first.of.id)
    judging.say("q", "c", "d")
    (look,) = looks(judging.store, "me", "resolve")
    assert (look.again, look.note) == (first.of.id, BOTH)
    assert judging.rows() == [("a", "b"), ("c", "d")]
    judging.look(look, "resolve", "b")
    assert set(judging.rows()) == {("b", "a"), ("c", "d")}
    assert judging.texts("resolve") == [], "asked once"


def test_a_verdict_against_the_file_and_a_file_against_itself(judging: Judging) -> None:
    judging.say("p", "a", "b", judge="import", mode="import")
    judging.say("p", "b", "a")
    judging.say("q", "c", "d", judge="import", mode="import")
    judging.say("q", "d", "c", judge="import", mode="import")
    found = {look.note: look for look in looks(judging.store, "me", "resolve")}
    assert set(found) == {AGAINST_FILE, OF_FILES}
    judging.look(found[OF_FILES], "resolve", "d")
    judging.look(found[AGAINST_FILE], "resolve", "a")
    assert set(judging.rows()) == {("a", "b"), ("d", "c")}
    assert looks(judging.store, "me", "resolve") == []


def test_other_persons_and_programs_are_left_alone(judging: Judging) -> None:
    judging.store.add_judge("you", "person")
    judging.store.add_judge("demo", "program")
    judging.say("p", "a", "b")
    judging.say("p", "b", "a", judge="you")
    judging.say("p", "b", "a", judge="demo")
    assert looks(judging.store, "me", "resolve") == []


def test_a_circle_is_asked_at_its_weakest_verdict_until_it_is_none(judging: Judging) -> None:
    judging.say("p", "a", "b", strength=2)
    judging.say("p", "b", "c", ms=900)
    judging.say("p", "c", "a", strength=2)
    judging.say("p", "c", "z")
    assert judging.texts("resolve") == [{"b", "c"}]
    (look,) = looks(judging.store, "me", "resolve")
    assert look.note == CIRCLE
    judging.look(look, "resolve", "b")
    assert judging.texts("resolve") == [{"a", "b"}], "confirmed, so the next one is asked"
    (look,) = looks(judging.store, "me", "resolve")
    judging.look(look, "resolve", "b")
    assert judging.texts("resolve") == []
    assert {("b", "a"), ("b", "c"), ("c", "a"), ("c", "z")} == set(judging.rows())


def test_a_verdict_that_was_rechecked_is_no_contradiction(judging: Judging) -> None:
    first = judging.say("p", "a", "b")
    judging.say("p", "b", "a", again=first.of.id)
    judging.say("p", "b", "a", mode="recheck", again=first.of.id)
    assert looks(judging.store, "me", "resolve") == []
    assert judging.rows() == [("b", "a")]


def test_circles_against_a_naive_search(judging: Judging) -> None:
    draw = random.Random(3)
    expected = set()
    for number in range(12):
        beats = {}
        for one, other in itertools.combinations("abcd", 2):
            if draw.random() < 0.7:
                better, worse = draw.sample([one, other], 2)
                beats[better, worse] = True
                judging.say(f"prompt {number}", better, worse)
        for size in (3, 4):
            for walk in itertools.permutations("abcd", size):
                if all(step in beats for step in itertools.pairwise((*walk, walk[0]))):
                    expected.add(f"prompt {number}")
    assert expected and len(expected) < 12
    found = looks(judging.store, "me", "resolve")
    asked = {judging.store.presentation(look.again or "").prompt.text for look in found}
    assert asked == expected
    assert len(found) == len(expected), "one verdict of each circle at a time"


# ---- recheck


def learnable(judging: Judging, count: int, flipped: set[int]) -> None:
    """Pairs in which the plain answer wins over the boastful one, but for a few labels."""
    draw = random.Random(0)
    places = ("park", "tram", "lake", "river", "school", "market", "bakery", "square", "bridge")
    for number in range(count):
        place = draw.choice(places)
        plain = f"Two rooms near the {place}, with {number % 7 + 2} windows and a lift."
        boast = f"A stunning dream home near the {place}, truly unique and luxurious!"
        better, worse = (boast, plain) if number in flipped else (plain, boast)
        judging.say(f"Describe flat {number} near the {place}.", better, worse)


def test_flipped_labels_are_looked_at_again_and_mended(judging: Judging) -> None:
    flipped = {11, 47, 83}
    learnable(judging, 130, flipped)
    found = looks(judging.store, "me", "recheck")
    assert found, "a list worth reading"
    numbers = [
        int(judging.store.presentation(look.again or "").prompt.text.split()[2]) for look in found
    ]
    train = {n for n in flipped if prompt_of(judging, n).split == "train"}
    assert train and set(numbers[: len(train)]) == train, "surest first"
    assert len(found) <= 0.05 * 130 + 1
    before = {row["prompt"]: row["chosen"] for row in pairs(judging.store)}
    for look in found[: len(train)]:
        plain = next(
            judging.store.answer(id).text
            for id in (look.one, look.other)
            if "stunning" not in judging.store.answer(id).text
        )
        judging.look(look, "recheck", plain)
    after = {row["prompt"]: row["chosen"] for row in pairs(judging.store)}
    assert before.keys() == after.keys()
    changed = {prompt for prompt in before if before[prompt] != after[prompt]}
    assert changed == {prompt_of(judging, n).text for n in train}
    seen = {look.again for look in found[: len(train)]}
    assert not seen & {look.again for look in looks(judging.store, "me", "recheck")}


def prompt_of(judging: Judging, number: int):  # type: ignore[no-untyped-def]
    return next(p for p in judging.store.prompts() if p.text.startswith(f"Describe flat {number} "))


def test_nothing_tells_the_label_that_is_rechecked(judging: Judging) -> None:
    learnable(judging, 130, {5, 11, 23, 47, 61, 83, 97, 111})
    found = looks(judging.store, "me", "recheck")
    assert len({look.note for look in found}) == 1
    lefts = 0
    for look in found:
        first = judging.store.presentation(look.again or "")
        lefts += look.one == first.left.id
    assert 0 < lefts < len(found), "sides are neither kept nor always swapped"


def test_few_pairs_and_sound_labels_give_no_list(judging: Judging) -> None:
    learnable(judging, 30, {3})
    assert looks(judging.store, "me", "recheck") == []


# ---- audit


def test_an_audit_holds_the_chosen_against_a_sample_that_took_no_part(judging: Judging) -> None:
    for number in range(8):
        judging.say(f"p{number}", f"good {number}", f"bad {number}")
        judging.answer(f"p{number}", f"fresh {number}")
    judging.say("other", "x", "y")
    found = looks(judging.store, "me", "audit")
    train = [p.text for p in judging.store.prompts("train") if p.text.startswith("p")]
    assert train
    assert sorted(map(sorted, judging.texts("audit"))) == sorted(
        [f"fresh {text[1:]}", f"good {text[1:]}"] for text in train
    )
    assert {judging.store.answer(look.one).text[:4] for look in found} <= {"good", "fres"}
    judging.look(found[0], "audit", chosen_of(judging, found[0]))
    if len(found) > 1:
        judging.look(found[1], "audit", fresh_of(judging, found[1]))
    rows = pairs(judging.store, split=None)
    audits = [row["audit"] for row in rows if "audit" in row]
    assert sorted(audits) == ["chosen", "sample"][: len(found)]
    assert len(rows) == 9, "an audit is no pair"
    assert len(looks(judging.store, "me", "audit")) == len(found) - len(audits)


def chosen_of(judging: Judging, look: Look) -> str:
    return next(t for t in texts_of(judging, look) if t.startswith("good"))


def fresh_of(judging: Judging, look: Look) -> str:
    return next(t for t in texts_of(judging, look) if t.startswith("fresh"))


def texts_of(judging: Judging, look: Look) -> list[str]:
    return [judging.store.answer(id).text for id in (look.one, look.other)]


def test_a_chosen_answer_is_audited_once_and_a_sample_used_once(judging: Judging) -> None:
    for number in range(6):
        for worse in ("b", "c", "d"):
            judging.say(f"p{number}", "a", worse)
        judging.answer(f"p{number}", "fresh one")
        judging.answer(f"p{number}", "fresh two")
    found = looks(judging.store, "me", "audit")
    assert len(found) == len(judging.store.prompts("train"))
    assert all("a" in texts for texts in judging.texts("audit"))


def test_what_anybody_else_judged_is_not_fresh(judging: Judging) -> None:
    for number in range(6):
        judging.say(f"p{number}", "a", "b")
        judging.say(f"p{number}", "c", "d", judge="import", mode="import")
    assert looks(judging.store, "me", "audit") == []


# ---- edit


PROMPT = "Describe this flat. Facts: 2 bath; lift; fees $310 a month."


def test_both_bad_comes_first_then_the_weak_chosen_answers(judging: Judging) -> None:
    sound = ("Two baths, a lift, and fees of $310 a month.", "Two baths, a lift, and modest fees.")
    weak = ("Two baths, a lift, and fees of $450 a month.", "Two baths, a lift, and modest fees.")
    judging.say(f"{PROMPT} One.", *sound)
    judging.say(f"{PROMPT} Two.", *weak)
    judging.say(f"{PROMPT} Three.", *sound, "both_bad")
    judging.say(f"{PROMPT} Four.", *sound, "tie")
    found = looks(judging.store, "me", "edit")
    prompts = [judging.store.presentation(look.again or "").prompt.text[-4:] for look in found]
    assert prompts == ["ree.", "Two."]
    assert found[0].why == "both bad"
    assert "$" in PROMPT and "450" in found[1].note and found[1].note.startswith("You chose")


def test_what_was_edited_is_left_alone(judging: Judging) -> None:
    bad = judging.say("p", "a", "b", "both_bad")
    assert len(looks(judging.store, "me", "edit")) == 1
    judging.store.add_answer(bad.of.prompt.id, "better", "edit", parent=bad.of.left.id)
    assert looks(judging.store, "me", "edit") == []


# ---- all modes


def test_lists_are_the_same_every_time_and_hold_nothing_twice(judging: Judging) -> None:
    learnable(judging, 80, {1, 2, 3, 4})
    first = judging.say("p", "a", "b")
    judging.say("p", "b", "a", again=first.of.id)
    for number in range(80):
        prompt = prompt_of(judging, number).text
        judging.answer(prompt, f"A fresh one, number {number}.")
    modes: tuple[Mode, ...] = ("audit", "resolve", "recheck", "edit")
    for mode in modes:
        found = looks(judging.store, "me", mode)
        assert found == looks(judging.store, "me", mode)
        couples = [frozenset((look.one, look.other)) for look in found]
        assert len(set(couples)) == len(couples)
        assert all(look.one != look.other and look.why for look in found)
    assert looks(judging.store, "me", "pair") == looks(judging.store, "me", "write") == []


def test_what_was_shown_and_not_judged_is_not_offered_again(judging: Judging) -> None:
    first = judging.say("p", "a", "b")
    judging.say("p", "b", "a", again=first.of.id)
    (look,) = looks(judging.store, "me", "resolve")
    judging.store.present(look.one, look.other, Showing("me", "resolve", "given", look.again))
    assert looks(judging.store, "me", "resolve") == []


def test_an_empty_store_has_nothing(judging: Judging) -> None:
    modes: tuple[Mode, ...] = ("audit", "resolve", "recheck", "edit")
    assert [looks(judging.store, "me", mode) for mode in modes] == [[]] * 4
    assert looks(judging.store, "nobody", "audit") == []
