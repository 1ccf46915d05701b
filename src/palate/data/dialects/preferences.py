"""Dialects of pairs: two answers and a verdict."""

import re
from collections.abc import Iterator
from typing import Any

from palate.data.dialects.base import Dialect, Faults, Shape, Values, may, needs
from palate.data.dialects.examples import ALPACA_PROMPT, alpaca_prompt
from palate.data.dialects.turns import (
    ANY,
    MAYBE_TEXT,
    SIDE,
    TEXT,
    TURN,
    TURNS,
    is_messages,
    is_turn,
    is_turns,
    messages,
    refuse_tools,
    with_system,
)

_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_HH_TODO = "Start it with 'Human:', each turn after a blank line."
TRANSCRIPT = Shape("text", lambda value: isinstance(value, str))
SCORE = Shape("a number", lambda value: type(value) in (int, float) and value == value)
INPUT = Shape("an object with 'messages'", lambda v: isinstance(v, dict) and "messages" in v)


def llamafactory(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """`conversations` are the prompt; `chosen` and `rejected` are one turn each."""
    refuse_tools(fields, faults)
    turns = messages(fields["conversations"], "conversations", faults)
    yield {
        "prompt": with_system(fields, turns, faults),
        "chosen": messages([fields["chosen"]], "chosen", faults),
        "rejected": messages([fields["rejected"]], "rejected", faults),
    }


def alpaca(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """`instruction` and `input` are the prompt."""
    sides = {"chosen": fields["chosen"], "rejected": fields["rejected"]}
    yield {"prompt": alpaca_prompt(fields, faults), **sides}


def transcripts(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """Two whole dialogues as text: what they share at the start is the prompt."""
    yield {name: _transcript(fields[name], name, faults) for name in ("chosen", "rejected")}


def openai(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """`input.messages` are the prompt, the two outputs the sides."""
    given = fields["input"]
    refuse_tools(given, faults)
    if not isinstance(given["messages"], list):
        faults.add("input", "has 'messages' that are no list", "Mend or remove the row.")
        return
    yield {
        "prompt": messages(given["messages"], "input", faults),
        "chosen": messages(fields["preferred_output"], "preferred_output", faults),
        "rejected": messages(fields["non_preferred_output"], "non_preferred_output", faults),
    }


def stack_exchange(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """`response_j` was voted over `response_k`."""
    yield {
        "prompt": fields["question"],
        "chosen": fields["response_j"],
        "rejected": fields["response_k"],
    }


def binarized(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """Two sides with their scores: a tie is no preference."""
    better, worse = fields["score_chosen"], fields["score_rejected"]
    if better < worse:
        todo = "Swap the sides or remove the row; --format palate reads them as they stand."
        faults.add("score_chosen", f"is {better}, less than score_rejected, {worse}", todo)
    elif better == worse:
        faults.leave("equal scores make no pair (--format palate takes them as they stand)")
    else:
        yield {name: fields[name] for name in ("prompt", "chosen", "rejected")}


def binarized_examples(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """The conversation to imitate, which stands beside the pair."""
    if "messages" not in fields:
        faults.add("messages", "is missing", "Imitate with --map messages=chosen.")
    yield {"messages": messages(fields.get("messages", []), "messages", faults)}


def _transcript(text: str, name: str, faults: Faults) -> list[dict[str, str]]:
    marks = list(_MARK.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        faults.add(name, "is no transcript of Human: and Assistant:", _HH_TODO)
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        {"role": _ROLES[mark[1]], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends)
    ]


def _is_transcript(text: Any) -> bool:
    """Whether a text opens with a person's turn and holds an answer."""
    if not isinstance(text, str) or not text.lstrip().startswith("Human:"):
        return False
    return any(mark[1] == "Assistant" for mark in _MARK.finditer(text))


LLAMAFACTORY = Dialect(
    "llamafactory",
    "LLaMA-Factory preferences",
    "pairs",
    (
        needs(TURNS, "conversations", "messages"),
        needs(TURN, "chosen"),
        needs(TURN, "rejected"),
        may(MAYBE_TEXT, "system"),
        may(ANY, "tools"),
    ),
    "conversations -> prompt, chosen.value -> chosen, rejected.value -> rejected",
    llamafactory,
    sign=lambda fields: is_turn(fields["chosen"]) and is_turn(fields["rejected"]),
    names={"prompt": "conversations"},
    refines=True,
)
ALPACA_PAIRS = Dialect(
    "alpaca-pairs",
    "Alpaca preferences",
    "pairs",
    (
        *ALPACA_PROMPT,
        needs(TEXT, "chosen"),
        needs(TEXT, "rejected"),
        may(MAYBE_TEXT, "output"),
    ),
    "instruction, a newline and input -> prompt, chosen and rejected as they stand",
    alpaca,
    lacks=frozenset({"conversations", "messages"}),
    names={"prompt": "instruction"},
)
HH = Dialect(
    "hh",
    "Anthropic HH transcripts",
    "pairs",
    (needs(TRANSCRIPT, "chosen"), needs(TRANSCRIPT, "rejected")),
    "Human: -> user, Assistant: -> assistant, the turns that both share -> prompt",
    transcripts,
    sign=lambda fields: _is_transcript(fields["chosen"]) and _is_transcript(fields["rejected"]),
    lacks=frozenset({"prompt", "instruction", "conversations", "messages"}),
)
OPENAI_PAIRS = Dialect(
    "openai-pairs",
    "OpenAI preferences",
    "pairs",
    (
        needs(INPUT, "input"),
        needs(TURNS, "preferred_output"),
        needs(TURNS, "non_preferred_output"),
    ),
    "input.messages -> prompt, preferred_output -> chosen, non_preferred_output -> rejected",
    openai,
    sign=lambda fields: (
        is_messages(fields["preferred_output"]) and is_messages(fields["non_preferred_output"])
    ),
    names={
        "prompt": "input",
        "chosen": "preferred_output",
        "rejected": "non_preferred_output",
    },
)
STACK_EXCHANGE = Dialect(
    "stack-exchange",
    "Stack Exchange pairs",
    "pairs",
    (needs(TEXT, "question"), needs(TEXT, "response_j"), needs(TEXT, "response_k")),
    "question -> prompt, response_j -> chosen, response_k -> rejected",
    stack_exchange,
    names={"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
)
BINARIZED = Dialect(
    "ultrafeedback-binarized",
    "UltraFeedback binarized",
    "pairs",
    (
        needs(SIDE, "prompt"),
        needs(SIDE, "chosen"),
        needs(SIDE, "rejected"),
        needs(SCORE, "score_chosen"),
        needs(SCORE, "score_rejected"),
        may(ANY, "prompt_id"),
        may(TURNS, "messages"),
    ),
    "prompt, chosen and rejected as they stand, but for equal scores, which make no pair",
    binarized,
    sign=lambda fields: not is_turns(fields["chosen"]),
    also={"sft": binarized_examples},
    refines=True,
    prompt="prompt",
)
