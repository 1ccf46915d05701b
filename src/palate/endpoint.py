"""A small client for OpenAI-compatible servers: Ollama, vLLM, llama.cpp, or a hosted one.

One answer per request is what all of them do alike: Ollama ignores `n`, so a server that gives
fewer than were asked for is an error, not a short list.  The key comes from the environment and
goes nowhere but into the header: not to another machine over plain http, not after a redirect, not
into a message.  Safe to use from several threads.
"""

import ipaddress
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import SplitResult, urlsplit

from palate.errors import ModelError, UsageError

KEY = "PALATE_API_KEY"
ATTEMPTS = 5
PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds; doubled after each attempt
CONNECT, READ = 10.0, 600.0  # seconds; a long text comes in one piece
LARGEST = 16 * 2**20  # bytes of an answer
LIMIT, NEWER_LIMIT = "max_tokens", "max_completion_tokens"
_SHOWN = 300  # characters of a server's own words

Turn = Mapping[str, str]


class EndpointError(ModelError):
    """A server that cannot be reached, refuses, or answers with something else."""


class NoText(EndpointError):
    """An answer without a text, as a model that declines or thinks too long gives it."""


class Wanted(TypedDict, total=False):
    """What may be asked of a text; what is left out is the server's own default."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    n: int
    logprobs: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """One text.  `finish_reason` is "stop" for one that ended by itself, "length" for one cut off.

    `logprob`: the server's own sum over the text's tokens in nats, if it was asked for and given.
    `tokens`: how many it counted, if it says so and the request had one text.
    """

    text: str
    finish_reason: str | None
    logprob: float | None = None
    tokens: int | None = None


class Endpoint:
    """One model of one server.  Raises UsageError for an address that must not be used.

    `key_env` names the environment variable that holds the key; unset or empty is no key.
    `insecure` allows plain http to another machine, and then only without a key.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str = KEY,
        insecure: bool = False,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        import httpx2

        self.model = model
        self._key, self._key_env = _key(key_env), key_env
        parts = _checked(url, has_key=bool(self._key), insecure=insecure)
        self.url = parts.geturl()
        self._closed = threading.Event()
        self._sleep = self._closed.wait if sleep is None else sleep
        self._limit = LIMIT
        self._answered = False
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # A proxy would be another machine: only an encrypted connection may go through one.
        self._client = httpx2.Client(
            headers=headers | {"User-Agent": "palate"},
            timeout=httpx2.Timeout(READ, connect=CONNECT),
            trust_env=parts.scheme == "https",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.model!r})"

    def close(self) -> None:
        """Close its connections; a request that waits for its next attempt gives up."""
        self._closed.set()
        self._client.close()

    def chat(self, messages: Sequence[Turn], **wanted: Unpack[Wanted]) -> list[Reply]:
        """The answers to a conversation; the server lays it out.  Raises EndpointError."""
        body = {"messages": [dict(turn) for turn in messages], **self._body(wanted)}
        if wanted.get("logprobs"):
            body["logprobs"] = True
        found = self._post("/chat/completions", body)
        return self._replies(found, wanted.get("n", 1), _chat_reply)

    def complete(self, prompt: str, **wanted: Unpack[Wanted]) -> list[Reply]:
        """Texts that go on from `prompt` as it stands.  Raises EndpointError."""
        body = {"prompt": prompt, **self._body(wanted)}
        if wanted.get("logprobs"):
            body["logprobs"] = 1
        found = self._post("/completions", body)
        return self._replies(found, wanted.get("n", 1), _plain_reply)

    # ------------------------------------------------------------------ a request

    def _body(self, wanted: Wanted) -> dict[str, Any]:
        plain = ("temperature", "top_p", "max_tokens", "seed")
        body: dict[str, Any] = {name: wanted[name] for name in plain if name in wanted}  # type: ignore[literal-required]
        if wanted.get("n", 1) != 1:
            body["n"] = wanted["n"]
        return {"model": self.model, **body}

    def _post(self, path: str, body: dict[str, Any]) -> Mapping[str, Any]:
        """The answer's JSON object, after as many attempts as are worth it."""
        for attempt in range(1, ATTEMPTS + 1):
            told = self._once(path, body, self._limit)
            if isinstance(told, _Answer) and told.wants_newer_limit:
                self._limit = NEWER_LIMIT
                told = self._once(path, body, self._limit)
            wait = _pause(told, attempt)
            if wait is None or attempt == ATTEMPTS or self._closed.is_set():
                break
            self._sleep(wait)
        if isinstance(told, _Down):
            times = "" if attempt == 1 else f", {attempt} times"
            raise self._error(f"{told.why}{times}", "Is the server running there?")
        return self._object(told)

    def _once(self, path: str, body: dict[str, Any], limit: str) -> "_Answer | _Down":
        import httpx2

        sent = {limit if name == LIMIT else name: value for name, value in body.items()}
        try:
            with self._client.stream("POST", self.url + path, json=sent) as response:
                self._answered = True
                return _Answer(response.status_code, dict(response.headers), _bounded(response))
        except httpx2.TimeoutException as error:
            when = "connect" if isinstance(error, httpx2.ConnectTimeout) else "answer"
            return _Down(f"did not {when} in time", again=when == "connect")
        except httpx2.ConnectError:  # a server that never answered is not one that restarts
            return _Down("cannot be reached", again=self._answered)
        except httpx2.TransportError:
            return _Down("broke off in the middle of an answer")
        except httpx2.DecodingError:
            return _Answer(200, {}, b"")

    # ------------------------------------------------------------------ an answer

    def _object(self, told: "_Answer") -> Mapping[str, Any]:
        if told.body is None:
            raise self._error(f"answered with more than {LARGEST // 2**20} MiB", "")
        if told.is_page and told.status < 500:
            what = f"answered with a web page (status {told.status})"
            raise self._error(what, "Is this the address of the API? It often ends in /v1.")
        if told.status != 200:
            raise self._refused(told)
        found = told.json()
        if not isinstance(found, dict):
            raise self._error("answered with something that is no JSON object, or half of one", "")
        if "error" in found and "choices" not in found:
            raise self._refused(told)
        return found

    def _refused(self, told: "_Answer") -> EndpointError:
        said = " ".join(_said(told.json()).split())
        said = said.replace(self._key, "***") if self._key else said
        words = f": {said[:_SHOWN]}" if said else ""
        return self._error(f"refused (status {told.status}){words}", self._advice(told.status))

    def _advice(self, status: int) -> str:
        if 300 <= status < 400:
            return "It sends on to another address; give that one."
        if status in (401, 403):
            return f"Put the key into the environment variable {self._key_env}."
        if status == 404:
            return f"Does it have a model '{self.model}', and is the address right?"
        if status == 429 or status >= 500:
            return "Try again later."
        return ""

    def _replies(
        self, found: Mapping[str, Any], wanted: int, read: Callable[[Any], Reply | None]
    ) -> list[Reply]:
        choices = found.get("choices")
        if not isinstance(choices, list) or not choices:
            raise self._error("answered without a text (no choices)", "")
        if len(choices) < wanted:
            raise self._error(f"gave {len(choices)} of {wanted} texts: it ignores n", "")
        replies = [read(choice) for choice in choices]
        told = [reply for reply in replies if reply is not None]
        if len(told) < len(replies):
            hint = "A model that thinks first may need more tokens."
            raise NoText(f"{self.url} answered with a choice that holds no text.", hint=hint)
        if len(told) == 1:
            told = [replace(told[0], tokens=_counted(found))]
        return told

    def _error(self, what: str, hint: str) -> EndpointError:
        return EndpointError(f"{self.url} {what}.", hint=hint)


# ---------------------------------------------------------------------- what came back


@dataclass(frozen=True, slots=True)
class _Answer:
    """Status, headers and body; no body is one that was too large."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def wants_newer_limit(self) -> bool:
        """Newer models of OpenAI take the limit under another name only; they say so."""
        return self.status == 400 and NEWER_LIMIT.encode() in (self.body or b"")

    @property
    def is_page(self) -> bool:
        kind = self.headers.get("content-type", "").lower()
        return "html" in kind or (self.body or b"").lstrip()[:1] == b"<"

    def json(self) -> Any:
        """The parsed body, None if it is no JSON."""
        try:
            return json.loads(self.body or b"")
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class _Down:
    """No answer: why, and whether the next attempt may have one."""

    why: str
    again: bool = True


def _bounded(response: Any) -> bytes | None:
    found = bytearray()
    for part in response.iter_bytes():
        found += part
        if len(found) > LARGEST:
            return None
    return bytes(found)


def _pause(told: _Answer | _Down, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; None: another one would change nothing."""
    usual: float = min(PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
    if isinstance(told, _Down):
        return usual if told.again else None
    if told.status != 429 and told.status < 500:
        return None
    asked = _retry_after(told.headers.get("retry-after") or "", usual)
    return asked if asked <= LONGEST_PAUSE else None


def _retry_after(value: str, usual: float) -> float:
    """Seconds that a server asks to wait: a number, or a date (RFC 9110, 10.2.3); else as usual."""
    from email.utils import parsedate_to_datetime

    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return usual


def _said(found: Any) -> str:
    """What a server says is wrong, in any of the shapes they use."""
    for name in ("error", "detail", "message"):
        if isinstance(found, dict) and found.get(name):
            inner = found[name]
            told = inner.get("message") if isinstance(inner, dict) else inner
            return str(told or inner)
    return ""


def _chat_reply(choice: Any) -> Reply | None:
    message = choice.get("message") if isinstance(choice, dict) else None
    return _reply(choice, message.get("content") if isinstance(message, dict) else None)


def _plain_reply(choice: Any) -> Reply | None:
    return _reply(choice, choice.get("text") if isinstance(choice, dict) else None)


def _reply(choice: Any, text: Any) -> Reply | None:
    if not isinstance(text, str):
        return None
    reason = choice.get("finish_reason")
    return Reply(_whole(text), reason if isinstance(reason, str) else None, _total(choice))


def _whole(text: str) -> str:
    """Half a surrogate pair, which JSON can hold and no file can, becomes a replacement mark."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _total(choice: Mapping[str, Any]) -> float | None:
    """The sum over tokens: a list of objects from chat, or of numbers from completions."""
    found = choice.get("logprobs")
    found = found if isinstance(found, dict) else {}
    each = found.get("content") or found.get("token_logprobs")
    each = each if isinstance(each, list) else []
    values = [one.get("logprob") if isinstance(one, dict) else one for one in each]
    numbers = [value for value in values if isinstance(value, int | float)]
    return float(sum(numbers)) if numbers and len(numbers) == len(values) else None


def _counted(found: Mapping[str, Any]) -> int | None:
    usage = found.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


# ---------------------------------------------------------------------- address and key


def _key(name: str) -> str:
    """The key, or nothing.  Its value is in no message."""
    key = os.environ.get(name, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            f"the key in {name} holds characters that no key has.", hint="Set it anew."
        )
    return key


def _checked(url: str, *, has_key: bool, insecure: bool) -> SplitResult:
    """The address with its /v1, if it may be used.  Raises UsageError."""
    parts = _split(url)
    near = _is_loopback(parts.hostname or "")
    if parts.scheme == "https" or near:
        if insecure:
            raise UsageError(f"--insecure has no effect on {parts.geturl()}.", hint="Leave it out.")
        return parts
    if has_key:
        what = f"{parts.geturl()} is another machine over plain http, and there is a key to send."
        raise UsageError(what, hint="Use https, or a tunnel to localhost; or unset the key.")
    if not insecure:
        what = f"{parts.geturl()} is another machine over plain http: all could read along."
        raise UsageError(what, hint="Use https, a tunnel to localhost, or pass --insecure.")
    return parts


def _split(url: str) -> SplitResult:
    hint = "Give the address of an OpenAI-compatible server, such as http://localhost:11434/v1."
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise UsageError("--endpoint is no address.", hint=hint) from None
    if parts.username is not None or parts.password is not None:
        what = "the address holds a name or a password."
        raise UsageError(what, hint=f"Put the key into the environment variable {KEY}.")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise UsageError(f"{url} is no address of a server.", hint=hint)
    path = parts.path.rstrip("/")
    for ending in ("/chat/completions", "/completions"):
        path = path.removesuffix(ending)
    return parts._replace(path=path or "/v1")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
