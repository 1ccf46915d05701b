"""The end card's figures against counting by hand, closed forms and simulation."""

import math
import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from judged_cases import Book
from palate.data.judged import JudgeKind, Mode, Presentation, Said, Showing, Verdict
from palate.judge import departures
from palate.judge.store import Store
from palate.stats import Interval
from palate.study import orders
from palate.study.checks.words import listed
from palate.study.tally import (
    as_json,
    by_tag,
    detectable,
    needed,
    reasks,
    sentences,
    settled,
    share99,
    tally,
)

# ---- counting


def test_nothing_is_nothing() -> None:
    found = tally([])
    assert (found.judgements, found.pairs, found.minutes, found.left) == (0, 0, 0.0, None)
    assert sentences(found) == ["Nothing is judged yet."]
    assert as_json(found)["agreement"] is None


def test_every_kind_of_verdict_is_counted_once() -> None:
    book = Book().fill(3).fill(2, "right", split="heldout")
    book.fill(4, "tie").fill(1, "both_bad").fill(2, "skip").fill(1, ms=900)
    found = tally(book.said)
    assert (found.judgements, found.pairs, found.heldout) == (11, 6, 2)
    assert (found.ties, found.both_bad, found.skipped, found.fast) == (4, 1, 2, 1)


def test_a_verdict_counts_for_two_minutes_at_most() -> None:
    book = Book().fill(2, ms=30_000).fill(1, ms=3_600_000).fill(1, ms=0)
    assert tally(book.said).minutes == pytest.approx(0.5 + 0.5 + 2)
    assert "two minutes at most" in sentences(tally(book.said))[0]


def test_reasks_are_no_pairs_and_a_second_look_replaces() -> None:
    book = Book().fill(3)
    book.reask(book.said[0], "left")
    looked = book.reask(book.said[1], "left", mode="resolve")
    book.reask(book.said[2], "tie", mode="recheck")
    kept = settled(book.said)
    assert [each.id for each in kept if each.chosen] == [book.said[0].id, looked.id]
    assert tally(book.said).pairs == 2


def test_of_two_verdicts_the_last_counts_but_those_of_a_file_stand() -> None:
    book = Book()
    for mode in ("pair", "import"):
        for verdict in ("left", "right"):
            book.add(mode, "a", "b", verdict, mode=mode)
    assert [each.id for each in settled(book.said)] == ["j1", "j2", "j3"]


MODES: tuple[Mode, ...] = ("pair", "rank", "audit", "resolve", "recheck")
VERDICTS: tuple[Verdict, ...] = ("left", "right", "tie", "both_bad", "skip")


@pytest.mark.parametrize("seed", range(12))
def test_the_pairs_counted_are_those_that_are_exported(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    with Store.open(tmp_path / "taste.db") as store:
        kind: JudgeKind = "file" if seed % 3 == 0 else "person"
        store.add_judge("me", kind)
        prompts = [store.add_prompt(f"prompt {n}").id for n in range(6)]
        answers = [[store.add_answer(p, t, "sample").id for t in "abc"] for p in prompts]
        shown: list[Presentation] = []
        for number in range(40):
            one, other = draw.sample(draw.choice(answers), 2)
            mode: Mode = "import" if kind == "file" and draw.random() < 0.8 else draw.choice(MODES)
            again = None
            if shown and (mode in ("resolve", "recheck") or draw.random() < 0.2):
                first = draw.choice(shown)
                one, other, again = first.right.id, first.left.id, first.id
            shown.append(store.present(one, other, Showing("me", mode, "random", again)))
            store.judge(f"j{number}", shown[-1].id, Said(draw.choice(VERDICTS)))
        exported = [row["id"] for row in departures.pairs(store, split=None)]
        counted = [each.id for each in settled(store.standing("me")) if each.chosen]
    assert counted == exported and counted


def test_tags_are_counted_without_reasks_the_most_frequent_first() -> None:
    book = Book().fill(2, tags=("shorter",)).fill(3, tags=("grounded", "shorter"))
    book.reask(book.said[0], "right", tags=("shorter", "tone"))
    assert list(by_tag(book.said).items()) == [("shorter", 5), ("grounded", 3)]


# ---- agreement with oneself


def test_agreement_is_on_the_answer_not_on_the_side() -> None:
    book = Book().fill(4)
    book.reask(book.said[0], "right")  # the same answer, now on the right
    book.reask(book.said[1], "left")
    book.reask(book.said[2], "tie")
    book.reask(book.said[3], "skip")
    assert [each.agrees for each in reasks(book.said)] == [True, False, False]
    found = tally(book.said)
    assert found.agreement is not None
    assert (found.agreement.value, found.agreement.count, found.undecided) == (0.5, 2, 1)


def test_a_reask_of_what_was_undone_or_of_another_judge_says_nothing() -> None:
    book = Book().fill(2)
    book.reask(book.said[0], "right")
    assert reasks(book.said[1:]) == []
    other = Book("you")
    other.said = [book.said[0]]
    again = other.reask(book.said[0], "right")
    assert reasks([book.said[0], again]) == []


def test_ceiling_and_noise_follow_from_agreement() -> None:
    """taste.md, D18: agreement .80 implies .887, so .113 of the labels are wrong."""
    book = Book().fill(40)
    for place, first in enumerate(list(book.said)):
        book.reask(first, "right" if place < 32 else "left")
    found = tally(book.said)
    assert found.agreement and found.ceiling and found.noise
    assert found.agreement.value == 0.8
    assert found.ceiling.value == pytest.approx(0.887, abs=5e-4)
    assert found.noise.value == pytest.approx(1 - found.ceiling.value)
    assert found.noise.low < found.noise.value < found.noise.high
    assert any("--label-smoothing 0.11" in each for each in sentences(found))


def test_too_few_reasks_give_no_ceiling() -> None:
    book = Book().fill(19)
    for first in list(book.said):
        book.reask(first, "right")
    found = tally(book.said)
    assert found.agreement is not None
    assert found.ceiling is None and found.noise is None
    assert any("from 20 on" in each for each in sentences(found))


def test_agreement_no_better_than_a_coin_suggests_no_smoothing() -> None:
    book = Book().fill(40)
    for place, first in enumerate(list(book.said)):
        book.reask(first, "right" if place % 2 else "left")
    assert any("no better than a coin" in each for each in sentences(tally(book.said)))


@pytest.mark.parametrize("right", [0.7, 0.85, 0.95])
def test_the_ceiling_recovers_the_accuracy_of_a_simulated_judge(right: float) -> None:
    draw = random.Random(7)
    book = Book().fill(0)
    for number in range(3000):
        truth = draw.random() < right
        first = book.add(f"q{number}", "a", "b", "left" if truth else "right")
        book.reask(first, "right" if draw.random() < right else "left")
    found = tally(book.said)
    assert found.ceiling and found.ceiling.low - 0.02 <= right <= found.ceiling.high + 0.02


# ---- sides


def test_a_side_that_wins_by_itself_is_named() -> None:
    leaning = tally(Book().fill(70).fill(30, "right").said)
    assert leaning.leaning == "left"
    assert any("the left side of the screen wins" in each for each in sentences(leaning))
    assert tally(Book().fill(55).fill(45, "right").said).leaning is None
    assert tally(Book().fill(30).fill(70, "right").said).leaning == "right"


def test_only_sides_that_somebody_saw_are_counted() -> None:
    book = Book().fill(30, mode="write").fill(9, mode="edit").fill(9, mode="import")
    assert tally(book.said).left is None
    assert tally(book.fill(2, "right").fill(5, "tie").said).left == share99(0, 2)


@pytest.mark.parametrize(("hits", "count"), [(0, 4), (3, 10), (60, 100), (7, 7)])
def test_the_99_percent_interval_solves_wilsons_equation(hits: int, count: int) -> None:
    z, found = 2.5758293035489, share99(hits, count)
    for edge in (found.low, found.high):
        if 1e-9 < edge < 1 - 1e-9:
            away = abs(hits / count - edge) / math.sqrt(edge * (1 - edge) / count)
            assert away == pytest.approx(z, rel=1e-6)


# ---- enough for what


def test_needed_is_what_the_design_says() -> None:
    """taste.md 3.2: 80% power against 50%."""
    assert [needed(rate) for rate in (0.55, 0.60, 0.65, 0.70)] == [783, 194, 85, 47]


@pytest.mark.parametrize("rate", [0.60, 0.70])
def test_needed_gives_the_power_by_simulation(rate: float) -> None:
    count = needed(rate)
    wins = np.random.default_rng(3).binomial(count, rate, 40_000)
    z = (wins - count / 2) / math.sqrt(count / 4)
    assert (abs(z) > 1.959964).mean() == pytest.approx(0.80, abs=0.025)


def test_needed_refuses_what_is_no_win_rate() -> None:
    for rate in (0.5, 1.0, 0.2):
        with pytest.raises(ValueError, match="one half"):
            needed(rate)


@pytest.mark.parametrize("count", [20, 47, 100, 194, 783, 5000])
def test_detectable_is_the_least_that_is_needed(count: int) -> None:
    least = detectable(count)
    assert least is not None and needed(least) <= count
    assert least <= 0.51 or needed(least - 0.01) > count


def test_words_about_what_is_enough() -> None:
    def last(heldout: int) -> str:
        return sentences(tally(Book().fill(5).fill(heldout, split="heldout").said))[-1]

    assert "None of the pairs is held out" in last(0)
    assert "needs 194, 144 more" in last(50)
    assert "nothing yet" in last(6)
    assert "enough for a 10-point win" in last(194)


# ---- for the page


def test_json_holds_plain_values_with_intervals_inside_zero_and_one() -> None:
    book = Book().fill(25)
    for first in list(book.said):
        book.reask(first, "right")
    told = as_json(tally(book.said))
    assert told["agreement"]["value"] == 1 and told["agreement"]["n"] == 25
    assert {"gain": 10, "pairs": 194} in told["needed"]
    for name in ("agreement", "left", "ceiling", "noise"):
        assert 0 <= told[name]["low"] <= told[name]["value"] <= told[name]["high"] <= 1


def test_lists_are_read_aloud() -> None:
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


# ---- both orders

OUTCOMES: tuple[Verdict, ...] = ("left", "right", "tie")
WINNER = {"left": ("A", "B"), "right": ("B", "A"), "tie": ("", "")}


def test_consistent_means_the_same_answer_wins_in_both_orders() -> None:
    """All nine cases against the definition: A stands left first, and right when swapped."""
    for one, swapped in product(OUTCOMES, repeat=2):
        verdict, why = orders.verdict_of(one, swapped)
        same = WINNER[one][0] == WINNER[swapped][1]
        assert (verdict == one and not why) if same else (verdict == "tie" and why)


def both(book: Book, one: Verdict, swapped: Verdict) -> None:
    """As a judge that is asked twice is written down."""
    verdict, why = orders.verdict_of(one, swapped)
    first = book.add(f"q{len(book.said)}", "a", "b", verdict, reason=f"{why} because")
    book.reask(first, swapped)


def test_what_was_said_in_each_order_is_found_again() -> None:
    book = Book("model")
    for one, swapped in product(OUTCOMES, repeat=2):
        both(book, one, swapped)
    pairs = list(zip(book.said[::2], book.said[1::2]))
    assert [orders.said(*each) for each in pairs] == list(product(OUTCOMES, repeat=2))
    found = orders.both_orders(book.said)
    assert found is not None
    assert (found.count, found.consistent.value) == (9, 3 / 9)
    assert (found.first.value, found.second.value) == (1 / 9, 1 / 9)
    assert not found.trusted


def test_a_tie_made_by_the_orders_counts_as_a_disagreement_in_the_tally() -> None:
    book = Book("model")
    both(book, "left", "left")
    both(book, "left", "right")
    assert [each.agrees for each in reasks(book.said)] == [False, True]
    assert tally(book.said).agreement == Interval(0.5, *_edges(1, 2), 2)


def _edges(hits: int, count: int) -> tuple[float, float]:
    from palate.stats import share

    found = share(hits, count)
    return found.low, found.high


def test_nothing_asked_twice_has_no_orders() -> None:
    assert orders.both_orders(Book().fill(3).said) is None
