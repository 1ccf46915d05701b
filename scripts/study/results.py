"""What the training runs say: points by arm and seed, differences with intervals over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palate.stats import Interval
from study.store import Record, Store


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean and 95% t interval of one figure per seed."""
    from scipy import stats

    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return Interval(mean, float("-inf"), float("inf"), count)
    error = (sum((each - mean) ** 2 for each in values) / (count - 1) / count) ** 0.5
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(mean, mean - half, mean + half, count)


@dataclass(frozen=True)
class Results:
    """The records of the training store.  `least`: with fewer seeds a figure is None."""

    store: Store
    least: int = 2

    def of(self, arm: str) -> dict[int, Record]:
        """Seed -> the last record of the arm: a filter may have been measured before."""
        return {record["seed"]: record for record in self.store.where(arm=arm)}

    def figure(self, arm: str, name: str = "points", how: str = "drawn") -> dict[int, float]:
        """Seed -> the mean of a figure of the demo's taste."""
        return {seed: each[how]["figures"][name] for seed, each in self.of(arm).items()}

    def gap(
        self, arm: str, other: str, name: str = "points", how: str = "drawn"
    ) -> Interval | None:
        """How far an arm is ahead of another on the same seeds; None before `least` are there."""
        ours, theirs = self.figure(arm, name, how), self.figure(other, name, how)
        both = sorted(ours.keys() & theirs.keys())
        if len(both) < self.least:
            return None
        return over_seeds([ours[seed] - theirs[seed] for seed in both])

    def level(self, arm: str, name: str = "points", how: str = "drawn") -> Interval | None:
        """The figure itself over seeds."""
        found = self.figure(arm, name, how)
        return over_seeds(list(found.values())) if len(found) >= self.least else None

    def wins(self, arm: str, other: str, how: str = "drawn") -> Interval | None:
        """Share of texts with more points than the other arm's on the same draw; ties are half."""
        ours, theirs = self.of(arm), self.of(other)
        both = sorted(ours.keys() & theirs.keys())
        if len(both) < self.least:
            return None
        return over_seeds([_won(ours[s][how], theirs[s][how]) for s in both])

    def marked(self, arm: str, how: str = "drawn") -> Interval | None:
        """Share of texts with the marker that was planted."""
        found = [each["marked"][how] for each in self.of(arm).values() if "marked" in each]
        return over_seeds(found) if len(found) >= self.least else None


def _won(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> float:
    gaps = [a - b for a, b in zip(ours["points"], theirs["points"], strict=True)]
    return sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)
