"""The microscope's page: what is written is what was seen, nothing is fetched, nothing escapes."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, needs_browser
from palate.report import page as parts
from palate.report.explain import page, shares, standing, verdict
from palate.study.seen import Alternative, Seen, Side
from seen_cases import PROMPT, WORDS, Hand, bare, examples, seen_of, unpack


def data_of(html: str) -> dict[str, Any]:
    """What the page carries, read as a browser would find it."""
    found: list[str] = []

    class Reader(HTMLParser):
        inside = False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = ("id", "data") in attrs

        def handle_data(self, data: str) -> None:
            if self.inside:
                found.append(data)

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

    Reader().feed(html)
    return dict(json.loads("".join(found)))


# ---- the page as text


def test_nothing_is_fetched_and_nothing_runs_but_its_own_script() -> None:
    html = page(Hand().seen(5), words=WORDS)
    assert not re.search(r"""\b(?:src|href)\s*=|@import|url\(|\son\w+\s*=\s*["']""", html)
    links = set(re.findall(r"https?://[^\"' ]+", html))
    assert links == {"http://www.w3.org/2000/svg"}
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy


HOSTILE = "</script><img src=x onerror=document.title='taken'><!--<script>\u2028&amp;"


def hostile() -> Seen:
    row = Hand().pair(1, margin=0.3, prompt=HOSTILE, tag=HOSTILE, words=HOSTILE)
    chosen = row.sides[0]
    tokens = list(chosen.detail or ())
    others = (Alternative(HOSTILE, 0.5, 0.01),)
    tokens[7] = replace(tokens[7], text=HOSTILE, alternatives=others)
    row = replace(row, sides=(replace(chosen, detail=tuple(tokens)), row.sides[1]))
    return seen_of([row, Hand(1).pair(2, margin=2.0)], source=HOSTILE, model=HOSTILE)


def test_texts_cannot_end_the_script() -> None:
    html = page(hostile(), words={HOSTILE: HOSTILE})
    assert "<img" not in html
    assert html.count("</script>") == 2
    data = data_of(html)
    assert data["rows"]["prompt"][0] == HOSTILE and HOSTILE in data["texts"]


def test_a_lone_surrogate_does_not_stop_the_page() -> None:
    row = Hand().pair(1, margin=0.3, prompt="half a sign \ud83d")
    page(seen_of([row, row]), words={}).encode("utf-8")


def test_the_carried_figures_are_those_of_json() -> None:
    seen = Hand().seen(6)
    data = data_of(page(seen, words=WORDS))
    for index, row in enumerate(seen.rows):
        told = row.as_json()
        assert parts.shown(data["rows"]["margin"][index]) == parts.shown(told["margin"])
        for place, name in enumerate(("chosen", "rejected")):
            weight = data["sides"][place]["weight"][index]
            assert parts.shown(weight) == parts.shown(told["weights"][name])
            packed = data["details"][str(index)][place]
            wanted = [float(f"{token['logit_grad_norm']:.2e}") for token in told[name]["tokens"]]
            assert unpack(packed["push"]) == wanted
            p = [other["p"] for token in told[name]["tokens"] for other in token["alternatives"]]
            assert unpack(packed["p"]) == [float(f"{one:.2e}") for one in p]


def test_the_switched_weights_are_carried() -> None:
    seen = Hand().seen(30)
    for entry, switched in zip(data_of(page(seen, words={}))["switched"], seen.switched):
        for place, packed in enumerate(entry["weights"]):
            wanted = [float(f"{pair[place]:.2e}") for pair in switched.weights]
            assert unpack(packed) == wanted
        assert len(entry["weights"]) == 1 + (switched.objective in ("nca", "dpo_norm"))


def test_scripts_hold_no_formula_of_an_objective() -> None:
    for name in ("marks.js", "pair.js", "replay.js", "explain.js"):
        script = parts.part(name)
        assert not re.search(r"sigmoid|softplus|log1p|Math\.log\b|innerHTML|eval\(|__state", script)
        assert len(script.splitlines()) <= 400
    assert len(re.findall(r"Math\.exp", "".join(map(parts.part, ("marks.js", "pair.js"))))) == 1


# ---- the first sentence


def test_a_margin_says_where_a_pair_stands() -> None:
    rows = [Hand().pair(i, margin=m) for i, m in enumerate((-2.3, -0.5, 0.0, 2.1, 2.2))]
    assert [standing(row) for row in rows] == ["wrong", *["undecided"] * 3, "learnt"]
    assert standing(replace(rows[0], margin=None)) is None


def test_the_verdict_names_counts_and_where_the_gradient_lies() -> None:
    seen = Hand().seen(200)
    found = {part["name"]: part for part in shares(seen)}
    told = "".join(verdict(seen))
    assert sum(part["gradient"] for part in found.values()) == pytest.approx(1)
    for name, part in found.items():
        assert part["rows"] == sum(standing(row) == name for row in seen.rows)
        assert str(part["rows"]) in told
    left = found["wrong"]["gradient"] + found["undecided"]["gradient"]
    assert f"carry {left:.0%} of the gradient mass" in told


def test_the_verdict_of_a_fresh_model_of_examples_and_of_nothing() -> None:
    fresh = seen_of([Hand().pair(i, margin=0.0) for i in range(3)])
    assert "".join(verdict(fresh)).startswith("All 3 pairs are undecided")
    assert "4 examples" in verdict(examples(4))
    assert "no row" in verdict(seen_of([]))
    assert verdict(seen_of([fresh.rows[0]])) == (fresh.rows[0].words,)


def test_without_masses_the_weight_is_shared_out() -> None:
    seen = Hand().seen(20, detailed=5)
    rows = [replace(r, sides=tuple(replace(s, mass=None) for s in r.sides)) for r in seen.rows]
    assert "of the weight" in "".join(verdict(replace(seen, rows=tuple(rows))))


def test_ten_thousand_rows_stay_under_twenty_megabytes() -> None:
    hand = Hand()
    texts = [f" w{i}" for i in range(30_000)]
    few = [hand.pair(i + 1, margin=float(m)) for i, m in enumerate(hand.draw.normal(0, 2, 20))]

    def long(side: Side) -> Side:
        tokens = list(side.detail or ())
        many = [tokens[i % len(tokens)] for i in range(120)]
        named = [replace(t, text=texts[int(hand.draw.integers(30_000))]) for t in many]
        return replace(side, detail=tuple(named), count=120)

    rows = []
    for i in range(10_000):
        row = replace(few[i % 20], number=i + 1, prompt=PROMPT * 5)
        detailed = replace(row, sides=tuple(long(side) for side in row.sides)) if i < 500 else None
        rows.append(detailed or bare(row))
    assert len(page(seen_of(rows), words=WORDS).encode("utf-8")) < 20e6


# ---- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


def opened(browser: Browser, folder: Path, seen: Seen, **how: Any) -> Browser:
    path = folder / "page.html"
    path.write_text(page(seen, words=WORDS), encoding="utf-8")
    browser.open(path, **how)
    assert browser.errors == []
    assert all(url.startswith("file:") for url in browser.requests), browser.requests
    return browser


def figure(browser: Browser, name: str) -> str:
    return str(browser.value(f"document.querySelector('[data-figure={name}]').textContent"))


@needs_browser
def test_the_page_shows_the_figures_of_json(browser: Browser, tmp_path: Path) -> None:
    seen = Hand().seen(8)
    opened(browser, tmp_path, seen)
    for _ in seen.rows:
        number = int(browser.value("document.getElementById('pair').dataset.row"))
        row = next(row for row in seen.rows if row.number == number)
        told = row.as_json()
        assert figure(browser, "margin") == parts.shown(told["margin"], sign=True)
        assert figure(browser, "loss") == parts.shown(told["loss"])
        for name in ("chosen", "rejected"):
            assert figure(browser, f"weight-{name}") == parts.shown(
                told["weights"][name], sign=True
            )
            for key, field in (("logp", "logp"), ("ref", "ref_logp"), ("mass", "mass")):
                assert figure(browser, f"{key}-{name}") == parts.shown(told[name][field])
            pushes = browser.value(
                f"[...document.querySelectorAll('.side.{name} .token')].map(t => t.dataset.push)"
            )
            wanted = [parts.shown(token["logit_grad_norm"]) for token in told[name]["tokens"]]
            assert pushes == wanted
        browser.press("j")
    assert browser.errors == []


@needs_browser
def test_the_switch_shows_the_librarys_weights(browser: Browser, tmp_path: Path) -> None:
    seen = Hand().seen(5)
    opened(browser, tmp_path, seen)
    for switched in seen.switched:
        pick = seen.switched.index(switched)
        browser.value(f"document.querySelector('[data-objective={switched.objective}]').click()")
        browser.value(f"document.querySelector('[data-pick=\"{pick}\"]').click()")
        number = int(browser.value("document.getElementById('pair').dataset.row"))
        index = next(i for i, row in enumerate(seen.rows) if row.number == number)
        for name, weight in zip(("chosen", "rejected"), switched.weights[index]):
            assert figure(browser, f"weight-{name}") == parts.shown(weight, sign=True)
        assert figure(browser, "margin") == parts.shown(switched.margins[index], sign=True)
        assert figure(browser, "loss") == parts.shown(switched.losses[index])
        assert float(browser.value("document.getElementById('pair').dataset.weightChosen")) == (
            pytest.approx(switched.weights[index][0], rel=5e-3)
        )
    assert browser.errors == []


@needs_browser
def test_keys_move_sort_switch_and_explain(browser: Browser, tmp_path: Path) -> None:
    seen = Hand().seen(40)
    opened(browser, tmp_path, seen)

    def at() -> int:
        return int(browser.value("document.getElementById('pair').dataset.row"))

    heaviest = sorted(seen.rows, key=lambda row: -sum(side.mass or 0 for side in row.sides))
    assert at() == heaviest[0].number
    browser.press("j")
    assert at() == heaviest[1].number
    browser.press("k")
    assert at() == heaviest[0].number
    browser.press("s")
    assert browser.value("document.getElementById('sort').value") == "length"
    assert at() == max(seen.rows, key=lambda row: sum(side.count for side in row.sides)).number
    for _ in range(4):
        browser.press("s")
    assert browser.value("document.getElementById('sort').value") == "margin"
    assert at() == min(seen.rows, key=lambda row: row.margin or 0).number
    browser.press("o")
    assert browser.value("document.getElementById('pair').dataset.objective") == "ipo"
    browser.press("b")
    assert browser.value("document.getElementById('pair').dataset.pick") == "8"
    browser.press("?")
    assert browser.value("document.getElementById('glossary').open") is True
    assert "Beta times" in browser.value("document.getElementById('glossary').textContent")
    assert browser.errors == []


@needs_browser
def test_a_token_reached_by_keyboard_shows_its_card(browser: Browser, tmp_path: Path) -> None:
    seen = Hand().seen(3)
    opened(browser, tmp_path, seen)
    browser.value("document.querySelector('.side.chosen .token').focus()")
    browser.press("ArrowRight")
    card = browser.value("document.getElementById('card').textContent")
    heavy = max(seen.rows, key=lambda row: sum(side.mass or 0 for side in row.sides))
    token = (heavy.sides[0].detail or ())[1]
    assert "Shared by both sides" in card and parts.shown(token.logp) in card
    assert "log-ratio" in card and token.alternatives[0].text.strip() in card


@needs_browser
def test_hostile_texts_stay_texts(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, hostile())
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.value("document.title").startswith("palate · what")
    assert browser.value("[...document.querySelectorAll('.prompt')].map(p => p.textContent)") == [
        HOSTILE
    ]
    assert HOSTILE in browser.value(
        "[...document.querySelectorAll('.token')].map(t => t.textContent)"
    )
    assert browser.value("typeof window.__state") == "undefined"


@needs_browser
def test_ten_thousand_rows_are_listed_few_at_a_time(browser: Browser, tmp_path: Path) -> None:
    few = Hand().seen(50)
    rows = [bare(replace(few.rows[i % 50], number=i + 1)) for i in range(10_000)]
    opened(browser, tmp_path, seen_of(rows))
    assert browser.value("document.querySelectorAll('.item').length") < 60
    browser.value("document.querySelector('.rows').scrollTop = 1e9")
    places = "[...document.querySelectorAll('.item')].map(i => Number(i.ariaPosInSet))"
    browser.value("document.querySelector('.rows').dispatchEvent(new Event('scroll'))")
    assert max(browser.value(places)) == 10_000


@needs_browser
@pytest.mark.parametrize("width", [400, 820, 1200])
def test_nothing_scrolls_sideways(browser: Browser, tmp_path: Path, width: int) -> None:
    seen = replace(Hand().seen(12), replay=Hand().replayed(), source="x" * 90 + ".jsonl")
    opened(browser, tmp_path, seen, width=width)
    assert browser.value("document.documentElement.scrollWidth") <= width


@needs_browser
def test_no_rows_is_a_sentence(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, seen_of([]))
    assert "no row" in browser.value("document.getElementById('verdict').textContent")
    assert browser.value("document.getElementById('desk').hidden") is True


@needs_browser
def test_examples_have_one_side(browser: Browser, tmp_path: Path) -> None:
    seen = examples(4)
    opened(browser, tmp_path, seen)
    assert browser.value("document.querySelectorAll('.side').length") == 1
    assert figure(browser, "weight-target") == parts.shown(1 / 40, sign=True)
    assert browser.value("document.querySelectorAll('#curve, #switch').length") == 0


@needs_browser
def test_the_replay_slides_through_its_frames(browser: Browser, tmp_path: Path) -> None:
    replay = Hand().replayed()
    opened(browser, tmp_path, replace(Hand().seen(3), replay=replay))
    for at, frame in enumerate(replay.frames[0]):
        browser.value(
            f"(f => {{ f.value = {at}; f.dispatchEvent(new Event('input')) }})"
            "(document.getElementById('frame'))"
        )
        assert browser.value("document.getElementById('replay').dataset.step") == str(frame.step)
        said = browser.value("document.querySelector('#replay .words').textContent")
        assert parts.shown(frame.weights[0]) in said
        assert parts.shown(replay.imitated[0][at].weights[0]) in said
    assert browser.errors == []


@needs_browser
def test_answers_that_are_pushed_down_alone_and_rankings(browser: Browser, tmp_path: Path) -> None:
    seen = examples(2)
    side = replace(seen.rows[0].sides[0], weight=-0.1, name="undesirable")
    labelled = replace(seen, rows=(replace(seen.rows[0], sides=(side,)), seen.rows[1]))
    assert "1 are pushed up and 1 down" in "".join(verdict(labelled))
    opened(browser, tmp_path, labelled)
    pair = Hand().pair(1, margin=0.5)
    ranked = replace(pair, sides=(*pair.sides, replace(pair.sides[1], name="third")), margin=None)
    opened(browser, tmp_path, seen_of([ranked, ranked]))
    assert browser.value("document.querySelectorAll('.side').length") == 3


@needs_browser
def test_where_motion_is_unwelcome_the_button_goes_one_step(
    browser: Browser, tmp_path: Path
) -> None:
    replay = Hand().replayed()
    seen = replace(Hand().seen(3), replay=replay)
    opened(browser, tmp_path, seen, prefers_reduced_motion="reduce")
    browser.value("document.getElementById('play').click()")
    step = browser.value("document.getElementById('replay').dataset.step")
    assert step == str(replay.frames[0][1].step)
    assert browser.value("document.getElementById('play').textContent") == "next step"
