"""A few of the user's own examples before each prompt: the untuned model without any training.

Which ones is a seeded draw by content, the same for every prompt, and 1 is part of 3 and 3 of 5; to
pick the nearest for each prompt would be a method of its own.  A model with a chat template gets
them as earlier turns.  A plain one gets text, examples parted by lines that occur in none of them:
as it goes on with a next example of its own making, its text ends at the first such line.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Final

from palate.data.plain import seam
from palate.data.render import Renderer
from palate.data.rows import Conversation, Example, Message, Text
from palate.data.split import prompt_key
from palate.data.tokens import RowFault
from palate.errors import DataError, Problem, UsageError
from palate.study.checks.words import plural

COUNTS: Final = (1, 3, 5)
_BLANK: Final = "\n\n"


@dataclass(frozen=True, slots=True)
class Prompted:
    """Prompts with examples before them; `shown` says how many each has.

    `separator` stands between examples; None where they are turns.
    """

    prompts: tuple[Text, ...]
    shown: tuple[int, ...]
    examples: tuple[Example, ...]
    separator: str | None

    def cut(self, text: str) -> tuple[str, bool]:
        """The answer, and whether what followed it was cut off: then the model ended it."""
        if self.separator is None:
            return text, False
        mark = self.separator.rstrip("\n") or self.separator
        answer, found, _ = text.partition(mark)
        return answer, bool(found)

    @property
    def counted(self) -> str:
        """`1 example`, `5 examples`; `3 to 4 examples` where some prompts have room for fewer."""
        fewest, most = min(self.shown), max(self.shown)
        return plural(most, "example") if fewest == most else f"{fewest} to {most} examples"

    @property
    def note(self) -> str | None:
        """How many prompts had no room for all examples, if some had."""
        asked = len(self.examples)
        less = [number for number in self.shown if number < asked]
        if not less:
            return None
        return (
            f"{len(less)} of {plural(len(self.shown), 'prompt')} have no room for {asked} examples "
            f"before them in this model's context; they get {min(less)} or more"
        )


def prompts(prompts: Sequence[Text], examples: Sequence[Example], k: int, seed: int) -> list[Text]:
    """Each prompt after `k` examples, as text, however long.  Raises UsageError."""
    chosen = choose(examples, prompts, k, seed=seed)
    separator = separator_for(examples, prompts)
    return [_as_text(prompt, chosen, separator, None) for prompt in prompts]


def lay_out(
    prompts: Sequence[Text],
    examples: Sequence[Example],
    k: int,
    *,
    renderer: Renderer,
    seed: int,
    longest: int,
) -> Prompted:
    """Each prompt after as many of `k` examples as leave room for an answer, at most `longest`.

    An answer is taken to need what the longest of the examples shown has.  Raises UsageError if
    there are too few examples, DataError for a row that cannot be laid out, ModelError for
    conversations and a model without a chat template.
    """
    chosen = choose(examples, prompts, k, seed=seed)
    turned = {renderer.turns(prompt) for prompt in prompts}
    separator = None if turned == {True} else separator_for(examples, prompts)
    room = min(longest, max(_tokens(renderer, each) for each in chosen))
    found: list[Text] = []
    shown: list[int] = []
    for prompt in prompts:
        for number in range(k, -1, -1):
            if renderer.turns(prompt):
                laid: Text = _as_turns(prompt, chosen[:number])
            else:
                laid = _as_text(prompt, chosen[:number], separator or _BLANK, renderer.options.join)
            if number == 0 or len(renderer.prompt_ids(laid)) + room <= renderer.limit:
                break
        found.append(laid if number else prompt)
        shown.append(number)
    return Prompted(tuple(found), tuple(shown), tuple(chosen), separator)


def choose(
    examples: Sequence[Example], prompts: Sequence[Text], k: int, *, seed: int
) -> list[Example]:
    """`k` examples by a draw that is a function of (seed, content): none has one of the prompts.

    Raises UsageError if there are fewer.
    """
    asked = {prompt_key(Example(each, "", examples[0].origin)) for each in prompts if examples}
    usable = {
        json.dumps([_told(each.prompt), _told(each.completion)]): each
        for each in map(_with_prompt, examples)
        if each.prompt and prompt_key(each) not in asked
    }
    ranked = sorted(usable, key=lambda told: hashlib.sha256(f"{seed}\n{told}".encode()).digest())
    if len(ranked) < k:
        raise UsageError(
            f"{plural(k, 'example')} with a prompt are to be shown to the untuned model, and there "
            f"are {len(ranked)}.",
            hint="Name a file with more: --examples FILE.",
        )
    return [usable[told] for told in ranked[:k]]


def _with_prompt(example: Example) -> Example:
    """A conversation without a prompt: its last turn is the answer to the others."""
    if example.prompt is not None or isinstance(example.completion, str):
        return example
    talk = example.completion
    if len(talk) < 2 or talk[-1].role != "assistant":
        return example
    return Example(talk[:-1], talk[-1:], example.origin, example.value)


def _told(text: Text | None) -> Any:
    if text is None or isinstance(text, str):
        return text
    return [[message.role, message.content] for message in text]


# ---------------------------------------------------------------------- turns


def _as_turns(prompt: Text, examples: Sequence[Example]) -> Conversation:
    """System turns of the prompt, the examples' turns without theirs, and the prompt."""
    own = _turns(prompt, "user")
    first = next((n for n, message in enumerate(own) if message.role != "system"), len(own))
    before = chain.from_iterable(
        (*_turns(each.prompt or "", "user"), *_turns(each.completion, "assistant"))
        for each in examples
    )
    kept = (message for message in before if message.role != "system")
    return (*own[:first], *kept, *own[first:])


def _turns(text: Text, role: str) -> Conversation:
    return (Message(role, text),) if isinstance(text, str) else text


# ---------------------------------------------------------------------- text


def separator_for(examples: Sequence[Example], prompts: Sequence[Text]) -> str:
    """A blank line; else the shortest line of `#`, three at least, that is in none of the texts."""
    sides = [side for each in examples for side in (each.prompt, each.completion)]
    texts = [text for text in (*sides, *prompts) if isinstance(text, str)]
    if not any(_BLANK in text for text in texts):
        return _BLANK
    return next(
        f"\n\n{'#' * size}\n\n"
        for size in count(3)
        if not any(f"\n{'#' * size}" in text for text in texts)
    )


def _as_text(prompt: Text, examples: Sequence[Example], separator: str, join: str | None) -> str:
    """Examples as they would be trained on, parted, and the prompt at the end."""
    assert isinstance(prompt, str), "a conversation is laid out as turns"
    parts = [
        f"{each.prompt}{seam(each.prompt, (each.completion,), join)}{each.completion}"
        for each in examples
        if isinstance(each.prompt, str) and isinstance(each.completion, str)
    ]
    return separator.join([*parts, prompt])


def _tokens(renderer: Renderer, example: Example) -> int:
    """Tokens of an example's answer, its end among them."""
    try:
        return renderer.draft(example).sequences[0].scored
    except RowFault as fault:
        origin = example.origin
        problem = Problem(origin.path, origin.line, fault.field, fault.what, fault.todo)
        raise DataError([problem]) from None
