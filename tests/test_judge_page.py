"""The judging page in a browser: what is done with keys is what is saved, and nothing is lost."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, BrowserContext

from browser import needs_browser
from judging_page import TAGS, Screen, chromium, fill, served
from palate.data.judged import Said
from palate.judge.store import Store

pytestmark = needs_browser
VERDICTS = {
    "ArrowLeft": ("left", 1), "ArrowRight": ("right", 1), "Shift+ArrowLeft": ("left", 2),
    "Shift+ArrowRight": ("right", 2), "ArrowDown": ("tie", 1), "s": ("skip", 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1200, "height": 900}) as one:
        yield one


def standing(store: Store) -> list[tuple[str, str]]:
    return [(each.of.id, each.verdict) for each in store.standing("me")]


# ---- a whole session


class Diary:
    """What a test did, kept apart from the page and the server: the export must equal it."""

    def __init__(self, screen: Screen, seed: int) -> None:
        self.screen = screen
        self.draw = random.Random(seed)
        self.done: list[dict[str, Any]] = []

    def judge(self, key: str | None = None) -> None:
        """One verdict, and now and then a reason: a tag, two, one taken back, or words."""
        key = key or self.draw.choice([*VERDICTS, "ArrowLeft", "ArrowRight"])
        pair = self.screen.judge(key)
        verdict, strength = VERDICTS[key]
        entry = {**pair, "verdict": verdict, "strength": strength, "tags": [], "reason": ""}
        self.done.append(entry)
        if verdict != "skip":
            self._say_why(entry)

    def _say_why(self, entry: dict[str, Any]) -> None:
        pressed = self.draw.choice(["", "1", "12", "313", "2"])
        for digit in pressed:
            self.screen.press(digit)
            tag = TAGS[int(digit) - 1]
            tags = entry["tags"]
            entry["tags"] = [t for t in tags if t != tag] if tag in tags else [*tags, tag]
        if self.draw.random() < 0.2:
            entry["reason"] = f"reason {self.draw.random()} z 1"
            self.screen.press("r")
            self.screen.page.keyboard.type(entry["reason"])
            self.screen.press("Enter")

    def edit(self) -> None:
        """Left is better, and better still with one more sentence."""
        pair, before = self.screen.pair(), self.screen.shown
        self.screen.press("e", "ArrowLeft")
        self.screen.wait_for_view("editing")
        self.screen.press("Control+End")
        self.screen.page.keyboard.type(" Ask for the key.")
        self.screen.press("Control+Enter")
        self.screen.wait_for_pair(before)
        plain = {"strength": 1, "tags": [], "reason": ""}
        self.done.append({**pair, **plain, "verdict": "left"})
        better = {"left": pair["left"] + " Ask for the key.", "right": pair["left"]}
        self.done.append({**pair, **better, **plain, "verdict": "left"})

    def undo(self) -> None:
        self.screen.press("z")
        last = self.done.pop()
        pair = {name: last[name] for name in ("prompt", "left", "right")}
        if last["left"].endswith("Ask for the key."):
            pair = {name: self.done[-1][name] for name in pair}
        self.screen.page.wait_for_selector(f"#prompt >> text={last['prompt']}")
        assert self.screen.pair() == pair

    def write(self) -> None:
        self.screen.press("w")
        self.screen.wait_for_view("writing")
        texts = ("A prompt of mine.", "The fine answer.", "A near miss.", "it is finer")
        for text in texts[:3]:
            self.screen.page.keyboard.type(text)
            self.screen.press("Tab")
        self.screen.page.locator("#writeReason").focus()
        self.screen.page.keyboard.type(texts[3])
        self.screen.press("Control+Enter", "Escape")
        self.screen.press("Escape")
        self.screen.wait_for_view("judging")
        written = dict(zip(("prompt", "left", "right", "reason"), texts))
        self.done.append({**written, "verdict": "left", "strength": 1, "tags": []})

    def pairs(self) -> list[tuple[Any, ...]]:
        found = []
        for entry in self.done:
            if entry["verdict"] in ("left", "right"):
                other = "right" if entry["verdict"] == "left" else "left"
                why = (tuple(entry["tags"]), entry["reason"], entry["strength"])
                found.append((entry["prompt"], entry[entry["verdict"]], entry[other], *why))
        return sorted(found)


def exported(screen: Screen) -> list[tuple[Any, ...]]:
    """Both files that the page saves, fetched with keys alone."""
    screen.press("c")
    screen.page.wait_for_selector("#cardBody .figures")
    rows: list[dict[str, Any]] = []
    for name in ("save the pairs", "held-out pairs"):
        while name not in str(screen.page.evaluate("document.activeElement.textContent")):
            screen.press("Tab")
        with screen.page.expect_download() as download:
            screen.press("Enter")
        rows += map(json.loads, Path(download.value.path()).read_text("utf-8").splitlines())
    assert {row["judge"] for row in rows} <= {"me"}
    assert {row["split"] for row in rows} == {"train", "heldout"}
    return sorted(
        (row["prompt"], row["chosen"], row["rejected"], tuple(row.get("tags", ())),
         row.get("reason", ""), row["strength"])
        for row in rows
    )  # fmt: skip


def test_a_session_with_keys_alone_is_exported_as_it_was_done(
    context: BrowserContext, tmp_path: Path
) -> None:
    with served(tmp_path / "flats.db", prompts=90) as site:
        screen = Screen(context).open(site.link)
        assert "#" not in screen.page.url and "TOKEN" not in screen.page.url
        diary = Diary(screen, seed=3)
        for _ in range(30):
            diary.judge()
        diary.edit()
        for _ in range(10):
            diary.undo()
        for _ in range(14):
            diary.judge()
        screen.wait_until_saved()
        before = screen.pair()
        screen.reload()
        assert screen.pair() == before
        diary.undo()
        diary.judge("ArrowRight")
        other = Diary(Screen(context).open(site.link), seed=4)
        assert other.screen.pair() != screen.pair()
        for _ in range(6):
            other.judge()
            diary.judge()
        other.screen.wait_until_saved()
        other.screen.check(site.url)
        other.screen.page.close()
        diary.write()
        while len(diary.done) + len(other.done) < 60:
            diary.judge()
        diary.done += other.done
        assert exported(screen) == diary.pairs()
        judged = sum(entry["verdict"] != "skip" for entry in diary.done)
        assert len(site.store.standing("me")) == len(diary.done) == 60
        assert f"{judged} judged" in screen.text("#count")
        screen.check(site.url)


# ---- keys


def test_a_held_key_judges_once(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        for _ in range(12):
            screen.page.keyboard.down("ArrowRight")
        screen.page.keyboard.up("ArrowRight")
        screen.page.locator("[data-verdict=left]").focus()
        for _ in range(12):
            screen.page.keyboard.down("Enter")
        screen.page.keyboard.up("Enter")
        screen.wait_until_saved()
        assert [verdict for _, verdict in standing(site.store)] == ["right", "left"]


def test_other_combinations_and_boxes_judge_nothing(
    context: BrowserContext, tmp_path: Path
) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        before = screen.shown
        for chord in ("Alt+s", "Meta+s", "Control+s", "Control+Shift+z", "Control+1", "1", "z"):
            screen.press(chord)
        screen.press("e", "ArrowLeft")
        screen.wait_for_view("editing")
        screen.press("ArrowLeft", "ArrowDown", "s", "z", "1")
        screen.press("Escape")
        screen.wait_for_view("judging")
        assert screen.shown == before
        screen.press("ArrowLeft", "r")
        screen.page.keyboard.type("s1zhw?")
        assert screen.page.input_value("#reason") == "s1zhw?"
        screen.press("Escape")
        screen.wait_until_saved()
        assert len(standing(site.store)) == 1


def test_every_button_says_what_it_does_and_does_it(
    context: BrowserContext, tmp_path: Path
) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        for name in ("left2", "left", "tie", "right", "right2"):
            before = screen.shown
            screen.page.click(f"[data-verdict={name}]")
            screen.wait_for_pair(before)
        screen.page.click("[data-tag=tone]")
        screen.page.click("[data-verdict=both_bad]")
        screen.page.get_by_role("button", name="go on without").click()
        screen.wait_until_saved()
        said = [(each.verdict, each.strength) for each in site.store.standing("me")]
        assert said == [
            ("left", 2), ("left", 1), ("tie", 1), ("right", 1), ("right", 2), ("both_bad", 1)
        ]  # fmt: skip
        assert site.store.standing("me")[4].tags == ("tone",)


def test_caps_lock_and_digits_that_need_shift(context: BrowserContext, tmp_path: Path) -> None:
    """A letter is told by Shift, not by its case; a digit also by its place on the board."""
    press = """([key, code, shiftKey]) => document.body.dispatchEvent(
        new KeyboardEvent('keydown', {key, code, shiftKey, bubbles: true, cancelable: true}))"""
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        screen.judge("ArrowLeft")
        screen.page.evaluate(press, ["&", "Digit1", False])
        screen.page.evaluate(press, ["1", "Digit1", True])
        screen.page.evaluate(press, ["&", "Digit1", False])
        screen.page.evaluate(press, ["S", "KeyS", False])
        screen.wait_until_saved()
        first, second = site.store.standing("me")
        assert first.tags == ("grounded",) and second.verdict == "skip"


# ---- reasons


def test_with_why_a_winner_waits_for_its_reason(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db", why=True) as site:
        screen = Screen(context).open(site.link)
        before = screen.shown
        screen.press("ArrowLeft", "ArrowRight")
        assert screen.shown == before and standing(site.store) == []
        assert "better" in screen.text("#right h2").lower()
        screen.press("2")
        screen.wait_for_pair(before)
        screen.press("1")
        before = screen.shown
        screen.press("ArrowLeft", "r")
        screen.page.keyboard.type("plainer")
        screen.press("Control+Enter")
        screen.wait_for_pair(before)
        screen.press("ArrowLeft", "z")
        screen.judge("ArrowDown")
        screen.wait_until_saved()
        told = [(each.verdict, each.tags, each.reason) for each in site.store.standing("me")]
        assert told == [
            ("right", ("shorter", "grounded"), ""), ("left", (), "plainer"), ("tie", (), "")
        ]  # fmt: skip


def test_the_line_goes_quiet_and_its_keys_go_on(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        screen.judge("ArrowLeft")
        screen.page.wait_for_selector("#tags:not([hidden])")
        screen.page.wait_for_selector("#tags[hidden]", state="attached", timeout=5000)
        screen.press("1")
        screen.page.wait_for_selector("#tags:not([hidden]) [data-tag=grounded][aria-pressed=true]")
        assert "you say: grounded 1" in screen.text("#tally")
        screen.wait_until_saved()
        assert site.store.standing("me")[0].tags == ("grounded",)


# ---- nothing is lost


def cli(store: Path, port: int) -> "subprocess.Popen[str]":
    """The command itself, until it says that it listens."""
    code = "from palate.cli import main; main()"
    flags = ["--no-browser", "--port", str(port), "--tags", ",".join(TAGS)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "judge", str(store), *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return process


def link_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    for line in process.stdout:
        found = re.search(r"http://\S+", line)
        if found:
            return found.group()
    raise AssertionError("it did not start")


def test_a_killed_server_costs_nothing(context: BrowserContext, tmp_path: Path) -> None:
    path = tmp_path / "flats.db"
    with Store.open(path) as store:
        fill(store, 12)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = cli(path, port)
    try:
        screen = Screen(context).open(link_of(first))
        screen.judge("ArrowLeft")
        screen.wait_until_saved()
        screen.page.wait_for_timeout(200)
        first.send_signal(signal.SIGKILL)
        first.wait()
        judged = [screen.judge("ArrowRight"), screen.judge("ArrowDown")]
        screen.press("1")
        screen.page.wait_for_selector("#unsent:visible")
        assert "2 not saved yet: the server is away" in screen.text("#unsent")
        screen.press("z", "z")
        screen.judge("ArrowLeft")
    finally:
        first.kill()
    second = cli(path, port)
    try:
        link_of(second)
        screen.wait_until_saved()
        screen.page.wait_for_selector("#unsent", state="hidden")
        screen.judge("ArrowLeft")
        screen.wait_until_saved()
    finally:
        second.terminate()
        second.wait(20)
        for process in (first, second):
            assert process.stdout
            process.stdout.close()
    with Store.open(path) as store:
        said = [(each.of.prompt.text, each.verdict) for each in store.standing("me")]
    assert said[1][0] == judged[0]["prompt"]
    assert [verdict for _, verdict in said] == ["left", "left", "left"]


def test_what_the_server_will_not_take_is_told_and_kept(
    context: BrowserContext, tmp_path: Path
) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        shown = screen.shown
        site.store.judge("elsewhere-1", shown, Said("tie"))  # another tab was quicker
        screen.judge("ArrowLeft")
        screen.page.wait_for_selector("#unsent:visible")
        assert "1 could not be saved" in screen.text("#unsent")
        screen.judge("ArrowRight")
        screen.wait_until_saved()
        screen.reload()
        screen.page.click("#unsent")
        assert "has a verdict already" in screen.text("#lost")
        screen.page.get_by_role("button", name="they may be dropped").click()
        screen.page.wait_for_selector("#unsent", state="hidden")
        assert (shown, "tie") in standing(site.store) and len(standing(site.store)) == 2


def test_a_locked_store_is_a_red_badge_and_then_none(
    context: BrowserContext, tmp_path: Path
) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        locked = [503, 500]

        def answer(route: Any) -> None:
            if not locked:
                route.continue_()
                return
            route.fulfill(status=locked.pop(0), json={"saved": False, "error": "locked"})

        screen.page.route("**/judgement", answer)
        screen.judge("ArrowLeft")
        screen.page.wait_for_selector("#unsent:visible")
        assert "the store is locked" in screen.text("#unsent")
        screen.wait_until_saved()
        screen.page.wait_for_selector("#unsent", state="hidden")
        assert len(standing(site.store)) == 1


def test_what_is_typed_is_there_after_a_reload(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        shown = screen.shown
        screen.press("e", "ArrowRight")
        screen.wait_for_view("editing")
        screen.page.fill("#betterText", "A better one, half typ")
        screen.page.click("text=shorter >> visible=true")
        screen.page.wait_for_timeout(900)
        assert "half typ" in site.store.draft(shown)
        screen.page.fill("#betterText", "A better one, half typed")  # not sent yet
        screen.reload()
        screen.wait_for_view("editing")
        assert screen.page.input_value("#betterText") == "A better one, half typed"
        screen.press("Control+Enter")
        screen.wait_for_view("judging")
        screen.wait_until_saved()
        verdict, edit = site.store.standing("me")
        assert (verdict.of.id, verdict.verdict) == (shown, "right")
        assert edit.chosen and edit.chosen.text == "A better one, half typed"
        assert edit.tags == ("shorter",)
        screen.press("w")
        screen.page.fill("#writeChosen", "half a pair")
        screen.page.wait_for_timeout(700)
        screen.press("Escape")
        screen.judge("ArrowLeft")
        screen.press("r")
        screen.page.keyboard.type("because it")
        screen.reload()
        assert screen.page.input_value("#reason") == "because it"
        screen.press("Enter", "w")
        assert screen.page.input_value("#writeChosen") == "half a pair"
        screen.wait_until_saved()
        assert "because it" in [each.reason for each in site.store.standing("me")]
        screen.check(site.url)


def test_a_closed_tab_gives_its_pairs_to_the_next(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db", prompts=3) as site:
        first = Screen(context).open(site.link)
        shown = first.shown
        first.page.close()
        second = Screen(context).open(site.link)
        assert second.shown == shown


# ---- history, modes, and the end


def test_a_judgement_of_the_history_is_judged_anew(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        judged = [screen.judge(key) for key in ("ArrowLeft", "ArrowRight", "ArrowDown")]
        screen.press("h")
        screen.page.wait_for_selector("#historyRows .item >> nth=2")
        assert "3 judgements" in screen.text("#historyWords")
        screen.press("j", "j")
        assert screen.page.text_content("#historyPair .side .text") == judged[0]["left"]
        screen.press("Enter")
        screen.wait_for_view("judging")
        assert screen.pair() == judged[0] and "left is better" in screen.text("#note")
        screen.press("Escape")
        screen.wait_for_view("history")
        screen.press("Enter")
        screen.wait_for_view("judging")
        screen.press("Shift+ArrowRight", "1")
        screen.wait_until_saved()
        found = site.store.standing("me")
        assert [(each.verdict, each.strength) for each in found] == [
            ("right", 2), ("right", 1), ("tie", 1)
        ]  # fmt: skip
        assert found[0].tags == ("grounded",)


def test_what_is_skipped_comes_back_at_the_end(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db", prompts=3) as site:
        screen = Screen(context).open(site.link)
        skipped = [screen.judge("s") for _ in range(3)]
        again = [screen.judge("ArrowLeft"), screen.judge("ArrowRight"), screen.pair()]
        assert sorted(map(str, again)) == sorted(map(str, skipped))
        screen.press("ArrowDown")
        screen.wait_for_view("card")
        screen.wait_until_saved()
        verdicts = [verdict for _, verdict in standing(site.store)]
        assert sorted(verdicts) == ["left", "right", "tie"]


def test_the_winner_of_a_prompt_stays(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db", prompts=2, answers=4, mode="rank") as site:
        screen = Screen(context).open(site.link)
        for step in (1, 2, 3):
            assert f"{step} of 3 for this prompt" in screen.text("#note")
            winner = screen.judge("ArrowRight")
            if step < 3:
                assert winner["right"] in screen.pair().values()
        assert winner["prompt"] != screen.pair()["prompt"]
        screen.press("z")
        screen.page.wait_for_selector("#note >> text=3 of 3")
        assert screen.pair() == winner


def test_both_bad_and_the_one_just_judged_can_be_written_better(
    context: BrowserContext, tmp_path: Path
) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context).open(site.link)
        bad = screen.pair()
        screen.press("ArrowUp", "ArrowRight")
        screen.wait_for_view("editing")
        assert screen.page.is_disabled("#editSave")
        assert "Nothing is changed" in screen.text("#editNote")
        screen.press("Control+End")
        screen.page.keyboard.type(" Bright.")
        screen.page.wait_for_selector("#changed ins")
        assert screen.text("#changed ins").strip() == "Bright."
        screen.press("Control+Enter")
        screen.wait_for_view("judging")
        judged = screen.judge("Shift+ArrowLeft")
        screen.press("Shift+E")
        screen.wait_for_view("editing")
        assert screen.page.input_value("#betterText") == judged["left"]
        screen.page.keyboard.type("Bright. ")
        screen.press("Control+Enter")
        screen.wait_for_view("judging")
        screen.wait_until_saved()
        found = site.store.standing("me")
        texts = [each.chosen.text if each.chosen else each.verdict for each in found]
        assert sorted(texts) == sorted(
            ["both_bad", bad["right"] + " Bright.", judged["left"], "Bright. " + judged["left"]]
        )
        screen.press("z")
        screen.page.wait_for_selector("#note >> text=a draft again")
        screen.press("e")
        screen.wait_for_view("editing")
        assert screen.page.input_value("#betterText") == "Bright. " + judged["left"]


def test_the_reading_stands_beside_a_pair_as_it_is_written(
    context: BrowserContext, tmp_path: Path
) -> None:
    with served(tmp_path / "flats.db", mode="write") as site:
        screen = Screen(context).open(site.link)
        screen.page.fill("#writePrompt", "Describe the flat. Facts: 2 bath; fees $310.")
        screen.page.fill("#writeChosen", "A two-bath flat with fees of $310 a month, and a lift.")
        screen.page.fill("#writeRejected", "LOL!!!! BUY BUY BUY NOW!!!!!! $$$$$$$ WOW WOW WOW")
        screen.page.wait_for_selector("#readingNotes li.bad")
        assert "cartoon end" in str(screen.page.get_attribute("#scale", "aria-label"))
        near = "A two-bath flat in a great spot, with low fees, and a lift."
        screen.page.fill("#writeRejected", near)
        screen.page.wait_for_selector("#reading >> text=near miss")
        assert screen.page.is_disabled("#writeSave")
        screen.page.locator("#writeTags button").first.click()
        screen.page.click("#writeSave")
        screen.wait_until_saved()
        (pair,) = site.store.standing("me")
        assert pair.rejected and pair.rejected.text == near and pair.tags == ("grounded",)
        screen.check(site.url)


def test_the_end_and_the_calm_sentences(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db", prompts=2) as site:
        screen = Screen(context).open(site.url)
        assert "the link that the terminal printed" in screen.text("#messageWords")
        screen.page.evaluate(f"location.hash = '#t={site.link.partition('#t=')[2]}'")
        screen.wait_for_view("judging")
        screen.wait_for_pair()
        screen.judge("ArrowLeft")
        screen.press("ArrowRight", "r")
        screen.wait_for_view("card")
        screen.page.wait_for_selector("#cardBody .figures")
        screen.page.keyboard.type("last words")
        screen.press("Enter")
        assert "2 pairs from 2 judgements" in screen.text("#cardWords")
        assert "Nothing is left" in screen.text("#cardNote")
        screen.press("3")
        screen.wait_until_saved()
        assert site.store.tally("me") == {"tone": 1}
        assert "last words" in [each.reason for each in site.store.standing("me")]
        screen.press("z")
        screen.wait_for_view("judging")
        screen.press("ArrowDown")
        screen.wait_for_view("card")
        screen.page.get_by_role("button", name="quit").click()
        screen.wait_for_view("message")
        assert "the server has ended" in screen.text("#messageWords") and site.ended == [True]
    with served(tmp_path / "empty.db", prompts=0) as site:
        screen = Screen(context)
        screen.page.goto(site.link)
        screen.wait_for_view("message")
        assert "nothing to judge here yet" in screen.text("#messageWords")


def test_the_goal_is_told_and_locks_nothing(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db", goal=2) as site:
        screen = Screen(context).open(site.link)
        screen.judge("ArrowLeft")
        assert screen.page.is_hidden("#pause") and "1 of 2" in screen.text("#count")
        screen.judge("ArrowLeft")
        assert "that was the goal" in screen.text("#pause")
        screen.judge("ArrowLeft")
        assert "3 of 2" in screen.text("#count")


def test_a_pause_is_proposed_and_locks_nothing(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context)
        screen.page.clock.install()
        screen.open(site.link)
        screen.judge("ArrowLeft")
        assert screen.page.is_hidden("#pause")
        screen.page.clock.fast_forward("26:00")
        screen.judge("ArrowLeft")
        assert "25 minutes" in screen.text("#pause")
        screen.judge("ArrowLeft")
        screen.page.get_by_role("button", name="go on").click()
        screen.judge("ArrowLeft")
        assert screen.page.is_hidden("#pause")


def test_a_token_that_is_refused_loses_nothing(context: BrowserContext, tmp_path: Path) -> None:
    with served(tmp_path / "flats.db") as site:
        screen = Screen(context)
        replies = [503, 401]

        def answer(route: Any) -> None:
            if not replies:
                route.continue_()
                return
            route.fulfill(status=replies.pop(0), json={"error": "no"})

        screen.page.route("**/session", answer)
        screen.page.goto(site.link)
        screen.page.wait_for_selector("#messageWords >> text=locked by another program")
        screen.page.get_by_role("button", name="try now").click()
        screen.page.wait_for_selector("#messageWords >> text=the link that the terminal printed")
        screen.open(site.link)
        screen.page.reload()
        screen.wait_for_view("judging")
        screen.wait_for_pair()
        replies.append(401)
        screen.page.route("**/judgement", answer)
        screen.press("ArrowLeft")
        screen.wait_for_view("message")
        assert len(screen.waiting()) == 1
        screen.page.evaluate(f"location.hash = '#t={site.link.partition('#t=')[2]}'")
        screen.wait_for_view("judging")
        screen.wait_until_saved()
        assert [verdict for _, verdict in standing(site.store)] == ["left"]


def test_the_page_is_plain_files(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "src/palate/judge/page"
    for path in folder.iterdir():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 400, path.name
        banned = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function"
        assert not re.search(banned, text), path.name
        assert not re.search(r"""(src|href|url\(|from|fetch\()\s*=?\s*["'(]?https?:""", text)
    html = (folder / "index.html").read_text("utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=)", html)
