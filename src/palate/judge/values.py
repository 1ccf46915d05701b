"""Rows of the store to values, and the ids that content is known by."""

import hashlib
import json
import sqlite3
import unicodedata
from collections.abc import Sequence
from typing import Final

from palate.data.judged import Answer, AskedPrompt, Judgement, Presentation, Split
from palate.data.rows import Message, Text

HELD_OUT: Final = 0.2  # of the prompts, before anything is selected; our default


def prompt_of(text: Text, tags: tuple[str, ...]) -> AskedPrompt:
    """A prompt by what it says: the same text, or the same turns, is the same prompt."""
    shown = text if isinstance(text, str) else "\n".join(f"{m.role}: {m.content}" for m in text)
    id = digest(text if isinstance(text, str) else as_json(text))
    return AskedPrompt(id, shown, split_of(shown), None if isinstance(text, str) else text, tags)


def split_of(text: str) -> Split:
    """By the words alone, so that two ways of writing one prompt fall on one side."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return "heldout" if number(digest("split", words)) < HELD_OUT * 2**48 else "train"


def digest(*parts: str) -> str:
    """An id that content is known by; it tells nothing of where the content came from."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def number(digest: str) -> int:
    """48 bits, uniform."""
    return int(hashlib.sha256(digest.encode()).hexdigest()[:12], 16)


def as_json(turns: Sequence[Message]) -> str:
    return json.dumps([[turn.role, turn.content] for turn in turns], ensure_ascii=False)


def there(row: sqlite3.Row | None, id: str) -> sqlite3.Row:
    if row is None:
        raise KeyError(id)
    return row


def prompt(row: sqlite3.Row) -> AskedPrompt:
    turns = None if row["turns"] is None else tuple(Message(*m) for m in json.loads(row["turns"]))
    return AskedPrompt(row["id"], row["text"], row["split"], turns, tuple(json.loads(row["tags"])))


def answer(row: sqlite3.Row) -> Answer:
    made = json.loads(row["made"])
    return Answer(row["id"], row["prompt_id"], row["text"], row["origin"], row["parent_id"], made)


def presentation(
    row: sqlite3.Row, id: str, prompt: AskedPrompt, sides: tuple[Answer, Answer]
) -> Presentation:
    return Presentation(
        id, prompt, *sides, row["judge"], row["mode"], row["selector"], row["shown"], row["again"]
    )


def judgement(row: sqlite3.Row, of: Presentation) -> Judgement:
    tags = tuple(json.loads(row["tags"]))
    return Judgement(
        row["id"],
        of,
        row["verdict"],
        row["strength"],
        row["reason"],
        tags,
        row["ms"],
        row["created"],
    )
