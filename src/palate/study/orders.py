"""The same two answers judged in both orders: does the order decide?

A model that judges is asked twice, sides swapped.  If both times the same answer wins, that is the
verdict; if not, it is a tie, and the sentence that says so keeps what was said each time, because
the judgement that stands is the tie.  MT-Bench's rule: Zheng et al., arXiv 2306.05685.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from palate.data.judged import Answer, Judgement, Verdict
from palate.stats import Interval, share

GREY: Final = 0.65
GREY_SOURCE: Final = (
    "our default; GPT-4 itself was consistent in 65% of similar answers, arXiv 2306.05685"
)
SWAPPED: Final[dict[Verdict, Verdict]] = {"left": "right", "right": "left"}
_SAID = re.compile(
    r"The order decides: (left|right|tie|both_bad), swapped (left|right|tie|both_bad)\."
)


@dataclass(frozen=True, slots=True)
class Orders:
    """How often the order of two answers decided: of `count` pairs asked both ways.

    `consistent` counts pairs with the same outcome both times, ties included; `first` those in
    which whatever stood on the left won both times, `second` the same for the right.
    """

    count: int
    consistent: Interval
    first: Interval
    second: Interval

    @property
    def trusted(self) -> bool:
        """Whether the judge is consistent enough to be shown in black."""
        return self.consistent.value >= GREY


def turned(verdict: Verdict) -> Verdict:
    """The verdict as it is called with the sides swapped."""
    return SWAPPED.get(verdict, verdict)


def verdict_of(one: Verdict, swapped: Verdict) -> tuple[Verdict, str]:
    """The verdict of both orders, called from the first one, and why if they disagree."""
    if one == turned(swapped):
        return one, ""
    return "tie", f"The order decides: {one}, swapped {swapped}."


def said(first: Judgement, second: Judgement) -> tuple[Verdict, Verdict]:
    """What was said in each order, each in the words of its own screen."""
    kept = _SAID.match(first.reason)
    return (kept[1] if kept else first.verdict), second.verdict  # type: ignore[return-value]


def as_said(judgement: Judgement) -> Answer | None:
    """The answer chosen when it was asked, before the other order made it a tie."""
    kept = _SAID.match(judgement.reason) if judgement.verdict == "tie" else None
    side = kept[1] if kept else judgement.verdict
    return {"left": judgement.of.left, "right": judgement.of.right}.get(side)


def noted(judgement: Judgement) -> bool:
    """Whether this tie was made by two orders that disagree."""
    return judgement.verdict == "tie" and _SAID.match(judgement.reason) is not None


def without_note(reason: str) -> str:
    """A reason without the sentence about the orders."""
    return _SAID.sub("", reason, count=1)


def both_orders(judgements: Sequence[Judgement]) -> Orders | None:
    """Consistency of one judge; None if nothing was asked in both orders."""
    known = {each.of.id: each for each in judgements}
    pairs = [
        said(known[each.of.again], each)
        for each in judgements
        if each.of.again in known and _swapped(known[each.of.again], each)
    ]
    pairs = [each for each in pairs if "skip" not in each]
    if not pairs:
        return None
    count = len(pairs)
    return Orders(
        count,
        share(sum(one == turned(other) for one, other in pairs), count),
        share(pairs.count(("left", "left")), count),
        share(pairs.count(("right", "right")), count),
    )


def _swapped(first: Judgement, second: Judgement) -> bool:
    one, other = first.of, second.of
    return (one.left.id, one.right.id, one.judge) == (other.right.id, other.left.id, other.judge)
