"""The door of the judging page: who may ask, by which method, with how much.

A local page is still on the web: any site that is open in the browser can send it requests, under
any name that resolves to this machine.  So nothing gets past here unless its Host is one of ours,
its path and method stand in a fixed table, its Origin is ours, and it holds the token.  The rule
is the same for everybody: nothing is relaxed because a request looks local.  There are no cookies
and no CORS headers.  The body is read here, bounded in size and time, before anything is routed.
"""

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from threading import Lock
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API: Final = "/api/1"
OPEN: Final = f"{API}/open"  # the one call without a token: it trades a one-time code for it
METHODS: Final = ("GET", "POST", "PUT")
BODY_BYTES: Final = 1 << 20
HEADER_BYTES: Final = 16 << 10
HEADER_COUNT: Final = 64
BODY_SECONDS: Final = 10.0
CODE_SECONDS: Final = 30.0

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'"
)
HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
WORDS: Final = {
    400: "not a request that this page makes",
    401: "no token, or not the one of this server",
    403: "not from here",
    404: "not here",
    405: "not with this method",
    408: "the request took too long",
    413: "the request is too large",
    415: "only application/json",
    431: "too many headers",
    500: "the server failed; what was saved is saved",
}


class Refused(Exception):
    """A request that goes no further, and the status that says so."""

    def __init__(self, status: int) -> None:
        super().__init__(WORDS[status])
        self.status = status


class Keys:
    """The token of this server, and one-time codes that a browser is opened with.

    A token on the command line of a browser could be read by every user of the machine; a code is
    worth nothing after 30 seconds or one use.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._clock = clock
        self._codes: dict[str, float] = {}
        self._lock = Lock()

    def fits(self, given: bytes) -> bool:
        """Whether this is the token, in constant time; never after `drop`."""
        return bool(self._token) and hmac.compare_digest(given, self._token.encode())

    def mint(self) -> str:
        """A new one-time code."""
        code = secrets.token_urlsafe(16)
        with self._lock:
            self._codes[code] = self._clock() + CODE_SECONDS
        return code

    def redeem(self, code: str) -> str | None:
        """The token for a code that was not used and is not too old; None otherwise."""
        with self._lock:
            ends = self._codes.pop(code, None)
        return self._token if ends is not None and self._clock() <= ends else None

    def drop(self) -> None:
        """From now on no token fits."""
        self._token = ""


def hosts_of(port: int) -> frozenset[bytes]:
    """The Host headers of a server on this port, as a browser writes them."""
    return frozenset(f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost", "[::1]"))


class Guard:
    """ASGI middleware.  `table` names every path and the methods it answers to.

    `report` is told of an exception that nobody handled; the reply says nothing of it.
    """

    def __init__(
        self,
        app: App,
        *,
        table: Mapping[str, frozenset[str]],
        keys: Keys,
        hosts: frozenset[bytes],
        report: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._app = app
        self._table = table
        self._keys = keys
        self._hosts = hosts
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        armed = _Armed(send)
        try:
            self._check(scope)
            body = await _body(scope, receive)
            if body is not None:
                await self._app(scope, _replayed(body, receive), armed)
        except Refused as refused:
            await _refuse(armed, refused.status)
        except Exception as error:  # whatever it is, its words stay here
            self._report(error)
            if not armed.started:
                await _refuse(armed, 500)

    def _check(self, scope: Scope) -> None:
        """Everything that the head of a request says.  Raises Refused."""
        headers = _Headers(scope["headers"])
        host = headers.only(b"host", 403)
        if host not in self._hosts or b"upgrade" in headers.all:
            raise Refused(403)
        if headers.size > HEADER_BYTES or headers.count > HEADER_COUNT:
            raise Refused(431)
        method, path = scope["method"], _path(scope)
        if method not in METHODS or method not in self._table.get(path, METHODS):
            raise Refused(405)
        if path not in self._table:
            raise Refused(404)
        if headers.only(b"origin", 403) not in (None, b"http://" + host):
            raise Refused(403)
        _check_site(headers, page=method == "GET" and not path.startswith(API))
        if method != "GET":
            _check_type(headers)
        if path.startswith(API) and path != OPEN:
            self._check_token(headers)

    def _check_token(self, headers: "_Headers") -> None:
        scheme, _, token = (headers.only(b"authorization", 401) or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not self._keys.fits(token):
            raise Refused(401)


class _Headers:
    """Header values by name; one that is given twice is refused where it matters."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.count = len(pairs)
        self.size = sum(len(name) + len(value) for name, value in pairs)
        self.all: dict[bytes, list[bytes]] = {}
        for name, value in pairs:
            self.all.setdefault(name.lower(), []).append(value)

    def only(self, name: bytes, status: int) -> bytes | None:
        """The one value, or None.  Raises Refused with `status` if there are several."""
        values = self.all.get(name, [])
        if len(values) > 1:
            raise Refused(status)
        return values[0] if values else None


def _path(scope: Scope) -> str:
    """The path as it was sent: an escaped or odd spelling of a path is another path."""
    raw = scope.get("raw_path") or scope["path"].encode()
    return bytes(raw).partition(b"?")[0].decode("latin-1")


def _check_site(headers: _Headers, *, page: bool) -> None:
    """Sec-Fetch-Site, which no script can forge: ours, or typed in by the user.

    The page itself may also be reached by a link, as a whole document and never in a frame.
    """
    site = headers.only(b"sec-fetch-site", 403)
    if site in (None, b"same-origin", b"none"):
        return
    mode, into = headers.only(b"sec-fetch-mode", 403), headers.only(b"sec-fetch-dest", 403)
    if not (page and mode == b"navigate" and into == b"document"):
        raise Refused(403)


def _check_type(headers: _Headers) -> None:
    """A form or a "simple request" of another site cannot say application/json."""
    given = (headers.only(b"content-type", 415) or b"").lower()
    kind, _, rest = given.partition(b";")
    if kind.strip() != b"application/json" or rest.strip() not in (b"", b"charset=utf-8"):
        raise Refused(415)


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, within 1 MiB and 10 seconds; None if the client went away.

    A GET has none.  A length that is announced is judged before a byte is read.
    """
    headers = _Headers(scope["headers"])
    length = headers.only(b"content-length", 400) or b"0"
    if not length.isdigit():
        raise Refused(400)
    if len(length) > 9 or int(length) > BODY_BYTES:
        raise Refused(413)
    if scope["method"] == "GET":
        if int(length) or b"transfer-encoding" in headers.all:
            raise Refused(400)
        return b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(receive)
    except TimeoutError:
        raise Refused(408) from None


async def _collect(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES:
            raise Refused(413)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What the app reads: the body that is here already, then whatever the client does."""
    told = False

    async def read() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


class _Armed:
    """A `send` that puts the headers on every reply and takes what must never be there off."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            ours = {name for name, _ in HEADERS}
            kept = [
                (name, value)
                for name, value in message.get("headers", [])
                if name.lower() not in ours and not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *HEADERS]}
        await self._send(message)


async def _refuse(send: Send, status: int) -> None:
    """A generic reply.  The connection is closed: a body that nobody read may be on its way."""
    body = json.dumps({"saved": False, "error": WORDS[status]}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if status == 405:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
