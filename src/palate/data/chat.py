"""A conversation to token ids, and which are the assistant's: by rendering, never by guess.

The boundary of a turn is the longest common token prefix of the prompt, rendered with its
generation prompt, and the whole conversation.  A template that loses text, rewrites the user's
words, writes an earlier turn differently when more follows, or does not end a turn, is a fault of
the row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

from palate.data.rows import Conversation, Message
from palate.data.tokens import Encoded, RowFault, shared_length

SENTINEL: Final = "\ue000text\ue001"
_SPLIT = "Split it, so that each conversation ends with the one turn to learn."
Span = tuple[int, int]


class Moved(Exception):
    """The template writes an earlier turn differently when more follows."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A tokenizer's chat template as functions.

    draw(messages, generation prompt?) -> text; encode(text) -> ids; marked(messages) -> (ids, which
    are the assistant's) or None if the template does not say; endings: ids that end a turn.
    """

    draw: Callable[[Conversation, bool], str]
    encode: Callable[[str], Encoded]
    marked: Callable[[Conversation], tuple[tuple[int, ...], tuple[int, ...]] | None]
    endings: frozenset[int]
    kept: dict[tuple[str, ...], bool] = field(default_factory=dict)

    def whole(self, talk: Conversation, name: str) -> Encoded:
        """The whole conversation; every message's text must be in it, in order."""
        encoded = self.encode(self.draw(talk, False))
        self._check_roles(talk, name)
        _places(talk, encoded.text, name)
        return encoded

    def prompt(self, talk: Conversation) -> Encoded:
        """The conversation so far, with the generation prompt."""
        return self.encode(self.draw(talk, True))

    def spans(self, talk: Conversation, whole: Encoded, *, first: int, name: str) -> list[Span]:
        """Token range of every assistant turn from message `first` on, with its end of turn."""
        turns = [n for n in range(first, len(talk)) if talk[n].role == "assistant"]
        try:
            spans = [self._turn(talk, whole, turn, name) for turn in turns]
        except Moved:
            spans = self._marked(talk, whole, len(turns), name)
        places = _places(talk, whole.text, name)
        for turn, (start, stop) in zip(turns, spans):
            if start >= stop or whole.offsets[stop - 1][1] < places[turn][1]:
                what = f"message {turn + 1} (assistant) is not where the template puts it"
                raise RowFault(name, what, "Use another template, or --plain.")
        return spans

    def _turn(self, talk: Conversation, whole: Encoded, turn: int, name: str) -> Span:
        """One assistant turn, found by rendering the conversation up to it and through it."""
        before = self.encode(self._before(talk, turn))
        start = shared_length(before.ids, whole.ids)
        if start < len(before.ids):
            self._check_boundary(talk[:turn], before.text, whole.offsets[start][0], name)
        if turn == len(talk) - 1:
            return start, self._end(whole, start, len(whole.ids), name)
        after = self.encode(self.draw(talk[: turn + 1], False))
        if not whole.text.startswith(after.text.rstrip()):
            raise Moved
        return start, self._end(whole, start, shared_length(after.ids, whole.ids), name)

    def _before(self, talk: Conversation, turn: int) -> str:
        """What stands before a turn.  An empty conversation cannot be drawn: a stand-in shows."""
        if turn:
            return self.draw(talk[:turn], True)
        shown = self.draw((replace(talk[0], content=SENTINEL), *talk[1:]), False)
        return shown.partition(SENTINEL)[0]

    def _end(self, whole: Encoded, start: int, stop: int, name: str) -> int:
        """One past the last end-of-turn token; what the template writes after it is not scored."""
        while stop > start and whole.ids[stop - 1] not in self.endings:
            stop -= 1
        if stop == start:
            what = "does not end in the template's end of turn, nor in EOS"
            raise RowFault(name, what, "Use a template that ends a turn with a special token.")
        return stop

    def _check_boundary(self, talk: Conversation, text: str, boundary: int, name: str) -> None:
        """Refuse a boundary inside the last text that is not the assistant's."""
        last = max((n for n, m in enumerate(talk) if m.role != "assistant"), default=None)
        if last is None:
            return
        stand_in = replace(talk[last], content=SENTINEL)
        shown = self.draw((*talk[:last], stand_in, *talk[last + 1 :]), True)
        end = len(text) - len(shown.rpartition(SENTINEL)[2])
        if boundary < end:
            what = f"the boundary falls inside message {last + 1} ({talk[last].role})"
            todo = "The template rewrites it when an answer follows; use another template."
            raise RowFault(name, f"{what}, {end - boundary} characters before its end", todo)

    def _marked(self, talk: Conversation, whole: Encoded, turns: int, name: str) -> list[Span]:
        """The assistant's tokens as the template itself marks them with {% generation %}."""
        marked = self.marked(talk)
        if marked is None:
            what = "has several turns, and the template writes an earlier one differently when"
            raise RowFault(name, f"{what} more follows, without {{% generation %}} marks", _SPLIT)
        spans = _runs(marked[1])
        total = sum(message.role == "assistant" for message in talk)
        if marked[0] != whole.ids or len(spans) != total:
            what = f"has {total} assistant turns, the template marks {len(spans)}"
            raise RowFault(name, what, _SPLIT)
        ended = [
            (start, stop + (whole.ids[stop : stop + 1] in self._ends)) for start, stop in spans
        ]
        return [(a, self._end(whole, a, b, name)) for a, b in ended[len(ended) - turns :]]

    @property
    def _ends(self) -> set[tuple[int, ...]]:
        return {(ending,) for ending in self.endings}

    def _check_roles(self, talk: Conversation, name: str) -> None:
        """For each order of roles once: the template must write every message, by a stand-in."""
        roles = tuple(message.role for message in talk)
        if roles not in self.kept:
            stand_ins = tuple(Message(m.role, f"{SENTINEL}{n}.") for n, m in enumerate(talk))
            shown = self.draw(stand_ins, False)
            lost = [n for n, m in enumerate(stand_ins) if m.content not in shown]
            if lost:
                _lost(talk, lost[0], name)
            self.kept[roles] = True


def _places(talk: Conversation, text: str, name: str) -> list[Span]:
    """Character range of each message's text, in order."""
    places, position = [], 0
    for number, message in enumerate(talk):
        content = message.content.strip()
        start = text.find(content, position)
        if start < 0:
            _lost(talk, number, name)
        position = start + len(content)
        places.append((start, position))
    return places


def _lost(talk: Conversation, number: int, name: str) -> NoReturn:
    what = f"message {number + 1} ({talk[number].role}) is lost or changed by the chat template"
    raise RowFault(name, what, "Remove the message, or use another template.")


def _runs(mask: tuple[int, ...]) -> list[Span]:
    """Maximal ranges of ones."""
    edges = [
        n for n in range(len(mask) + 1) if (mask[n - 1 : n] or (0,)) != (mask[n : n + 1] or (0,))
    ]
    return list(zip(edges[::2], edges[1::2]))
