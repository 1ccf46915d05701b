"""A judge of two answers where a reward is asked for: online DPO needs no more than its verdict.

Of every two texts of a prompt the better one gets 1 and the other 0; 0.5 each is a tie.  A single
text has no score: nothing can be held out, and no method that reads numbers takes this.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from palate.data.rewards import Answered
from palate.data.rows import Text

Couple = tuple[Text, str, str]  # a prompt and two answers
Compare = Callable[[Sequence[Couple]], list[int]]  # 1: the first is better, -1: the second, 0


@dataclass(frozen=True, slots=True)
class Judged:
    """Asks `compare`; with `both_orders` a verdict that turns with the order is a tie."""

    name: str
    kind: Literal["program", "model"]
    compare: Compare
    both_orders: bool
    models: int = 0

    @property
    def identity(self) -> str:
        """Of the judge's name and kind: what a server answers cannot be hashed."""
        return hashlib.sha256(f"judge {self.kind} {self.name}".encode()).hexdigest()

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """Of each two in turn.  Raises what the judge raises."""
        assert len(answered) % 2 == 0, "texts come two by two"
        couples = [
            (one.prompt, one.answer, other.answer)
            for one, other in zip(answered[::2], answered[1::2], strict=True)
        ]
        verdicts = self.compare(couples)
        if self.both_orders:
            again = self.compare([(prompt, other, one) for prompt, one, other in couples])
            verdicts = [v if v == -w else 0 for v, w in zip(verdicts, again, strict=True)]
        return [share for v in verdicts for share in ((1 + v) / 2, (1 - v) / 2)]
