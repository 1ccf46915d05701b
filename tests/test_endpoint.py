"""The client of OpenAI-compatible servers: what it sends and takes, and what it never tells."""

import json
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest

from openai_server import Answer, Server, said
from palate import endpoint
from palate.endpoint import Endpoint, EndpointError, Reply
from palate.errors import UsageError

KEY = "sk-canary-0123456789"
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(endpoint.KEY, raising=False)


class Waits(list[float]):
    """Stands in for `sleep`."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def scripted(*answers: Any) -> Any:
    """One answer after another, the last one again and again."""
    left = list(answers)

    def answer(path: str, body: dict[str, Any]) -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def ask(server: Server, **options: Any) -> list[Reply]:
    with Endpoint(server.url, "m", sleep=Waits(), **options) as server_endpoint:
        return server_endpoint.chat(HELLO, max_tokens=9)


def refusal(*answers: Any, **options: Any) -> str:
    with Server(scripted(*answers)) as server, pytest.raises(EndpointError) as caught:
        ask(server, **options)
    assert server.url in str(caught.value)
    return str(caught.value)


def test_a_chat() -> None:
    with Server(scripted(said("hi", tokens=3))) as server:
        with Endpoint(server.url + "/", "tiny") as there:
            found = there.chat(
                HELLO, temperature=0.5, top_p=0.9, max_tokens=9, seed=4, logprobs=True
            )
        assert found == [Reply("hi", "stop", None, 3)]
        (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "tiny",
        "messages": HELLO,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 9,
        "seed": 4,
        "logprobs": True,
    }
    assert "authorization" not in asked.headers


def test_a_plain_completion() -> None:
    told = said("and on", finish="length")
    told["choices"][0]["logprobs"] = {"token_logprobs": [-1.5, -0.25]}
    with Server(scripted(told)) as server:
        with Endpoint(server.url + "/v1", "tiny") as there:
            assert there.complete("so", logprobs=True) == [Reply("and on", "length", -1.75)]
        (asked,) = server.asked
    assert (asked.path, asked.body) == (
        "/v1/completions",
        {"model": "tiny", "prompt": "so", "logprobs": 1},
    )


def test_log_probs_are_summed_only_if_all_are_there() -> None:
    told = said("a", "b", "c")
    given: list[Any] = [[{"logprob": -1.0}, {"logprob": -2}], [{"logprob": -1.0}, {}], None]
    for choice, each in zip(told["choices"], given):
        choice["logprobs"] = each and {"content": each}
    with Server(scripted(told)) as server, Endpoint(server.url, "m") as there:
        found = there.chat(HELLO, n=3, logprobs=True)
        assert [reply.logprob for reply in found] == [-3.0, None, None]
        assert server.asked[0].body["n"] == 3


def test_a_server_that_ignores_n_is_told_of() -> None:
    with Server(scripted(said("one"))) as server:
        there = Endpoint(server.url, "m")
        with pytest.raises(EndpointError, match="1 of 4 texts"):
            there.chat(HELLO, n=4)
        there.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(body=b"so so"), "no JSON"),
        (Answer(body=b'{"choices": [{"mess'), "no JSON"),
        (Answer(body=b"[" * 100_000), "no JSON"),
        (Answer(body=b"[1]"), "no JSON object"),
        ({}, "no choices"),
        ({"choices": []}, "no choices"),
        ({"choices": [3]}, "no text"),
        (said("x") | {"choices": [{"message": {"content": None}}]}, "no text"),
        ({"choices": [{"message": {"content": [1]}}]}, "no text"),
        ({"error": {"message": "out of cheese"}}, "out of cheese"),
        (Answer(body=b"<html>hi</html>", kind="text/html"), "web page"),
        (Answer(404, b"<!doctype html>", kind="text/plain"), "web page"),
        (Answer(404, b'{"error": "no such model"}'), "no such model. Does it have a model 'm'"),
        (Answer(400, b'{"detail": "bad\\n  seed"}'), "status 400.: bad seed"),
        (Answer(401, b""), f"{endpoint.KEY}"),
        (Answer(307, b"", headers={"Location": "http://127.0.0.1:1/"}), "gives?|give that one"),
        (Answer(body=b'{"choices": []}', headers={"Content-Encoding": "gzip"}), "no JSON"),
    ],
)
def test_an_answer_that_is_none(answer: Any, words: str) -> None:
    message = refusal(answer)
    assert len(message) < 500
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(message)


def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "LARGEST", 1 << 10)
    assert "more than" in refusal(Answer(body=b" " * 2000))


def test_an_answer_that_is_cut() -> None:
    cut = Answer(body=b'{"choices": [', promised=500)
    assert f"broke off in the middle of an answer, {endpoint.ATTEMPTS} times" in refusal(cut)
    with Server(scripted(cut, None, said("whole"))) as server:
        assert ask(server)[0].text == "whole"
        assert len(server.asked) == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_trouble_that_passes(status: int) -> None:
    with Server(scripted(Answer(status), Answer(status), said("at last"))) as server:
        waits = Waits()
        with Endpoint(server.url, "m", sleep=waits) as there:
            assert there.chat(HELLO)[0].text == "at last"
        assert waits == [1, 2]


def test_trouble_that_stays() -> None:
    waits = Waits()
    page = Answer(503, b"<html>down</html>", kind="text/html")
    with Server(scripted(page)) as server, Endpoint(server.url, "m", sleep=waits) as there:
        with pytest.raises(EndpointError, match=r"refused \(status 503\).*later"):
            there.chat(HELLO)
        assert len(server.asked) == endpoint.ATTEMPTS
    assert waits == [1, 2, 4, 8]


def test_a_refusal_is_not_repeated() -> None:
    with Server(scripted(Answer(400, b"{}"))) as server:
        with pytest.raises(EndpointError):
            ask(server)
        assert len(server.asked) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_heeded(form: str) -> None:
    asked = "7" if form == "seconds" else formatdate(time.time() + 7, usegmt=True)
    waits = Waits()
    answers = scripted(Answer(429, headers={"Retry-After": asked}), said("ok"))
    with Server(answers) as server, Endpoint(server.url, "m", sleep=waits) as there:
        there.chat(HELLO)
    (waited,) = waits
    assert waited == pytest.approx(7, abs=1.5)


def test_a_wait_without_end_is_an_error() -> None:
    with Server(scripted(Answer(429, headers={"Retry-After": "3600"}))) as server:
        with pytest.raises(EndpointError, match="429"):
            ask(server)
        assert len(server.asked) == 1


def test_a_retry_after_that_is_nonsense() -> None:
    for value in ("soon", "-4", ""):
        assert endpoint._retry_after(value, 3.0) == 3.0


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with Server(scripted({})) as server:
        url = server.url
    waits = Waits()
    with Endpoint(url, "m", sleep=waits) as there, pytest.raises(EndpointError) as caught:
        there.chat(HELLO)
    assert "cannot be reached." in str(caught.value) and waits == []


def test_a_server_that_was_there_may_come_back() -> None:
    waits = Waits()
    with Server(lambda path, body: said("hello")) as server:
        there = Endpoint(server.url, "m", sleep=waits)
        there.chat(HELLO)
    with there, pytest.raises(EndpointError) as caught:
        there.chat(HELLO)
    assert "5 times" in str(caught.value) and waits == [1, 2, 4, 8]


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "READ", 0.2)
    gone = threading.Event()
    with Server(lambda path, body: gone.wait(5) and None) as server:
        with pytest.raises(EndpointError, match="did not answer in time"):
            ask(server)
        assert len(server.asked) == 1
        gone.set()


def test_the_newer_name_of_the_limit() -> None:
    told = b'{"error": {"message": "max_tokens is not supported: use max_completion_tokens"}}'
    with Server(scripted(Answer(400, told), said("ok"))) as server:
        with Endpoint(server.url, "m") as there:
            there.chat(HELLO, max_tokens=5)
            there.chat(HELLO, max_tokens=6)
        limits = [
            {k: v for k, v in each.body.items() if k.startswith("max")} for each in server.asked
        ]
    assert limits == [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_completion_tokens": 6}]


def test_half_a_surrogate_pair_can_be_written() -> None:
    body = json.dumps(said("a \ud83d b \ud83d\ude00")).encode()
    with Server(scripted(Answer(body=body))) as server:
        assert ask(server)[0].text == "a \ufffd b \U0001f600"


# ---- addresses


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:8000/v1/chat/completions", "http://[::1]:8000/v1"),
        (" https://api.example.com/openai/v1 ", "https://api.example.com/openai/v1"),
        ("HTTP://LOCALHOST:1", "http://LOCALHOST:1/v1"),
    ],
)
def test_addresses(url: str, becomes: str) -> None:
    with Endpoint(url, "m") as there:
        assert there.url == becomes


@pytest.mark.parametrize(
    "url",
    ["", "localhost:11434", "ftp://localhost", "http://", "http://localhost:99999", "file:///etc",
     "http://localhost/v1?key=1", "http://localhost/#a", "http://[::1", "//localhost"],
)  # fmt: skip
def test_no_addresses(url: str) -> None:
    with pytest.raises(UsageError, match="address"):
        Endpoint(url, "m")


FAR = ["http://192.168.1.5:8000", "http://127.0.0.1.evil.com", "http://localhost.evil.com/v1",
       "http://2130706433:80", "http://0.0.0.0:1", "http://localhost.:1"]  # fmt: skip


@pytest.mark.parametrize("url", FAR)
def test_plain_http_to_another_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        Endpoint(url, "m")
    Endpoint(url, "m", insecure=True).close()
    monkeypatch.setenv(endpoint.KEY, KEY)
    for insecure in (False, True):
        with pytest.raises(UsageError, match="there is a key") as caught:
            Endpoint(url, "m", insecure=insecure)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["https://example.com", "http://localhost:1"])
def test_insecure_without_effect(url: str) -> None:
    with pytest.raises(UsageError, match="no effect"):
        Endpoint(url, "m", insecure=True)


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(UsageError, match=endpoint.KEY) as caught:
        Endpoint("https://me:hunter2@example.com/v1", "m")
    assert "hunter2" not in str(caught.value)


# ---- the key


def test_the_key_is_sent_and_told_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    with Server(scripted(said("hi"), Answer(401, echo))) as server:
        there = Endpoint(server.url, "m", key_env="MY_KEY")
        there.chat(HELLO)
        assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
        with pytest.raises(EndpointError, match=r"provided: \*\*\*.*MY_KEY") as caught:
            there.chat(HELLO)
        there.close()
    told = f"{there!r} {caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert KEY not in told


def test_a_key_with_odd_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in ("sk-\nX: y", "schlüssel"):
        monkeypatch.setenv(endpoint.KEY, odd)
        with pytest.raises(UsageError, match="no key has") as caught:
            Endpoint("http://localhost:1", "m")
        assert odd not in str(caught.value)


def test_no_redirect_and_no_proxy_gets_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.KEY, KEY)
    with Server(scripted(said("stolen"))) as thief:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, thief.url)
        move = Answer(307, headers={"Location": f"{thief.url}/v1/chat/completions"})
        with (
            Server(scripted(move)) as server,
            pytest.raises(EndpointError, match="another address"),
        ):
            ask(server)
        assert thief.asked == []


def test_closing_ends_the_waiting() -> None:
    with Server(scripted(Answer(503))) as server:
        there = Endpoint(server.url, "m")
        threading.Timer(0.2, there.close).start()
        start = time.monotonic()
        with pytest.raises((EndpointError, RuntimeError)):
            there.chat(HELLO)
        assert time.monotonic() - start < 0.9
