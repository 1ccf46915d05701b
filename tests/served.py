"""A small store and the judging server around it, in this process: what its tests share."""

import contextlib
import hashlib
import itertools
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from palate.judge.app import Setting, Work, create_app
from palate.judge.guard import Keys
from palate.judge.queue import Pace
from palate.judge.store import Store

SOURCE = Path(__file__).resolve().parents[1] / "src"
PORT = 8123
HOST = f"127.0.0.1:{PORT}"
TOKEN = "the-token-of-these-tests-0123456789abcdef"
TAB, OTHER_TAB = "tab-number-one", "tab-number-two"
ids = (f"call-{number:08d}" for number in itertools.count())


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def fill(store: Store, prompts: int, answers: int = 2) -> None:
    """`prompts` with `answers` each; every text is unlike the others."""
    with store.transaction():
        for number in range(prompts):
            asked = store.add_prompt(f"Describe flat {number}. Facts: {number} bath.")
            for which in range(answers):
                text = f"Flat {number}, told {which} times over."
                store.add_answer(asked.id, text, "sample", made={"seed": which})


@dataclass
class Served:
    """The app, and a page's calls."""

    store: Store
    app: FastAPI
    keys: Keys
    clock: Clock
    client: TestClient
    reports: list[Exception] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        reply = self.client.get(f"/api/1/{path}", params=query)
        assert reply.status_code == status, (reply.status_code, reply.text)
        return reply.json()

    def post(self, path: str, body: Any, status: int = 200, method: str = "POST") -> Any:
        reply = self.client.request(method, f"/api/1/{path}", json=body)
        assert reply.status_code == status, (reply.status_code, reply.text)
        return reply.json()

    def next(self, n: int = 1, tab: str = TAB, mode: str = "pair", last: str = "") -> Any:
        return self.get("next", n=n, tab=tab, mode=mode, last=last)

    def item(self, **how: Any) -> Any:
        """The pair on the screen."""
        (item,) = self.next(1, **how)["items"]
        return item

    def judge(self, item: Any, verdict: str = "left", status: int = 200, **more: Any) -> Any:
        body = {"id": next(ids), "presentation": item["presentation"], "verdict": verdict}
        return self.post("judgement", {"ms": 4000, **body, **more}, status)

    def undo(self, tab: str = TAB, **more: Any) -> Any:
        return self.post("undo", {"id": next(ids), "tab": tab, **more})

    @property
    def rows(self) -> int:
        return self.store.size("judgement")


@contextmanager
def serving(
    path: Path,
    *,
    prompts: int = 20,
    answers: int = 2,
    setting: Setting | None = None,
    pace: Pace | None = None,
    before: Callable[[Store], None] = lambda store: None,
) -> Iterator[Served]:
    """A store at `path`, filled if it is new, and its server."""
    clock = Clock()
    with Store.open(path, clock=clock) as store:
        if not store.size("prompt"):
            fill(store, prompts, answers)
        setting = setting or Setting("me", tags=("grounded", "shorter"), title="test")
        store.add_judge(setting.judge, "person")
        before(store)
        keys = Keys(TOKEN, clock)
        reports: list[Exception] = []
        ended: list[bool] = []
        work = Work(
            quit=lambda: ended.append(True),
            report=reports.append,
            pace=pace or Pace(),
            clock=clock,
        )
        app = create_app(store, setting, keys, port=PORT, work=work)
        with TestClient(
            app, base_url=f"http://{HOST}", headers={"Authorization": f"Bearer {TOKEN}"}
        ) as client:
            yield Served(store, app, keys, clock, client, reports, ended)
        assert not reports, reports


def content(path: Path) -> str:
    """A hash of everything that is in a store, read by a connection of its own."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        digest = hashlib.sha256()
        for line in connection.iterdump():
            digest.update(line.encode())
    connection.close()
    return digest.hexdigest()


# ---- a server of its own process


@dataclass
class Running:
    """`palate judge` as a process, on a port of this machine."""

    process: subprocess.Popen[str]
    port: int
    token: str
    lines: list[str]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def ask(self, request: bytes, *, wait: float = 20.0) -> bytes:
        """Raw bytes in, everything that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(request)
            parts = []
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    parts.append(part)
        return b"".join(parts)


def start(store: Path, *words: str) -> subprocess.Popen[str]:
    """`palate judge STORE --no-browser WORDS` in a process."""
    command = [sys.executable, "-c", "from palate.cli import main; main()", "judge", str(store)]
    return subprocess.Popen(
        [*command, "--no-browser", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
    )


def opened(process: subprocess.Popen[str]) -> Running:
    """Wait for the link that it prints."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        if found := re.search(r"http://[^/]+:(\d+)/#t=(\S+)", line):
            return Running(process, int(found[1]), found[2], lines)
    _, errors = process.communicate()
    raise AssertionError(f"no link: {lines} {errors}")


@contextmanager
def running(store: Path, *words: str) -> Iterator[Running]:
    """A server that is there, and gone afterwards."""
    process = start(store, *words)
    try:
        yield opened(process)
    finally:
        process.kill()
        process.communicate()
