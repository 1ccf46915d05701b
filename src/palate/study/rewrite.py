"""Which pairs to rewrite first: those that a warning or error names, or outside the near misses.

A finding that names few pairs says more of each than one that names most of them, so a finding's
weight falls with the logarithm of the share it names.  An order to read in, not a verdict.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from palate.study.checks.base import Finding
from palate.study.near_miss import Place

NEAR: Final = "near miss"
MOST: Final = 0.25  # a finding that names more of the file is about the file, not about pairs
_SEVERE = {"error": 4.0, "warning": 2.0}
_ZONES = {"cartoon": 2.0, "strangers": 1.0, "hairline": 0.5}


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One pair by its place in the case, and the findings (by their place) that name it."""

    index: int
    line: int
    zone: str
    named: tuple[int, ...]
    score: float


def ranked(
    lines: Sequence[int], findings: Sequence[Finding], places: Sequence[Place]
) -> tuple[Rewrite, ...]:
    """Every pair that something speaks against, the worst first.  `lines`, `places`: per pair."""
    zones = [place.zone for place in places] or [NEAR] * len(lines)
    crowd = {zone: zones.count(zone) for zone in set(zones)}
    named: dict[int, list[int]] = {}
    scores: dict[int, float] = {}
    for place, finding in enumerate(findings):
        if finding.severity in _SEVERE and 0 < len(finding.rows) <= MOST * len(lines):
            weight = _SEVERE[finding.severity] * _rarity(len(finding.rows), len(lines))
            for depth, line in enumerate(finding.rows):  # a bit more for the worst of its rows
                named.setdefault(line, []).append(place)
                scores[line] = scores.get(line, 0.0) + weight * (
                    1 - 0.1 * depth / len(finding.rows)
                )
    found = []
    for index, (line, zone) in enumerate(zip(lines, zones, strict=True)):
        own = _ZONES.get(zone, 0.0) * _rarity(crowd[zone], len(lines))
        score = scores.get(line, 0.0) + own
        if line in named or zone != NEAR:
            found.append(Rewrite(index, line, zone, tuple(named.get(line, ())), score))
    return tuple(sorted(found, key=lambda each: -each.score))


def _rarity(count: int, total: int) -> float:
    """From about 0 for what holds of every pair, up with each halving."""
    return math.log2(1 + total / max(count, 1)) - 0.9
