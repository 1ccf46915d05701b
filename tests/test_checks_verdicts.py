"""Audits, re-asks, label smoothing and the dynamics of a run, against figures worked by hand."""

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from palate.stats import share
from palate.study.checks import agreement, audit, dynamics, reasks, smoothing
from palate.study.checks.base import Case, Finding, PairText
from palate.study.history import PairHistory, RunHistory


def pair(line: int, *, turned: bool = False, about: int | None = None, **extra: Any) -> PairText:
    """A judged pair; `about` names the line whose answers it has."""
    number = line if about is None else about
    sides = [f"fine {number}", f"better {number}"]
    chosen, rejected = sides if turned else sides[::-1]
    return PairText(line, f"prompt {number}", chosen, rejected, extra=extra)


def asked(count: int, agreeing: int) -> list[PairText]:
    """`count` judgements with ids, then the same again, the first `agreeing` of them alike."""
    first = [pair(line, id=f"j{line}") for line in range(1, count + 1)]
    return first + [
        pair(count + line, about=line, turned=line > agreeing, again=f"j{line}", id=f"k{line}")
        for line in range(1, count + 1)
    ]


def findings(check: Any, pairs: list[PairText], history: RunHistory | None = None) -> list[Finding]:
    return list(check.CHECK.run(Case("pairs.jsonl", pairs, history=history)))


def one(check: Any, pairs: list[PairText]) -> Finding:
    (found,) = findings(check, pairs)
    return found


NEITHER = [pair(line) for line in range(1, 30)]


@pytest.mark.parametrize("check", [audit, agreement, smoothing, dynamics])
def test_nothing_is_said_where_nothing_was_recorded(check: Any) -> None:
    assert findings(check, NEITHER) == []
    assert findings(check, []) == []


# -- audits


def test_an_audit_warns_from_a_fifth_on() -> None:
    verdicts = ["sample"] * 9 + ["tie"] * 3 + ["chosen"] * 18
    found = one(audit, [pair(n + 1, audit=v) for n, v in enumerate(verdicts)])
    assert found.severity == "warning"
    assert found.message.startswith("In 9 of 30 audits (30% [17%, 48%])")
    assert found.rows == tuple(range(1, 10))
    assert found.value == 0.3
    below = ["sample"] * 5 + ["chosen"] * 25
    assert one(audit, [pair(n + 1, audit=v) for n, v in enumerate(below)]).severity == "ok"


def test_few_or_unknown_audits_are_too_few() -> None:
    few = [pair(n, audit="chosen") for n in range(19)]
    assert one(audit, few).severity == "too few"
    assert findings(audit, [pair(n, audit="?") for n in range(30)]) == []
    assert findings(audit, [pair(n, audit=["chosen"]) for n in range(30)]) == []


# -- re-asks


def test_reasks_are_matched_by_id_and_text() -> None:
    pairs = [
        pair(1, id="a"),
        pair(2, about=1, again="a"),
        pair(3, about=1, turned=True, again="a"),
        pair(4, about=1, again="nobody"),
        pair(5, again="a"),
        pair(6, id="self", again="self"),
        pair(7, id=8),
        pair(8, about=7, again="8"),
    ]
    found = reasks.reasks(pairs)
    assert [(each.line, each.first, each.agrees) for each in found] == [
        (2, 1, True),
        (3, 1, False),
        (8, 7, True),
    ]


@pytest.mark.parametrize(
    ("agreement_", "right"), [(0.726, 0.836), (0.75, 0.854), (0.80, 0.887), (0.90, 0.947)]
)
def test_ceiling_of_the_research(agreement_: float, right: float) -> None:
    found = reasks.ceiling(agreement_)
    assert found == pytest.approx(right, abs=5e-4)
    assert found**2 + (1 - found) ** 2 == pytest.approx(agreement_)
    assert reasks.ceiling(0.4) == 0.5
    assert reasks.ceiling(1.0) == 1.0


def test_agreement_in_words() -> None:
    found = one(agreement, asked(40, 31))
    assert found.severity == "warning"
    assert found.message == (
        "You agreed with yourself on 31 of 40 re-asks (78% [62%, 88%], kappa 0.55). "
        "The best any model can score on your held-out pairs is about 87%."
    )
    assert found.rows[:4] == (72, 32, 73, 33)


@pytest.mark.parametrize(
    ("agreeing", "severity"),
    [(40, "ok"), (32, "ok"), (31, "warning"), (26, "warning"), (25, "error")],
)
def test_agreement_limits(agreeing: int, severity: str) -> None:
    assert one(agreement, asked(40, agreeing)).severity == severity


def test_few_reasks_are_too_few() -> None:
    assert one(agreement, asked(19, 19)).severity == "too few"
    assert one(smoothing, asked(19, 19)).severity == "too few"


def test_a_side_of_the_screen_warns_by_its_99_percent_interval() -> None:
    for lefts, severity in ((62, "ok"), (63, "warning"), (37, "warning"), (38, "ok")):
        pairs = [pair(n, shown="left" if n <= lefts else "right") for n in range(1, 101)]
        found = one(agreement, pairs)
        low, high = binomtest(lefts, 100).proportion_ci(0.99, "wilson")
        assert found.severity == severity == ("ok" if low <= 0.5 <= high else "warning")
        assert (found.interval is not None) and found.interval.low == pytest.approx(low)
    assert len(found.rows) == 0


def test_haste_is_shown() -> None:
    pairs = [pair(n, seconds=1.0 if n <= 10 else 9.0) for n in range(1, 51)]
    found = one(agreement, pairs)
    assert found.severity == "info"
    assert found.message.startswith("20% of judgements took less than 2 seconds (median 9.0 s)")
    assert found.rows == tuple(range(1, 11))
    odd = [pair(n, seconds=value) for n, value in enumerate(["1", None, True, float("nan")] * 9)]
    assert findings(agreement, odd) == []


def test_agreement_says_one_line_if_all_is_well() -> None:
    pairs = [
        PairText(each.line, each.prompt, each.chosen, each.rejected,
                 extra={**each.extra, "shown": "left" if each.line % 2 else "right", "seconds": 8})
        for each in asked(40, 38)
    ]  # fmt: skip
    found = one(agreement, pairs)
    assert (found.severity, found.key) == ("ok", "re-asks")


# -- smoothing


def test_smoothing_suggests_one_minus_p_with_its_interval() -> None:
    found = one(smoothing, asked(40, 32))
    assert found.severity == "info"
    assert found.value == pytest.approx(1 - 0.887, abs=5e-4)
    assert found.todo.startswith("palate dpo --label-smoothing 0.11")
    rate = share(32, 40)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(1 - (1 + (2 * rate.high - 1) ** 0.5) / 2)
    assert found.interval.high == pytest.approx(1 - (1 + (2 * rate.low - 1) ** 0.5) / 2)
    assert "more than about 89%" in found.message


def test_smoothing_of_a_coin_suggests_none() -> None:
    found = one(smoothing, asked(40, 18))
    assert found.value == 0.5
    assert "no better than a coin" in found.message
    assert "--label-smoothing" not in found.todo


# -- dynamics


def row(
    line: int, margins: tuple[float, ...], weight: float, tag: str | None = None
) -> PairHistory:
    steps = tuple(range(1, len(margins) + 1))
    return PairHistory(
        line, "pairs.jsonl", f"g{line}", tag, (5, 5), steps, margins, (weight,) * len(margins)
    )


def run_of(rows: list[PairHistory]) -> RunHistory:
    return RunHistory(Path("runs/dpo"), {}, 3, tuple(rows))


def test_an_even_run_says_one_line() -> None:
    rows = [row(n, (0.0, 0.5, 1.0), 0.125) for n in range(1, 41)]
    found = findings(dynamics, [], run_of(rows))
    assert [each.severity for each in found] == ["ok"]
    assert found[0].message == (
        "100% of pairs met again moved the right way, 0% never; half of the push came from 50% "
        "of the pairs."
    )


def test_a_heavy_few_are_named_with_their_tag() -> None:
    heavy = [row(n, (0.0, 0.5), 1.0, "hype") for n in range(1, 10)]
    light = [row(n, (0.0, 0.5), 9 * 42 / 58 / 91) for n in range(10, 101)]
    found = findings(dynamics, [], run_of(heavy + light))
    tagged = next(each for each in found if each.key == "tag hype")
    assert tagged.message == ("58% of the gradient came from 9.0% of the pairs, all tagged “hype”.")
    assert tagged.rows == tuple(range(1, 10))
    push = next(each for each in found if each.key == "push")
    assert set(push.rows) <= set(range(1, 10))
    assert "all tagged “hype”" in push.message


def test_tags_of_the_file_stand_in_for_those_of_the_run() -> None:
    rows = [row(n, (0.0, 0.5), 1.0 if n < 5 else 0.05) for n in range(1, 41)]
    pairs = [PairText(n, "p", "a", "b", tag="vague" if n < 5 else "other") for n in range(1, 41)]
    keys = [each.key for each in findings(dynamics, pairs, run_of(rows))]
    assert "tag vague" in keys


def test_never_learnt_and_too_easy_are_shown() -> None:
    never = [row(n, (-1.0, -1.0), 0.1) for n in range(1, 7)]
    easy = [row(n, (0.0, 3.0, 4.0), 0.1) for n in range(7, 41)]
    found = {each.key: each for each in findings(dynamics, [], run_of(never + easy))}
    assert found["never"].value == pytest.approx(6 / 40)
    assert found["never"].rows == tuple(range(1, 7))
    assert found["at once"].value == pytest.approx(34 / 40)
    assert {each.severity for each in found.values()} == {"info"}


def test_nothing_is_claimed_of_pairs_met_once() -> None:
    rows = [row(n, (0.0,), 0.1) for n in range(1, 41)]
    found = findings(dynamics, [], run_of(rows))
    assert [each.severity for each in found] == ["ok"]
    assert "nothing is said of learning" in found[0].message
    few = findings(dynamics, [], run_of(rows[:19]))
    assert [each.severity for each in few] == ["too few"]
