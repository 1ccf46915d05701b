"""What a person or a judge said: prompts, answers, how two were shown, and the verdict.

Plain values: `judge/store` makes them from its file, and statistics, pages and exports read them.
Sides mean the screen: which answer stood left says nothing about which is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from palate.data.rows import Text

Split = Literal["train", "heldout"]
Side = Literal["left", "right"]
Verdict = Literal["left", "right", "tie", "both_bad", "skip"]
Mode = Literal["pair", "rank", "edit", "write", "audit", "resolve", "recheck", "import"]
MadeBy = Literal["sample", "import", "edit", "human"]
Selector = Literal["random", "active", "reask", "given"]
JudgeKind = Literal["person", "file", "program", "model"]

SECOND_LOOKS: Final[frozenset[Mode]] = frozenset({"resolve", "recheck"})  # replace a verdict
FAST_MS: Final = 1500  # a verdict under this is kept and marked


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """A prompt of the store.  `text` is what is shown; `turns` the conversation, if it was one.

    `split` is drawn when the prompt is added, before anything is selected, and never changes.
    """

    id: str
    text: str
    split: Split
    turns: Text | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion of a prompt, where it came from, and what made it (seed, settings, model)."""

    id: str
    prompt_id: str
    text: str
    origin: MadeBy
    parent: str | None = None
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Showing:
    """To whom two answers are shown, how, and why these.  `again`: the presentation repeated."""

    judge: str
    mode: Mode = "pair"
    selector: Selector = "random"
    again: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What a judge says of two answers as shown.  `strength` 2 is "much better"; `ms` since they
    were shown."""

    verdict: Verdict
    strength: int = 1
    reason: str = ""
    tags: tuple[str, ...] = ()
    ms: int = 0


@dataclass(frozen=True, slots=True)
class Presentation:
    """Two answers as one judge saw them.  `again` is the presentation that it repeats."""

    id: str
    prompt: AskedPrompt
    left: Answer
    right: Answer
    judge: str
    mode: Mode
    selector: Selector
    shown: float
    again: str | None = None

    def side(self, answer: str) -> Side:
        """Where an answer stands.  Raises KeyError for one that is not shown."""
        return {self.left.id: "left", self.right.id: "right"}[answer]  # type: ignore[return-value]

    @property
    def couple(self) -> frozenset[str]:
        """The two answers, whatever their sides."""
        return frozenset((self.left.id, self.right.id))

    @property
    def is_reask(self) -> bool:
        """Whether it only measures the judge: shown once more, unmarked, and no second look."""
        return self.again is not None and self.mode not in SECOND_LOOKS


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict that stands (not undone, not replaced).  `strength` 2 is "much better"; `ms` from
    the moment the pair was shown; `created` in seconds since 1970."""

    id: str
    of: Presentation
    verdict: Verdict
    strength: int
    reason: str
    tags: tuple[str, ...]
    ms: int
    created: float

    @property
    def chosen(self) -> Answer | None:
        """The better answer, if one was."""
        return {"left": self.of.left, "right": self.of.right}.get(self.verdict)

    @property
    def rejected(self) -> Answer | None:
        """The other one."""
        return {"left": self.of.right, "right": self.of.left}.get(self.verdict)

    @property
    def fast(self) -> bool:
        """Whether it was given faster than two answers can be read; a file has no time."""
        return 0 < self.ms < FAST_MS
