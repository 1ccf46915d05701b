"""Who gets past the door of the judging page.  Nothing here may change the store.

The in-process tests hand the app raw ASGI scopes, so that a header may be missing, doubled or odd;
those at the end talk bytes to a server of its own process.
"""

import asyncio
import contextlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from palate.judge import guard
from palate.judge.guard import API, CODE_SECONDS, Keys
from palate.judge.store import Store
from served import HOST, PORT, TAB, TOKEN, Running, Served, content, fill, running, serving

Headers = list[tuple[bytes, bytes]]
BEARER = (b"authorization", f"Bearer {TOKEN}".encode())
JSON = (b"content-type", b"application/json")
OUR_HOST = (b"host", HOST.encode())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all of them: none may leave a trace in it."""
    path = tmp_path_factory.mktemp("door") / "taste.db"
    with serving(path) as page:
        page.item()  # so that there is something to judge
        yield page


@pytest.fixture(autouse=True)
def untouched(page: Served) -> Iterator[None]:
    """The content of the store before is the content after."""
    before = content(page.store.path)
    yield
    assert content(page.store.path) == before
    assert not page.reports and not page.ended


def knock(
    page: Served,
    headers: Headers,
    *,
    method: str = "GET",
    path: str = f"{API}/session",
    body: bytes | list[bytes] = b"",
    raw: bytes | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request, header for header as given."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": raw or path.encode(), "query_string": b"",
        "root_path": "", "headers": headers, "client": ("127.0.0.1", 5), "state": {},
        "server": ("127.0.0.1", PORT),
    }  # fmt: skip
    parts = [body] if isinstance(body, bytes) else body
    incoming = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(page.app(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(each.get("body", b"") for each in sent[1:])


def verdict(page: Served) -> bytes:
    """A judgement that would be taken."""
    shown = page.store.pending("me", "pair")[0].id
    return json.dumps({"id": "stolen-0001", "presentation": shown, "verdict": "left"}).encode()


def post(page: Served, *headers: tuple[bytes, bytes], path: str = "judgement", **how: Any) -> int:
    """The status of a POST with a body that would be taken, and these headers."""
    body = how.pop("body", None) or verdict(page)
    return knock(page, list(headers), method="POST", path=f"{API}/{path}", body=body, **how)[0]


# ---- the Host

BAD_HOSTS = [
    b"evil.example", b"evil.example:8123", b"127.0.0.1.evil.example:8123", b"127.0.0.1:8124",
    b"127.0.0.1", b"localhost", b"LOCALHOST:8123", b"Localhost:8123", b"localhost.:8123",
    b"127.0.0.1.:8123", b"127.0.0.1:8123.", b"2130706433:8123", b"0x7f.1:8123", b"127.1:8123",
    b"0.0.0.0:8123", b"[::]:8123", b"::1:8123", b"[0:0:0:0:0:0:0:1]:8123", b"user@127.0.0.1:8123",
    b"127.0.0.1:8123,evil.example", b"127.0.0.1:08123", b" 127.0.0.1:8123", b"127.0.0.1:8123/", b"",
    b"127.0.0.1:8123#", b"\xff", b"localhost:8123:8123",
]  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("path", ["/", f"{API}/session", "/judge.js", "/nowhere"])
def test_a_host_that_is_not_ours_is_refused_on_every_path(
    page: Served, host: bytes, path: str
) -> None:
    assert knock(page, [(b"host", host), BEARER], path=path)[0] == 403


@pytest.mark.parametrize("headers", [[], [OUR_HOST, OUR_HOST], [OUR_HOST, (b"host", b"evil")]])
def test_a_host_that_is_missing_or_doubled_is_refused(page: Served, headers: Headers) -> None:
    assert knock(page, [*headers, BEARER])[0] == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_our_three_names_are_served(page: Served, name: str) -> None:
    host = f"{name}:{PORT}".encode()
    assert knock(page, [(b"host", host), BEARER])[0] == 200
    origin = (b"origin", b"http://" + host)
    assert knock(page, [(b"host", host), BEARER, origin])[0] == 200


@pytest.mark.parametrize("name", [b"x-forwarded-host", b"x-forwarded-for", b"forwarded", b"x-host"])
def test_what_a_proxy_would_say_changes_nothing(page: Served, name: bytes) -> None:
    assert knock(page, [(b"host", b"evil.example"), (name, HOST.encode()), BEARER])[0] == 403
    assert knock(page, [OUR_HOST, (name, b"evil.example"), BEARER])[0] == 200


# ---- the token

WRONG = [
    [],
    [(b"authorization", b"Bearer wrong")],
    [(b"authorization", b"Bearer ")],
    [(b"authorization", b"Bearer")],
    [(b"authorization", TOKEN.encode())],
    [(b"authorization", b"Basic " + TOKEN.encode())],
    [(b"authorization", b"Bearer " + TOKEN[:-1].encode())],
    [(b"authorization", b"Bearer " + TOKEN.upper().encode())],
    [(b"authorization", b"Bearer " + TOKEN.encode() + b" ")],
    [(b"authorization", b"Bearer  " + TOKEN.encode())],
    [(b"authorization", b"Bearer \xc3\xa9\xff")],
    [BEARER, BEARER],
    [BEARER, (b"authorization", b"Bearer wrong")],
    [(b"cookie", b"token=" + TOKEN.encode())],
    [(b"x-token", TOKEN.encode())],
]


@pytest.mark.parametrize("headers", WRONG)
def test_without_the_token_nothing_is_said_or_done(page: Served, headers: Headers) -> None:
    for name in ("session", "next", "history", "stats", "export.jsonl"):
        status, told, body = knock(page, [OUR_HOST, *headers], path=f"{API}/{name}")
        assert status == 401 and b"prompt" not in body and told["www-authenticate"] == "Bearer"
    for name in ("judgement", "undo", "edit", "pair", "reading", "quit"):
        assert post(page, OUR_HOST, JSON, *headers, path=name) == 401
    draft = f"{API}/draft"
    assert knock(page, [OUR_HOST, JSON, *headers], method="PUT", path=draft, body=b"{}")[0] == 401


def test_a_token_in_the_address_is_no_token(page: Served) -> None:
    reply = page.client.get(
        f"/api/1/session?token={TOKEN}&t={TOKEN}", headers={"Authorization": ""}
    )
    assert reply.status_code == 401


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        seen.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    keys = Keys("secret")
    assert keys.fits(b"secret") and not keys.fits(b"secre") and seen == [b"secret", b"secre"]
    keys.drop()
    assert not keys.fits(b"secret") and not keys.fits(b"")


def test_a_code_opens_once_and_only_for_half_a_minute(page: Served) -> None:
    code = page.keys.mint()
    head = {"Authorization": ""}
    opened = page.client.post("/api/1/open", json={"code": code}, headers=head)
    assert opened.json() == {"token": TOKEN}
    for again in (code, "guess", ""):
        reply = page.client.post("/api/1/open", json={"code": again}, headers=head)
        assert reply.status_code == 401 and TOKEN not in reply.text
    late = page.keys.mint()
    page.clock.now += CODE_SECONDS + 1
    assert page.client.post("/api/1/open", json={"code": late}, headers=head).status_code == 401
    assert post(page, OUR_HOST, path="open", body=b'{"code": "x"}') == 415


# ---- other sites


@pytest.mark.parametrize(
    "origin",
    [
        b"null", b"http://evil.example", b"https://127.0.0.1:8123", b"http://127.0.0.1:8124",
        b"http://127.0.0.1", b"http://localhost:8123", b"http://127.0.0.1:8123/", b"", b"*",
        b"http://127.0.0.1:8123.evil.example", b"HTTP://127.0.0.1:8123", b"file://",
    ],
)  # fmt: skip
def test_an_origin_that_is_not_exactly_ours_is_refused(page: Served, origin: bytes) -> None:
    assert post(page, OUR_HOST, BEARER, JSON, (b"origin", origin)) == 403
    assert knock(page, [OUR_HOST, BEARER, (b"origin", origin)])[0] == 403
    assert knock(page, [OUR_HOST, (b"origin", origin)], path="/")[0] == 403


def test_two_origins_are_refused(page: Served) -> None:
    ours = (b"origin", b"http://" + HOST.encode())
    assert post(page, OUR_HOST, BEARER, JSON, ours, ours) == 403


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"", b"none, same-origin"])
def test_a_request_from_another_site_is_refused(page: Served, site: bytes) -> None:
    told = (b"sec-fetch-site", site)
    assert post(page, OUR_HOST, BEARER, JSON, told) == 403
    assert knock(page, [OUR_HOST, BEARER, told])[0] == 403


@pytest.mark.parametrize("into", [b"iframe", b"frame", b"object", b"embed", b"script", b"style"])
def test_another_site_can_neither_frame_nor_load_a_file_of_the_page(
    page: Served, into: bytes
) -> None:
    mode = b"navigate" if into in (b"iframe", b"frame", b"object", b"embed") else b"no-cors"
    headers = [
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-mode", mode),
        (b"sec-fetch-dest", into),
    ]
    for path in ("/", "/judge.js", "/judge.css"):
        assert knock(page, [OUR_HOST, *headers], path=path)[0] == 403


def test_a_link_from_anywhere_may_lead_to_the_page(page: Served) -> None:
    headers = [
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-mode", b"navigate"),
        (b"sec-fetch-dest", b"document"),
    ]
    assert knock(page, [OUR_HOST, *headers], path="/")[0] == 200
    assert knock(page, [OUR_HOST, BEARER, *headers], path=f"{API}/session")[0] == 403


@pytest.mark.parametrize(
    "kind",
    [
        None, b"text/plain", b"text/plain;charset=UTF-8", b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x", b"application/jsonp", b"text/json", b"",
        b"application/json, text/plain", b"application/json; charset=utf-7",
        b"text/plain; application/json",
    ],
)  # fmt: skip
def test_a_body_that_a_form_could_send_is_refused(page: Served, kind: bytes | None) -> None:
    headers = [] if kind is None else [(b"content-type", kind)]
    assert post(page, OUR_HOST, BEARER, *headers) == 415
    if headers:
        assert post(page, OUR_HOST, BEARER, JSON, *headers) == 415, "two of them"


def test_no_reply_has_a_cors_header_and_every_reply_is_armed(page: Served) -> None:
    ours = (b"origin", b"http://" + HOST.encode())
    asked = (b"access-control-request-method", b"POST")
    replies = [
        knock(page, [OUR_HOST, BEARER, ours]),
        knock(page, [OUR_HOST], path="/"),
        knock(page, [OUR_HOST], path="/nowhere"),
        knock(page, [(b"host", b"evil")]),
        knock(page, [OUR_HOST, ours, asked], method="OPTIONS"),
        knock(page, [OUR_HOST, BEARER, JSON], method="POST", path=f"{API}/judgement", body=b"{"),
        knock(page, [OUR_HOST, BEARER], path=f"{API}/next"),
    ]
    assert [status for status, _, _ in replies] == [200, 200, 404, 403, 405, 400, 400]
    for _, told, _ in replies:
        assert not [name for name in told if name.startswith("access-control-")]
        assert "set-cookie" not in told and "server" not in told
        policy = dict(
            part.strip().partition(" ")[::2] for part in told["content-security-policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'",
            "connect-src": "'self'", "img-src": "'self' data:", "base-uri": "'none'",
            "form-action": "'none'", "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
        }  # fmt: skip
        assert told["x-content-type-options"] == "nosniff" and told["x-frame-options"] == "DENY"
        assert told["referrer-policy"] == "no-referrer" and told["cache-control"] == "no-store"
        assert told["cross-origin-opener-policy"] == "same-origin"
        assert told["cross-origin-resource-policy"] == "same-origin"


# ---- methods and paths


@pytest.mark.parametrize(
    "method",
    ["OPTIONS", "HEAD", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "POST ", "QUERY"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", f"{API}/judgement", f"{API}/session", "/nowhere"])
def test_a_method_that_is_not_in_the_table_is_refused(page: Served, method: str, path: str) -> None:
    status, told, _ = knock(page, [OUR_HOST, BEARER, JSON], method=method, path=path, body=b"{}")
    assert status == 405 and told["allow"] == "GET, POST, PUT"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "judgement"), ("PUT", "judgement"), ("GET", "quit"), ("GET", "undo"),
        ("POST", "draft"), ("GET", "draft"), ("POST", "session"), ("POST", "next"),
        ("POST", "export.jsonl"), ("PUT", "open"), ("GET", "open"),
    ],
)  # fmt: skip
def test_every_call_has_one_method(page: Served, method: str, path: str) -> None:
    headers = [OUR_HOST, BEARER, JSON]
    assert knock(page, headers, method=method, path=f"{API}/{path}", body=b"")[0] == 405


def test_a_header_cannot_change_the_method(page: Served) -> None:
    for name in (b"x-http-method-override", b"x-method-override", b"x-http-method"):
        headers = [OUR_HOST, BEARER, (name, b"POST")]
        assert knock(page, headers, path=f"{API}/quit")[0] == 405


TRICKS = [
    b"/..%2f..%2fetc%2fpasswd", b"/../../etc/passwd", b"/%2e%2e/judge.js", b"/%252e%252e/x",
    b"/judge.js%00", b"/judge%2ejs", b"/%6audge.js", b"//judge.js", b"/./judge.js", b"/judge.js/",
    b"/judge.js;x=1", b"/judge.js/../index.html", b"/index.html", b"/JUDGE.JS", b"/judge.js%20",
    b"\\judge.js", b"/..\\judge.js", b"/.git/config", b"/app.py", b"/page/judge.js", b"/etc/passwd",
    b"/openapi.json", b"/docs", b"/redoc", b"/api/1/", b"/api/1", b"/api/2/session", b"/API/1/next",
    b"/api/1/session/", b"/api/1/./session", b"/api%2f1%2fsession", b"/api/1/%73ession", b"/x",
    b"http://evil.example/", b"*", "/ｊudge.js".encode(), b"/taste.db", b"/taste.db-wal",
]  # fmt: skip


@pytest.mark.parametrize("raw", TRICKS)
def test_a_path_that_is_not_in_the_table_is_not_there(page: Served, raw: bytes) -> None:
    from urllib.parse import unquote

    path = unquote(raw.decode("latin-1"), "latin-1")
    status, _, body = knock(page, [OUR_HOST, BEARER], path=path, raw=raw)
    assert status == 404 and b"root:" not in body


def test_a_websocket_is_refused(page: Served) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "headers": [OUR_HOST, BEARER]}
    asyncio.run(page.app(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    upgrade = [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    assert knock(page, [OUR_HOST, BEARER, *upgrade], path="/")[0] == 403


# ---- sizes and time


def test_a_body_of_two_mebibytes_is_refused_before_it_is_read(page: Served) -> None:
    big = (b"content-length", str(2 << 20).encode())
    assert post(page, OUR_HOST, BEARER, JSON, big, body=b"x") == 413


@pytest.mark.parametrize("parts", [2, 40])
def test_a_body_of_two_mebibytes_without_a_length_is_refused(page: Served, parts: int) -> None:
    chunks = [b" " * ((2 << 20) // parts)] * parts
    assert post(page, OUR_HOST, BEARER, JSON, body=chunks) == 413


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"0x10", b"9" * 400, b"\xb2", b"1, 1"])
def test_a_length_that_is_none_is_refused(page: Served, length: bytes) -> None:
    assert post(page, OUR_HOST, BEARER, JSON, (b"content-length", length)) in (400, 413)


def test_a_get_with_a_body_is_refused(page: Served) -> None:
    for header in ((b"content-length", b"5"), (b"transfer-encoding", b"chunked")):
        assert knock(page, [OUR_HOST, BEARER, header], body=b"hello")[0] == 400


def test_too_many_or_too_large_headers_are_refused(page: Served) -> None:
    many = [(b"x-%d" % number, b"1") for number in range(80)]
    assert knock(page, [OUR_HOST, BEARER, *many])[0] == 431
    assert knock(page, [OUR_HOST, BEARER, (b"x-large", b"a" * 20_000)])[0] == 431


def test_a_body_that_comes_too_slowly_is_given_up(
    page: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": f"{API}/judgement", "query_string": b"",
        "raw_path": f"{API}/judgement".encode(), "headers": [OUR_HOST, BEARER, JSON],
    }  # fmt: skip
    asyncio.run(page.app(scope, receive, send))
    assert sent[0]["status"] == 408


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(page: Served) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there to be told")

    scope = {
        "type": "http", "method": "POST", "path": f"{API}/judgement", "query_string": b"",
        "raw_path": f"{API}/judgement".encode(), "headers": [OUR_HOST, BEARER, JSON],
    }  # fmt: skip
    asyncio.run(page.app(scope, receive, send))


# ---- what is said when something breaks


def test_a_bug_is_told_to_whoever_started_the_server_and_not_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "own.db") as own:

        def broken(*given: Any) -> Any:
            raise RuntimeError(f"secret path {own.store.path}")

        monkeypatch.setattr(own.store, "latest", broken)
        reply = own.client.get("/api/1/history")
        assert reply.status_code == 500 and "secret" not in reply.text
        assert reply.headers["content-security-policy"]
        assert [str(each) for each in own.reports] == [f"secret path {own.store.path}"]
        own.reports.clear()


@pytest.mark.parametrize(
    "id", ["1;DROP TABLE judgement", "' OR 1=1 --", "../../x", "a" * 300, "%00", "\x00", "{{7*7}}"]
)
def test_an_id_is_no_code(page: Served, id: str) -> None:
    body = json.dumps({"id": "stolen-0001", "presentation": id, "verdict": "left"}).encode()
    assert post(page, OUR_HOST, BEARER, JSON, body=body) in (400, 404)
    reply = page.client.get("/api/1/history", params={"before": id})
    assert reply.status_code in (200, 400) and reply.json().get("items", []) == []


def test_a_hostile_answer_is_carried_as_text(tmp_path: Path) -> None:
    """What it looks like in a browser is tested with the page."""
    text = "<script>alert(1)</script>\u202e<img src=x onerror=alert(1)>\x1b[2J\x00{{7*7}}"
    with Store.open(tmp_path / "own.db") as store:
        asked = store.add_prompt(text)
        store.add_answer(asked.id, text, "sample")
        store.add_answer(asked.id, "plain", "sample")
    with serving(tmp_path / "own.db") as own:
        reply = own.client.get(f"/api/1/next?tab={TAB}")
        assert reply.headers["content-type"] == "application/json"
        item = reply.json()["items"][0]
        assert item["prompt"] == text and text in (item["left"], item["right"])


# ---- the schema, by machine


def test_no_request_that_the_schema_describes_breaks_the_server(tmp_path: Path) -> None:
    """schemathesis: examples that fit the schema, and some that do not; no 5xx."""
    with serving(tmp_path / "own.db") as own:
        seen = machine(own, 5)
        assert seen.keys() == set(own.app.openapi()["paths"])
        assert sum(map(len, seen.values())) > 80
        assert {200, 400} <= set().union(*seen.values())


@pytest.mark.slow
def test_no_request_that_the_schema_describes_breaks_the_server_long_form(tmp_path: Path) -> None:
    with serving(tmp_path / "own.db") as own:
        seen = machine(own, 200)
        print({name: len(statuses) for name, statuses in seen.items()})


def machine(own: Served, examples: int) -> dict[str, list[int]]:
    """Path -> statuses of `examples` good and `examples` bad requests per call, made by machine."""
    seen: dict[str, list[int]] = {}

    def one(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=f"http://{HOST}")
        what = {name: sent[name] for name in ("params", "json") if name in sent}
        what |= {"content": sent["data"]} if "data" in sent else {}
        head = {"Content-Type": "application/json"}
        reply = own.client.request(sent["method"], sent["url"], headers=head, **what)
        assert reply.status_code < 500, (case, reply.text)
        assert reply.headers["content-security-policy"]
        seen.setdefault(case.operation.path, []).append(reply.status_code)

    bounded = settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    for found in schemathesis.openapi.from_dict(own.app.openapi()).get_all_operations():
        for mode in schemathesis.GenerationMode:
            made: Any = found
            with contextlib.suppress(Unsatisfiable):  # no request is wrong for a call without words
                bounded(given(case=made.ok().as_strategy(generation_mode=mode))(one))()
    return seen


# ---- over a socket


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("live") / "taste.db"
    with Store.open(path) as store:
        fill(store, 5)
    with running(path) as found:
        yield found


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


def request(live: Running, line: bytes, *headers: bytes) -> bytes:
    host = b"Host: 127.0.0.1:%d" % live.port
    ours = [host] if not any(each.lower().startswith(b"host") for each in headers) else []
    told = [*ours, *headers, b"Authorization: " + live.headers["Authorization"].encode()]
    return b"\r\n".join([line, *told, b"Connection: close", b"", b""])


def test_the_server_listens_on_loopback_alone(live: Running) -> None:
    """From /proc: every listening socket of the process is 127.0.0.1 or ::1."""
    found = []
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state = row.split()[1], row.split()[3]
            host, _, port = address.partition(":")
            if state == "0A" and int(port, 16) == live.port:
                found.append(host)
    assert "0100007F" in found
    assert set(found) <= {"0100007F", "00000000000000000000000001000000"}


@pytest.mark.parametrize(
    "line",
    [
        b"GET /../../../../etc/passwd HTTP/1.1", b"GET /..%2f..%2fetc%2fpasswd HTTP/1.1",
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", b"GET http://evil.example/ HTTP/1.1",
        b"GET //etc/passwd HTTP/1.1", b"GET /judge.js/..%5c..%5cx HTTP/1.1",
    ],
)  # fmt: skip
def test_path_tricks_over_the_wire(live: Running, line: bytes) -> None:
    reply = live.ask(request(live, line))
    assert status(reply) in (400, 403, 404) and b"root:" not in reply


def test_odd_requests_over_the_wire(live: Running) -> None:
    good = b"GET /api/1/session HTTP/1.1"
    own = b"Host: 127.0.0.1:%d" % live.port
    assert status(live.ask(request(live, good))) == 200
    assert status(live.ask(request(live, good, own, own))) in (400, 403)
    assert status(live.ask(request(live, good, b"Host: evil.example"))) == 403
    assert status(live.ask(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")) in (400, 403)
    assert status(live.ask(b"GET / HTTP/1.0\r\n\r\n")) == 403
    assert status(live.ask(request(live, good, b"X-Large: " + b"a" * 60_000))) in (400, 431)
    assert status(live.ask(request(live, b"BREW / HTTP/1.1"))) == 405
    upgrade = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"]
    assert status(live.ask(request(live, b"GET / HTTP/1.1", *upgrade))) == 403
    assert status(live.ask(b"\x16\x03\x01\x02\x00\x01\x00")) in (0, 400), "TLS to a plain port"


def test_a_large_body_over_the_wire(live: Running) -> None:
    head = {**live.headers, "Content-Type": "application/json"}
    for sent in (b"x" * (2 << 20), iter([b"x" * 65536] * 32)):
        try:
            reply = httpx2.post(live.url("/api/1/pair"), content=sent, headers=head)
            assert reply.status_code == 413
        except httpx2.TransportError:
            pass  # it closes while the rest is on its way
    assert httpx2.get(live.url("/api/1/session"), headers=live.headers).status_code == 200


@pytest.mark.slow
def test_a_slow_body_over_the_wire_ends_after_ten_seconds(live: Running) -> None:
    line = b"POST /api/1/judgement HTTP/1.1"
    slow = request(live, line, b"Content-Type: application/json", b"Content-Length: 100")
    begun = time.monotonic()
    assert status(live.ask(slow, wait=30.0)) == 408
    assert 9 < time.monotonic() - begun < 20


def test_the_store_is_for_its_owner_and_nothing_that_is_printed_or_logged_holds_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary_0123456789")
    path = tmp_path / "taste.db"
    with Store.open(path) as store:
        fill(store, 3)
    with running(path) as live:
        for _ in range(3):
            httpx2.get(live.url("/api/1/session"), headers={"Authorization": "Bearer wrong"})
        httpx2.get(live.url("/api/1/session?x=1"), headers=live.headers)
        live.ask(b"nonsense\r\n\r\n")
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
        assert set(modes.values()) == {0o600}, modes
        httpx2.post(live.url("/api/1/quit"), json={}, headers=live.headers)
        out, errors = live.process.communicate(timeout=20)
    assert errors == "" and live.token not in out and live.process.returncode == 0
    told = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"hf_canary" not in told and live.token.encode() not in told


def test_many_posts_at_once_are_all_answered(live: Running, page: Served) -> None:
    """One pair, 300 posts by 12 threads under 3 ids: one stands, two are refused each time."""
    with httpx2.Client(headers=live.headers) as client:
        found = client.get(live.url(f"/api/1/next?tab={TAB}")).json()["items"][0]
    statuses: list[int] = []

    def work(which: int) -> None:
        with httpx2.Client(headers=live.headers, timeout=60) as client:
            for number in range(25):
                body = {
                    "id": f"flood-{(which + number) % 3}-id",
                    "presentation": found["presentation"],
                    "verdict": "left",
                }
                statuses.append(client.post(live.url("/api/1/judgement"), json=body).status_code)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 409} and len(statuses) == 300
    assert statuses.count(200) == 100
    told = httpx2.get(live.url("/api/1/session"), headers=live.headers).json()
    assert told["counts"]["judged"] == 1
