"""The fields of one record to texts and conversations, or to everything that is wrong with them.

A field is text or a list of messages, the same throughout a file.  Nothing is guessed: a null, a
number, an unknown role is a fault with its place.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palate.data.decode import Record, kind
from palate.data.proposals import missing
from palate.data.rows import Conversation, Message, Text
from palate.errors import Problem

VERDICTS = {1: 1.0, 0: -1.0, -1: -1.0}
EXTRAS = (
    *("tag", "tags", "reason", "shown", "seconds", "strength", "judge", "id", "again", "audit"),
    *("created", "split", "selector", "edited", "fast", "inferred"),
)
ROLES = ("system", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
REMOVE = "Remove the row."
ONE_FORM = "Use one form per file."
_RENAME = "ename from -> role (human -> user, gpt -> assistant) and value -> content."


@dataclass(slots=True)
class Seen:
    """What is said once about a file: fields without use, and which form each field has."""

    problems: list[Problem] = field(default_factory=list)
    ignored: dict[str, None] = field(default_factory=dict)
    forms: dict[str, tuple[bool, int, int]] = field(default_factory=dict)
    missing: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)
    advice: str = ""


@dataclass(slots=True)
class Fields:
    """One record seen through `--map`; faults are noted and make the value None."""

    record: Record
    wanted: tuple[str, ...]
    mapping: Mapping[str, str]
    seen: Seen
    names: Mapping[str, str] = field(default_factory=dict)
    sound: bool = True

    def name(self, wanted: str) -> str:
        """What the file calls this field."""
        return self.mapping.get(wanted, wanted)

    def fault(self, wanted: str, what: str, todo: str) -> None:
        """Note one thing wrong with this record."""
        self.sound = False
        name = self.names.get(wanted, self.name(wanted))
        self.seen.problems.append(Problem(self.record.path, self.record.line, name, what, todo))

    def note_ignored(self) -> None:
        """Note the fields that nobody asks for."""
        used = {self.name(wanted) for wanted in self.wanted}
        used |= set(EXTRAS) if "rejected" in self.wanted else set()
        self.seen.ignored.update(
            dict.fromkeys(name for name in self.record.fields if name not in used)
        )

    @property
    def tag(self) -> str | None:
        """The record's tag: a word, or the first of several."""
        found = self.record.fields.get("tag")
        first = found[0] if isinstance(found, list) and found else found
        return first if isinstance(first, str) and first else None

    @property
    def strength(self) -> float:
        """2 where the judge said "much better", as palate's own exports do; else 1."""
        return 2.0 if self.record.fields.get("strength") == 2 else 1.0

    def text(self, wanted: str, *, blank: bool = False) -> Text | None:
        """The text or conversation of a field.  `blank`: it may be empty (a prompt)."""
        if self.name(wanted) not in self.record.fields:
            self._note_missing(wanted)
            return None
        value = self.record.fields[self.name(wanted)]
        if isinstance(value, list):
            return self._conversation(wanted, value) if self._same_form(wanted, value) else None
        if isinstance(value, str):
            if not blank and not value.strip():
                self.fault(wanted, "is empty (0 characters after trimming)", REMOVE)
            return value if self._same_form(wanted, value) else None
        quoted = f' Quote it: "{value}".' if type(value) in (int, float) else ""
        expected = f"is {kind(value)}, expected text or a list of messages"
        self.fault(wanted, expected, quoted.strip() or "Write the text, or remove the row.")
        return None

    def number(self, wanted: str) -> float | None:
        """A finite number."""
        value = self._given(wanted)
        if value is None:
            return None
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
        self.fault(wanted, f"is {kind(value)}, expected a finite number", REMOVE)
        return None

    def verdict(self, wanted: str) -> float | None:
        """1 for true (or 1), -1 for false (or 0, -1)."""
        value = self._given(wanted)
        if value is None:
            return None
        if type(value) in (bool, int) and value in VERDICTS:
            return VERDICTS[value]
        self.fault(wanted, f"is {kind(value)}, expected true or false", "Write true or false.")
        return None

    def texts(self, wanted: str) -> list[Text] | None:
        """A list of texts, or of conversations."""
        values = self._given(wanted)
        if values is None:
            return None
        if not isinstance(values, list):
            self.fault(wanted, f"is {kind(values)}, expected a list of texts", "Best first.")
            return None
        found: list[Text] = []
        for place, value in enumerate(values, start=1):
            if isinstance(value, str) and value.strip():
                found.append(value)
            elif isinstance(value, list) and (talk := self._conversation(wanted, value)):
                found.append(talk)
            else:
                what = "is empty" if value in ("", []) else f"is {kind(value)}, expected text"
                self.fault(wanted, f"number {place} {what}", REMOVE)
        return found if self.sound else None

    def _given(self, wanted: str) -> Any:
        """The field's value; None if it is missing, which is noted, or null."""
        if self.name(wanted) not in self.record.fields:
            self._note_missing(wanted)
            return None
        value = self.record.fields[self.name(wanted)]
        if value is None:
            self.fault(wanted, "is null", REMOVE)
        return value

    def _note_missing(self, wanted: str) -> None:
        found = self.record.fields
        known = (wanted, *found)
        if known not in self.seen.missing:
            what, todo = missing(wanted, found, self.wanted, self.mapping)
            self.seen.missing[known] = what, f"{todo}{self.seen.advice}"
        self.fault(wanted, *self.seen.missing[known])

    def _same_form(self, wanted: str, value: str | list[Any]) -> bool:
        """A file has text or lists in a field, never both."""
        line, is_list = self.record.line, isinstance(value, list)
        first = self.seen.forms.setdefault(wanted, (is_list, line, line))
        if first[0] == is_list:
            self.seen.forms[wanted] = (is_list, first[1], line)
            return True
        lines = (
            f"line {first[1]} has" if first[1] == first[2] else f"lines {first[1]}-{first[2]} have"
        )
        words = ("a list", "text") if is_list else ("text", "a list")
        self.fault(wanted, f"is {words[0]}, but {lines} {words[1]}", ONE_FORM)
        return False

    def _conversation(self, wanted: str, values: list[Any]) -> Conversation | None:
        if not values:
            self.fault(wanted, "is an empty list", REMOVE)
            return None
        messages = [self._message(wanted, n, value) for n, value in enumerate(values, start=1)]
        return tuple(m for m in messages if m is not None) if self.sound else None

    def _message(self, wanted: str, number: int, value: Any) -> Message | None:
        """One turn; notes what is wrong with it."""
        where, whole = f"message {number}", wanted == "messages"
        if not isinstance(value, dict):
            todo = 'Write {"role": "user", "content": "..."}.'
            self.fault(wanted, f"{where} is {kind(value)}, expected role and content", todo)
        elif "role" not in value and "from" in value:
            todo = f"Use --format sharegpt, or r{_RENAME}" if whole else f"R{_RENAME}"
            self.fault(wanted, f"{where} has 'from' and 'value' (ShareGPT)", todo)
        elif not isinstance(value.get("role"), str):
            found = ", ".join(map(str, value))
            todo = f"Give it one of: {', '.join(ROLES)}."
            self.fault(wanted, f"{where} has no role (found: {found})", todo)
        elif value["role"] not in ROLES:
            todo = f"Allowed: {', '.join(ROLES)}."
            if whole and value["role"] in SHAREGPT_ROLES:
                todo += " ShareGPT file? Use --format sharegpt."
            self.fault(wanted, f"{where} has role '{value['role']}'", todo)
        elif not isinstance(value.get("content"), str):
            self._no_text(wanted, where, value)
        elif value["role"] != "system" and not value["content"].strip():
            self.fault(wanted, f"{where} ({value['role']}) is empty", REMOVE)
        else:
            extra = [
                key for key in value if key not in ("role", "content") and value[key] is not None
            ]
            self.seen.ignored.update(dict.fromkeys(f"{self.name(wanted)}[].{key}" for key in extra))
            return Message(value["role"], value["content"])
        return None

    def _no_text(self, wanted: str, where: str, value: dict[str, Any]) -> None:
        content = value.get("content")
        if "content" not in value:
            what = f"{where} has no content"
        elif content is None:
            what = f"{where} content is null (tool call?)"
        else:
            what = f"{where} content is {kind(content)}"
        parts = wanted == "messages" and isinstance(content, list)
        more = " Are these parts of text? Use --format openai." if parts else ""
        self.fault(wanted, what, f"Text is required here.{more}")
