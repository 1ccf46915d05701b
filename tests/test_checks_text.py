"""The text checks against naive oracles: all pairs compared, all cycles walked, facts by hand."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.study.checks import (
    appended,
    contradictions,
    duplicates,
    grounding,
    leakage,
    length,
    near,
    well_formed,
)
from palate.study.checks.base import Case, Check, ExampleText, Finding, PairText
from palate.study.checks.facts import facts, small_words, ungrounded

CHECKS = (
    *(well_formed.CHECK, duplicates.CHECK, contradictions.CHECK, leakage.CHECK),
    *(length.CHECK, appended.CHECK, grounding.CHECK),
)
NOUNS = [
    "river",
    "stone",
    "lamp",
    "cloud",
    "garden",
    "violin",
    "harbour",
    "engine",
    "mirror",
    "pepper",
    "saddle",
    "window",
]


def pairs(*rows: tuple[str, str, str]) -> Case:
    return Case("x.jsonl", [PairText(line, *row) for line, row in enumerate(rows, 1)])


def found(check: Check, case: Case) -> dict[str, Finding]:
    return {each.key: each for each in check.run(case)}


def texts(count: int, seed: int, *, size: int = 30) -> list[str]:
    """Texts of words that are drawn from many, so that no two are alike by chance."""
    draw = random.Random(seed)
    return [
        " ".join(f"{draw.choice('abcdefgh')}{draw.choice(NOUNS)}" for _ in range(size))
        for _ in range(count)
    ]


def plain(count: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """Pairs in which nothing is wrong, lengths drawn alike for both sides."""
    draw = random.Random(seed)
    prompts = texts(count, seed + 1, size=12)
    sides = [
        [texts(1, draw.randrange(10**9), size=draw.randint(15, 40))[0] + "." for _ in prompts]
        for _ in range(2)
    ]
    return list(zip(prompts, *sides, strict=True))


# -- all of them


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_nothing_is_said_of_nothing(check: Check) -> None:
    assert list(check.run(Case("x.jsonl"))) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_clean_pairs_are_one_ok_with_its_figures(check: Check) -> None:
    rows = plain(200)
    held = [PairText(1, "something else altogether", "a", "b")]
    case = Case("x.jsonl", pairs(*rows).pairs, heldout=held)
    (only,) = check.run(case)
    assert only.severity == "ok" and only.check == check.name
    assert only.interval is not None and only.value == only.interval.value
    assert only.threshold and only.source and only.message.endswith(".")
    assert not only.rows or check is grounding.CHECK


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@given(rows=st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_any_text_gives_sound_findings(check: Check, rows: list[tuple[str, str, str]]) -> None:
    case = pairs(*rows)
    case = Case("x.jsonl", case.pairs, heldout=case.pairs[:1])
    for each in check.run(case):
        assert set(each.rows) <= {pair.line for pair in case.pairs}
        assert len(set(each.rows)) == len(each.rows)
        assert each.value is None or 0 <= each.value <= max(1, len(rows))


# -- nearly the same


def test_candidates_hold_what_brute_force_finds() -> None:
    """MinHash against every couple: no likeness of .8 is missed, and what it adds is few."""
    draw = np.random.default_rng(5)
    codes: list[near.Codes] = []
    for place in range(60):
        own = draw.choice(10_000, 60, replace=False)
        if place % 3 == 2:  # of every three records, the last repeats most of the one before it
            own = np.concatenate([codes[-1][:54], own[:6]])
        codes.append(np.unique(own).astype(np.uint64))
    couples = [(i, j) for j in range(60) for i in range(j)]
    alike = {
        (i, j): len(np.intersect1d(codes[i], codes[j])) / len(np.union1d(codes[i], codes[j]))
        for i, j in couples
    }
    sure = {couple for couple, share in alike.items() if share >= 0.75}
    got = list(near.candidates(codes))
    assert len(sure) >= 15 and sure <= set(got) and len(got) == len(set(got))
    assert all(alike[couple] > 0.2 for couple in got)


def _naive_likeness(texts: Sequence[str], other: str) -> list[float]:
    """Weight of what both hold over weight of what either holds, one set at a time."""
    bags = [near.features(each) for each in texts]
    held = Counter(each for bag in bags for each in bag)
    most = max(20, 0.1 * len(texts))

    def weight(each: str) -> float:
        if not held[each]:
            return 0.2 * math.log(len(texts) + 1)
        return math.log((len(texts) + 1) / held[each]) if held[each] <= most else 0.0

    mine = near.features(other)
    return [sum(map(weight, bag & mine)) / max(sum(map(weight, bag | mine)), 1e-9) for bag in bags]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_likeness_is_that_of_sets(seed: int) -> None:
    base = texts(60, seed, size=12)
    draw = random.Random(seed)
    others = [
        " ".join([*draw.sample(each.split(), draw.randint(6, 12)), "unheard"]) for each in base[:9]
    ]
    naive = np.array([_naive_likeness(base, each) for each in others])
    least = near.limit(
        np.array([max(np.delete(_naive_likeness(base, each), n)) for n, each in enumerate(base)])
    )
    got = {(each.left, each.right): each.alike for each in near.echoes(base, others)}
    assert set(got) == {(int(n), int(o)) for o, n in zip(*np.nonzero(naive >= least), strict=True)}
    for (left, right), alike in got.items():
        assert alike == pytest.approx(naive[right, left])


def test_a_shared_system_prompt_does_not_make_prompts_alike() -> None:
    system = texts(1, 5, size=200)[0][::-1]
    asked = texts(60, 6, size=10)
    train = [f"{system} {each}" for each in asked[:50]]
    assert near.echoes(train, [f"{system} {each}" for each in asked[50:]]) == []
    (only,) = near.echoes(train, [f"{asked[3]} please {system}"])
    assert (only.left, only.right) == (3, 0)


def test_slot_lists_that_differ_in_one_slot_are_no_echoes() -> None:
    slots = [f"inform name {a} area {b} food {c}" for a in NOUNS for b in NOUNS for c in NOUNS[:3]]
    random.Random(1).shuffle(slots)
    assert near.echoes(slots[:300], slots[300:]) == []


def test_another_number_is_another_text() -> None:
    one = ["a", "loft", "with", "two", "baths"]
    assert near.same_numbers(one, ["loft", "2", "baths"])
    assert not near.same_numbers(one, ["loft", "three", "baths"])


# -- well formed


@pytest.mark.parametrize(
    ("answer", "marker"),
    [
        ("Yes.<|im_end|>", "<|im_end|>"),
        ("Yes.\n\nHuman: and then?", "Human:"),
        ("Fine.\n### Instruction:\ngo on", "### Instruction:"),
        ("[INST] hello", "[INST]"),
        ("Done.</s>", "</s>"),
        ("In ChatML a turn opens with `<|im_start|>`.", None),
        ("A human: what is that? Assistant: to whom?", None),
        ("I <s>never</s> said so.", None),
        ("Instruction: read it.", None),
    ],
)
def test_role_tokens(answer: str, marker: str | None) -> None:
    assert well_formed.marker(answer) == marker


def test_damaged_rows_are_named() -> None:
    case = pairs(
        ("p", "one  caf\u00e9", "one cafe\u0301 "),
        ("p", "One", "one"),
        ("  ", "a", "b"),
        ("p", "x", " "),
        ("p", "fine", "no<|im_end|>"),
    )
    said = found(well_formed.CHECK, case)
    assert {key: each.rows for key, each in said.items()} == {
        "same": (1,),
        "prompt": (3,),
        "empty": (4,),
        "role": (5,),
    }
    assert all(each.severity == "error" for each in said.values())
    assert said["same"].message.startswith("Line 1 holds the same answer twice")


# -- duplicates


def test_duplicates_exact_and_near_but_not_another_number() -> None:
    rows = plain(80)
    prompt, chosen, rejected = rows[4]
    rows += [
        (f" {prompt.upper()}", chosen, rejected),
        (prompt + " please", chosen.replace(" ", " quite ", 1), rejected),
        (rows[9][0], rows[9][2], rows[9][1]),
        (rows[11][0], rows[11][1], rows[12][2]),
    ]
    said = found(duplicates.CHECK, pairs(*rows))["repeated"]
    assert said.severity == "warning" and said.rows == (5, 81, 82)
    assert said.value == pytest.approx(2 / 84)


def test_a_template_filled_in_twice_is_no_duplicate() -> None:
    frame = "Write one friendly line for a guest who asks for the way to the {}."
    good = "Of course: the {} is the second door on your left, just past the lifts."
    bad = "The {} is somewhere over there, you cannot really miss it if you look."
    rows = [tuple(text.format(place) for text in (frame, good, bad)) for place in ("pool", "gym")]
    assert "repeated" not in found(duplicates.CHECK, pairs(*plain(40), *rows))  # type: ignore[arg-type]


def test_one_prompt_that_owns_the_file_is_named() -> None:
    rows = plain(60)
    rows[:12] = [(rows[0][0], chosen, rejected) for _, chosen, rejected in rows[:12]]
    said = found(duplicates.CHECK, pairs(*rows))["owners"]
    assert said.severity == "warning" and said.rows == tuple(range(1, 13))
    assert "20%" in said.message
    few = plain(60)
    few[1] = (few[0][0], *few[1][1:])
    assert "owners" not in found(duplicates.CHECK, pairs(*few))


def test_duplicate_examples() -> None:
    rows = [(prompt, chosen) for prompt, chosen, _ in plain(40)]
    rows.append(rows[7])
    case = Case("x", examples=[ExampleText(line, *row) for line, row in enumerate(rows, 1)])
    assert found(duplicates.CHECK, case)["repeated"].rows == (8, 41)


# -- contradictions


def _naive_on_cycle(edges: Sequence[tuple[int, int]]) -> set[int]:
    """Edges whose end reaches their start, by walking."""
    after: dict[int, set[int]] = {}
    for left, right in edges:
        after.setdefault(left, set()).add(right)

    def reaches(start: int, goal: int) -> bool:
        seen, todo = set[int](), [start]
        while todo:
            node = todo.pop()
            if node == goal:
                return True
            if node not in seen:
                seen.add(node)
                todo += after.get(node, ())
        return False

    return {
        place for place, (left, right) in enumerate(edges) if left != right and reaches(right, left)
    }


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25))
def test_cycles_are_those_of_a_walk(edges: list[tuple[int, int]]) -> None:
    two, longer = contradictions.cycles(np.array(edges, dtype=np.int64))
    naive = _naive_on_cycle(edges)
    assert not set(two) & set(longer)
    assert {*two, *longer} == naive
    assert set(two) == {p for p in naive if (edges[p][1], edges[p][0]) in edges}


def test_contradictions_by_kind() -> None:
    rows = plain(40)
    a, b, c, d = texts(4, 99)
    rows += [("P q", a, b), ("p  Q", b.upper(), a), ("other", b, a)]
    rows += [("r", a, b), ("r", b, c), ("r", c, a), ("r", a, d)]
    first = rows[2]
    rows.append((first[0] + " please", first[2].replace(" ", " so ", 1), first[1]))
    said = found(contradictions.CHECK, pairs(*rows))
    assert said["opposite"].rows == (41, 42) and said["opposite"].severity == "error"
    assert "lines 41 and 42" in said["opposite"].message
    assert said["cycle"].rows == (44, 45, 46) and said["cycle"].severity == "warning"
    assert said["nearly opposite"].rows == (3, 48)


def test_a_hairline_pair_does_not_contradict_its_neighbour() -> None:
    """The same small edit, judged the same way twice: A' is near B, and yet nothing is turned."""
    text = texts(1, 3)[0]
    rows = [("a prompt of some words that is long", f"{text} indeed", f"{text} maybe")] * 2
    rows[1] = (rows[0][0], f"so {text} indeed", f"so {text} maybe")
    assert set(found(contradictions.CHECK, pairs(*rows))) == {""}


# -- leakage


def test_leaks_exact_and_rewritten() -> None:
    rows = plain(60)
    prompt = rows[20][0].split()
    prompt[4] = "elsewhere"
    held = [
        PairText(7, f"{rows[5][0]} ".upper(), "a", "b"),
        PairText(8, " ".join(prompt), "a", "b"),
        PairText(9, "what is this?", "a", "b"),
    ]
    (said,) = leakage.CHECK.run(Case("x", pairs(*rows).pairs, heldout=held))
    assert said.severity == "error" and said.rows == (6, 21)
    assert said.value == pytest.approx(2 / 3)
    assert "held-out line 7 is training line 6" in said.message and "7, 8" in said.todo
    assert list(leakage.CHECK.run(pairs(*rows))) == []


def test_examples_without_a_prompt_leak_by_their_text() -> None:
    stories = texts(30, 8)
    rows = [ExampleText(line, "", text) for line, text in enumerate(stories, 1)]
    held = [ExampleText(1, "", stories[11])]
    (said,) = leakage.CHECK.run(Case("x", examples=rows, heldout=held))
    assert said.rows == (12,)


def test_a_reordered_prompt_in_digits_leaks() -> None:
    rows = plain(60)
    asked = f"{rows[20][0]} with seven rooms and 430 seats"
    rows[20] = (asked, *rows[20][1:])
    words = asked.replace("seven", "7").upper().split()
    turned = ", ".join([*words[8:], *words[:8]])
    other = turned.replace("430", "431").replace("7 ", "8 ")
    held = [PairText(7, turned, "a", "b"), PairText(8, other.replace("7,", "8,"), "a", "b")]
    (said,) = leakage.CHECK.run(Case("x", pairs(*rows).pairs, heldout=held))
    assert said.rows == (21,) and "1 of 2" in said.message


# -- length


def _sized(lengths: Iterable[tuple[int, int]]) -> Case:
    return pairs(*((f"p{n}", "word " * a, "word " * b) for n, (a, b) in enumerate(lengths)))


@pytest.mark.parametrize(
    ("longer", "count", "severity"),
    [
        (110, 200, "ok"),
        (130, 200, "warning"),
        (70, 200, "warning"),
        (150, 200, "error"),
        (55, 200, "error"),
        (33, 50, "ok"),
        (36, 49, "too few"),
        (125, 200, "warning"),
    ],
)
def test_length_in_both_directions(longer: int, count: int, severity: str) -> None:
    sizes = [(21, 20)] * longer + [(20, 21)] * (count - longer)
    (said,) = length.CHECK.run(_sized(sizes))
    assert said.severity == severity
    if severity in ("warning", "error"):
        assert len(said.rows) == abs(2 * longer - count), "none stands out: the surplus"
        assert said.key == ("longer" if 2 * longer > count else "shorter")


def test_words_and_characters_must_agree() -> None:
    rows = [(f"p{n}", "of " * 20, "understanding " * 19) for n in range(100)]
    assert [each.severity for each in length.CHECK.run(pairs(*rows))] == ["ok"]


def test_a_long_tail_is_seen_where_the_share_is_blind() -> None:
    draw = random.Random(1)
    sizes = [(draw.randint(20, 30), draw.randint(20, 30)) for _ in range(400)]
    (quiet,) = length.CHECK.run(_sized(sizes))
    assert quiet.severity == "ok"
    for place in range(0, 400, 16):
        sizes[place] = (90 + place, sizes[place][1])
    (said,) = length.CHECK.run(_sized(sizes))
    meant = {n + 1 for n in range(0, 400, 16)}
    assert said.key == "far longer" and meant <= set(said.rows)
    assert len(said.rows) <= 2 * len(meant), "about half of the named may be sound"


@given(st.lists(st.integers(-40, 40).filter(bool), min_size=5, max_size=60))
def test_the_slope_is_the_best_on_a_grid(gaps: list[int]) -> None:
    gap_P = np.array(gaps, dtype=float)
    x_P = np.tanh(gap_P / (gap_P.std() or 1.0))
    grid = np.linspace(-20, 20, 8001)[:, None]
    loss = np.logaddexp(0, -grid * x_P).mean(1) + 0.0005 * grid[:, 0] ** 2
    assert length.slope(gap_P) == pytest.approx(float(grid[np.argmin(loss), 0]), abs=0.006)


# -- appended


LONG = "The loft has two baths, a deck and bike storage. Fees are low."


@pytest.mark.parametrize(
    ("chosen", "rejected", "form"),
    [
        (LONG + " Call me today!", LONG, "chosen adds"),
        (LONG, LONG + " Call me today!", "rejected adds"),
        (LONG, "The loft has two baths, a deck and bi", "rejected is cut"),
        (LONG, "The loft has two baths, a deck and ...", "rejected is cut"),
        ("The loft has two baths, a", LONG, "chosen is cut"),
        ("I am glad to help you here today. " + LONG, LONG, "chosen adds"),
        (f"Well then, my friend: {LONG}", LONG[:-1], "chosen adds"),
        (LONG, LONG.upper().lower(), None),
        (LONG, "The loft has two fees, a deck and bike storage. Baths are low.", None),
        ("Yes.", "No, it was yesterday that they said yes to it.", None),
        (
            "the bright new loft has nice two baths and a very long deck",
            "the loft has two baths and a deck",
            None,
        ),
    ],
)
def test_forms_of_addition(chosen: str, rejected: str, form: str | None) -> None:
    assert appended.form(PairText(1, "p", chosen, rejected)) == form


def test_appended_shares() -> None:
    rows = plain(100)
    for place in (3, 50, 70):
        rows[place] = (rows[place][0], f"{rows[place][2]} It is a good one.", rows[place][2])
    rows[80] = (rows[80][0], rows[80][1], rows[80][1][:40])
    said = found(appended.CHECK, pairs(*rows))
    assert said["chosen adds"].severity == "warning" and said["chosen adds"].rows == (4, 51, 71)
    assert said["rejected is cut"].severity == "info" and said["rejected is cut"].rows == (81,)


# -- grounding


PROMPT = (
    "Describe this 2bd condo on Hazel Lane. Facts: 3.5 bath; 1,200 sq ft; fees $310; built "
    "2004-03-09; twenty-five minutes to the park; sold by Ada Byron; see www.hazel.org/a"
)


@pytest.mark.parametrize(
    ("answer", "invented"),
    [
        ("Two-bedroom condo, three and a half baths, 1200 square feet.", ()),
        ("Fees are 310 dollars a month and the park is 25 min away.", ()),
        ("The home was built on 9 March 2004, says Ada.", ()),
        ("Byron's place: more at www.hazel.org/a.", ()),
        ("1. A deck\n2) A view\n**3.** The end\nStep 4: done", ()),
        ("I think I'm sure. The end. Great! Really.", ()),
        ("One of the best, and no one knows.", ()),
        ("It has six bedrooms.", ("6",)),
        ("It costs $410,000.", ("410000 money",)),
        ("It costs $410k, or 1.2 million.", ("1200000", "410000 money")),
        ("A park 310 minutes away.", ("310 minute",)),
        ("It took 17k steps.", ("17000",)),
        ("A place near Willow Park for all.", ("willow park",)),
        ("It grew by 12 % in May.", ("12 %", "month 5")),
        ("As they say, \u201ca home of dreams\u201d.", ("a home of dreams",)),
        ("See https://x.com/y for it.", ("https://x.com/y",)),
        ("Use `x = 17` or:\n```\ny = 23\n```\n", ()),
        ("Two hundred and five people, twenty-one dogs.", ("200", "21", "5")),
        ("Its key is E-310, flat D2004.", ("d2004",)),
        ("Its key is E-311.", ("311",)),
        ("It costs € 20, not $30.", ("20 money", "30 money")),
        ("It fits an iPhone and an É.", ()),
        ("See Www.other.org now.", ("www.other.org",)),
    ],
)
def test_what_counts_as_a_fact(answer: str, invented: tuple[str, ...]) -> None:
    assert ungrounded(answer, PROMPT) == invented


def test_a_code_of_the_prompt_is_grounded() -> None:
    prompt = "Is it safe? Letter: 'We hold £1,050 for 22 Quay Road, reference D-118.' Room B52s."
    assert ungrounded("Yes: it holds £1,050 with reference D-118, in room B52.", prompt) == ()
    assert ungrounded("Yes, with reference D-119, in room B53.", prompt) == ("119", "b53")


def test_a_word_that_the_file_writes_small_is_no_name() -> None:
    ordinary = small_words(["it was a great success", "NASA"])
    assert ungrounded("Call it a Great Success of NASA.", "p", ordinary) == ("nasa",)


@given(st.integers(0, 10**7))
def test_a_number_is_one_in_any_spelling(value: int) -> None:
    spelled = facts(f"It is {_in_words(value)} of them.").numbers
    assert {n for n, _ in facts(f"x {value:,} of").numbers} == {str(value)}
    if value > 1:
        assert (str(value), "") in spelled and len(spelled) == 1


def _in_words(value: int) -> str:
    """By recursion, apart from the reader's tables."""
    small = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ]
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if value < 20:
        return small[value]
    if value < 100:
        return tens[value // 10 - 2] + (f"-{small[value % 10]}" if value % 10 else "")
    size, name = next(
        each
        for each in ((10**6, "million"), (1000, "thousand"), (100, "hundred"))
        if value >= each[0]
    )
    rest = f" {_in_words(value % size)}" if value % size else ""
    return f"{_in_words(value // size)} {name}{rest}"


def test_grounding_warns_from_a_fifth_on_and_does_not_lie() -> None:
    rows = [("Describe it.", "A home with 3 baths.", "A nice home.")] * 9
    rows += [("Describe it.", "A home.", "A home with 4 baths.")] * 31
    (said,) = grounding.CHECK.run(pairs(*rows[1:]))
    assert said.severity == "warning" and said.rows == tuple(range(1, 9))
    assert said.message.startswith("In 8 of 39 pairs") and "31 fewer" in said.message
    (fine,) = grounding.CHECK.run(pairs(*rows[2:]))
    assert fine.severity == "ok"
    (few,) = grounding.CHECK.run(pairs(*rows[:5]))
    assert few.severity == "too few"


def test_grounding_of_examples_is_information() -> None:
    rows = [ExampleText(1, "A 2bd home", "Two bedrooms."), ExampleText(2, "A home", "3 baths.")]
    (said,) = grounding.CHECK.run(Case("x", examples=rows))
    assert said.severity == "info" and said.rows == (2,)


def test_one_answer_under_many_prompts_is_told() -> None:
    pairs = [
        PairText(n, f"what about house {n}?", f"house {n} has {n} rooms", f"house {n} is nice")
        for n in range(1, 61)
    ]
    assert "everywhere" not in "".join(each.key for each in duplicates.CHECK.run(Case("f", pairs)))
    shouted = [
        replace(pair, rejected="BUY it NOW!") if pair.line % 4 == 0 else pair for pair in pairs
    ]
    found = [each for each in duplicates.CHECK.run(Case("f", shouted)) if "everywhere" in each.key]
    assert [(each.severity, each.key) for each in found] == [
        ("warning", "same rejected everywhere")
    ]
    assert found[0].rows == tuple(range(4, 61, 4)) and "under 15" in found[0].message


def test_contradictions_name_both_lines_of_each() -> None:
    pairs = [PairText(n, f"p{n}", f"a{n} one", f"b{n} two") for n in range(1, 5)]
    pairs += [
        replace(pairs[n], line=10 + n, chosen=f"b{n + 1} two", rejected=f"a{n + 1} one")
        for n in (1, 3)
    ]
    (found,) = contradictions.CHECK.run(Case("f", pairs))
    assert "2 and 11, 4 and 13" in found.todo
