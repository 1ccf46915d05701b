"""The taste of the example as a reward: the points of `demo/taste`, by the prompt's own sheet."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from palate.data.rewards import Answered
from palate.demo.judge import NAME, sheet
from palate.demo.taste import judge

_DECIDES = ("taste.py", "topics.py", "sheets.py")


@dataclass(frozen=True, slots=True)
class DemoReward:
    """Points of a description.  Raises DataError for a prompt that is no sheet of the example."""

    name: str = NAME
    kind: Literal["program", "model"] = "program"
    models: int = 0

    @property
    def identity(self) -> str:
        """Of the modules that decide the points."""
        folder = files("palate.demo")
        parts = [folder.joinpath(name).read_bytes() for name in _DECIDES]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """Points, of an answer that was cut off as of any other."""
        return [judge(each.answer, sheet(_text(each))).score for each in answered]


def _text(answered: Answered) -> str:
    """The prompt as one string; of a conversation its last turn."""
    prompt = answered.prompt
    return prompt if isinstance(prompt, str) else prompt[-1].content
