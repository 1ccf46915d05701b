"""Train and held-out rows, divided by prompt: rows of one prompt never stand on both sides.

Which prompts are held out is a function of their text and the seed alone, not of their order, so
that adding rows moves few of them.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

from palate.data.rows import Conversation, Example, Pair, Ranking, Text
from palate.errors import UsageError

HALVED = 20
Row = TypeVar("Row", Example, Pair, Ranking)


def split(
    rows: Sequence[Row], *, share: float, seed: int
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(train, held out), each in file order; neither is empty if `share` > 0 and prompts >= 2."""
    if not 0 <= share < 1:
        raise UsageError(f"A held-out share of {share} is not in [0, 1).", hint="As in 0.1.")
    keys = [prompt_key(row) for row in rows]
    ranked = sorted(set(keys), key=lambda key: _rank(key, seed))
    count = min(max(round(share * len(ranked)), share > 0), len(ranked) - 1) if ranked else 0
    held = set(ranked[:count])
    train = tuple(row for row, key in zip(rows, keys) if key not in held)
    return train, tuple(row for row, key in zip(rows, keys) if key in held)


def halves(rows: Sequence[Row], *, seed: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Held-out rows that may choose between weights, and those that may then report on them.

    By prompt.  Below `HALVED` prompts there is nothing to divide: all of them choose, none reports.
    """
    keys = [prompt_key(row) for row in rows]
    ranked = sorted(set(keys), key=lambda key: _rank(key, f"halves {seed}"))
    if len(ranked) < HALVED:
        return tuple(rows), ()
    first = set(ranked[: len(ranked) // 2])
    return (
        tuple(row for row, key in zip(rows, keys) if key in first),
        tuple(row for row, key in zip(rows, keys) if key not in first),
    )


def prompt_key(row: Example | Pair | Ranking) -> str:
    """What makes two rows rows of one prompt: its text, without white space at its ends.

    A conversation's prompt ends before the first assistant turn that is trained on.  A text without
    a prompt is its own key.
    """
    if row.prompt is not None:
        return _key(row.prompt)
    assert isinstance(row, Example)
    return _key(row.completion if isinstance(row.completion, str) else _opening(row.completion))


def _opening(messages: Conversation) -> Conversation:
    """The turns before the first assistant turn."""
    first = next((n for n, m in enumerate(messages) if m.role == "assistant"), len(messages))
    return messages[:first] or messages


def _key(text: Text) -> str:
    """One user turn is the same prompt as its text."""
    if isinstance(text, str):
        return text.strip()
    if len(text) == 1 and text[0].role == "user":
        return text[0].content.strip()
    return json.dumps([[m.role, m.content.strip()] for m in text])


def _rank(key: str, seed: int | str) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode()).digest()
