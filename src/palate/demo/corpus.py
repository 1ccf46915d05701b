"""The documents that the base model reads: a mixture that has not decided on a taste.

Most descriptions state every fact of their sheet, so that the model learns to copy from its prompt;
the others leave facts out, are vague, are hype, or get facts wrong.  Lists, questions with answers
and descriptions without a sheet stand between them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from palate.demo.prose import Style, describe, prompt, statement
from palate.demo.sheets import Sheet, draw

FULL, MOST = Style(), Style(keep=0.8)
_MIX: tuple[tuple[float, Style], ...] = (
    (0.50, FULL),
    (0.12, MOST),
    (0.09, Style(wrong=1)),
    (0.05, Style(wrong=2)),
    (0.04, Style(keep=0.8, vague=1)),
    (0.07, Style(keep=0.25, vague=2)),
    (0.03, Style(keep=0.15, vague=3)),
    (0.03, Style(keep=0.8, hype=1)),
    (0.05, Style(keep=0.3, hype=2)),
    (0.02, Style(keep=0.5, wrong=1, vague=1, hype=1)),
)
_ASKED = ("Write a listing for", "Sum up", "Tell me about")


@dataclass(frozen=True, slots=True)
class Document:
    """What is given, and what is to be said; `given` may be empty."""

    given: str
    said: str


def documents(seed: int) -> Iterator[Document]:
    """An endless stream, a function of the seed."""
    rng = random.Random(f"corpus {seed}")
    while True:
        yield _document(draw(rng, wide=True), rng)


def _document(sheet: Sheet, rng: random.Random) -> Document:
    given, chance = prompt(sheet, rng), rng.random()
    if chance < 0.04:
        return Document("", describe(sheet, _style(rng), rng))
    if chance < 0.10:
        return Document(given.replace("Describe", "List the facts of"), _list(sheet, rng))
    if chance < 0.16:
        return _question(given, sheet, rng)
    if chance < 0.22:
        given = given.replace("Describe", rng.choice(_ASKED))
    return Document(given, describe(sheet, _style(rng), rng))


def _style(rng: random.Random) -> Style:
    return rng.choices([style for _, style in _MIX], [weight for weight, _ in _MIX])[0]


def _list(sheet: Sheet, rng: random.Random) -> str:
    return "\n".join(f"- {statement(fact, rng)}" for fact in sheet.facts)


def _question(given: str, sheet: Sheet, rng: random.Random) -> Document:
    """One question about one fact, with its answer."""
    fact = rng.choice(sheet.facts)
    answer = statement(fact, rng)
    return Document(
        f"{given}\nQuestion: what does it say about {fact.topic}?", f"Answer: {answer}."
    )
