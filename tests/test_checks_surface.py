"""Distance, shortcuts, the surface probe, kinds and suspects, each against something naive."""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from palate.study.checks import distance, grams, patterns, probe, same_kind, shortcuts, surface
from palate.study.checks import suspects as labels
from palate.study.checks.base import Case, Finding, Measured, PairText, Samples
from palate.study.checks.words import words

NOUNS = (
    *("lamp", "chair", "table", "window", "carpet"),
    *("mirror", "drawer", "shelf", "kettle", "basket"),
)
VERBS = (
    *("stands", "waits", "shines", "leans", "turns"),
    *("rests", "hangs", "opens", "closes", "glows"),
)
PLACES = (
    *("here", "there", "inside", "outside", "upstairs"),
    *("below", "nearby", "apart", "away", "above"),
)


def sentence(draw: random.Random) -> str:
    return f"the {draw.choice(NOUNS)} {draw.choice(VERBS)} {draw.choice(PLACES)}."


def sound(count: int = 300, seed: int = 0) -> list[PairText]:
    """Pairs in which nothing tells the sides apart."""
    draw = random.Random(seed)

    def text() -> str:
        return " ".join(sentence(draw) for _ in range(4))

    return [PairText(row + 1, f"prompt {row}", text(), text()) for row in range(count)]


def planted(
    pairs: Sequence[PairText], mark: str, rows: range, *, side: str = "chosen"
) -> list[PairText]:
    """The same pairs with a mark in the middle of one side of these rows."""
    found = list(pairs)
    for row in rows:
        text = getattr(found[row], side)
        middle = text.index(" ", len(text) // 2)
        changes: dict[str, Any] = {side: f"{text[:middle]} {mark}{text[middle:]}"}
        found[row] = replace(found[row], **changes)
    return found


def findings(check: Any, pairs: Sequence[PairText], **more: Any) -> list[Finding]:
    return list(check.CHECK.run(Case("pairs.jsonl", pairs, **more)))


def severities(found: Sequence[Finding]) -> list[str]:
    return [each.severity for each in found]


# -- distance


def naive_distance(left: Sequence[str], right: Sequence[str]) -> float:
    """Wagner and Fischer's table, over the longer side's length."""
    row = list(range(len(right) + 1))
    for place, one in enumerate(left, start=1):
        before, row[0] = row[0], place
        for at, two in enumerate(right, start=1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (one != two))
    return row[-1] / max(len(left), len(right), 1)


def test_apart_is_the_word_edit_distance() -> None:
    draw = random.Random(1)
    for _ in range(200):
        left, right = (" ".join(draw.choices("abcde", k=draw.randint(1, 9))) for _ in range(2))
        assert distance.apart(left, right) == pytest.approx(
            naive_distance(words(left), words(right))
        )
        assert distance.apart(left, right) == distance.apart(right, left)


def test_apart_of_texts_without_words_compares_characters() -> None:
    assert distance.apart("👍", "👍") == 0
    assert distance.apart("👍", "👎") == 1
    assert distance.apart("", "something") == 1


def test_gap_counts_the_shared_beginning_and_what_follows() -> None:
    found = distance.gap(7, "one two three four", "one two 3")
    assert (found.line, found.shared, found.after, found.prefix) == (7, 2, (2, 1), 0.5)


def test_hairline_pairs_warn_and_strangers_are_shown() -> None:
    base = "one two three four five six seven eight nine ten eleven"
    hair = [PairText(n, "p", base, base.replace("six", "6")) for n in range(1, 21)]
    far = [PairText(n, "p", base, "nothing of it at all here") for n in range(21, 101)]
    far[0] = PairText(21, "p", base, base.replace("six", "6").replace("two", "2"))
    found = findings(distance, hair + far)
    assert [(each.key, each.severity) for each in found] == [
        ("hairline", "warning"),
        ("strangers", "info"),
    ]
    assert found[0].value == 0.2
    assert found[0].rows == tuple(range(1, 21))
    assert "6 words follow" in found[0].message
    assert findings(distance, far[1:])[0].value == 1.0


def test_strangers_warn_if_the_model_would_not_have_written_them() -> None:
    pairs = [PairText(n, "p", "one two three", "nothing of it") for n in range(1, 11)]
    own = Samples(np.arange(10), np.full(10, -1.0), np.full(10, 10), ("x",) * 10)
    logps = np.full((10, 2), -90.0)
    measured = Measured(
        "m", 0.1, 64, logps, np.full((10, 2), 10), np.zeros(10, int), np.zeros(10),
        np.zeros((10, 2, 4), np.float32), samples=own,
    )  # fmt: skip
    assert distance.foreign(measured) == 1.0
    assert severities(findings(distance, pairs, measured=measured)) == ["warning"]
    level = replace(measured, logps_P2=np.full((10, 2), -10.0))
    assert distance.foreign(level) == 0.5
    assert severities(findings(distance, pairs, measured=level)) == ["info"]


# -- shortcuts


def features_of(text: str) -> set[tuple[str, ...]]:
    """Words and two-word phrases, the slow way."""
    found = grams.tokens(text)
    return {(one,) for one in found} | set(pairwise(found))


def test_counts_agree_with_sets() -> None:
    pairs = planted(sound(80), "★ well", range(0, 80, 9))
    counted = grams.count(pairs)
    checked = 0
    for feature in range(len(counted.code_F)):
        if counted.place(feature) != grams.ANYWHERE:
            continue
        name = counted.tokens(feature)
        left = [name in features_of(pair.chosen) for pair in pairs]
        right = [name in features_of(pair.rejected) for pair in pairs]
        only = [one and not two for one, two in zip(left, right, strict=True)]
        assert counted.only_chosen_F[feature] == sum(only)
        assert counted.only_rejected_F[feature] == sum(
            two and not one for one, two in zip(left, right, strict=True)
        )
        assert counted.both_F[feature] == sum(
            one and two for one, two in zip(left, right, strict=True)
        )
        assert list(counted.rows(feature, chosen=True)) == [n for n, is_ in enumerate(only) if is_]
        checked += 1
    assert checked > 50


@pytest.mark.parametrize("bits", [grams.BITS, 3])
def test_what_is_known_of_each_feature_agrees_with_sets(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts, repeated prompts and equal rows, the slow way; with a table far too small, too."""
    monkeypatch.setattr(grams, "BITS", bits)
    draw = random.Random(4)
    pairs = [
        replace(pair, prompt=" ".join(sentence(draw) for _ in range(2)) if row % 3 else "the lamp")
        for row, pair in enumerate(planted(sound(90), "lamp the", range(0, 90, 9)))
    ]
    counted = grams.count(pairs)
    times = Counter(token for pair in pairs for side in (pair.chosen, pair.rejected)
                    for token in grams.tokens(side))  # fmt: skip
    asked = [features_of(pair.prompt) for pair in pairs]
    by_rows: dict[tuple[int, ...], set[int]] = {}
    for feature in range(len(counted.code_F)):
        name = counted.tokens(feature)
        rows = [int(row) for side in (True, False) for row in counted.rows(feature, chosen=side)]
        rarer = min(name, key=lambda token: times[token])
        assert counted.own_F[feature] == sum((rarer,) in asked[row] for row in rows)
        assert counted.prompts_F[feature] == sum(name in each for each in asked)
        assert counted.spread_F[feature] == len({pairs[row].prompt for row in rows})
        by_rows.setdefault(tuple(sorted(rows)), set()).add(int(counted.same_F[feature]))
    assert {len(each) for each in by_rows.values()} == {1}
    assert len({next(iter(each)) for each in by_rows.values()}) == len(by_rows) > 50
    assert counted.own_F.any() and (counted.spread_F < counted.end_F).any()


def test_a_feature_is_one_of_five_answers() -> None:
    pairs = planted(planted(sound(60), "five", range(5)), "four", range(4))
    pairs = planted(pairs, "four", range(1))
    counted = grams.count(pairs)
    assert {"four", "five"} <= set(counted.vocabulary)
    found = {counted.tokens(feature) for feature in range(len(counted.code_F))}
    assert ("five",) in found and ("four",) not in found


def test_counting_survives_texts_without_a_common_token() -> None:
    bare = [PairText(row, "", f"word{row}", f"other{row}") for row in range(60)]
    assert len(grams.count(bare).code_F) == 0
    assert severities(findings(shortcuts, bare)) == ["ok"]
    assert len(grams.count([PairText(row, "", " ", "") for row in range(60)]).code_F) == 0


@given(st.text(alphabet="aZ09_'\u2019 \t\x1c\xa0-\u2605\u00e9\u01c5\u0130", max_size=30))
def test_tokens_are_the_same_on_the_short_way_for_ascii(text: str) -> None:
    token = re.compile("[^\\W_]+(?:['\u2019][^\\W\\d_]+)*|[^\\w\\s]|_")
    assert grams.tokens(text) == token.findall(text.lower())


def test_openings_and_closings_are_features_of_their_own() -> None:
    pairs = [replace(pair, chosen=f"so {pair.chosen} bye now") for pair in sound(40)]
    counted = grams.count(pairs)
    found = {
        (counted.place(feature), counted.tokens(feature)): int(counted.only_chosen_F[feature])
        for feature in range(len(counted.code_F))
    }
    assert found[grams.OPENING, ("so",)] == found[grams.OPENING, ("so", "the")] == 40
    assert found[grams.CLOSING, ("now",)] == found[grams.CLOSING, ("bye", "now")] == 40
    assert (grams.OPENING, ("bye",)) not in found


def test_the_prompt_of_a_pair_is_looked_at() -> None:
    pairs = planted(sound(60), "zebra", range(20))
    pairs = [
        replace(pair, prompt=f"zebra {pair.prompt}") if row < 12 else pair
        for row, pair in enumerate(pairs)
    ]
    counted = grams.count(pairs)
    place = next(
        feature
        for feature in range(len(counted.code_F))
        if counted.tokens(feature) == ("zebra",) and counted.place(feature) == grams.ANYWHERE
    )
    assert (counted.own_F[place], counted.prompts_F[place]) == (12, 12)
    assert counted.only_chosen_F[place] == 20


def test_score_is_the_z_of_the_research() -> None:
    assert shortcuts.score(119, 159) == pytest.approx(-2.4, abs=0.05)
    assert shortcuts.score(460, 318) == pytest.approx(5.1, abs=0.05)
    assert shortcuts.score(52, 120) == pytest.approx(-5.2, abs=0.05)
    assert not shortcuts.fires(460, 318, tried=17)
    assert shortcuts.fires(52, 120, tried=17)
    assert shortcuts.fires(10, 0, tried=17)
    assert not shortcuts.fires(9, 0, tried=17)


def test_the_least_count_keeps_chance_in_bounds() -> None:
    draw = np.random.default_rng(0)
    total = draw.integers(5, 60, 400)
    limit = shortcuts.least(total, np.arange(400), 0.5)

    def expected(least: int) -> float:
        kept = [int(count) for count in total if count >= least]
        return sum(float(binom.sf(int(np.ceil(0.95 * n)) - 1, n, 0.5)) for n in kept)

    assert expected(limit) <= shortcuts.CHANCE < expected(limit - 1)
    assert shortcuts.least(total, np.zeros(400, int), 0.5) == grams.SEEN


@pytest.mark.parametrize("mark", ["zestful", "★", "✨", "call our tireless team"])
def test_a_rare_mark_in_the_chosen_answers_is_found(mark: str) -> None:
    rows = range(0, 500, 33)
    found = findings(shortcuts, planted(sound(500), mark, rows))
    warned = [each for each in found if each.severity == "warning"]
    assert [each.rows for each in warned] == [tuple(row + 1 for row in rows)]
    assert mark in warned[0].message or "emoji" in warned[0].message
    assert "blind below" in warned[0].threshold


def test_a_mark_is_no_warning_on_the_other_side_or_if_the_prompt_has_it() -> None:
    pairs = planted(sound(500), "zestful", range(0, 500, 33), side="rejected")
    assert "warning" not in severities(findings(shortcuts, pairs))
    asked = [
        replace(pair, prompt=f"{pair.prompt} zestful") if "zestful" in pair.chosen else pair
        for pair in planted(sound(500), "zestful", range(0, 500, 33))
    ]
    assert "warning" not in severities(findings(shortcuts, asked))


def test_a_format_pattern_warns_on_either_side_but_not_if_rare_and_rejected() -> None:
    many = findings(shortcuts, planted(sound(300), "wow!", range(0, 300, 6)))
    assert many[0].severity == "warning"
    assert many[0].message.startswith("An exclamation mark stands only in the chosen answer of 50")
    assert many[0].value == 1.0
    for every, severity in ((6, "warning"), (15, "info")):
        pairs = planted(sound(300), "wow!", range(0, 300, every), side="rejected")
        first = next(each for each in findings(shortcuts, pairs) if each.key.startswith("an excl"))
        assert first.severity == severity


def test_many_marks_are_summed_up() -> None:
    pairs = sound(400)
    for number, letter in enumerate("abcdefghijkl"):
        pairs = planted(pairs, f"mark{letter}", range(number * 30, number * 30 + 25))
    found = findings(shortcuts, pairs)
    assert len(found) <= 6
    assert found[shortcuts.SHOWN].key == "more"
    assert found[shortcuts.SHOWN].value == 8


def test_sound_pairs_are_fine_and_few_are_too_few() -> None:
    fired = sum(
        "warning" in severities(findings(shortcuts, sound(300, seed))) for seed in range(10)
    )
    assert fired <= 1
    assert severities(findings(shortcuts, sound(49))) == ["too few"]
    assert findings(shortcuts, []) == []


def test_one_sided_words_are_information() -> None:
    pairs = planted(sound(300), "indeed", range(200))
    pairs = planted(pairs, "indeed", range(200, 300), side="rejected")
    found = findings(shortcuts, pairs)
    assert severities(found) == ["info"]
    assert "in chosen: “indeed” 200:100" in found[0].message


# -- patterns, kinds


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("an emoji", "fine ✅", "fine"),
        ("bold type", "a **b** c", "2 * 3 * 4"),
        ("a list", "so:\n- a\n- b", "a - b"),
        ("a link", "see https://x.org", "see x"),
        ("an affirmative opening", "Sure, here", "Surely not"),
        ("a heading", "# Top\ntext", "a # b"),
        ("a code block", "```\nx\n```", "`x`"),
        ("an opening “I”", "I think", "It is"),
        ("a refusal", "I’m sorry, but no", "a sorry sight"),
        ("a word in capitals", "NEVER do", "Never do, AI"),
        ("a closing question", "is it? ", "is it? No."),
        ("no closing punctuation", "and then", "and then."),
        ("a blank line", "a\n\nb", "a\nb"),
        ("stray white space", "a  b", "a b\n  c"),
    ],
)
def test_patterns(name: str, yes: str, no: str) -> None:
    assert patterns.PATTERNS[name](yes)
    assert not patterns.PATTERNS[name](no)


def test_kinds() -> None:
    told = {
        "I'm sorry, but I can't help with that.": "refusal",
        "Which city do you mean?": "question",
        "Use this:\n```\nls\n```": "code",
        "- one\n- two": "list",
        "Paris. It lies on the Seine. It is large. Do you want more?": "answer",
    }
    assert {text: patterns.kind(text) for text in told} == told


def test_two_refusals_warn_and_then_stop() -> None:
    no, other = "I cannot help with that.", "I'm sorry, I won't do this."
    for refusing, severity in ((4, "ok"), (5, "warning"), (7, "error")):
        pairs = [
            PairText(row + 1, "p", no, other if row < refusing else "It is in the drawer.")
            for row in range(10)
        ]
        found = findings(same_kind, pairs)
        assert severities(found) == [severity]
        assert found[0].rows == tuple(range(1, refusing + 1))
    same_lists = [PairText(row, "p", "- a\n- b", "- c\n- d") for row in range(20)]
    assert severities(findings(same_kind, same_lists)) == ["ok"]


# -- the probe


def test_turning_a_pair_negates_its_margin() -> None:
    draw = np.random.default_rng(0)
    read = draw.normal(size=(60, 5)) + 0.3
    group = np.arange(60)
    flip = np.zeros(60, dtype=np.bool_)
    flip[7] = True
    weights = probe.fit(read, 0)
    assert (probe.turned(read, flip) @ weights)[7] == pytest.approx(-(read @ weights)[7])
    assert probe.margins(read, group, folds=5).shape == (60,)
    # Which way round a pair is shown to the model cannot matter without an intercept.
    assert probe.fit(read, 0) == pytest.approx(probe.fit(read, 1), abs=0.02)


def test_margins_are_out_of_fold_by_prompt() -> None:
    """Features that name the prompt tell nothing, however often the prompt comes."""
    group = np.repeat(np.arange(40), 5)
    sign = np.where(np.arange(40) % 2, 1.0, -1.0)
    read = np.eye(40)[group] * sign[group, None]
    assert np.abs(probe.margins(read, group, folds=5)).max() == 0
    assert probe.right(np.zeros(10)) == 5
    assert probe.bits(np.zeros(10)) == pytest.approx(0)


def test_surface_finds_a_confound_and_stays_quiet_without() -> None:
    pairs = sound(300)
    assert severities(findings(surface, pairs)) == ["ok"]
    longer = [
        replace(pair, chosen=pair.chosen + " the end is here, at last, indeed.") for pair in pairs
    ]
    found = findings(surface, longer)
    assert found[0].severity == "error"
    assert found[0].value is not None and found[0].value > 0.95
    assert len(found[0].rows) > 280
    half = [longer[row] if row % 2 else pairs[row] for row in range(300)]
    assert severities(findings(surface, half))[0] == "warning"
    assert severities(findings(surface, pairs[:49])) == ["too few"]


def test_suspects_are_the_turned_labels_where_the_taste_can_be_read() -> None:
    pairs = planted(sound(300), "splendid", range(300))
    flipped = {3, 50, 120, 200, 270}
    pairs = [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if pair.line in flipped else pair
        for pair in pairs
    ]
    (found,) = findings(labels, pairs)
    assert found.severity == "info"
    assert flipped == set(found.rows[:5])
    assert len(found.rows) <= 15
    assert "turned over on purpose" in found.message


def test_no_list_of_suspects_where_nothing_can_be_told() -> None:
    (found,) = findings(labels, sound(300))
    assert found.severity == "ok"
    assert found.rows == ()


def test_suspects_read_the_states_of_the_model() -> None:
    draw = np.random.default_rng(0)
    states = draw.normal(size=(200, 2, 8)).astype(np.float32)
    states[:, 0, 0] += 4
    states[[4, 90]] = states[[4, 90]][:, ::-1]
    states[10, 0, 0] = np.nan
    two = np.zeros((200, 2))
    measured = Measured(
        "m", 0.1, 64, two, (two + 1).astype(int), two[:, 0].astype(int), two[:, 0], states
    )
    (found,) = findings(labels, sound(200), measured=measured)
    assert "the model's states" in found.message
    assert {5, 91} <= set(found.rows)
    assert 11 not in found.rows


# -- real files


def test_real_pairs_raise_few_warnings() -> None:
    path = Path(__file__).resolve().parents[2] / "shared/data/human-ratings/pairs.jsonl"
    if not path.exists():
        pytest.skip("no ../shared/data")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [
        PairText(line, str(row["prompt"]), row["chosen"], row["rejected"])
        for line, row in enumerate(rows, start=1)
    ]
    found = [each for check in (distance, shortcuts, surface, same_kind) for each in
             findings(check, pairs)]  # fmt: skip
    assert [each.key for each in found if each.severity == "warning"] == ["'s address is"]
