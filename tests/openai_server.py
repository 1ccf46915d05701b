"""A small OpenAI-compatible server on loopback for tests: it answers as it is told, and remembers.

`Server(answer)` where `answer(path, body)` gives what is sent: a dict (as JSON, status 200), an
`Answer`, or None to break off without a word.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Status, body and headers as they are sent; `promised` is a false Content-Length."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None


@dataclass(frozen=True)
class Asked:
    path: str
    body: dict[str, Any]
    headers: dict[str, str]


Reply = Callable[[str, dict[str, Any]], Any]


class Server:
    """`with Server(answer) as server`: `server.url`, `server.asked`."""

    def __init__(self, answer: Reply) -> None:
        self.answer, self.asked = answer, list[Asked]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(size))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append(Asked(self.path, body, headers))
                outer._send(self, outer.answer(self.path, body))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Server":
        run = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        run.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, found: Any) -> None:
        if found is None:
            handler.close_connection = True
            return
        if isinstance(found, dict):
            found = Answer(body=json.dumps(found).encode())
        handler.send_response(found.status)
        handler.send_header("Content-Type", found.kind)
        size = len(found.body) if found.promised is None else found.promised
        handler.send_header("Content-Length", str(size))
        for name, value in found.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(found.body)
        handler.close_connection = found.promised is not None


def said(*texts: str, finish: str = "stop", tokens: int | None = None) -> dict[str, Any]:
    """What a server answers to a chat and to a plain prompt alike."""
    choices = [
        {"index": n, "text": text, "message": {"role": "assistant", "content": text},
         "finish_reason": finish}
        for n, text in enumerate(texts)
    ]  # fmt: skip
    usage = {} if tokens is None else {"usage": {"completion_tokens": tokens}}
    return {"object": "chat.completion", "choices": choices} | usage
