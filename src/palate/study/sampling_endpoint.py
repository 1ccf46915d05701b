"""Texts from an OpenAI-compatible server, one request each.

Every text is asked for by itself with a seed of its own, since not every server heeds `n`.  Strings
become one user turn, which the server lays out; with --plain they go to /completions as they stand.
No log-prob is recorded: the engine never saw the model.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from palate.config import SampleConfig
from palate.data.rows import Example
from palate.endpoint import Endpoint, Reply, Wanted
from palate.errors import UsageError
from palate.study.sampling import Ask, Made, plain
from palate.train.events import Listener, Note

Item = TypeVar("Item")
Answer = TypeVar("Answer")
AT_ONCE: Final = 8  # requests under way; Ollama queues them, vLLM and llama.cpp batch them


class AtEndpoint:
    """The model of that name at `config.endpoint`.  Raises UsageError."""

    size = AT_ONCE

    def __init__(
        self, model: str, config: SampleConfig, rows: Sequence[Example], listen: Listener
    ) -> None:
        _refuse_what_has_no_effect(config, rows)
        self._endpoint = Endpoint(config.endpoint or "", model, insecure=config.insecure)
        self._config = config
        self.about: dict[str, Any] = {"model": model, "endpoint": self._endpoint.url}
        if config.plain:
            self.about["plain"] = True
        elif any(isinstance(row.prompt, str) for row in rows):
            listen(Note("plain prompts are sent as one user turn (--plain sends them as text)"))
        listen(Note("no log-probs: an endpoint's texts are not scored here"))

    def draw(self, asks: Sequence[Ask]) -> list[Made]:
        """The texts, `AT_ONCE` under way at a time.  Raises EndpointError."""
        try:
            return side_by_side(self._one, asks, AT_ONCE)
        except BaseException:
            self.close()  # what has not begun will not
            raise

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def _one(self, ask: Ask) -> Made:
        wanted: Wanted = {
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "max_tokens": self._config.max_new_tokens,
            "seed": seed_of(self._config.seed, ask),
        }
        (reply, *_) = self._asked(ask, wanted)
        return Made(reply.text, reply.finish_reason != "length", reply.tokens)

    def _asked(self, ask: Ask, wanted: Wanted) -> list[Reply]:
        prompt = plain(ask.prompt)
        if isinstance(prompt, str):
            if self._config.plain:
                return self._endpoint.complete(prompt, **wanted)
            prompt = [{"role": "user", "content": prompt}]
        return self._endpoint.chat(prompt, **wanted)


def seed_of(seed: int, ask: Ask) -> int:
    """31 bits, the most that every server takes, from (seed, prompt, draw)."""
    text = f"{seed} {ask.draw} {plain(ask.prompt)}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def side_by_side(
    work: Callable[[Item], Answer], items: Sequence[Item], threads: int
) -> list[Answer]:
    """`work` of each item, in their order; raises what the first failure raised.

    On daemon threads, unlike an executor's: a process that stops waits for no slow answer.
    """
    todo: SimpleQueue[tuple[int, Item]] = SimpleQueue()
    done: SimpleQueue[tuple[int, Answer | BaseException]] = SimpleQueue()
    for numbered in enumerate(items):
        todo.put(numbered)

    def run() -> None:
        while True:
            try:
                place, item = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((place, work(item)))
            except BaseException as error:
                done.put((place, error))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=run, daemon=True).start()
    found: dict[int, Answer] = {}
    for _ in items:
        place, answer = done.get()
        if isinstance(answer, BaseException):
            raise answer
        found[place] = answer
    return [found[place] for place in range(len(items))]


def _refuse_what_has_no_effect(config: SampleConfig, rows: Sequence[Example]) -> None:
    for flag, given in (("--join", config.join), ("--chat-template", config.chat_template)):
        if given is not None:
            what = f"{flag} has no effect with --endpoint: the server lays prompts out."
            raise UsageError(what, hint="Leave it out.")
    if config.plain and not any(isinstance(row.prompt, str) for row in rows):
        raise UsageError("--plain has no effect: no row has a plain prompt.", hint="Leave it out.")
