"""The row types: what a file of examples becomes, and what a tokenizer makes of it.

Meaning lives in the types.  A `Text` is a plain string or a conversation; a row never mixes both.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from: a file (or hub data set) and the 1-based line it starts on."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


Conversation = tuple[Message, ...]
Text = str | Conversation


@dataclass(frozen=True, slots=True)
class Example:
    """One SFT row.  No prompt: the whole text, or every assistant turn, is the completion.

    `value` is its weight, or its verdict (1 desirable, -1 not).
    """

    prompt: Text | None
    completion: Text
    origin: Origin
    value: float = 1.0

    @property
    def sides(self) -> dict[str, Text]:
        """Field -> completion."""
        return {"completion": self.completion}


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference: the same prompt, two completions, one verdict; `tag` says why, in a word.

    `strength` is 1, or 2 for a chosen that is much better.
    """

    prompt: Text
    chosen: Text
    rejected: Text
    origin: Origin
    tag: str | None = None
    strength: float = 1.0

    def swapped(self) -> "Pair":
        return replace(self, chosen=self.rejected, rejected=self.chosen)

    @property
    def sides(self) -> dict[str, Text]:
        """Field -> completion, chosen first."""
        return {"chosen": self.chosen, "rejected": self.rejected}

    @property
    def value(self) -> float:
        return self.strength


@dataclass(frozen=True, slots=True)
class Ranking:
    """Completions of one prompt, best first."""

    prompt: Text
    completions: tuple[Text, ...]
    origin: Origin

    @property
    def sides(self) -> dict[str, Text]:
        """Field -> completion, best first."""
        found = enumerate(self.completions, start=1)
        return {f"completions, number {n}": text for n, text in found}

    @property
    def value(self) -> float:
        return 1.0


Row = Example | Pair | Ranking


@dataclass(frozen=True, slots=True)
class Sequence:
    """Token ids and the half-open spans of them that are scored (the completion).

    Its log-prob is the sum over scored tokens t of log p(ids[t] | ids[:t]), so no span starts at 0.
    `prompt` is the length of the prompt: sequences of one item agree on ids[:prompt].
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    prompt: int

    @property
    def scored(self) -> int:
        """Number of scored tokens."""
        return sum(stop - start for start, stop in self.spans)


@dataclass(frozen=True, slots=True)
class Item:
    """What an objective is applied to: one sequence (SFT), chosen then rejected, or a ranking.

    Items with the same `group` share a prompt and are kept in one optimiser step.  `value` is the
    row's own number: its weight, its strength, or its verdict (1 desirable, -1 not).
    """

    sequences: tuple[Sequence, ...]
    group: Hashable
    origin: Origin
    value: float = 1.0
