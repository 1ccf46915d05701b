"""What the frontier study measured: gain and KL by arm and moment, grids, cost, over seeds.

A gain is points a text over the SFT model of the same seed, on the same sheets with the same noise.
A figure that is not there yet is None.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from palate.rlhf.best_of_n import expected_best, kl_at_most
from palate.stats import Interval, share
from study.frontier import BEST_OF, BETAS, GRID, ONLINE_RATE, RATE, REWARD, arms
from study.results import over_seeds
from study.store import Record, Store

NEAR_BEST = 0.9
DPO = tuple(f"dpo {beta:g}" for beta in BETAS)
ONLINE = ("ppo", "ppo learnt", "rloo")
WHOLE = ("share ", "cpu ")  # figures that are no mean over seeds
Point = tuple[float, float]  # KL in nats a text, gain in points a text


@dataclass(frozen=True, slots=True)
class Moment:
    """An arm at one moment over its seeds."""

    step: int | None
    kl: Interval
    gain: Interval
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A run of a grid."""

    rate: float
    seed: int
    gain: float


@dataclass(frozen=True)
class Results:
    """Every figure of the page, from the store."""

    store: Store

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds whose SFT model was measured."""
        found = (record["seed"] for record in self.store.where(arm="sft", what="measured"))
        return tuple(sorted(found))

    def points(self, arm: str, seed: int) -> list[Mapping[str, Any]]:
        """The measured points of a run, in order; empty if it is not there."""
        record = self.store.records.get(f"{arm} measured/{seed}")
        return [] if record is None else record["points"]

    def of(self, arm: str) -> tuple[int, ...]:
        """Seeds of which the arm was measured."""
        return tuple(seed for seed in self.seeds if self.points(arm, seed))

    # ---- gains and KL

    def gain_at(self, seed: int, point: Mapping[str, Any]) -> float:
        return mean(point["rewards"]) - mean(self.points("sft", seed)[-1]["rewards"])

    def path(self, arm: str, seed: int) -> list[Point]:
        """From the SFT model on: KL and gain at every moment of one run."""
        found = self.points(arm, seed)
        return [(0.0, 0.0), *((point["kl"], self.gain_at(seed, point)) for point in found)]

    def moments(self, arm: str) -> list[Moment]:
        """The arm over its seeds, moment by moment."""
        seeds = self.of(arm)
        if not seeds:
            return []
        count = min(len(self.points(arm, seed)) for seed in seeds)
        return [self._moment(arm, seeds, number) for number in range(count)]

    def _moment(self, arm: str, seeds: Sequence[int], number: int) -> Moment:
        found = [self.points(arm, seed)[number] for seed in seeds]
        gains = [self.gain_at(seed, point) for seed, point in zip(seeds, found, strict=True)]
        kl = over_seeds([point["kl"] for point in found])
        return Moment(found[0]["step"], kl, over_seeds(gains), min(gains), max(gains))

    def gain(self, arm: str) -> Interval | None:
        """At the end of the runs."""
        seeds = self.of(arm)
        return _over([self.gain_at(seed, self.points(arm, seed)[-1]) for seed in seeds])

    def last(self, arm: str, name: str) -> Interval | None:
        """A figure of the last point: `kl`, `words`, `distinct_2`, `accuracy`, `chosen` ..."""
        ends = [self.points(arm, seed)[-1] for seed in self.of(arm)]
        return _over([end[name] for end in ends if name in end])

    def longer(self, arm: str) -> Interval | None:
        """Words a text over those of the SFT model."""
        return _over(
            [
                self.points(arm, seed)[-1]["words"] - self.points("sft", seed)[-1]["words"]
                for seed in self.of(arm)
            ]
        )

    def gap(self, arm: str, other: str) -> Interval | None:
        """How far an arm ends ahead of another, seed by seed."""
        both = [seed for seed in self.of(arm) if seed in self.of(other)]
        ends = [[self.path(name, seed)[-1][1] for seed in both] for name in (arm, other)]
        return _over([ours - theirs for ours, theirs in zip(*ends, strict=True)])

    def ahead(self, arm: str, other: str) -> Interval | None:
        """Mean gap at equal KL, over the KL that both runs of a seed pass through."""
        both = [seed for seed in self.of(arm) if seed in self.of(other)]
        return _over([at_equal_kl(self.path(arm, s), self.path(other, s)) for s in both])

    def best_dpo(self) -> str | None:
        """The beta with the largest mean gain, picked after the fact."""
        found = {name: gain.value for name in DPO if (gain := self.gain(name))}
        return max(found, key=found.__getitem__) if len(found) == len(DPO) else None

    def best_of(self, n: int) -> Interval | None:
        """Gain of the best of `n` over one draw, unbiased, from one set of draws."""
        records = self.store.where(arm="best of n")
        return _over([_best(record, n) - _best(record, 1) for record in records])

    # ---- domination

    def beaten(self, arm: str, by: Sequence[str]) -> tuple[int, int]:
        """Of the arm's points (means over seeds) those that some point of `by` beats; and all."""
        theirs = [point for name in by for point in self._means(name)]
        ours = self._means(arm)
        return sum(dominated(point, theirs) for point in ours), len(ours)

    def _means(self, arm: str) -> list[Point]:
        return [(each.kl.value, each.gain.value) for each in self.moments(arm)]

    # ---- the grids

    def grid(self, method: str) -> list[Cell]:
        """The runs of a method's grid of learning rates that are there."""
        return [
            Cell(rate, seed, self.gain_at(seed, self.points(arm, seed)[-1]))
            for rate, arm in rates_of(method)
            for seed in self.of(arm)
        ]

    def near_best(self, method: str) -> Interval | None:
        """Share of the grid within 90% of the method's best."""
        cells = self.grid(method)
        whole = len(rates_of(method)) * len(self.seeds)
        return share(close(cells), len(cells)) if cells and len(cells) == whole else None

    # ---- cost

    def cost(self, arm: str, name: str) -> float | None:
        """`cpu` (seconds), `memory` (MB), `models`, `lines` or `own` of a training run.

        The least of the seeds: what else ran on the machine makes the others dearer.
        """
        trained = (self.store.records.get(f"{arm}/{seed}") for seed in self.seeds)
        return min((record[name] for record in trained if record and name in record), default=None)

    def copied(self, who: str, name: str = "words") -> Interval | None:
        """The longest run of words that a text shares with a training text; or `share` of 12."""
        return _over([record[name][who] for record in self.store.where(arm="copied")])

    # ---- what expectations are about

    def figures(self) -> dict[str, Interval | None]:
        """By the names that `frontier_expected` uses; None until every seed is there."""
        return {
            name: found
            if found is None or name.startswith(WHOLE) or self._is_whole(found)
            else None
            for name, found in self._named()
        }

    def _is_whole(self, found: Interval) -> bool:
        return found.count == len(self.seeds)

    def _named(self) -> Iterator[tuple[str, Interval | None]]:
        for arm in (*(each.name for each in arms() if each.stage != REWARD), "prompted 3"):
            yield f"gain {arm}", self.gain(arm)
            yield f"kl {arm}", self.last(arm, "kl")
            yield f"chosen {arm}", self.last(arm, "chosen")
            yield f"words {arm}", self.longer(arm)
        for n in BEST_OF:
            yield f"gain best of {n}", self.best_of(n)
        best = self.best_dpo()
        yield "gain best dpo", None if best is None else self.gain(best)
        yield "ahead dpo 0.1 / preferred-ft", self.ahead("dpo 0.1", "preferred-ft")
        yield "order of betas", self._order()
        yield from ((f"share {method}", self.near_best(method)) for method in ("dpo", "ppo"))
        yield "cpu dpo", _alone(self.cost("dpo 0.1", "cpu"))
        yield "cpu ppo learnt", _alone(self.cost(REWARD, "cpu"), self.cost("ppo learnt", "cpu"))
        for who in ("people", "sft", "dpo 0.1"):
            yield f"copied {who}", self.copied(who)

    def _order(self) -> Interval | None:
        """Spearman's correlation over the betas of held-out accuracy and gain, seed by seed."""
        found = []
        for seed in self.seeds:
            ends = [self.points(arm, seed)[-1:] for arm in DPO]
            if not all(ends):
                return None
            gains = [self.gain_at(seed, point) for (point,) in ends]
            found.append(spearman([point["accuracy"] for (point,) in ends], gains))
        return _over(found)


# ---------------------------------------------------------------------- pure


def at_equal_kl(ours: Sequence[Point], theirs: Sequence[Point], steps: int = 200) -> float:
    """Mean of the gap between two paths over the KL that both reach, each read off by straight
    lines; a path that comes back in KL is followed as far as its furthest point."""
    one, other = _outward(ours), _outward(theirs)
    end = min(one[-1][0], other[-1][0])
    places = [end * (n + 1) / steps for n in range(steps)]
    return mean([_read(one, kl) - _read(other, kl) for kl in places])


def _outward(path: Sequence[Point]) -> list[Point]:
    found = [path[0]]
    for point in path[1:]:
        if point[0] > found[-1][0]:
            found.append(point)
    return found


def _read(path: Sequence[Point], kl: float) -> float:
    for (start, low), (stop, high) in pairwise(path):
        if kl <= stop:
            return low + (high - low) * (kl - start) / (stop - start)
    return path[-1][1]


def dominated(point: Point, others: Sequence[Point]) -> bool:
    """Whether another has no more KL and no less gain, and is better in one of them."""
    kl, gain = point
    return any(k <= kl and g >= gain and (k, g) != point for k, g in others)


def close(cells: Sequence[Cell], near: float = NEAR_BEST) -> int:
    """Runs whose gain is at least `near` of the best learning rate's mean gain over seeds.

    The best is a mean, as the best single run would be picked for its luck.
    """
    rates = {cell.rate for cell in cells}
    best = max(mean([c.gain for c in cells if c.rate == rate]) for rate in rates)
    return sum(cell.gain >= near * best for cell in cells) if best > 0 else 0


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """0 where either has one value only: then it orders nothing."""
    from scipy import stats

    if len(set(one)) < 2 or len(set(other)) < 2:
        return 0.0
    return float(stats.spearmanr(one, other).statistic)


def rates_of(method: str) -> list[tuple[float, str]]:
    """Learning rates of a method's grid and the arm of each, the lowest first."""
    name, usual = ("dpo 0.1", RATE) if method == "dpo" else (method, ONLINE_RATE)
    return [
        (usual * times, name if times == 1 else f"{name} at {usual * times:g}") for times in GRID
    ]


def bound(n: int) -> float:
    """Nats that the best of n is away at most."""
    return kl_at_most(n)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _best(record: Record, n: int) -> float:
    return mean([expected_best(found, found, n) for found in record["rewards"]])


def _over(values: Sequence[float]) -> Interval | None:
    return over_seeds(values) if values else None


def _alone(*values: float | None) -> Interval | None:
    """A sum without an interval; None where a part is missing."""
    found = [value for value in values if value is not None]
    total = sum(found)
    return Interval(total, total, total, 1) if len(found) == len(values) else None
