"""Judgements for tests, in few words: who said what of which two answers."""

from dataclasses import dataclass
from typing import Any, Self

from palate.data.judged import (
    Answer,
    AskedPrompt,
    Judgement,
    Mode,
    Presentation,
    Split,
    Verdict,
)


@dataclass
class Book:
    """Judgements of one judge, in the order in which they were made."""

    judge: str = "me"

    def __post_init__(self) -> None:
        self.said: list[Judgement] = []

    def add(
        self,
        prompt: str,
        left: str,
        right: str,
        verdict: Verdict,
        *,
        mode: Mode = "pair",
        again: Judgement | None = None,
        split: Split = "train",
        **more: Any,
    ) -> Judgement:
        """`more`: strength, reason, tags, ms."""
        asked = AskedPrompt(f"p:{prompt}", prompt, split)
        one, other = (
            Answer(f"{prompt}:{text}", asked.id, text, "sample") for text in (left, right)
        )
        number = len(self.said)
        shown = Presentation(
            f"s{number}", asked, one, other, self.judge, mode,
            "random" if again is None else "reask", float(number), again.of.id if again else None,
        )  # fmt: skip
        told: dict[str, Any] = {"strength": 1, "reason": "", "tags": (), "ms": 4000}
        told |= more
        self.said.append(Judgement(f"j{number}", shown, verdict, created=float(number), **told))
        return self.said[-1]

    def reask(self, first: Judgement, verdict: Verdict, **more: Any) -> Judgement:
        """The same two answers, sides swapped."""
        of = first.of
        return self.add(of.prompt.text, of.right.text, of.left.text, verdict, again=first, **more)

    def fill(self, count: int, verdict: Verdict = "left", **more: Any) -> Self:
        """So many verdicts on prompts of their own."""
        start = len(self.said)
        for number in range(start, start + count):
            self.add(f"prompt {number}", f"good {number}", f"bad {number}", verdict, **more)
        return self
