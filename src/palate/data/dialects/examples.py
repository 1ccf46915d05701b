"""Dialects of examples to imitate, and of single verdicts on them."""

from collections.abc import Iterator
from typing import Any

from palate.data.dialects.base import Dialect, Faults, Shape, Values, may, needs
from palate.data.dialects.turns import (
    ANY,
    MAYBE_TEXT,
    TEXT,
    TURNS,
    is_messages,
    is_turns,
    messages,
    refuse_tools,
    with_system,
)
from palate.data.fields import VERDICTS

THUMB = Shape("true or false", lambda value: type(value) in (bool, int) and value in VERDICTS)
HISTORY = Shape("a list of [prompt, response]", lambda v: v is None or isinstance(v, list))
_TOOLS = (may(ANY, "tools"), may(ANY, "functions"), may(ANY, "parallel_tool_calls"))
ALPACA_PROMPT = (
    needs(TEXT, "instruction"),
    may(MAYBE_TEXT, "input"),
    may(MAYBE_TEXT, "system"),
    may(HISTORY, "history"),
)
_BEYOND = ("tool_calls", "function_call", "weight")


def sharegpt(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """`conversations` of from and value."""
    refuse_tools(fields, faults)
    turns = messages(fields["conversations"], "conversations", faults)
    yield {"messages": with_system(fields, turns, faults)}


def openai(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """`messages` as OpenAI's API has them."""
    refuse_tools(fields, faults)
    yield {"messages": messages(fields["messages"], "messages", faults)}


def alpaca(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """`instruction` and `input` are the prompt, `output` the completion."""
    yield {"prompt": alpaca_prompt(fields, faults), "completion": fields["output"]}


def alpaca_verdict(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """The same with a thumb."""
    for row in alpaca(fields, faults):
        yield {**row, "label": fields["kto_tag"]}


def verdict(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """A conversation with a thumb: it is about the last turn."""
    refuse_tools(fields, faults)
    turns = with_system(fields, messages(fields["messages"], "messages", faults), faults)
    if not faults.problems and (len(turns) < 2 or turns[-1]["role"] != "assistant"):
        todo = "The verdict is about the last turn: it must be the assistant's, after a prompt."
        faults.add("messages", "does not end with an answer to a prompt", todo)
    yield {"prompt": turns[:-1], "completion": turns[-1:], "label": fields["label"]}


def alpaca_prompt(fields: Values, faults: Faults) -> str | list[dict[str, str]]:
    """Instruction, a newline and the input; a conversation where there is a system or history."""
    given = fields.get("input") or ""
    text = fields["instruction"] + (f"\n{given}" if given.strip() else "")
    turns: list[dict[str, str]] = []
    for n, past in enumerate(fields.get("history") or [], start=1):
        if not (
            isinstance(past, list) and len(past) == 2 and all(isinstance(t, str) for t in past)
        ):
            faults.add(
                "history", f"number {n} is not [prompt, response]", "Mend or remove the row."
            )
            continue
        turns += [{"role": "user", "content": past[0]}, {"role": "assistant", "content": past[1]}]
    turns = with_system(fields, turns, faults)
    return [*turns, {"role": "user", "content": text}] if turns else text


def _beyond(fields: Values) -> bool:
    """OpenAI's messages that hold more than role and text."""
    return any(name in fields for name in ("tools", "functions", "parallel_tool_calls")) or any(
        isinstance(turn.get("content"), list)
        or turn["role"] in ("developer", "function")
        or any(turn.get(key) is not None for key in _BEYOND)
        for turn in fields["messages"]
    )


SHAREGPT = Dialect(
    "sharegpt",
    "ShareGPT",
    "sft",
    (needs(TURNS, "conversations", "messages"), may(MAYBE_TEXT, "system"), *_TOOLS),
    "from and value -> role and content (human -> user, gpt -> assistant)",
    sharegpt,
    sign=lambda fields: is_turns(fields.get("conversations", fields.get("messages"))),
    lacks=frozenset({"chosen", "rejected", "label", "kto_tag"}),
    names={"messages": "conversations"},
)
OPENAI = Dialect(
    "openai",
    "OpenAI chat",
    "sft",
    (needs(TURNS, "messages"), *_TOOLS),
    "messages -> messages, parts of text joined as they stand, developer -> system",
    openai,
    sign=lambda fields: is_messages(fields["messages"]) and _beyond(fields),
    lacks=frozenset({"chosen", "rejected", "label", "kto_tag"}),
    refines=True,
)
ALPACA = Dialect(
    "alpaca",
    "Alpaca",
    "sft",
    (*ALPACA_PROMPT, needs(TEXT, "output")),
    "instruction, a newline and input -> prompt, output -> completion;"
    " system and history -> earlier turns",
    alpaca,
    lacks=frozenset({"chosen", "rejected", "label", "kto_tag"}),
    names={"prompt": "instruction", "completion": "output"},
)
ALPACA_KTO = Dialect(
    "alpaca-kto",
    "Alpaca verdicts",
    "labelled",
    (*ALPACA_PROMPT, needs(TEXT, "output"), needs(THUMB, "kto_tag", "label")),
    "instruction, a newline and input -> prompt, output -> completion, the thumb -> label",
    alpaca_verdict,
    lacks=frozenset({"chosen", "rejected"}),
    names={"prompt": "instruction", "completion": "output", "label": "kto_tag"},
)
KTO = Dialect(
    "kto",
    "conversations with verdicts",
    "labelled",
    (
        needs(TURNS, "messages", "conversations"),
        needs(THUMB, "label", "kto_tag"),
        may(MAYBE_TEXT, "system"),
        *_TOOLS,
    ),
    "the last turn -> completion, the turns before -> prompt, the thumb -> label",
    verdict,
    sign=lambda fields: _talk(fields.get("messages", fields.get("conversations"))),
    lacks=frozenset({"chosen", "rejected", "completion", "prompt"}),
    names={"prompt": "messages", "completion": "messages"},
    refines=True,
)


def _talk(value: Any) -> bool:
    return is_turns(value) or is_messages(value)
