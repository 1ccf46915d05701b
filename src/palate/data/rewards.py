"""What gives a number to an answer: a program, a rubric, or a reward model.

A reward sees text and never token ids, so the same one pays PPO, ranks the best of n and measures a
policy.  Higher is better; the unit is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from palate.data.rows import Text


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and one answer to it.  `ended`: the model ended it, and was not cut off."""

    prompt: Text
    answer: str
    ended: bool = True


class Reward(Protocol):
    """Anything that scores answers.  The same answer always gets the same score."""

    @property
    def name(self) -> str:
        """How it is spoken of: `demo`, `rubric.toml`, the folder of a reward model."""

    @property
    def kind(self) -> Literal["program", "model"]: ...

    @property
    def identity(self) -> str:
        """sha256 of what decides the scores, so that a run can say what it was paid by."""

    @property
    def models(self) -> int:
        """Models that it holds in memory."""

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """One finite number per answer, in order.  Raises a PalateError where it cannot."""
