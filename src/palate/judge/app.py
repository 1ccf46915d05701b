"""The judging page's server side: /api/1 and the files of the page, behind the guard.

Calls are plain functions, so they run in threads: a slow one (a reading, the end card, a disk)
holds up nobody's page, and writes take turns at the desk, which commits before it returns.  Errors
are told in a few words of our own; the page never sees what the system said.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated, Any, Final, Protocol

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from palate.data.judged import Mode
from palate.errors import DiskError, PalateError, StoreError, UsageError
from palate.judge import forms, schema
from palate.judge.database import Locked
from palate.judge.desk import WRITE_DRAFT, Desk, Written
from palate.judge.guard import API, WORDS, Guard, Keys, hosts_of
from palate.judge.queue import Pace
from palate.judge.store import Conflict, Store

RETRY_SECONDS: Final = 2
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
WRITES: Final = (
    ("POST", "open"),
    ("POST", "judgement"),
    ("POST", "undo"),
    ("PUT", "draft"),
    ("POST", "edit"),
    ("POST", "pair"),
    ("POST", "reading"),
    ("POST", "quit"),
)
READS: Final = ("session", "next", "history", "stats", "export.jsonl")


class Reading(Protocol):
    """What reads a pair while it is being written."""

    def read(self, prompt: str, chosen: str, rejected: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """Who judges, and how: what the page is told when it opens.

    `why`: a verdict needs a reason.  `goal`: after so many the page shows the end card.
    """

    judge: str
    mode: Mode = "pair"
    tags: tuple[str, ...] = ()
    why: bool = False
    goal: int | None = None
    title: str = ""


def create_app(
    store: Store,
    setting: Setting,
    keys: Keys,
    *,
    port: int,
    reading: Reading | None = None,
    work: "Work | None" = None,
) -> FastAPI:
    """The whole server as an ASGI app.  It answers to our names on `port`, and to no other Host."""
    work = work or Work()
    app = FastAPI(title="palate judge", openapi_url=None, redirect_slashes=False)
    calls = Calls(store, setting, keys, reading, work)
    for name in READS:
        app.add_api_route(f"{API}/{name}", getattr(calls, name.partition(".")[0]), methods=["GET"])
    for method, name in WRITES:
        app.add_api_route(f"{API}/{name}", getattr(calls, name), methods=[method])
    table = {f"{API}/{name}": frozenset({"GET"}) for name in READS}
    table |= {f"{API}/{name}": frozenset({method}) for method, name in WRITES}
    for path, reply in _page():
        app.add_api_route(path, reply, methods=["GET"], include_in_schema=False)
        table[path] = frozenset({"GET"})
    _add_errors(app)
    app.add_middleware(
        Guard,
        table=table,
        keys=keys,
        hosts=hosts_of(port),
        report=work.report,
    )
    return app


@dataclass(frozen=True, slots=True)
class Work:
    """What the server around the app does: it ends, it hears of bugs, it has a clock."""

    quit: Callable[[], None] = lambda: None
    report: Callable[[Exception], None] = lambda error: None
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.time


class Calls:
    """One method per call of the API."""

    def __init__(
        self, store: Store, setting: Setting, keys: Keys, reading: Reading | None, work: Work
    ) -> None:
        self._store = store
        self._setting = setting
        self._keys = keys
        self._reading = reading
        self._work = work
        self._desk = Desk(store, setting.judge, pace=work.pace, clock=work.clock)
        self._desk.left(setting.mode)  # a list of second looks may take long: before the page opens

    def open(self, form: forms.CodeForm) -> forms.TokenReply:
        token = self._keys.redeem(form.code)
        if not token:
            raise HTTPException(401)
        return forms.TokenReply(token=token)

    def session(self) -> forms.SessionReply:
        told, prompts = self._setting, self._store.unjudged(self._setting.judge, limit=1)
        return forms.SessionReply(
            schema_=len(schema.MIGRATIONS),
            title=told.title,
            judge=told.judge,
            mode=told.mode,
            modes=list(forms.MODES),
            tags=list(told.tags),
            goal=told.goal,
            left=self._desk.left(told.mode),
            why=told.why,
            plausible=getattr(self._reading, "plausible", None) is not None,
            draft=self._store.draft(WRITE_DRAFT),
            k=len(self._store.answers(prompts[0].id)) if prompts else 2,
            **self._counted(),
        )

    def next(
        self,
        tab: Annotated[forms.Id, Query()],
        mode: Annotated[forms.AskedMode, Query()] = "pair",
        n: Annotated[int, Query(ge=1, le=10)] = 1,
        last: Annotated[str, Query(max_length=200)] = "",
    ) -> forms.NextReply:
        turn = self._desk.next(mode, tab, n, last)
        items = [forms.ItemReply.of(item) for item in turn.items]
        return forms.NextReply(items=items, left=turn.left, done=turn.done)

    def judgement(self, form: forms.JudgementForm) -> forms.JudgementReply:
        said = form.said(form.verdict, form.strength)
        with _known():
            self._desk.judge(form.id, form.presentation, said, form.supersedes)
        return forms.JudgementReply(judgement=form.id, **self._counted())

    def undo(self, form: forms.UndoForm) -> forms.UndoReply:
        with _known():
            undone = self._desk.undo(form.id, form.target, form.tab)
        return forms.UndoReply.of(undone, self._desk.counts(), dict(self._desk.tally()))

    def draft(self, form: forms.DraftForm) -> forms.SavedReply:
        with _known():
            self._desk.save_draft(form.key, form.text)
        return forms.SavedReply()

    def edit(self, form: forms.EditForm) -> forms.CountedReply:
        with _known():
            said = form.said(form.side)
            self._desk.edit(form.id, form.presentation, form.side, form.text, said)
        return forms.CountedReply(**self._counted())

    def pair(self, form: forms.PairForm) -> forms.CountedReply:
        if not form.reason.strip() and not form.tags:
            raise UsageError("say why the chosen answer is better: a tag, or a few words.")
        written = Written(form.prompt, form.chosen, form.rejected)
        self._desk.write(form.id, written, form.said("left"))
        return forms.CountedReply(**self._counted())

    def reading(self, form: forms.ReadingForm) -> forms.Figures:
        if self._reading is None:
            from palate.study.live import Reader

            self._reading = Reader()
        return self._reading.read(form.prompt, form.chosen, form.rejected)

    def history(
        self,
        before: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> forms.HistoryReply:
        found = self._store.latest(self._setting.judge, before or None, limit + 1)
        items = [forms.PastReply.of(past) for past in found[:limit]]
        return forms.HistoryReply(items=items, more=len(found) > limit)

    def stats(self) -> forms.Figures:
        from palate.study.tally import as_json, tally

        return as_json(tally(self._store.standing(self._setting.judge)))

    def export(
        self,
        split: Annotated[forms.SplitAsked, Query()] = "train",
        include: Annotated[str, Query(pattern=r"^((reasks|inferred|ties)(,|$))*$")] = "",
    ) -> Response:
        from palate.judge.departures import as_lines, pairs, undecided

        wanted: Any = {word for word in include.split(",") if word}
        part = None if split == "all" else split
        rows = pairs(self._store, split=part, include=wanted)
        if "ties" in wanted:
            rows += undecided(self._store, split=part)
        name = {"content-disposition": 'attachment; filename="pairs.jsonl"'}
        return Response(as_lines(rows), media_type="application/x-ndjson", headers=name)

    def quit(self, form: forms.QuitForm) -> Response:
        """The reply goes out first."""
        told = forms.SavedReply().model_dump()
        return JSONResponse(told, background=BackgroundTask(self._work.quit))

    def _counted(self) -> dict[str, Any]:
        counts = forms.CountsReply.of(self._desk.counts())
        return {"counts": counts, "tally": dict(self._desk.tally())}


@contextmanager
def _known() -> Iterator[None]:
    """An id that the store does not have is the caller's mistake."""
    try:
        yield
    except KeyError:
        raise HTTPException(404) from None


def _page() -> Iterator[tuple[str, Callable[[], Any]]]:
    """The files of the page by the only paths under which they are served, read once."""
    for file in sorted(files("palate.judge").joinpath("page").iterdir(), key=lambda it: it.name):
        kind = TYPES.get("." + file.name.rpartition(".")[2])
        if kind is not None and file.is_file():
            path = "/" if file.name == "index.html" else f"/{file.name}"
            yield path, _served(file.read_bytes(), kind)


def _served(content: bytes, kind: str) -> Callable[[], Any]:
    async def reply() -> Response:
        return Response(content, media_type=kind)

    return reply


# ---- errors


def _add_errors(app: FastAPI) -> None:
    """Each kind of error as a status and words of ours."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(PalateError, _palate)
    app.add_exception_handler(sqlite3.IntegrityError, _clash)


def _reply(status: int, words: str, **headers: str) -> Response:
    return JSONResponse({"saved": False, "error": words}, status, headers)


async def _http(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    return _reply(status, WORDS.get(status, WORDS[500]))


async def _refused(request: Request, error: Exception) -> Response:
    return _reply(400, WORDS[400])


async def _clash(request: Request, error: Exception) -> Response:
    """Another process wrote in between."""
    return _reply(409, "this was judged elsewhere at the same moment.")


async def _palate(request: Request, error: Exception) -> Response:
    if isinstance(error, Conflict):
        return _reply(409, error.message)
    if isinstance(error, UsageError):
        return _reply(400, error.message)
    if isinstance(error, Locked):
        words = "the store is locked by another process."
        return _reply(503, words, **{"Retry-After": str(RETRY_SECONDS)})
    if isinstance(error, DiskError):
        return _reply(507, "there is no room on the disk; nothing was saved.")
    assert isinstance(error, StoreError | PalateError)
    return _reply(500, WORDS[500])
