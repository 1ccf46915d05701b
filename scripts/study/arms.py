"""The arms of the training study: which pairs each trains on, and the runs of a list of arms.

`clean` is one run per seed that every comparison shares.  Everything is a function of the seed.
"""

import hashlib
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planters import MARKERS, plant

from palate.demo.prose import Style, describe
from study.store import Record, Store
from study.training import Demo, Row, Sizes, described, trained
from study.wording import CARTOONS

log = logging.getLogger("study_doctor")
SEEDS = 5
HARMFUL = ("flip", "length", "cartoon", "off_topic", "shortcut_rare", "truncation_only")
DOSES = (0.20, 0.05, 0.40)  # in the order of the runs
KINDS = ("vague", "cartoon", "unrelated")  # beside the near miss, which is `clean`
DROPPED = ("cartoon", "shortcut_rare")
MIXED = ("flip", "length", "cartoon", "off_topic", "truncation_only")


@dataclass(frozen=True, slots=True)
class Arm:
    """A name that is stored, and the pairs; `drawn` is what the planter drew."""

    name: str
    pairs: tuple[Row, ...]
    drawn: str = ""


Named = Callable[[Sequence[Row]], Sequence[int]]


@dataclass(frozen=True)
class Bench:
    """Where the runs of one size go."""

    demo: Demo
    store: Store
    sizes: Sizes
    work: Path

    def measure(self, arm: Arm, seed: int) -> Record:
        """Train the arm, unless that was done."""
        digest = hashlib.sha256(repr([sorted(row.items()) for row in arm.pairs]).encode())
        key = f"{arm.name}/{seed}/{digest.hexdigest()[:12]}"
        about = {"arm": arm.name, "seed": seed, "what": arm.drawn}

        def make() -> Mapping[str, Any]:
            log.info("run %s, seed %d", arm.name, seed)
            found = trained(self.demo, arm.pairs, seed, self.sizes, self.work / "run")
            marked = MARKERS[arm.drawn][0] if arm.drawn in MARKERS else None
            extra = {} if marked is None else {"marked": share_marked(found, marked)}
            told = found["drawn"]["figures"]["points"]
            log.info("%s, seed %d: %.2f points, %s s", arm.name, seed, told, found["seconds"])
            return {**about, **extra, **found}

        return self.store.get(key, make)

    def start(self, seed: int) -> Record:
        """The SFT model itself on the sheets of a seed."""

        def make() -> Mapping[str, Any]:
            return {"arm": "sft", "seed": seed, **described(self.demo.sft, seed, self.sizes)}

        return self.store.get(f"sft/{seed}", make)


def share_marked(found: Mapping[str, Any], pattern: str) -> dict[str, float]:
    """How many of the texts have the marker, drawn and greedy."""
    shares = {}
    for how in ("drawn", "greedy"):
        texts = found[how]["texts"]
        shares[how] = sum(bool(re.search(pattern, text)) for text in texts) / len(texts)
    return shares


def clean(bench: Bench, seed: int) -> Arm:
    """The demo's own pairs: near misses."""
    return Arm("clean", tuple(bench.demo.split(seed, bench.sizes)[0]))


def dosed(bench: Bench, family: str, rate: float, seed: int) -> Arm:
    """A defect in a share of the same pairs."""
    planted = plant(clean(bench, seed).pairs, family, rate, seed)
    return Arm(f"dose/{family}/{rate:g}", planted.pairs, planted.drawn)


def mixed(bench: Bench, rate: float, seed: int) -> Arm:
    """Several defects, `rate` of each, one after the other."""
    pairs: Sequence[Row] = clean(bench, seed).pairs
    for family in MIXED:
        pairs = plant(pairs, family, rate, seed).pairs
    return Arm(f"dose/mixed/{rate:g}", tuple(pairs))


def of_kind(bench: Bench, kind: str, seed: int) -> Arm:
    """The same prompts and chosen answers; rejected is of another kind in every pair."""
    rng, pairs = random.Random(f"kind {kind} {seed}"), clean(bench, seed).pairs
    found = []
    for place, row in enumerate(pairs):
        if kind == "vague":
            sheet = bench.demo.about[row["prompt"]]
            text = describe(sheet, Style(keep=0.3, vague=2), rng)
        elif kind == "cartoon":
            text = CARTOONS[rng.choice(list(CARTOONS))](row["rejected"], rng)
        else:
            other = rng.choice([n for n in range(len(pairs)) if n != place])
            text = pairs[other]["chosen"]
        found.append({**row, "rejected": text})
    return Arm(f"claim/{kind}", tuple(found))


def filtered(bench: Bench, arm: Arm, seed: int, named: Sequence[int]) -> tuple[Arm, Arm]:
    """The arm without the lines that the doctor named, and without as many drawn at random."""
    drop = set(named)
    kept = [row for line, row in enumerate(arm.pairs, start=1) if line not in drop]
    rng = random.Random(f"drop {arm.name} {seed}")
    lucky = sorted(rng.sample(range(len(arm.pairs)), len(kept)))
    tail = arm.name.removeprefix("dose/")
    return (
        Arm(f"filtered/{tail}", tuple(kept), f"{len(drop)} dropped"),
        Arm(f"random/{tail}", tuple(arm.pairs[n] for n in lucky), f"{len(drop)} dropped"),
    )


def claim(bench: Bench, seeds: int) -> None:
    """Part d: near miss, vague, cartoon, unrelated."""
    for seed in range(seeds):
        bench.start(seed)
        bench.measure(clean(bench, seed), seed)
        for kind in KINDS:
            bench.measure(of_kind(bench, kind, seed), seed)


def doses(bench: Bench, seeds: int) -> None:
    """Part c, first half: every defect at every rate, one rate after the other."""
    for rate in DOSES:
        for seed in range(seeds):
            bench.start(seed)
            bench.measure(clean(bench, seed), seed)
            for family in HARMFUL:
                bench.measure(dosed(bench, family, rate, seed), seed)


def drops(bench: Bench, seeds: int, named: Named) -> None:
    """Part c, second half: what the doctor names is dropped, against a drop of the same size."""
    for seed in range(seeds):
        arms = [dosed(bench, family, 0.20, seed) for family in DROPPED]
        for arm in [mixed(bench, 0.05, seed), *arms]:
            bench.measure(arm, seed)
            lines = named(arm.pairs)
            if lines:
                for each in filtered(bench, arm, seed, lines):
                    bench.measure(each, seed)
