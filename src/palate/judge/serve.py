"""Serve the judging page on this machine, until Ctrl-C, SIGTERM, or the page says that it is done.

The token and the port are kept in the store while the server lives.  A server that crashed comes
back under the same address and takes what an open page could not send; one that ended has
forgotten its token.
"""

import errno
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Final

import uvicorn

from palate.errors import PalateError, StoreError, UsageError
from palate.judge.app import Reading, Setting, Work, create_app
from palate.judge.guard import API, Keys
from palate.judge.queue import Pace
from palate.judge.store import Store
from palate.runs.signals import Stop, stop_on_signals

TOKEN: Final = "token"
PORT: Final = "port"
LOOPBACK: Final = "127.0.0.1"
TRIES: Final = 20
HEADER_BYTES: Final = 32 << 10  # beyond, the connection is dropped before anything looks at it
KEEP_ALIVE: Final = 75
WARM_AFTER: Final = 2.0  # seconds
GRACE: Final = 5  # seconds that calls under way have when the server ends


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page is.  `instead_of`: the port of last time, which another program has now."""

    url: str
    port: int
    instead_of: int | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """How many more verdicts stand, and by which signal it ended (0: the page said so)."""

    given: int
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Around:
    """What is around the page: `port` None is that of last time, or any; `ready` is told the
    address, `report` of bugs; `reading` reads pairs as they are written."""

    port: int | None = None
    browser: bool = True
    ready: Callable[[Address], None] = lambda address: None
    report: Callable[[Exception], None] = lambda error: None
    reading: Reading | None = None
    pace: Pace = field(default_factory=Pace)


def serve(store: Store, setting: Setting, around: Around) -> Served:
    """Serve until it ends; the store is left open.

    Raises UsageError if a port is taken, StoreError if the store is being served already.
    """
    before = sum(store.counts(setting.judge).values())
    _refuse_second(store)
    sockets, taken = _sockets(store, around.port)
    try:
        port = sockets[0].getsockname()[1]
        keys = Keys(_token(store))
        store.set_meta(PORT, str(port))
        server = _Server(port, keys)
        work = Work(server.leave, around.report, around.pace)
        app = create_app(store, setting, keys, port=port, reading=around.reading, work=work)
        server.config.app = app
        url = f"http://{LOOPBACK}:{port}/"
        server.at_start.append(
            lambda: around.ready(Address(f"{url}#t={_token(store)}", port, taken))
        )
        if around.browser:
            server.at_start.append(lambda: _show(f"{url}#c={keys.mint()}"))
        server.at_start.append(_warm)
        with stop_on_signals() as stop:
            server.stop = stop
            server.run(sockets)
        with suppress(PalateError):  # locked or full: then the next server has the same token
            store.set_meta(TOKEN, "")
    finally:
        for each in sockets:
            each.close()
    given = sum(store.counts(setting.judge).values()) - before
    return Served(given, max(0, stop.exit_code - 128))


class _Server(uvicorn.Server):
    """uvicorn, quiet, that asks `stop` whether to go on and calls `at_start` once it listens."""

    def __init__(self, port: int, keys: Keys) -> None:
        super().__init__(
            uvicorn.Config(
                "",
                host=LOOPBACK,
                port=port,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=GRACE,
                h11_max_incomplete_event_size=HEADER_BYTES,
            )
        )
        self.stop = Stop()
        self.at_start: list[Callable[[], None]] = []
        self._keys = keys

    def leave(self) -> None:
        """End, and let nobody in any more."""
        self._keys.drop()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in self.at_start:
            each()

    async def on_tick(self, counter: int) -> bool:
        if self.stop.requested and not self.should_exit:
            self.leave()
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `stop_on_signals` has them


# ---- the token and the port


def _token(store: Store) -> str:
    """That of a server that did not end, so that its page can go on; or a new one."""
    token = store.meta(TOKEN)
    if len(token) < 32:
        token = secrets.token_urlsafe(32)
        store.set_meta(TOKEN, token)
    return token


def _sockets(store: Store, port: int | None) -> tuple[list[socket.socket], int | None]:
    """Listening on both loopback addresses, and the port of last time if it was taken."""
    if port is not None:
        found = _listen(port)
        if found is None:
            raise UsageError(
                f"port {port} is used by another program.",
                hint="Name another --port, or none to have one chosen.",
            )
        return found, None
    with suppress(ValueError, OverflowError):
        last = int(store.meta(PORT))
        found = _listen(last)
        return (found, None) if found else (_any_port(), last)
    return _any_port(), None


def _refuse_second(store: Store) -> None:
    """Raise StoreError if a server of this very store is there: it knows the store's token.

    Two of them would show the same pairs, and one of two verdicts would be refused.
    """
    token, port = store.meta(TOKEN), store.meta(PORT)
    if not token or not port.isdigit():
        return
    line = HTTPConnection(LOOPBACK, int(port), timeout=2)
    try:
        line.request("GET", f"{API}/session", headers={"Authorization": f"Bearer {token}"})
        ours = line.getresponse().status == 200
    except (OSError, OverflowError, HTTPException):
        return
    finally:
        line.close()
    if ours:
        raise StoreError(
            f"{store.path} is open at http://{LOOPBACK}:{port}/ already.",
            hint="Go on there: the link with the key is in its terminal. Or end that one first.",
        )


def _any_port() -> list[socket.socket]:
    for _ in range(TRIES):
        found = _listen(0)
        if found:
            return found
    raise UsageError("no port is free on this machine.", hint="Name one with --port.")


def _listen(port: int) -> list[socket.socket] | None:
    """Sockets on 127.0.0.1 and, where there is such an address, ::1; None if one is in use."""
    found: list[socket.socket] = []
    try:
        found.append(_bound(socket.AF_INET, LOOPBACK, port))
        with suppress(_NoAddress):
            found.append(_bound(socket.AF_INET6, "::1", found[0].getsockname()[1]))
    except OSError as error:
        for each in found:
            each.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return None
    return found


class _NoAddress(Exception):
    """This machine has no such loopback address."""


def _bound(family: int, host: str, port: int) -> socket.socket:
    try:
        one = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        raise _NoAddress from None
    try:
        if sys.platform != "win32":  # a server that crashed leaves connections that time out
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
        one.listen(2048)
    except OSError as error:
        one.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            raise _NoAddress from None
        raise
    return one


def _show(url: str) -> None:
    """Open the browser, if this machine has a screen; a text browser would take the terminal."""
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if screen or sys.platform in ("darwin", "win32"):
        import webbrowser

        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _warm() -> None:
    """Import what the end card and a reading need, once the page is up: it takes a second."""

    def load() -> None:
        from palate.study.live import read_pair
        from palate.study.tally import as_json, tally

        as_json(tally([]))
        read_pair("a", "b", "c")

    later = threading.Timer(WARM_AFTER, load)
    later.daemon = True
    later.start()
