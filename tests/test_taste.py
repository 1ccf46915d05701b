"""The taste in words: reasons, contradictions, what wins beside them; page, rubric and card."""

import itertools
import json
import random
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from browser import Browser, needs_browser
from judged_cases import Book
from palate.cli.taste import taste as command
from palate.data.judged import Judgement, Said, Showing, Verdict
from palate.errors import StoreError, UsageError
from palate.judge.store import Store
from palate.report.card import escaped, section
from palate.report.taste import apart, page, visible
from palate.stats import share
from palate.study import orders
from palate.study.beside import FIGURES, beside, clustered, in_words
from palate.study.rubric import KINDS, as_toml, rubric
from palate.study.tally import share99
from palate.study.taste import Taste, circles, contradictions_in_words, headline, taste


def told(book: Book) -> Taste:
    return taste(book.said, book.judge, "person")


def outcome(book: Book, name: str) -> Any:
    return next(each for each in told(book).beside if each.figure.name == name)


# ---- reasons


def test_examples_are_the_clearest_pairs() -> None:
    book = Book().fill(3, tags=("grounded",))
    much = book.add("q", "good", "bad", "left", strength=2, tags=("grounded",))
    both = book.add("r", "good", "bad", "left", strength=2, tags=("grounded", "tone"))
    hasty = book.add("s", "good", "bad", "left", strength=2, tags=("grounded",), ms=700)
    grounded, tone = told(book).reasons
    assert (grounded.tag, grounded.count, tone.count) == ("grounded", 6, 1)
    assert grounded.examples == (much, both)
    assert tone.examples == (both,) and hasty not in grounded.examples


def test_a_pair_is_an_example_once_unless_there_is_no_other() -> None:
    book = Book()
    shared = book.add("q", "a", "b", "left", tags=("x", "y"), strength=2)
    only_x = book.add("r", "a", "b", "left", tags=("x",))
    only_y = book.add("s", "a", "b", "left", tags=("y",))
    x, y = told(book).reasons
    assert x.examples == (shared, only_x)
    assert y.examples == (only_y, shared)


def test_a_tag_of_a_tie_is_no_reason_for_a_choice() -> None:
    book = Book().fill(2, "tie", tags=("tone",)).fill(1, tags=("tone", "shorter"))
    assert [(each.tag, each.count) for each in told(book).reasons] == [("shorter", 1), ("tone", 1)]


def test_reasons_in_words_are_quoted_once() -> None:
    book = Book().fill(2, reason="Invents a pool.").fill(1, reason="  ")
    book.fill(1, reason="invents  a pool.").fill(1, reason="Too long.", strength=2)
    found = told(book)
    assert [(quote.text, quote.count) for quote in found.quotes] == [
        ("Invents a pool.", 3),
        ("Too long.", 1),
    ]
    assert found.silent == 1


def test_the_note_about_orders_is_no_reason() -> None:
    _, why = orders.verdict_of("left", "left")
    book = Book("model")
    first = book.add("q", "a", "b", "tie", reason=f"{why} The first is warm.")
    book.reask(first, "left")
    found = taste(book.said, "model", "model")
    assert [quote.text for quote in found.quotes] == ["The first is warm."]
    assert found.contradictions == ()


# ---- contradictions


def test_reasks_and_opposites_and_circles_are_found() -> None:
    book = Book()
    first = book.add("q", "a", "b", "left")
    again = book.reask(first, "left")
    opposite = (
        book.add("r", "a", "b", "left", mode="import"),
        book.add("r", "a", "b", "right", mode="import"),
    )
    ring = [
        book.add("s", one, other, "left") for one, other in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    found = told(book)
    kinds = [each.kind for each in found.contradictions]
    assert kinds == ["again", "opposite", "circle"]
    assert [each.judgements for each in found.contradictions[:2]] == [(first, again), opposite]
    assert found.contradictions[2].judgements == tuple(ring)
    said = contradictions_in_words(found)
    assert "1 re-ask, 1 opposite verdict and 1 circle" in said


def test_the_same_letters_under_two_prompts_make_no_circle() -> None:
    book = Book()
    book.add("q", "a", "b", "left")
    book.add("q", "b", "c", "left")
    book.add("r", "c", "a", "left")
    assert told(book).contradictions == ()
    assert contradictions_in_words(told(book)) == "No verdict contradicts another."


def naive_circles(edges: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Edge -> length of its shortest circle, by trying every order of every set of names."""
    names = sorted({name for edge in edges for name in edge})
    found: dict[tuple[str, str], int] = {}
    for size in range(2, len(names) + 1):
        for order in itertools.permutations(names, size):
            steps = list(zip(order, (*order[1:], order[0])))
            if all(step in edges for step in steps):
                for step in steps:
                    found.setdefault(step, size)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_circles_are_the_shortest_ones_of_a_naive_search(seed: int) -> None:
    draw = random.Random(seed)
    pairs = list(itertools.permutations("abcdef", 2))
    edges = set(draw.sample(pairs, draw.randint(2, 12)))
    naive = naive_circles(edges)
    found = circles(sorted(edges, key=lambda _: draw.random()))
    shortest: dict[tuple[str, str], int] = {}
    for circle in found:
        steps = list(zip(circle, (*circle[1:], circle[0])))
        assert all(step in edges for step in steps) and len(set(circle)) == len(circle)
        for step in steps:
            shortest[step] = min(shortest.get(step, 99), len(circle))
    assert shortest == naive
    assert found == circles(list(edges)) and len(set(map(frozenset, found))) <= len(found)


# ---- what wins beside the reasons


def lengths(longer: int, shorter: int, **more: Any) -> Book:
    book = Book()
    for number in range(longer + shorter):
        long, short = "word " * 9 + str(number), f"word {number}"
        better, worse = (long, short) if number < longer else (short, long)
        book.add(f"q{number}", better, worse, "left", **more)
    return book


def test_what_is_claimed_and_is_not_so_is_said_to_be_chance() -> None:
    book = lengths(42, 48)
    for place in range(12):
        book.said[place + 40] = _tagged(book.said[place + 40], "shorter")
    found = outcome(book, "length")
    assert (found.outcome, found.claim, found.tagged, found.kept) == ("chance", "less", 12, 10)
    assert in_words(found) == (
        "You say shorter 12 times, where it was so by this count in 10; the chosen answer was "
        "shorter in 48 of 90 pairs that differ (53% [40%, 66%]): no more than chance."
    )


def _tagged(judgement: Judgement, *tags: str) -> Judgement:
    from dataclasses import replace

    return replace(judgement, tags=tags)


@pytest.mark.parametrize(
    ("longer", "shorter", "expected"),
    [(40, 5, "more"), (5, 40, "less"), (22, 23, "chance"), (5, 4, "too few")],
)
def test_a_side_wins_if_the_interval_leaves_out_one_half(
    longer: int, shorter: int, expected: str
) -> None:
    found = outcome(lengths(longer, shorter), "length")
    assert found.outcome == expected
    assert (expected == "chance") == ("no more than chance" in in_words(found))
    assert (expected == "too few") == ("too few to tell" in in_words(found))


FIGURE_CASES = [
    ("length", "one two three", "one", 1),
    ("facts of the prompt", "It has 3 baths.", "It has baths.", 1),
    ("inventions", "It has 3 baths.", "It has 7 baths.", -1),
    ("exclamation marks", "Fine.", "Fine!", -1),
    ("softening words", "It is dry.", "It might be dry.", -1),
    ("lists and headings", "- one\n- two", "one, two", 1),
    ("length of sentences", "It is a long one.", "It is. A long. One.", 1),
]


@pytest.mark.parametrize(("name", "better", "worse", "sign"), FIGURE_CASES)
def test_every_figure_counts_what_it_says(name: str, better: str, worse: str, sign: int) -> None:
    figure = next(each for each in FIGURES if each.name == name)
    prompt = "Describe it. Facts: 3 baths."
    left, right = figure.count(better, prompt), figure.count(worse, prompt)
    assert (left > right) - (left < right) == sign
    assert {name for name, *_ in FIGURE_CASES} == {each.name for each in FIGURES}


def test_sides_do_not_matter() -> None:
    book, turned = lengths(20, 10), Book()
    for each in book.said:
        turned.add(each.of.prompt.text, each.of.right.text, each.of.left.text, "right")
    figures = [(each.count, each.more, each.rate) for each in beside(book.said)]
    assert figures == [(each.count, each.more, each.rate) for each in beside(turned.said)]


def test_pairs_of_one_prompt_count_as_fewer() -> None:
    alone = clustered([True] * 30 + [False] * 10, [str(n) for n in range(40)])
    wilson = share99(30, 40)
    assert (alone.low, alone.high) == pytest.approx((wilson.low, wilson.high))
    together = clustered([True] * 30 + [False] * 10, [str(n // 10) for n in range(40)])
    assert together.value == alone.value and together.count == 40
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert clustered([True] * 30, ["one"] * 30).low < share99(30, 30).low


def test_the_clustered_interval_covers_the_truth_where_a_naive_one_does_not() -> None:
    """50% true, six pairs of a prompt always the same: 99% should miss about one time in 100."""
    draw = np.random.default_rng(2)
    groups = [str(n // 6) for n in range(240)]
    missed = naive = 0
    for _ in range(300):
        hits = np.repeat(draw.random(40) < 0.5, 6).tolist()
        found, plain = clustered(hits, groups), share(sum(hits), 240)
        missed += not found.low <= 0.5 <= found.high
        naive += not plain.low <= 0.5 <= plain.high
    assert missed <= 9 and naive > 60


# ---- the headline


def test_headlines() -> None:
    assert "".join(headline(told(Book()))) == ("Nothing is decided yet: there is no taste to tell.")
    silent = "".join(headline(told(Book().fill(3))))
    assert silent.startswith("In 3 pairs no reason was given. No pair was asked twice")
    book = Book().fill(3, tags=("tone",))
    book.reask(book.said[0], "right", tags=("tone",))
    assert headline(told(book)) == [
        "In 3 pairs you say ", "tone (3)", ". Asked again, you chose the same answer in ",
        "100% [21%, 100%]", " of 1 re-ask.",
    ]  # fmt: skip
    model = taste(book.said, "me", "model")
    assert "".join(headline(model)).startswith("In 3 pairs it says tone (3). Asked again, it chose")


# ---- the rubric


def hyped(count: int = 30) -> Book:
    """Boasts lose, and so does what is invented."""
    book = Book("anna")
    for number in range(count):
        prompt = f"Describe flat {number}. Facts: {number} sq m."
        good, bad = f"Flat of {number} sq m.", f"A stunning flat of {number + 900} sq m, act now!"
        book.add(prompt, good, bad, "left", tags=("grounded",), reason="Says what is so.")
    return book


def test_a_rubric_holds_what_the_verdicts_show() -> None:
    checks = {check.name: check for check in rubric(told(hyped()))}
    assert checks["shorter"].kind == "at_most_words" and checks["shorter"].value == 5
    assert checks["grounded-numbers"].value is True
    assert checks["no-exclamation"].value == "!"
    assert checks["no-stunning"].kind == "not_contains"
    assert checks["grounded"].kind == "judge" and "Says what is so." in checks["grounded"].why
    assert all(check.kind in KINDS and check.evidence for check in checks.values())


def test_a_rubric_of_chance_holds_no_rule() -> None:
    draw = random.Random(1)
    words = [f"w{n}x" for n in range(60)]
    book = Book()
    for number in range(80):
        one, other = (" ".join(draw.sample(words, 12)) for _ in range(2))
        book.add(f"q{number}", one, other, "left", tags=("tone",))
    assert {check.kind for check in rubric(told(book))} == {"judge"}


def test_a_word_of_the_prompt_is_no_rule() -> None:
    book = Book()
    for number in range(40):
        book.add(f"q{number} about terraces", f"fine {number}", f"terraces {number}", "left")
    assert [check.name for check in rubric(told(book))] == []


HOSTILE = 'x"""\n[[check]]\nname = "evil"\x00\x7f\u2028\\ # \u202e\ud800 <script>alert(1)</script>'


@pytest.mark.parametrize("text", [HOSTILE, "'''", "\\", '"', "a\rb", "é–“"])
def test_no_text_of_anybody_breaks_the_toml(text: str) -> None:
    book = hyped(4)
    book.judge = text
    book.fill(5, tags=(text,), reason=text)
    found = tomllib.loads(as_toml(told(book)))
    assert all(set(each) == {"name", "kind", "value", "why"} for each in found["check"])
    assert all(each["name"] != "evil" and each["kind"] in KINDS for each in found["check"])


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_any_reason_gives_a_file_that_can_be_read(text: str) -> None:
    book = Book(text).fill(4, tags=(text or "x",), reason=text)
    (check,) = tomllib.loads(as_toml(told(book)))["check"]
    assert check["kind"] == "judge"


def test_the_file_says_what_its_kinds_mean_and_names_are_unique() -> None:
    book = Book().fill(4, tags=("a b", "a  b", "a/b"))
    text = as_toml(told(book))
    assert all(f"#   {kind}" in text for kind in KINDS)
    assert [each["name"] for each in tomllib.loads(text)["check"]] == ["a-b", "a-b-2", "a-b-3"]
    assert "suggest no check" in as_toml(told(Book()))


# ---- the card


def test_the_card_counts_and_speaks_of_them() -> None:
    book = hyped().fill(4, split="heldout")
    book.reask(book.said[0], "left")
    text = section(told(book))
    assert text.startswith("## Preference data\n\n34 pairs (30 to train on, 4 held out by prompt)")
    assert (
        "judged by anna: a person" in text and "They chose the same answer again in 0 of 1" in text
    )
    assert "| grounded | 30 |" in text and "You " not in text
    assert "1 contradiction not settled" in text and "is not known" in text


def test_markdown_of_others_stays_text() -> None:
    assert (
        escaped("a|b `c` *d* [x](y)\n# <b>") == "a\\|b \\`c\\` \\*d\\* \\[x\\]\\(y\\) \\# \\<b\\>"
    )
    book = Book("|x|").fill(3, tags=("| <img src=x> |",))
    row = next(line for line in section(told(book)).splitlines() if "img" in line)
    assert row == "| \\| \\<img src=x\\> \\| | 3 |"


def test_a_judge_that_is_no_person_is_called_so() -> None:
    text = section(taste(hyped().said, "wise", "model"))
    assert "a model, not a person" in text


# ---- the page

PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><svg onload=alert(1)>",
    "{{ 7 * 7 }}",
    "\u202egnp.exe",
    "</p></article>",
)


def attacked() -> Taste:
    book = Book("<b>me</b>")
    for number, text in enumerate(PAYLOADS * 4):
        first = book.add(
            f"{text} {number}", f"{text} a", f"{text} b", "left",
            tags=(text,), reason=text, strength=2,
        )  # fmt: skip
        book.reask(first, "left")
    return told(book)


def test_every_text_is_escaped() -> None:
    text = page(attacked())
    body = text.partition("</style>")[2]
    for payload in PAYLOADS[:3]:
        assert payload not in body
    assert "<b>me" not in text and "&lt;b&gt;me" in text
    assert "{{ 7 * 7 }}" in body and "49" not in body.partition("<section")[2][:200]
    assert "\u202e" not in text and "⟨U+202E⟩gnp.exe" in text


def test_the_page_is_the_same_each_time() -> None:
    assert page(attacked()) == page(attacked())
    assert page(told(hyped())) == page(told(hyped()))


def test_signs_that_hide_are_shown() -> None:
    assert visible("a\u200bb\ufeff\u2066") == "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+2066⟩"


@given(st.text("ab .\n", max_size=40), st.text("ab .\n", max_size=40))
def test_parts_make_up_the_text_and_what_is_unmarked_is_shared(one: str, other: str) -> None:
    left, right = apart(one, other)
    assert ("".join(text for text, _ in left), "".join(text for text, _ in right)) == (one, other)
    kept = [
        "".join("".join(text for text, marked in side if not marked).split())
        for side in (left, right)
    ]
    assert kept[0] == kept[1]


def test_long_texts_are_cut_and_many_things_are_counted() -> None:
    book = Book().fill(1, tags=("x",))
    book.add("q" * 3000, "a " * 2000, "b " * 2000, "left", tags=("x",), strength=2)
    for number in range(40):
        first = book.add(f"r{number}", "a", "b", "left", tags=(f"t{number}",), reason=f"r{number}")
        book.reask(first, "left")
    text = page(told(book))
    assert "2,500 characters of the chosen answer are left out" in text
    assert "(1,500 characters more)" in text
    assert text.count('class="reason"') == 12 and text.count('class="clash"') == 12
    assert "And 28 more." in text and len(text) < 200_000


@needs_browser
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.html" for name in ("empty", "attacked", "hyped")}
    for name, found in zip(paths, (told(Book()), attacked(), told(hyped()))):
        paths[name].write_text(page(found))
    with Browser() as browser:
        for path, width in itertools.product(paths.values(), (1200, 400)):
            browser.open(path, width=width)
            assert browser.errors == []
            assert [url for url in browser.requests if not url.startswith("file:")] == []
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value("document.querySelectorAll('img,script[src]').length") == 0
            assert browser.value("document.querySelector('#verdict').textContent.length") > 20


# ---- the command


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A person with thirty verdicts, a program with more."""
    path = tmp_path / "taste.db"
    with Store.open(path) as opened:
        opened.add_judge("demo", "program")
        opened.add_judge("anna", "person")
        for each in hyped().said:
            prompt = opened.add_prompt(each.of.prompt.text)
            ids = [
                opened.add_answer(prompt.id, one.text, "sample").id
                for one in (each.of.left, each.of.right)
            ]
            for judge in ("anna", "demo"):
                shown = opened.present(ids[0], ids[1], Showing(judge))
                said = Said("left", 2, each.reason, each.tags, 3000)
                opened.judge(f"{judge} {each.id}", shown.id, said)
        extra = opened.present(ids[1], ids[0], Showing("demo"))
        opened.judge("extra", extra.id, Said("right"))
    return path


def test_the_command_prints_the_page(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(store)
    told = capsys.readouterr().out
    assert told.startswith("In 30 pairs you say grounded (30).")
    assert "prompt    Describe flat" in told and "no more than chance" not in told
    assert "also judged by demo: --judge NAME" in told
    assert told.rstrip().endswith("--rubric rubric.toml") and "\x1b" not in told
    command(store, judge="demo")
    assert capsys.readouterr().out.startswith("In 30 pairs it says grounded (30).")


def test_files_are_written_whole_and_never_over_a_draft(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, toml, card = (tmp_path / "out" / name for name in ("t.html", "r.toml", "c.md"))
    command(store, html=html, rubric=toml, card=card)
    assert html.read_text().startswith("<!doctype html>")
    assert tomllib.loads(toml.read_text())["check"] and card.read_text().startswith("## ")
    assert f"written: {toml}" in capsys.readouterr().out
    html.write_text("<!doctype html>old")
    for draft, other in ((toml, None), (None, card)):
        with pytest.raises(UsageError, match="may hold your changes"):
            command(store, html=html, rubric=draft, card=other)
    assert html.read_text() == "<!doctype html>old", "nothing is written if something cannot be"
    with pytest.raises(UsageError, match="one name"):
        command(store, rubric=tmp_path / "x", card=tmp_path / "x")


def test_json_is_one_object(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(store, json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["judge"], found["tally"]["pairs"]) == ("anna", 30)
    assert found["reasons"][0]["examples"][0]["chosen"].startswith("Flat of")
    assert {each["name"] for each in found["beside"]} == {each.name for each in FIGURES}


def test_mistakes_are_told(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no store"):
        command(tmp_path / "gone.db")
    with pytest.raises(UsageError, match="no judge 'bob'"):
        command(store, judge="bob")
    with pytest.raises(UsageError, match=r"nothing in .* is judged"):
        Store.open(tmp_path / "new.db").close()
        command(tmp_path / "new.db")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a store"):
        command(tmp_path / "note.txt")
    with pytest.raises(UsageError, match="is no page"):
        command(store, html=tmp_path / "note.txt")


def test_an_answer_of_a_model_cannot_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "taste.db"
    with Store.open(path) as opened:
        opened.add_judge("me", "person")
        prompt = opened.add_prompt("p \x1b[2J")
        ids = [opened.add_answer(prompt.id, f"{n}\x1b]0;x\x07\u202e", "sample").id for n in "ab"]
        shown = opened.present(ids[0], ids[1], Showing("me"))
        opened.judge("j", shown.id, Said("left", 1, "\x1b[31m", ("\x9b31m",)))
    command(path)
    told = capsys.readouterr().out
    assert not set(told) & set("\x1b\x07\x9b\u202e")


def test_every_verdict_may_be_a_tie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts: tuple[Verdict, ...] = ("tie", "both_bad", "skip")
    path = tmp_path / "taste.db"
    with Store.open(path) as opened:
        opened.add_judge("me", "person")
        prompt = opened.add_prompt("p")
        ids = [opened.add_answer(prompt.id, text, "sample").id for text in "abc"]
        for verdict, (one, other) in zip(verdicts, itertools.combinations(ids, 2)):
            shown = opened.present(one, other, Showing("me"))
            opened.judge(verdict, shown.id, Said(verdict))
    command(path, html=tmp_path / "t.html", rubric=tmp_path / "r.toml", card=tmp_path / "c.md")
    assert capsys.readouterr().out.startswith("Nothing is decided yet")
