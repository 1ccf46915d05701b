"""Which prompts are judged and which only measure, decided once and before anything is drawn.

The store's own split decides which prompts are held out: no pair of theirs is ever trained on.  A
quarter of them is judged as well, for the curve that is watched while DPO trains; on the others, of
which nothing else is known, the new policy is compared with the starting model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from palate.data.judged import AskedPrompt
from palate.data.rows import Message, Text
from palate.errors import UsageError
from palate.judge.values import number, prompt_of

WATCHED: Final = 4  # one of so many held-out prompts is judged for the curve; our default


@dataclass(frozen=True, slots=True)
class Division:
    """Prompts to train on, those that are watched in training, and those that only measure."""

    train: tuple[Text, ...]
    watched: tuple[Text, ...]
    measured: tuple[Text, ...]


def divide(texts: Sequence[Text], most: int) -> Division:
    """By what each prompt says; `most` of them measure.

    Raises UsageError if there are too few prompts to train on some and to measure on others.
    """
    known = {prompt_of(text, ()).id: text for text in texts}
    asked = [prompt_of(text, ()) for text in known.values()]
    train = [each for each in asked if each.split == "train"]
    held = sorted(
        (each for each in asked if each.split == "heldout"), key=lambda each: number(each.id)
    )
    if not train or not held:
        raise UsageError(
            f"{len(asked)} different prompts are too few: a fifth of them is held out, by what they"
            f" say, and here that is {len(held)}.",
            hint="Give a hundred or more.",
        )
    cut = len(held) // WATCHED
    watched, measured = held[:cut], held[cut:][:most]
    return Division(_texts(train), _texts(watched), _texts(measured))


def row(text: Text) -> dict[str, Any]:
    """A prompt as a row of a file."""
    if isinstance(text, str):
        return {"prompt": text}
    return {"prompt": [{"role": turn.role, "content": turn.content} for turn in text]}


def text_of(value: Any) -> Text:
    """The prompt of such a row: a string, or turns."""
    if isinstance(value, str):
        return value
    return tuple(Message(turn["role"], turn["content"]) for turn in value)


def _texts(asked: Sequence[AskedPrompt]) -> tuple[Text, ...]:
    return tuple(each.turns or each.text for each in asked)
