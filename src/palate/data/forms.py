"""Records to rows: which fields a file has, and what a row of them teaches.

SFT: prompt and completion, or messages, or text.  Preference: prompt, chosen, rejected, or two
whole conversations, where what they share at the start is the prompt.  Refuses a row that teaches
nothing.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from palate.data.fields import ONE_FORM, REMOVE, VERDICTS, Fields
from palate.data.proposals import propose
from palate.data.rows import Conversation, Example, Message, Origin, Pair, Text
from palate.errors import DataError, Problem

Kind = Literal["sft", "pairs", "weighted", "labelled", "ranked"]
_SFT = (("prompt", "completion"), ("messages",), ("text",))
_PAIRS = (("prompt", "chosen", "rejected"), ("chosen", "rejected"))
_ASSISTANT_LAST = "The last turn must be the assistant's."


def judged(found: Mapping[str, Any]) -> str | None:
    """The field that a thumb up or down is about, if there is one."""
    label = found.get("label")
    if type(label) not in (bool, int) or label not in VERDICTS:
        return None
    return next((name for name in ("completion", "messages") if name in found), None)


def sft_form(found: Mapping[str, Any], mapping: Mapping[str, str], path: str) -> tuple[str, ...]:
    """The fields of an SFT file, from `--map` and its first record.  Refuses verdicts, pairs."""
    about = None if mapping else judged(found)
    if about is not None:
        what = f"holds single verdicts: it has '{about}' and 'label'"
        todo = (
            "Imitation would copy the bad ones too: use palate dpo --objective kto,"
            f" or --map {about}={about} to imitate them all."
        )
        raise DataError([Problem(path, 0, "", what, todo)])
    for form in _SFT:
        if form[-1] in mapping or form[-1] in found:
            return form
    if {"chosen", "rejected"} <= found.keys() and not mapping:
        use = "completion=chosen" if "prompt" in found else "messages=chosen"
        what = "is a preference file: it has 'chosen' and 'rejected'"
        todo = f"To imitate the chosen side, use --map {use}; to prefer it, use palate dpo."
        raise DataError([Problem(path, 0, "", what, todo)])
    guesses = {form: propose(found, form, mapping) for form in _SFT[1:]}
    likely = [form for form in _SFT[1:] if guesses[form] and not propose(found, _SFT[0], mapping)]
    return likely[0] if likely else _SFT[0]


def pair_form(found: Mapping[str, Any], mapping: Mapping[str, str], path: str) -> tuple[str, ...]:
    """The fields of a preference file, from `--map` and its first record."""
    if "completions" in mapping or ("completions" in found and not {"chosen"} & found.keys()):
        return ("prompt", "completions")
    if not mapping and {"completion", "label"} <= found.keys():
        what = "holds single verdicts: it has 'completion' and 'label'"
        todo = "Preferences need 'chosen' and 'rejected'; for verdicts use --objective kto."
        raise DataError([Problem(path, 0, "", what, todo)])
    if not mapping and not {"chosen", "rejected"} & found.keys():
        for form in _SFT:
            if set(form) <= found.keys() and not propose(found, _PAIRS[0], mapping):
                what = f"is an SFT file: it has {' and '.join(map(repr, form))}"
                todo = "Preferences need 'chosen' and 'rejected'; to imitate, use palate sft."
                raise DataError([Problem(path, 0, "", what, todo)])
    sides = [found.get(mapping.get(name, name)) for name in _PAIRS[1]]
    whole = all(isinstance(side, list) for side in sides)
    if mapping.get("prompt", "prompt") in found or "prompt" in mapping or None in sides:
        return _PAIRS[0]
    return _PAIRS[1] if whole or not propose(found, _PAIRS[0], mapping) else _PAIRS[0]


def prompt_form(found: Mapping[str, Any], mapping: Mapping[str, str], path: str) -> tuple[str, ...]:
    """The fields that hold the prompts of a file of any form."""
    for form in (("prompt",), ("messages",), _PAIRS[1]):
        if any(name in mapping or name in found for name in form):
            return form
    return ("prompt",)


def example(fields: Fields) -> Example | None:
    """An SFT row, or None and its faults."""
    origin = Origin(fields.record.path, fields.record.line)
    if fields.wanted == ("messages",):
        return _messages(fields, origin)
    if fields.wanted == ("text",):
        text = fields.text("text")
        if isinstance(text, tuple):
            fields.fault("text", "is a list of messages", "Use --map messages=text.")
        return Example(None, text, origin) if isinstance(text, str) and fields.sound else None
    prompt, completion = fields.text("prompt", blank=True), fields.text("completion")
    if prompt is None or completion is None or not fields.sound:
        return None
    prompt, sides = joined(fields, prompt, {"completion": completion})
    return Example(prompt, sides[0], origin) if fields.sound else None


def _messages(fields: Fields, origin: Origin) -> Example | None:
    """A conversation whose every assistant turn is the completion."""
    messages = fields.text("messages")
    if isinstance(messages, str):
        fields.fault("messages", "is text, expected a list of messages", "Use --map text=messages.")
    elif messages is not None:
        if all(message.role != "assistant" for message in messages):
            fields.fault("messages", "has no assistant message: nothing to train on", REMOVE)
        elif messages[-1].role != "assistant":
            fields.fault("messages", f"ends with a {messages[-1].role} message", _ASSISTANT_LAST)
    return Example(None, messages, origin) if messages and fields.sound else None


def pair(fields: Fields) -> Pair | None:
    """A preference, or None and its faults."""
    explicit = "prompt" in fields.wanted
    prompt = fields.text("prompt", blank=True) if explicit else None
    chosen, rejected = fields.text("chosen"), fields.text("rejected")
    if chosen is None or rejected is None or not fields.sound:
        return None
    if isinstance(chosen, str) != isinstance(rejected, str):
        fields.fault("rejected", "and 'chosen' differ in form: text and messages", ONE_FORM)
        return None
    if chosen == rejected:
        sha = hashlib.sha256(repr(chosen).encode()).hexdigest()[:4]
        what = f"and '{fields.name('chosen')}' are identical (sha {sha}...): no preference to learn"
        fields.fault("rejected", what, REMOVE)
        return None
    if prompt is None:
        prompt, *sides = _split(fields, chosen, rejected)
    else:
        prompt, sides = joined(fields, prompt, {"chosen": chosen, "rejected": rejected})
    origin = Origin(fields.record.path, fields.record.line)
    if not fields.sound:
        return None
    return Pair(prompt, sides[0], sides[1], origin, fields.tag, fields.strength)


def prompt_only(fields: Fields) -> Example | None:
    """The prompt of a row of any form, for sampling."""
    origin = Origin(fields.record.path, fields.record.line)
    if fields.wanted == ("prompt",):
        prompt = fields.text("prompt")
    elif fields.wanted == ("messages",):
        prompt = fields.text("messages")
        if isinstance(prompt, tuple) and prompt[-1].role == "assistant":
            prompt = prompt[:-1]
        if not prompt or isinstance(prompt, str):
            fields.fault(
                "messages", "holds no prompt", "Give a list that ends with a user message."
            )
    else:
        row = pair(fields)
        prompt = row.prompt if row else None
    return Example(prompt, "", origin) if prompt and fields.sound else None


# ------------------------------------------------------------------ prompt and sides, made one form


def joined(fields: Fields, prompt: Text, sides: dict[str, Text]) -> tuple[Text, list[Text]]:
    """Prompt and sides in one form: all text, or all conversations that go on from the prompt."""
    if isinstance(prompt, str) and all(isinstance(side, str) for side in sides.values()):
        return prompt, list(sides.values())
    talks = {name: _as_messages(side) for name, side in sides.items()}
    if isinstance(prompt, str):
        prompt = _opening(fields, prompt, talks)
    whole = all(talk[: len(prompt)] == prompt for talk in talks.values())
    cut = len(prompt) if whole else 0
    rest = {name: talk[cut:] for name, talk in talks.items()}
    for name, talk in rest.items():
        _check_side(fields, name, talk)
    return prompt, list(rest.values())


def _as_messages(side: Text) -> Conversation:
    return (Message("assistant", side),) if isinstance(side, str) else side


def _opening(fields: Fields, prompt: str, talks: dict[str, Conversation]) -> Conversation:
    """A text prompt beside conversations: their start if that holds it, else one user turn."""
    if all(talk[0].role == "assistant" for talk in talks.values()):
        return (Message("user", prompt),)
    shared = _shared(list(talks.values()))
    start = next((n for n, m in enumerate(shared) if m.role == "assistant"), len(shared))
    opening = shared[:start]
    if not any(m.role == "user" and m.content.strip() == prompt.strip() for m in opening):
        name = next(iter(talks))
        what = "is not the user's text at the start of " + " and ".join(map(repr, talks))
        fields.fault("prompt", what, f"Leave it out, or start '{name}' with the assistant's turn.")
    return opening


def _shared(talks: list[Conversation]) -> Conversation:
    length = 0
    while all(len(talk) > length for talk in talks) and len({talk[length] for talk in talks}) == 1:
        length += 1
    return talks[0][:length]


def _check_side(fields: Fields, name: str, talk: Conversation) -> None:
    """A side goes on with the assistant and ends with the assistant."""
    if not talk:
        fields.fault(name, "adds nothing to the prompt", REMOVE)
    elif talk[0].role != "assistant":
        what = f"goes on from the prompt with a {talk[0].role} message"
        fields.fault(name, what, "A side starts with the assistant's turn, or repeats the prompt.")
    elif talk[-1].role != "assistant":
        fields.fault(name, f"ends with a {talk[-1].role} message", _ASSISTANT_LAST)


def _split(fields: Fields, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """Two whole conversations: what they share at the start is the prompt."""
    if isinstance(chosen, str) or isinstance(rejected, str):
        todo = "Add the prompt, or give two lists of messages."
        fields.fault("prompt", "is missing, and two texts do not say where it ends", todo)
        return "", chosen, rejected
    length = len(_shared([chosen, rejected]))
    for name, talk in (("chosen", chosen), ("rejected", rejected)):
        if length == len(talk):
            fields.fault(name, "is only the start of the other side", REMOVE)
        elif talk[-1].role != "assistant":
            fields.fault(name, f"ends with a {talk[-1].role} message", _ASSISTANT_LAST)
    if not fields.sound:
        return "", chosen, rejected
    left, right = chosen[length], rejected[length]
    if left.role != "assistant" or right.role != "assistant" or not length:
        at = len(_common(left.content, right.content)) + 1
        what = f"and 'chosen' start from different prompts (first difference: message {length + 1}"
        what += f", character {at})" if left.role == right.role else ", role)"
        fields.fault("rejected", what, "The two sides of a pair share their prompt.")
    return chosen[:length], chosen[length:], rejected[length:]


def _common(left: str, right: str) -> str:
    length = 0
    while length < min(len(left), len(right)) and left[length] == right[length]:
        length += 1
    return left[:length]
