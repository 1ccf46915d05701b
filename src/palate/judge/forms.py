"""What the page and the server say to each other: closed models, every text and list bounded.

A field that is not here is refused.  Nothing that goes to the page tells where an answer came
from: no model, no score, no length, no id of an answer.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from palate.data.judged import Judgement, Mode, Said, Side, Split, Verdict
from palate.judge.desk import Undone
from palate.judge.ledger import Counts
from palate.judge.queue import Item

TEXT = 200_000  # characters of a prompt or an answer
MODES: tuple[Mode, ...] = ("pair", "rank", "edit", "write", "audit", "resolve", "recheck")
AskedMode = Literal["pair", "rank", "edit", "write", "audit", "resolve", "recheck"]


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("nothing is written")
    return text


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]  # made by the page
Known = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]  # made by the store
Tag = Annotated[str, Field(min_length=1, max_length=40)]
Tags = Annotated[list[Tag], Field(max_length=20)]
Reason = Annotated[str, Field(max_length=4_000)]
Ms = Annotated[int, Field(ge=0, le=10**10)]
Written = Annotated[str, Field(max_length=TEXT), AfterValidator(_says_something)]


class Form(BaseModel):
    """Base of what the page sends: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CodeForm(Form):
    """The one-time code that a browser was opened with."""

    code: Annotated[str, Field(max_length=200)]


class Reasons(Form):
    """Why, and how long it took."""

    reason: Reason = ""
    tags: Tags = []
    ms: Ms = 0

    def said(self, verdict: Verdict, strength: int = 1) -> Said:
        """As the store has it, each tag once."""
        return Said(verdict, strength, self.reason, tuple(dict.fromkeys(self.tags)), self.ms)


class JudgementForm(Reasons):
    """One verdict.  `supersedes` names the one that it replaces, if it does."""

    id: Id
    presentation: Known
    verdict: Verdict
    strength: Literal[1, 2] = 1
    supersedes: Id | None = None


class UndoForm(Form):
    """Take one verdict back: `target`, or the latest."""

    id: Id
    target: Id | None = None
    tab: Id


class DraftForm(Form):
    """What is in a box; `key` is a presentation, or `write`."""

    key: Known
    text: Annotated[str, Field(max_length=3 * TEXT)]


class EditForm(Reasons):
    """A better answer, made of the one on a side."""

    id: Id
    presentation: Known
    side: Side
    text: Written


class PairForm(Reasons):
    """A pair written by hand."""

    id: Id
    prompt: Written
    chosen: Written
    rejected: Written


class ReadingForm(Form):
    """A pair that is being written: any of its texts may still be empty."""

    prompt: Annotated[str, Field(max_length=TEXT)]
    chosen: Annotated[str, Field(max_length=TEXT)]
    rejected: Annotated[str, Field(max_length=TEXT)]


class QuitForm(Form):
    """The end."""

    id: Id | None = None


# ---- replies


class TokenReply(BaseModel):
    """The token, in exchange for a code."""

    token: str


class CountsReply(BaseModel):
    """Figures beside the page."""

    judged: int
    pairs: int
    ties: int
    both_bad: int
    skipped: int

    @classmethod
    def of(cls, counts: Counts) -> "CountsReply":
        return cls(**{name: getattr(counts, name) for name in cls.model_fields})


class SavedReply(BaseModel):
    """It is on the disk."""

    saved: Literal[True] = True


class CountedReply(SavedReply):
    """It is on the disk, and what there is now."""

    counts: CountsReply
    tally: dict[str, int]


class JudgementReply(CountedReply):
    """The judgement's id, as the page made it."""

    judgement: str


class Marks(BaseModel):
    """Which comparison of how many of a prompt."""

    step: int
    of: int


class ItemReply(BaseModel):
    """Two answers as they are shown, and nothing else about them."""

    presentation: str
    prompt: str
    left: str
    right: str
    mode: Mode
    draft: str
    marks: Marks | None
    note: str

    @classmethod
    def of(cls, item: Item) -> "ItemReply":
        shown = item.of
        return cls(
            presentation=shown.id,
            prompt=shown.prompt.text,
            left=shown.left.text,
            right=shown.right.text,
            mode=shown.mode,
            draft=item.draft,
            marks=Marks(step=item.step, of=item.steps) if item.steps else None,
            note=item.note,
        )


class NextReply(BaseModel):
    """What a tab shows next."""

    items: list[ItemReply]
    left: int
    done: bool


class WasReply(BaseModel):
    """What had been said, so that it can be said again."""

    verdict: Verdict
    strength: int
    tags: list[str]
    reason: str


class UndoReply(CountedReply):
    """What is shown again; null where there was nothing to undo."""

    item: ItemReply | None
    was: WasReply | None

    @classmethod
    def of(cls, undone: Undone | None, counts: Counts, tally: dict[str, int]) -> "UndoReply":
        figures = CountsReply.of(counts)
        if undone is None:
            return cls(counts=figures, tally=tally, item=None, was=None)
        told = undone.was
        was = WasReply(
            verdict=told.verdict, strength=told.strength, tags=list(told.tags), reason=told.reason
        )
        return cls(counts=figures, tally=tally, item=ItemReply.of(undone.item), was=was)


class SessionReply(BaseModel):
    """What the page is for.  `draft`: what was being written by hand."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")]
    title: str
    judge: str
    mode: Mode
    modes: list[Mode]
    tags: list[str]
    counts: CountsReply
    tally: dict[str, int]
    goal: int | None
    left: int
    why: bool
    plausible: bool
    k: int
    draft: str


class PastReply(BaseModel):
    """One verdict of the history."""

    judgement: str
    presentation: str
    prompt: str
    left: str
    right: str
    verdict: Verdict
    strength: int
    tags: list[str]
    reason: str
    created: float
    mode: Mode
    fast: bool

    @classmethod
    def of(cls, past: Judgement) -> "PastReply":
        shown = past.of
        return cls(
            judgement=past.id,
            presentation=shown.id,
            prompt=shown.prompt.text,
            left=shown.left.text,
            right=shown.right.text,
            verdict=past.verdict,
            strength=past.strength,
            tags=list(past.tags),
            reason=past.reason,
            created=past.created,
            mode=shown.mode,
            fast=past.fast,
        )


class HistoryReply(BaseModel):
    """A stretch of the history, the newest first."""

    items: list[PastReply]
    more: bool


Figures = dict[str, Any]  # of the end card and of a reading: made elsewhere, passed on as they are
SplitAsked = Split | Literal["all"]
