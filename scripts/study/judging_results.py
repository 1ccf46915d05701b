"""What the judging study measured: gains over SFT by arm and budget, with intervals over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from palate.stats import Interval
from study.judging import ARMS, Scale
from study.results import over_seeds
from study.store import Record, Store


@dataclass(frozen=True)
class Results:
    """The records of the seeds that are complete: every arm at every budget."""

    store: Store
    sizes: tuple[int, ...] = Scale().budgets

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds with every record."""
        seen = sorted({record["seed"] for record in self.store.where(arm="sft")})
        return tuple(
            seed for seed in seen if all(key in self.store.records for key in self._of(seed))
        )

    def record(self, seed: int, arm: str, size: int) -> Record:
        return self.store.records[f"{seed}/{arm}/{size}"]

    def start(self, seed: int) -> Record:
        """The SFT model on the sheets of a seed."""
        return self.store.records[f"{seed}/sft"]

    def gain(self, arm: str, size: int) -> Interval:
        """Points over SFT, a text."""
        return over_seeds([self._gain(seed, arm, size) for seed in self.seeds])

    def gap(self, size: int) -> Interval:
        """How far active is ahead of random, seed by seed."""
        gains = [
            [self._gain(seed, arm, size) for seed in self.seeds] for arm in ("active", "random")
        ]
        return over_seeds([ours - theirs for ours, theirs in zip(*gains, strict=True)])

    def gap_overall(self) -> Interval:
        """The same, averaged over every budget but the largest, at which the arms come together."""
        seeds = [
            [self._gain(seed, "active", n) - self._gain(seed, "random", n) for n in self.sizes[:-1]]
            for seed in self.seeds
        ]
        return over_seeds([_mean(gaps) for gaps in seeds])

    def growth(self, arm: str, size: int, later: int) -> Interval:
        """What more judgements add, in points."""
        pairs = [(self._gain(s, arm, size), self._gain(s, arm, later)) for s in self.seeds]
        return over_seeds([after - before for before, after in pairs])

    def reaches(self, share: float) -> int:
        """The least budget with this share of the gain that the largest one has, at random."""
        aim = share * self.gain("random", self.sizes[-1]).value
        return next(size for size in self.sizes if self.gain("random", size).value >= aim)

    def wins(self, arm: str, size: int) -> Interval:
        """Share of sheets with more points than SFT's text; a tie is half."""
        return over_seeds([_won(self.record(s, arm, size), self.start(s)) for s in self.seeds])

    def tied(self, arm: str, size: int) -> Interval:
        """Share of judgements that gave no pair."""
        shares = [1 - self.record(seed, arm, size)["pairs"] / size for seed in self.seeds]
        return over_seeds(shares)

    def figures(self) -> Mapping[str, Interval]:
        """Every figure that an expectation is about, by its name."""
        return dict(self._named())

    def _named(self) -> Iterator[tuple[str, Interval]]:
        for size in self.sizes:
            yield f"gap {size}", self.gap(size)
            yield from ((f"{arm} {size}", self.gain(arm, size)) for arm in ARMS)
        yield from ((f"tied {arm}", self.tied(arm, self.sizes[-1])) for arm in ARMS)

    def _gain(self, seed: int, arm: str, size: int) -> float:
        return _mean(self.record(seed, arm, size)["points"]) - _mean(self.start(seed)["points"])

    def _of(self, seed: int) -> Iterator[str]:
        yield from (f"{seed}/{arm}/{size}" for arm in ARMS for size in self.sizes)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _won(ours: Record, theirs: Record) -> float:
    gaps = [a - b for a, b in zip(ours["points"], theirs["points"], strict=True)]
    return _mean([(gap > 0) + 0.5 * (gap == 0) for gap in gaps])
