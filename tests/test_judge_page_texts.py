"""What the judging page draws: texts as texts, differences as they are, readable colours."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, BrowserContext

from browser import needs_browser
from judging_page import Screen, Site, chromium, served
from palate.judge.store import Store
from payloads import PAYLOADS

pytestmark = needs_browser
KNOWN = {"#text", "SPAN", "MARK", "INS", "DEL"}
OUTSIDE = """() => [...document.querySelectorAll('*')].map(e => e.tagName.toUpperCase())
  .filter(n => ['IMG','IFRAME','OBJECT','EMBED','STYLE','BASE','VIDEO','AUDIO','MARQUEE','FORM',
    'TEMPLATE','MATH','MGLYPH','SELECT','FOREIGNOBJECT','PICTURE','ANIMATE'].includes(n))"""
INSIDE = """(where) => [...document.querySelectorAll(where)].flatMap(
  box => [...box.querySelectorAll('*')].map(e => e.tagName.toUpperCase()))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1200, "height": 900}) as one:
        yield one


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("texts") / "flats.db", prompts=40) as one:
        yield one


@pytest.fixture
def screen(context: BrowserContext, site: Site) -> Screen:
    return Screen(context).open(site.link)


def hostile(path: Path) -> None:
    """Every payload as a prompt, as a left and as a right answer."""
    with Store.open(path) as store, store.transaction():
        for number, payload in enumerate(PAYLOADS):
            asked = store.add_prompt(payload)
            for turn in (1, 2):
                store.add_answer(asked.id, PAYLOADS[number - turn], "sample")


def test_sixty_payloads_stay_texts_wherever_they_are_shown(
    context: BrowserContext, tmp_path: Path
) -> None:
    hostile(tmp_path / "hostile.db")
    with served(tmp_path / "hostile.db", tags=PAYLOADS[:2], title=PAYLOADS[3]) as site:
        screen = Screen(context).open(site.link)
        assert screen.text("#title") == PAYLOADS[3]
        seen: set[str] = set()
        for number in range(len(PAYLOADS)):
            if number % 10 == 5:
                screen.press("d")
            pair = screen.pair()
            assert {each.replace("▸", "") for each in pair.values()} <= set(PAYLOADS)
            seen |= set(pair.values())
            assert set(screen.page.evaluate(INSIDE, ".text, #prompt")) <= KNOWN
            if number == len(PAYLOADS) - 1:
                break
            screen.judge("ArrowLeft")
            screen.press("1", "r")
            screen.page.fill("#reason", PAYLOADS[number])
            screen.press("Enter")
            if number < len(PAYLOADS) - 1:
                screen.wait_for_pair(str(screen.page.evaluate("''")) or "-")
        assert seen == set(PAYLOADS)
        screen.wait_until_saved()
        screen.press("h")
        screen.page.wait_for_selector(f"#historyRows .item >> nth={49}")
        reasons = set()
        for _ in range(49):
            reasons.add(screen.page.text_content("#historyPair > .words").split(", ", 1)[1])  # type: ignore[union-attr]
            screen.press("j")
        assert reasons <= set(PAYLOADS) and len(reasons) == 49
        assert screen.page.evaluate(OUTSIDE) == []
        screen.press("e", "Escape", "w")
        screen.page.fill("#writeChosen", PAYLOADS[5])
        screen.page.fill("#writeRejected", PAYLOADS[5] + " " + PAYLOADS[7])
        screen.page.wait_for_timeout(1200)
        assert screen.page.evaluate(OUTSIDE) == []
        screen.check(site.url)
        assert screen.page.evaluate("document.title").startswith(PAYLOADS[3])


def test_characters_that_cannot_be_seen_are_shown(screen: Screen) -> None:
    code = """async (texts) => {
      const { visible } = await import('/signs.js');
      const box = document.createElement('div');
      return texts.map(text => { box.replaceChildren(...visible(text));
        return [box.textContent, box.querySelectorAll('.sign').length]; });
    }"""
    shown = {
        "pay \u202egnp.exe": ("pay RLOgnp.exe", 1),
        "\u2066a\u2069\u200b\u200e": ("LRIaPDIZWSPLRM", 4),
        "a\u00a0b\tc\r\n": ("a⍽b⇥\tc␍\n", 3),
        "\x00\x1b[31m\x7f\x85": ("␀␛[31m␡U+0085", 4),
        "\ufeffx\u00ad\u2028\U000e0041": ("BOMxSHYLSU+E0041", 4),
        "half \ud83d": ("half U+D83D", 1),
        "co\u200dop ᠎": ("coZWJop U+180E", 2),
        "two  spaces\n\nand a line": ("two  spaces\n\nand a line", 0),
        "👩\u200d🚀 ❤\ufe0f 👍🏽 🇬🇧 1\ufe0f\u20e3": ("👩\u200d🚀 ❤\ufe0f 👍🏽 🇬🇧 1\ufe0f\u20e3", 0),
        "می\u200cخواهم क्\u200dष": ("می\u200cخواهم क्\u200dष", 0),
        "": ("", 0),
    }
    found = screen.page.evaluate(code, list(shown))
    assert [tuple(each) for each in found] == list(shown.values())


# ---- differences


def longest(one: list[str], other: list[str]) -> int:
    """The naive table: words of a longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for j, theirs in enumerate(other):
            row.append(before[j] + 1 if word == theirs else max(row[j], before[j + 1]))
    return row[-1]


MATCH = """async (couples) => {
  const { words, matched, compared } = await import('/diff.js');
  return couples.map(([a, b]) => {
    const one = words(a), other = words(b), began = performance.now();
    const places = [...matched(one, other)], took = performance.now() - began;
    const nodes = compared(a, b);
    const whole = places.filter(j => j >= 0);
    const right = whole.every((j, i) => !i || j > whole[i - 1])
      && places.every((j, i) => j < 0 || one[i].word === other[j].word)
      && one.map(w => w.word + w.gap).join('') === a
      && other.map(w => w.word + w.gap).join('') === b;
    return { one: one.map(w => w.word).slice(0, 50), other: other.map(w => w.word).slice(0, 50),
      right, count: whole.length, took, same: nodes.same };
  });
}"""


def test_the_match_is_a_longest_one(screen: Screen) -> None:
    draw = random.Random(5)
    words = ["the", "a", "flat", "lift,", "bath.", "2", "$310", "three-bed", "don’t", "!", "雨"]

    def text() -> str:
        return "".join(
            draw.choice(words) + draw.choice([" ", " ", "\n", ""])
            for _ in range(draw.randrange(0, 14))
        )

    couples = [[text(), text()] for _ in range(300)] + [["", ""], ["", "a"], [" a", "a "]]
    for (a, b), found in zip(couples, screen.page.evaluate(MATCH, couples)):
        assert found["right"], (a, b)
        assert found["count"] == longest(found["one"], found["other"]), (a, b)
        assert found["same"] == (a == b)


def test_long_texts_are_matched_in_moments(screen: Screen) -> None:
    draw = random.Random(6)
    words = [f"word{number}" for number in range(3000)]
    base = [draw.choice(words) for _ in range(12_000)]
    edited = [word for word in base if draw.random() > 0.05]
    couples = [
        [" ".join(base), " ".join(edited)],
        ["x " * 20_000, "y " * 20_000],
        [" ".join(words), " ".join(reversed(words))],
    ]
    found = screen.page.evaluate(MATCH, couples)
    assert max(each["took"] for each in found) < 3000
    assert all(each["right"] for each in found)
    counts = [each["count"] for each in found]
    assert counts[0] > 0.95 * len(edited) and counts[1] == 0 and counts[2] >= 1


def test_differences_are_marked_and_the_first_is_told(
    context: BrowserContext, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "two.db") as store:
        asked = store.add_prompt("Which?")
        store.add_answer(asked.id, "A flat with two baths.  Fees $310.", "sample")
        store.add_answer(asked.id, "A flat with three baths. Fees $310.", "sample")
    with served(tmp_path / "two.db") as site:
        screen = Screen(context).open(site.link)
        assert screen.page.locator("mark").count() == 0
        screen.press("d")
        two = screen.page.locator(".answer", has_text="two")
        assert two.locator("mark:not(.space)").all_text_contents() == ["two"]
        assert two.locator("mark.space").all_text_contents() == ["␣␣"]
        assert two.locator(".lead").text_content() == "A flat with "
        assert screen.page.locator(".here").count() == 2
        screen.press("d")
        assert screen.page.locator("mark").count() == 0


def test_an_added_sentence_is_marked_whole(screen: Screen) -> None:
    code = """async ([a, b]) => { const { changes } = await import('/diff.js');
      return changes(a, b).map(n => n.outerHTML ?? n); }"""
    found = screen.page.evaluate(code, ["It has a lift.", "It has a lift. Ask for the key."])
    assert found[-1] == "<ins>Ask for the key.</ins>"
    found = screen.page.evaluate(code, ["It has a lift. Ask for the key.", "It has a lift."])
    assert found[-1] == "<del>Ask for the key.</del>"


# ---- what can be read, heard and reached


def contrast(one: str, other: str) -> float:
    """Of two `rgb(r, g, b)`, by WCAG 2."""

    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


COLOURS = """() => { const probe = document.body.appendChild(document.createElement('i'));
  const rgb = name => { probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color; };
  const names = ['paper', 'card', 'quiet', 'ink', 'soft', 'faint', 'up', 'down', 'alert',
    'on-alert', 'edge'];
  const all = Object.fromEntries(names.map(name => [name, rgb(name)]));
  probe.remove(); return all; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read_in_both_themes(browser: Browser, site: Site, scheme: Any) -> None:
    with browser.new_context(color_scheme=scheme) as context:
        screen = Screen(context).open(site.link)
        found = screen.page.evaluate(COLOURS)
        for name in ("ink", "soft", "faint", "up", "down", "alert"):
            for ground in ("paper", "card"):
                assert contrast(found[name], found[ground]) >= 4.5, (name, ground)
        assert contrast(found["soft"], found["quiet"]) >= 4.5
        assert contrast(found["on-alert"], found["alert"]) >= 4.5
        assert contrast(found["paper"], found["ink"]) >= 4.5
        assert contrast(found["edge"], found["card"]) >= 3
        assert contrast(found["up"], found["paper"]) >= 3  # the focus ring


def views(screen: Screen) -> Iterator[str]:
    """Every view once, opened by its key."""
    yield "judging"
    for key, name in (("h", "history"), ("c", "card"), ("w", "writing")):
        screen.press(key)
        screen.wait_for_view(name)
        screen.page.wait_for_timeout(150)
        yield name
        screen.press("Escape")
        screen.wait_for_view("judging")
    screen.press("e", "ArrowLeft")
    screen.wait_for_view("editing")
    yield "editing"
    screen.press("Escape")


NAMELESS = """() => [...document.querySelectorAll(
    'button, input, textarea, [role=img], [role=listbox]')]
  .filter(node => node.checkVisibility())
  .filter(node => !(node.textContent.trim() || node.ariaLabel || node.labels?.length))
  .map(node => node.outerHTML)"""


def test_everything_has_a_name_and_a_place(screen: Screen) -> None:
    screen.judge("ArrowLeft")
    for name in views(screen):
        assert screen.page.evaluate(NAMELESS) == [], name
        for landmark in ("header", "main", "h1"):
            assert screen.page.locator(f"{landmark}:visible").count() >= 1, name
        assert screen.page.locator(f"section#{name}:visible h2").count() >= 1, name
    assert screen.page.locator("footer:visible, nav:visible").count() == 2
    assert screen.page.get_attribute("#live", "aria-live") == "polite"
    screen.judge("ArrowRight")
    assert "Right is better" in str(screen.page.text_content("#live"))
    screen.press("Tab")
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    assert screen.page.evaluate(ring) == "solid"
    screen.press("?")
    assert screen.page.locator("dialog[open]").count() == 1
    before = screen.shown
    screen.press("ArrowLeft", "z", "Escape")
    assert screen.shown == before and screen.page.locator("dialog[open]").count() == 0


@pytest.mark.parametrize("width", [400, 820, 1200])
def test_nothing_scrolls_sideways(browser: Browser, tmp_path: Path, width: int) -> None:
    with Store.open(tmp_path / "wide.db") as store:
        asked = store.add_prompt("x" * 400 + " Which? " + "word " * 300)
        for letter in "ab":
            store.add_answer(asked.id, letter * 500 + " end\n" * 60, "sample")
    size: Any = {"width": width, "height": 800}
    with (
        served(tmp_path / "wide.db", tags=("a" * 40, *"bcdefgh"), title="t" * 90) as site,
        browser.new_context(viewport=size) as context,
    ):
        screen = Screen(context).open(site.link)
        screen.press("d")
        for name in views(screen):
            sideways = "document.documentElement.scrollWidth"
            assert screen.page.evaluate(sideways) <= width, name
        dock = screen.page.locator("#dock").bounding_box()
        assert dock and dock["y"] + dock["height"] <= 801


def test_where_motion_is_unwelcome_nothing_moves(browser: Browser, site: Site) -> None:
    with browser.new_context(reduced_motion="reduce") as context:
        screen = Screen(context).open(site.link)
        screen.judge("ArrowLeft")
        assert screen.page.evaluate("document.getAnimations().length") == 0
