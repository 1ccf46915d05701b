"""The judging page in Debian's Chromium, with the real server behind it: what its tests share."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from browser import FOUND
from palate.judge.app import Setting, Work, create_app
from palate.judge.guard import Keys
from palate.judge.store import Store

TOKEN = "the-token-of-these-tests-0123456789abcdef"
TAGS = ("grounded", "shorter", "tone")
PATIENCE_MS = 15_000
SEEN = """() => ({
  prompt: document.getElementById("prompt").textContent,
  left: document.querySelector("#left .text").textContent,
  right: document.querySelector("#right .text").textContent,
  shown: document.getElementById("answers").dataset.presentation,
})"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """One headless browser."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


def launched(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=FOUND, args=["--no-sandbox"])


def fill(store: Store, prompts: int, answers: int = 2) -> None:
    """Every text is unlike the others, and two answers of a prompt share most words."""
    with store.transaction():
        for number in range(prompts):
            asked = store.add_prompt(f"Describe flat {number}. Facts: {number} bath; a lift.")
            for which in range(answers):
                text = f"Flat {number} has {number} baths and {'no' if which else 'a'} lift."
                store.add_answer(asked.id, f"{text} Version {which}.", "sample")


@dataclass(frozen=True)
class Site:
    """A store that is being served by a thread of this process."""

    store: Store
    url: str
    app: Any
    ended: list[bool] = field(default_factory=list)

    @property
    def link(self) -> str:
        return f"{self.url}#t={TOKEN}"


@contextmanager
def served(path: Path, *, prompts: int = 12, answers: int = 2, **how: Any) -> Iterator[Site]:
    """`how` goes to `Setting`."""
    with Store.open(path) as store:
        if not store.size("prompt"):
            fill(store, prompts, answers)
        setting = Setting(**{"judge": "me", "tags": TAGS, "title": "flats", **how})
        store.add_judge(setting.judge, "person")
        ended: list[bool] = []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            work = Work(quit=lambda: ended.append(True))
            app = create_app(store, setting, Keys(TOKEN), port=port, work=work)
            with running(app, listening):
                yield Site(store, f"http://127.0.0.1:{port}/", app, ended)


@contextmanager
def running(app: Any, listening: socket.socket) -> Iterator[None]:
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield
    server.should_exit = server.force_exit = True
    thread.join(10)


class Screen:
    """One tab, as a person sees and uses it: texts on the screen, keys on the keyboard."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, link: str) -> "Screen":
        self.page.goto(link)
        self.page.wait_for_selector("body[data-view]")
        if self.view == "judging":
            self.wait_for_pair()
        return self

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("body[data-view]")
        if self.view == "judging":
            self.wait_for_pair()

    @property
    def view(self) -> str:
        return str(self.page.get_attribute("body", "data-view"))

    def wait_for_view(self, name: str) -> None:
        self.page.wait_for_selector(f"body[data-view={name}]")

    def wait_for_pair(self, after: str = "") -> None:
        """Until another pair than `after` is on the screen."""
        others = '#answers[data-presentation]:not([data-presentation=""])'
        wanted = f'{others}:not([data-presentation="{after or "-"}"])'
        self.page.wait_for_selector(wanted, state="attached")

    @property
    def shown(self) -> str:
        return str(self.page.get_attribute("#answers", "data-presentation"))

    def pair(self) -> dict[str, str]:
        """What is on the screen, read as text."""
        return {name: text for name, text in self._seen().items() if name != "shown"}

    def _seen(self) -> dict[str, str]:
        return dict(self.page.evaluate(SEEN))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def judge(self, key: str) -> dict[str, str]:
        """Press a key of a verdict and wait for the next pair; the pair that was judged."""
        pair = self._seen()
        before = pair.pop("shown")
        self.press(key)
        self.wait_for_pair(before)
        return pair

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def wait_until_saved(self) -> None:
        """Until nothing waits in the browser any more."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while self.waiting():
            assert time.monotonic() < deadline, "not saved"
            time.sleep(0.02)

    def waiting(self) -> list[Any]:
        """What is kept in the browser until the server has it."""
        code = (
            "Object.entries(localStorage).filter(([k]) => k.startsWith('palate.unsent.'))"
            ".map(([, v]) => v)"
        )
        return [json.loads(entry) for entry in self.page.evaluate(code)]

    def check(self, url: str) -> None:
        """Nothing complained, nothing was asked of anybody but the server."""
        assert self.complaints == []
        assert self.dialogs == []
        allowed = (url, "blob:" + url, "data:image/svg+xml,")
        assert [each for each in self.requests if not each.startswith(allowed)] == []
