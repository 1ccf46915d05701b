"""What a round came to, as values that are written down and read back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from palate.stats import Interval, share


@dataclass(frozen=True, slots=True)
class Wins:
    """The new policy's texts against the starting model's, one of each per held-out prompt.

    `same`: both wrote the same text, which is a tie that nobody was asked about; `ties` holds them
    and "both bad" too.  `skipped` prompts are in no figure.
    """

    won: int
    lost: int
    ties: int
    same: int
    skipped: int

    @property
    def count(self) -> int:
        """Prompts that count."""
        return self.won + self.lost + self.ties

    @property
    def rate(self) -> Interval | None:
        """Share of prompts won, half a win for a tie; None if nothing was compared."""
        return share(self.won + self.ties / 2, self.count) if self.count else None


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """One round.  `judged` are verdicts of this round; `pairs` and `heldout` all pairs so far.

    `accuracy`: how many of the held-out pairs the policy ranks as they were judged.
    """

    round: int
    judged: int
    ties: int
    pairs: int
    heldout: int
    step: int
    steps: int
    accuracy: Interval | None
    wins: Wins

    def as_json(self) -> dict[str, Any]:
        """Plain values, the win rate with its interval among them."""
        rate = self.wins.rate
        return {**asdict(self), "win_rate": None if rate is None else asdict(rate)}


def from_json(found: Mapping[str, Any]) -> RoundFigures:
    """The inverse of `as_json`."""
    fields = {name: value for name, value in found.items() if name != "win_rate"}
    accuracy = fields["accuracy"] and Interval(**fields["accuracy"])
    return RoundFigures(**{**fields, "accuracy": accuracy, "wins": Wins(**fields["wins"])})


def sentence(figures: RoundFigures) -> str:
    """`round 1: wins 61% [50%, 71%] of 100 held-out prompts against the starting model (...)`."""
    wins, rate = figures.wins, figures.wins.rate
    if rate is None:
        return f"round {figures.round}: nothing was compared with the starting model"
    told = f"{wins.ties} ties, half a win each" if wins.ties != 1 else "1 tie, half a win"
    skipped = f"; {wins.skipped} skipped" if wins.skipped else ""
    return (
        f"round {figures.round}: wins {rate.percent()} of {wins.count} held-out prompts against"
        f" the starting model ({told}{skipped}){_verdict(rate)}"
    )


def _verdict(rate: Interval) -> str:
    """What an interval that holds one half means."""
    return ": indistinguishable from it" if rate.low <= 0.5 <= rate.high else ""
