"""The doctor's page: what is written is what was found, nothing is fetched, nothing escapes."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import Browser, needs_browser
from palate.report import page as parts
from palate.report.doctor import BUDGET, CUT, FULL, page
from palate.stats import share
from palate.study.checks.base import Case, Finding, PairText, Severity
from palate.study.doctor import ORDER, Report, measured
from palate.study.near_miss import CARTOON, Place, Zone
from palate.study.rewrite import ranked
from test_explain_page import HOSTILE, data_of

ZONES: tuple[Zone, ...] = ("near miss", "cartoon", "hairline", "strangers")
WHERE = {"near miss": (0.4, 0.5), "cartoon": (0.002, 0.6), "hairline": (0.6, 0.04)}


def pair(line: int, rejected: str = "A lovely loft with charm.") -> PairText:
    prompt = f"Describe loft {line}. Facts: two baths; fees $310."
    return PairText(line, prompt, "A two-bath loft; fees of $310.", rejected)


def place(line: int, zone: Zone) -> Place:
    plausible, apart = WHERE.get(zone, (0.7, 0.97))
    return Place(line, plausible, apart, zone)


def finding(name: str, severity: Severity, *rows: int, **changes: Any) -> Finding:
    rate = share(len(rows), max(40, len(rows)))
    found = Finding(name, severity, f"{name} speaks up.", rate.value, rate, "warning from 5%")
    return replace(found, rows=rows, todo=f"mend {name}", **changes)


def report(count: int = 40) -> Report:
    """A pair in ten is a cartoon, a hairline or strangers; lines start at 11."""
    pairs = [pair(line) for line in range(11, 11 + count)]
    zones = [ZONES[n % 10 % 4] if n % 10 < 4 else "near miss" for n in range(count)]
    findings = (
        finding("leakage", "error", 15, 17),
        finding("length", "warning", *range(15, 15 + min(20, count - 4))),
        finding("words", "info", 19),
        finding("surface", "too few"),
        finding("duplicates", "ok"),
    )
    places = tuple(place(each.line, zone) for each, zone in zip(pairs, zones, strict=True))
    return Report(Case("pairs.jsonl", pairs), findings, places)


def hostile() -> Report:
    texts = [PairText(n, HOSTILE, HOSTILE + " one", HOSTILE + " other", HOSTILE) for n in (1, 2)]
    found = finding(HOSTILE, "error", 1, source=HOSTILE, threshold=HOSTILE)
    found = replace(found, message=HOSTILE, todo=HOSTILE)
    places = tuple(replace(place(n, "cartoon"), basis=HOSTILE) for n in (1, 2))
    return Report(Case(HOSTILE, texts), (found,), places)


# ---- the page as text


def test_nothing_is_fetched_and_nothing_runs_but_its_own_script() -> None:
    html = page(report())
    assert not re.search(r"""\b(?:src|href)\s*=|@import|url\(|\son\w+\s*=\s*["']""", html)
    assert set(re.findall(r"https?://[^\"' ]+", html)) == {"http://www.w3.org/2000/svg"}
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy


def test_texts_cannot_end_the_script() -> None:
    html = page(hostile())
    assert "<img" not in html and html.count("</script>") == 2
    data = data_of(html)
    assert data["texts"][0][0] == HOSTILE and data["findings"][0]["message"] == HOSTILE


def test_a_lone_surrogate_does_not_stop_the_page() -> None:
    found = report(3)
    odd = replace(found.case, pairs=[pair(n, "half a sign \ud83d") for n in (11, 12, 13)])
    page(replace(found, case=odd)).encode("utf-8")


def test_scripts_are_short_and_build_text_alone() -> None:
    for name in ("map.js", "doctor.js"):
        script = parts.part(name)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|eval\(|document\.write", script)
        assert len(script.splitlines()) <= 400


def test_the_data_is_what_was_found() -> None:
    found = report()
    data = data_of(page(found))
    assert [each["check"] for each in data["findings"]] == [each.check for each in found.findings]
    for told, each in zip(data["findings"], found.findings, strict=True):
        assert told["measured"] == measured(each) and told["message"] == each.message
    assert sum(zone["count"] for zone in data["zones"]) == 40
    assert {zone["name"] for zone in data["zones"]} == set(ZONES)
    assert data["full"] == 40 and data["limits"][0] == CARTOON


def test_the_pairs_that_matter_are_carried_in_full() -> None:
    count, long = FULL + 300, "word " * 40
    pairs = [pair(line, long) for line in range(11, 11 + count)]
    last = count + 10
    places = tuple(place(each.line, "near miss") for each in pairs)
    found = Report(Case("p", pairs), (finding("rare", "warning", last),), places)
    data = data_of(page(found))
    assert data["full"] == FULL
    cut = [len(texts[2]) < len(long) for texts in data["texts"]]
    assert sum(cut) == 300 and not cut[-1] and cut[-2]
    assert data["texts"][-2][3] == [0, 0, len(long) - CUT]


def test_ten_thousand_pairs_make_a_small_page() -> None:
    long = "a fairly long answer about nothing much " * 60
    draw = np.random.default_rng(0)
    pairs = [PairText(n, long, long + str(n), long[::-1], "tag") for n in range(10_000)]
    figures = draw.uniform(size=(10_000, 2))
    places = tuple(Place(n, x, y, "near miss") for n, (x, y) in enumerate(figures))
    findings = [finding(f"check {n}", "warning", *range(0, 10_000, n + 1)) for n in range(12)]
    found = page(Report(Case("p", pairs), tuple(findings), places))
    assert len(found.encode()) < BUDGET + 6e6 < 10e6


# ---- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


def opened(browser: Browser, folder: Path, found: Report, **how: Any) -> Browser:
    path = folder / "page.html"
    path.write_bytes(page(found).encode())
    browser.open(path, **how)
    assert browser.errors == []
    assert all(url.startswith("file:") for url in browser.requests), browser.requests
    return browser


def at(browser: Browser) -> int:
    return int(browser.value("document.getElementById('pair').dataset.line"))


def pointed(browser: Browser, index: int, *, click: bool = False) -> None:
    """Move the pointer to a dot, and click there if asked."""
    spot = f"state.map.spot({index})"
    frame = "document.querySelector('#plot canvas').getBoundingClientRect()"
    x, y = browser.value(f"[{frame}.left + {spot}[0], {frame}.top + {spot}[1]]")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    if click:
        for event in ("mousePressed", "mouseReleased"):
            browser.call(
                "Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1
            )


@needs_browser
def test_the_keys_walk_the_pairs_to_rewrite(browser: Browser, tmp_path: Path) -> None:
    found = report()
    opened(browser, tmp_path, found)
    lines = [each.line for each in found.case.pairs if isinstance(each, PairText)]
    order = [each.line for each in ranked(lines, found.findings, found.places)]
    assert order[:2] == [17, 15] or order[:2] == [15, 17]
    assert at(browser) == order[0]
    browser.press("j")
    assert at(browser) == order[1]
    browser.press("k")
    assert at(browser) == order[0]
    shown = browser.value("[...document.querySelectorAll('.item')].map(i => +i.dataset.line)")
    assert shown == order[: len(shown)]
    said = browser.value("document.getElementById('pair').textContent")
    assert "leakage speaks up." in said and "length speaks up." in said


@needs_browser
def test_hover_shows_the_pair_and_a_click_keeps_it(browser: Browser, tmp_path: Path) -> None:
    found = report()
    opened(browser, tmp_path, found)
    for index in (12, 1, 3):  # no dot lies on these
        pointed(browser, index)
        line = found.case.pairs[index].line
        near = [n for n, each in enumerate(found.places) if each.zone == found.places[index].zone]
        lines = {found.case.pairs[n].line for n in near}
        card = "document.getElementById('card')"
        assert browser.value(f"{card}.hidden") is False
        assert int(browser.value(f"{card}.dataset.line")) in lines
        assert "A lovely loft" in browser.value(f"{card}.textContent")
        pointed(browser, index, click=True)
        assert at(browser) in lines and line in lines
        assert browser.value("document.getElementById('pair').dataset.zone") == (
            found.places[index].zone
        )
    assert browser.errors == []


@needs_browser
def test_each_dot_lies_in_its_zone(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, report())
    spots = browser.value("lines.map((_, i) => [zoneOf(i), across(plausible[i], limits[0]),"
                          " upward(apart[i], limits[1], limits[2])])")  # fmt: skip
    wide, low, high = browser.value("[WIDE, LOW, HIGH]")
    for zone, x, y in spots:
        assert (zone == "cartoon") == (x < wide)
        if x >= wide:
            assert zone == ("hairline" if y < low else "strangers" if y > high else "near miss")


@needs_browser
def test_words_that_differ_are_marked(browser: Browser, tmp_path: Path) -> None:
    found = report(4)
    texts = [
        replace(each, rejected="A two-bath loft; cheap fees.") for each in found.case.pairs[:4]
    ]
    opened(browser, tmp_path, replace(found, case=replace(found.case, pairs=texts)))
    marks = "[...document.querySelectorAll('mark.{}')].map(m => m.textContent.trim())"
    assert browser.value(marks.format("up")) == ["of $310"]
    assert browser.value(marks.format("down")) == ["cheap"]
    # what is unmarked is the same on both sides, in the same order
    plain = "[...document.querySelectorAll('.answer.{} .text')].map(p => [...p.childNodes].filter("
    plain += "n => n.nodeName !== 'MARK').map(n => n.textContent).join('').replace(/\\s+/g, ''))[0]"
    assert browser.value(plain.format("chosen")) == browser.value(plain.format("rejected"))


@needs_browser
def test_a_finding_is_shown_on_the_map_and_back(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, report())
    browser.value("document.querySelector('.finding.error .all').click()")
    assert browser.value("state.order.map(i => lines[i])") == [15, 17]
    assert "leakage" in browser.value("document.querySelector('.sieve').textContent")
    browser.press("Escape")
    assert len(browser.value("state.order")) > 2
    browser.value("document.querySelector('.finding.warning [data-line=\"18\"]').click()")
    assert at(browser) == 18
    browser.press("z")
    assert set(browser.value("state.order.map(zoneOf)")) == {"cartoon"}
    browser.press("?")
    assert browser.value("document.getElementById('glossary').open") is True
    assert "cannot see" in browser.value("document.getElementById('glossary').textContent")
    assert browser.errors == []


@needs_browser
def test_hostile_texts_stay_texts(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, hostile())
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.value("document.title").startswith("palate · is")
    assert browser.value("document.querySelector('#pair .prompt').textContent") == HOSTILE
    assert browser.value("document.querySelector('.answer.chosen .text').textContent") == (
        HOSTILE + " one"
    )
    pointed(browser, 0)
    assert HOSTILE in browser.value("document.querySelector('.finding .words').textContent")
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.errors == []


@needs_browser
def test_ten_thousand_dots_move_smoothly(browser: Browser, tmp_path: Path) -> None:
    found = report(10_000)
    opened(browser, tmp_path, found)
    assert browser.value("document.querySelectorAll('.item').length") < 60
    assert browser.value("document.querySelectorAll('*').length") < 2000
    spent = browser.value(
        "(() => { const start = performance.now(); for (let i = 0; i < 10; i += 1)"
        " state.map.show({ at: i }); return (performance.now() - start) / 10; })()"
    )
    assert spent < 100, f"one drawing takes {spent:.0f} ms"


@needs_browser
@pytest.mark.parametrize("width", [360, 400, 820, 1200])
def test_nothing_scrolls_sideways(browser: Browser, tmp_path: Path, width: int) -> None:
    found = report()
    long = [replace(each, prompt="p" * 300, rejected="r" * 400) for each in found.case.pairs[:40]]
    opened(browser, tmp_path, replace(found, case=Case("x" * 90, long)), width=width)
    assert browser.value("document.documentElement.scrollWidth") <= width


@needs_browser
def test_examples_and_nothing_have_no_map(browser: Browser, tmp_path: Path) -> None:
    found = Report(Case("e.jsonl"), (finding("duplicates", "warning", 3, 4), finding("x", "ok")))
    opened(browser, tmp_path, found)
    assert browser.value("document.getElementById('map').hidden") is True
    assert browser.value("document.getElementById('pair').hidden") is True
    assert "3" in browser.value("document.querySelector('.finding .lines').textContent")
    opened(browser, tmp_path, Report(Case("e.jsonl"), ()))


def test_the_data_is_json_and_every_severity_is_ordered() -> None:
    found = data_of(page(report()))
    json.dumps(found, allow_nan=False)
    ranks = [ORDER.index(each["severity"]) for each in found["findings"]]
    assert ranks == sorted(ranks)
