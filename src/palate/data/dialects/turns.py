"""A list of another tool's turns to palate's messages: role and content, or what cannot be carried.

A row of palate holds role and text.  Calls of tools, images and untrained turns have no place in
it, so they are faults with their turn, never dropped.
"""

from collections.abc import Sequence
from typing import Any

from palate.data.decode import kind
from palate.data.dialects.base import Faults, Shape, Values
from palate.data.fields import REMOVE, SHAREGPT_ROLES

Message = dict[str, str]
_OPENAI_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_CALLS = ("function_call", "function")
_READ = ("from", "value", "role", "content", "tool_calls", "function_call", "weight")
_TEXT_PARTS = ("text", "input_text", "output_text")
_AS_TEXT = "Write the call as the turn's text, or remove the row."


def is_turns(value: Any) -> bool:
    """Whether all are ShareGPT's turns: `from` and `value`."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and {"from", "value"} <= turn.keys() for turn in value)
    )


def is_messages(value: Any) -> bool:
    """Whether all are messages with a `role`."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and "role" in turn for turn in value)
    )


def is_turn(value: Any) -> bool:
    """Whether this is one turn, in either tool's keys."""
    return is_turns([value]) or is_messages([value])


TEXT = Shape("text", lambda value: isinstance(value, str))
MAYBE_TEXT = Shape("text or null", lambda value: value is None or isinstance(value, str))
TURNS = Shape("a list of turns", lambda value: isinstance(value, list))
TURN = Shape("one turn", lambda value: isinstance(value, dict))
SIDE = Shape("text or a list of messages", lambda v: isinstance(v, str) or is_messages(v))
ANY = Shape("anything", lambda value: True)


def messages(turns: Sequence[Any], name: str, faults: Faults) -> list[Message]:
    """The turns that can be carried; the others are faults of the field `name`."""
    found = [_message(turn, n, name, faults) for n, turn in enumerate(turns, start=1)]
    return [message for message in found if message is not None]


def with_system(fields: Values, turns: list[Message], faults: Faults) -> list[Message]:
    """The turns, after the `system` column's text; refuses two system messages that differ."""
    text = fields.get("system") or ""
    if not text.strip():
        return turns
    if turns and turns[0]["role"] == "system":
        if turns[0]["content"] != text:
            faults.add("system", "and the first turn are two system messages", "Keep one of them.")
        return turns
    return [{"role": "system", "content": text}, *turns]


def refuse_tools(fields: Values, faults: Faults) -> None:
    """Descriptions of tools are part of what the model is given, and have no place in a row."""
    for name in ("tools", "functions"):
        if fields.get(name) not in (None, "", "[]", [], {}):
            todo = "Write them into the system message, or remove the row."
            faults.add(name, "describes tools, which a row of role and text cannot carry", todo)


def _message(turn: Any, number: int, name: str, faults: Faults) -> Message | None:
    where = f"message {number}"
    if not isinstance(turn, dict):
        faults.add(name, f"{where} is {kind(turn)}, expected an object", REMOVE)
        return None
    share = "from" in turn
    said = turn.get("from" if share else "role")
    roles = SHAREGPT_ROLES if share or said in ("human", "gpt") else _OPENAI_ROLES
    if turn.get("tool_calls") or turn.get("function_call") or (share and said in _CALLS):
        what = f"{where} calls a tool, which a row of role and text cannot carry"
        faults.add(name, what, _AS_TEXT)
        return None
    if not isinstance(said, str) or said not in roles:
        what = f"{where} is from {kind(said) if not isinstance(said, str) else repr(said)}"
        faults.add(name, what, f"Allowed: {', '.join(roles)}.")
        return None
    if turn.get("weight") == 0:
        todo = "palate learns every assistant turn; cut the conversation, or remove the weight."
        faults.add(name, f"{where} has weight 0 (a turn that is not learnt)", todo)
        return None
    text = _content(turn.get("value" if share and "value" in turn else "content"), where, name)
    if isinstance(text, str):
        unused = [key for key in turn if key not in _READ and turn[key] is not None]
        faults.ignored += [f"{faults.called.get(name, name)}[].{key}" for key in unused]
        return {"role": roles[said], "content": text}
    faults.add(name, *text)
    return None


def _content(value: Any, where: str, name: str) -> str | tuple[str, str]:
    """The text of a turn, parts of text joined as they stand; or (what, todo)."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return f"{where} content is {kind(value)}", "Text is required here; remove the row."
    texts: list[str] = []
    for part in value:
        sort = part.get("type") if isinstance(part, dict) else None
        if sort not in _TEXT_PARTS or not isinstance(part.get("text"), str):
            held = f"a part of type '{sort}'" if sort else kind(part)
            return f"{where} holds {held}", "palate reads text alone; remove the row."
        texts.append(part["text"])
    return "".join(texts)
