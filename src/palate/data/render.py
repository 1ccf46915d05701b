"""Rows to token ids with an exact boundary.  The only module that calls a chat template.

The tokenizer is handed in.  Plain strings become text, or, with a chat template, one user turn and
one assistant turn.  A row that cannot be rendered exactly is a problem that names it: no token is
scored by guess, no text is dropped, no completion is cut.
"""

import hashlib
import itertools
from collections.abc import Iterator
from collections.abc import Sequence as Many
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from palate.config import RowOptions
from palate.data import plain
from palate.data.chat import SENTINEL, Chat
from palate.data.limits import TooLong, fit
from palate.data.rows import Conversation, Item, Message, Origin, Row, Sequence, Text
from palate.data.split import prompt_key
from palate.data.templates import apply_template
from palate.data.tokens import Encoded, RowFault, check, check_bos, control_tokens, encode
from palate.errors import DataError, ModelError, Problem, UsageError

_NAMED = 20


@dataclass(frozen=True, slots=True)
class Rendered:
    """Items in row order, what was noted, and the rows that were left out."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]
    dropped: tuple[Origin, ...]


class Renderer:
    """A tokenizer, and how rows are laid out for it.

    Raises ModelError for a tokenizer or template that cannot do it, UsageError for the options.
    """

    def __init__(self, tokenizer: Any, options: RowOptions, *, context: int) -> None:
        check(tokenizer)
        self.tokenizer, self.options = tokenizer, options
        self.limit = _limit(options, context)
        self._control = control_tokens(tokenizer)
        if options.chat_template:
            missing = apply_template(tokenizer, options.chat_template)
            if missing:
                what = f"--chat-template {options.chat_template} needs {', '.join(missing)},"
                hint = "Use --chat-template plain-turns, which needs none."
                raise ModelError(f"{what} which are no tokens of this model.", hint=hint)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an answer: EOS, and the template's end of turn."""
        ends = self.chat.endings if self.tokenizer.chat_template else frozenset[int]()
        return ends | {self.tokenizer.eos_token_id}

    def item(self, row: Row) -> Item:
        """The row's sequences, within the limit.  Raises DataError."""
        try:
            item = self.draft(row)
        except RowFault as fault:
            raise DataError([_problem(row, fault)]) from None
        fitted = self.fit(item)
        if isinstance(fitted, TooLong):
            raise DataError([_too_long(fitted, self.limit)])
        return fitted

    def fit(self, item: Item) -> Item | TooLong:
        """The item within the limit, cut if the options say so."""
        bos, cut = self.tokenizer.bos_token_id, self.options.truncate == "prompt-left"
        return fit(item, self.limit, bos=bos, cut=cut)

    def draft(self, row: Row) -> Item:
        """The row's sequences, however long.  Raises RowFault."""
        if row.prompt is not None:
            sequences = self._sides(row.prompt, row.sides)
            _check_distinct(tuple(row.sides), sequences)
        elif isinstance(row.completion, str):
            sequences = (plain.text_sequence(self.tokenizer, row.completion),)
        else:
            sequences = self._talks((), {"messages": row.completion})
        return Item(sequences, _group(row), row.origin, row.value)

    def prompt_ids(self, text: Text) -> tuple[int, ...]:
        """The ids a completion goes on from, as in training.  Raises DataError."""
        if not self.turns(text):
            assert isinstance(text, str)
            opening = text + plain.seam(text, ("a",), self.options.join)
            return plain.opening_ids(self.tokenizer, opening)
        try:
            return self.chat.prompt(_user_turn(text)).ids
        except RowFault as fault:
            raise DataError(str(fault)) from None

    def turns(self, text: Text) -> bool:
        """Whether this is rendered with the chat template."""
        return not isinstance(text, str) or bool(
            self.tokenizer.chat_template and not self.options.plain
        )

    def _sides(self, prompt: Text, sides: dict[str, Text]) -> tuple[Sequence, ...]:
        if self.turns(prompt):
            talk = _user_turn(prompt)
            return self._talks(talk, {name: _answer(side) for name, side in sides.items()})
        texts = {name: side for name, side in sides.items() if isinstance(side, str)}
        assert isinstance(prompt, str) and len(texts) == len(sides), "a row never mixes both"
        opening = prompt + plain.seam(prompt, tuple(texts.values()), self.options.join)
        return plain.sequences(self.tokenizer, opening, texts)

    # ------------------------------------------------------------------ conversations

    def _talks(self, prompt: Conversation, sides: dict[str, Conversation]) -> tuple[Sequence, ...]:
        """One sequence per side; the boundary is the smallest of theirs."""
        found = []
        for name, side in sides.items():
            talk = prompt + side
            self._check_control(talk, name)
            whole = self.chat.whole(talk, name)
            check_bos(whole, self.tokenizer, name)
            spans = self.chat.spans(talk, whole, first=len(prompt), name=name)
            found.append((whole.ids[: spans[-1][1]], spans))
        boundary = min(spans[0][0] for _, spans in found)
        return tuple(
            Sequence(ids, ((max(boundary, 1), spans[0][1]), *spans[1:]), boundary)
            for ids, spans in found
        )

    def _check_control(self, talk: Conversation, name: str) -> None:
        """A message that holds a turn mark could end a turn, or write another."""
        for number, message in enumerate(talk, start=1):
            for token in self._control:
                if token in message.content:
                    what = f"message {number} holds the special token '{token}'"
                    raise RowFault(name, what, "Remove it: the template writes such tokens itself.")
            if message.role == "user" and not message.content.strip():
                what = f"message {number} (user) is empty"
                raise RowFault(name, what, "A chat model needs the user's words; or use --plain.")

    @cached_property
    def chat(self) -> Chat:
        """The chat template, and the tokens that end a turn.  ModelError if there is none."""
        if not self.tokenizer.chat_template:
            what = "These rows are conversations, and the model has no chat template."
            raise ModelError(what, hint="Pass --chat-template plain-turns (or chatml, or a file).")
        return Chat(self._draw, self._encode, self._marked, self._endings())

    def _encode(self, text: str) -> Encoded:
        return encode(self.tokenizer, text, special=False)

    def _draw(self, talk: Conversation, generation: bool) -> str:
        messages = [{"role": m.role, "content": m.content} for m in talk]
        with _template_faults():
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=generation
                )
            )

    def _marked(self, talk: Conversation) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        messages = [{"role": m.role, "content": m.content} for m in talk]
        if "{% generation" not in str(self.tokenizer.chat_template).replace("{%-", "{%"):
            return None
        with _template_faults():
            found = self.tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
        return tuple(found["input_ids"]), tuple(found["assistant_masks"])

    def _endings(self) -> frozenset[int]:
        """EOS, and the first special token that the template writes after an answer."""
        ends = {self.tokenizer.eos_token_id}
        talk = (Message("user", "a"), Message("assistant", SENTINEL))
        try:
            after = self._encode(self._draw(talk, False).rpartition(SENTINEL)[2]).ids
        except RowFault as fault:
            raise ModelError(f"The chat template fails: {fault.what}.", hint=fault.todo) from None
        ends.update([n for n in after if n in set(self._control.values())][:1])
        return frozenset(ends)


@contextmanager
def _template_faults() -> Iterator[None]:
    """What a template raises is the row's fault: a refused order of roles, a missing field."""
    from jinja2 import TemplateError

    try:
        yield
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        todo = "Bring the turns into an order that the model's template takes."
        raise RowFault("", f"is refused by the chat template: {error}", todo) from None


def _limit(options: RowOptions, context: int) -> int:
    if options.max_length is None:
        return context
    if options.max_length > context:
        what = f"--max-length {options.max_length} is more than the model's context of {context}."
        raise UsageError(what, hint=f"Use {context} or less.")
    return options.max_length


def _user_turn(text: Text) -> Conversation:
    return (Message("user", text),) if isinstance(text, str) else text


def _answer(text: Text) -> Conversation:
    return (Message("assistant", text),) if isinstance(text, str) else text


def _check_distinct(names: Many[str], sequences: Many[Sequence]) -> None:
    """Two sides that become the same tokens teach nothing."""
    for (one, mine), (other, theirs) in itertools.combinations(zip(names, sequences), 2):
        if mine.ids == theirs.ids:
            what = f"and '{one}' become the same tokens: no preference to learn"
            raise RowFault(other, what, "Remove the row.")


def _group(row: Row) -> str:
    """Rows of one prompt share it; a row without a prompt stands alone."""
    key = prompt_key(row) or f"{row.origin}"
    return hashlib.sha256(key.encode()).hexdigest()


# ------------------------------------------------------------------ all rows


def render(rows: Many[Row], renderer: Renderer, options: RowOptions) -> Rendered:
    """Every row, or DataError with every problem.  UsageError for an option without effect."""
    check_effects(rows, renderer)
    problems: list[Problem] = []
    items: list[Item] = []
    long: list[TooLong] = []
    cuts: list[int] = []
    for row in rows:
        try:
            item = renderer.draft(row)
        except RowFault as fault:
            problems.append(_problem(row, fault))
            continue
        fitted = renderer.fit(item)
        if isinstance(fitted, TooLong):
            long.append(fitted)
            continue
        items.append(fitted)
        cuts.append(item.sequences[0].prompt - fitted.sequences[0].prompt)
    if long and not (options.drop_long and items):
        problems += _table(long, len(rows), renderer.limit)
    if problems:
        raise DataError(problems)
    notes = (*_notes(rows, renderer, items), *_length_notes(cuts, long, renderer.limit))
    return Rendered(tuple(items), notes, tuple(found.item.origin for found in long))


def _problem(row: Row, fault: RowFault) -> Problem:
    return Problem(row.origin.path, row.origin.line, fault.field, fault.what, fault.todo)


def _too_long(found: TooLong, limit: int) -> Problem:
    origin = found.item.origin
    return Problem(origin.path, origin.line, "", *found.describe(limit))


def _table(long: Many[TooLong], total: int, limit: int) -> list[Problem]:
    """How many rows are too long, and each of them, longest first."""
    ranked = sorted(long, key=lambda found: -found.tokens)
    span = f"the longest {ranked[0].tokens}, the shortest {ranked[-1].tokens}"
    what = f"{len(long)} of {_count(total, 'row')} longer than {limit} tokens ({span})"
    if len(long) == total:
        what += ": 0 usable rows"
    todo = f"{sum(found.curable for found in long)} of them would fit with --truncate prompt-left."
    head = Problem("", 0, "", what, todo)
    return [head, *(_too_long(found, limit) for found in ranked)]


def check_effects(rows: Many[Row], renderer: Renderer) -> None:
    """--plain and --join are for strings; where no row has any, they would do nothing."""
    options = renderer.options
    strings = any(isinstance(row.prompt, str) for row in rows)
    if not rows:
        return
    if options.plain and not (strings and renderer.tokenizer.chat_template):
        why = "no row has a plain prompt" if not strings else "the model has no chat template"
        raise UsageError(f"--plain has no effect: {why}.", hint="Leave it out.")
    turned = bool(renderer.tokenizer.chat_template) and not options.plain
    if options.join is not None and (turned or not strings):
        why = "strings become turns here" if strings else "no row has a plain prompt"
        hint = "Add --plain, or leave --join out." if strings else "Leave it out."
        raise UsageError(f"--join has no effect: {why}.", hint=hint)


def _notes(rows: Many[Row], renderer: Renderer, items: Many[Item]) -> Iterator[str]:
    """What was decided for plain strings, each said once."""
    plain_rows = [row for row in rows if isinstance(row.prompt, str)]
    if plain_rows and renderer.turns(""):
        become = "become" if len(plain_rows) > 1 else "becomes"
        turns = f"of plain strings {become} one user turn and one assistant turn"
        kept = "of the chat template (--plain keeps them text)"
        yield f"{_count(len(plain_rows), 'row')} {turns} {kept}"
    elif renderer.options.join is None:
        joined = sum(plain.seam(*_seam(row), None) == "\n" for row in plain_rows)
        if joined:
            what = "prompt and completion are joined by a newline"
            yield f"{what} in {_count(joined, 'row')} (--join changes it)"
    bare = sum(item.sequences[0].prompt == 0 for item in items)
    if bare:
        start = "start" if bare > 1 else "starts"
        what = f"{start} with neither prompt nor BOS: their first token is not scored"
        yield f"{_count(bare, 'row')} {what}"


def _seam(row: Row) -> tuple[str, tuple[str, ...]]:
    assert isinstance(row.prompt, str)
    return row.prompt, tuple(side for side in row.sides.values() if isinstance(side, str))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _length_notes(cuts: Many[int], dropped: Many[TooLong], limit: int) -> Iterator[str]:
    """What was cut or left out, by name."""
    cut = [n for n in cuts if n]
    if cut:
        what = f"{_count(len(cut), 'prompt')} cut from the left to fit {limit} tokens"
        yield f"{what} (by up to {max(cut)} tokens)"
    if dropped:
        named = [f"{found.item.origin} ({found.tokens})" for found in dropped[:_NAMED]]
        more = f" and {len(dropped) - _NAMED} more" if len(dropped) > _NAMED else ""
        rows = f"{_count(len(dropped), 'row')} longer than {limit} tokens left out"
        yield f"{rows}: {', '.join(named)}{more}"
