"""`palate chat`: a plain read-and-answer loop; the conversation is kept where a template exists."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

from cyclopts import Parameter

from palate.config import DrawOptions
from palate.data.rows import Message


def chat(
    model: str,
    /,
    *,
    draw: Annotated[DrawOptions, Parameter(name="*")] = DrawOptions(),  # noqa: B008 (frozen)
) -> None:
    """One answer per line of input.

    Parameters
    ----------
    model:
        a run of palate, or any Hugging Face folder
    """
    from palate import api
    from palate.cli.show import shown
    from palate.cli.words import safe

    with shown(stderr=True) as listen:
        speaker = api.Chat(model, draw, listen)
    if sys.stdin.isatty():
        kept = "the conversation is kept" if speaker.keeps_history else "each line stands alone"
        print(f"{kept}; /new starts afresh, /quit leaves", file=sys.stderr)
    for answer in converse(_typed(), speaker.reply, keep=speaker.keeps_history):
        print(safe(answer), flush=True)


def converse(
    lines: Iterable[str], reply: Callable[[tuple[Message, ...]], str], *, keep: bool
) -> Iterator[str]:
    """The answers to `lines`.  `reply` gets the conversation so far, or the one line alone."""
    history: tuple[Message, ...] = ()
    for line in map(str.strip, lines):
        if line == "/quit":
            return
        if line == "/new":
            history = ()
        elif line:
            asked = (*history, Message("user", line))
            answer = reply(asked)
            yield answer
            history = (*asked, Message("assistant", answer)) if keep else ()


def _typed() -> Iterator[str]:
    """Lines from stdin, with a mark to type at on a terminal."""
    is_terminal = sys.stdin.isatty()
    while True:
        try:
            yield input("> " if is_terminal else "")
        except EOFError:
            return
