"""The near-miss map: how plausible each rejected answer is, and how far apart the two answers are.

Zones are shown and nothing is dropped: the useful middle is a rejected answer that the model could
have written, near in content and different in kind.  No torch: what the model said is in the case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from palate.study.checks import cartoon
from palate.study.checks.base import Case, Floats, PairText
from palate.study.checks.distance import HAIRLINE, STRANGERS, apart
from palate.study.checks.words import normalised

Codes = NDArray[np.int32]
Zone = Literal["cartoon", "near miss", "hairline", "strangers"]
CARTOON: Final = cartoon.CARTOON
GRAM, BITS = 4, 24  # characters of a gram; size of the table that counts them
MIX = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: the golden ratio's share of 2**64
ODD = 0.5  # without a model: a cartoon shares less than half of what a chosen answer shares
MEANING: Final[Mapping[Zone, str]] = {
    "cartoon": "nothing the model would say: rewrite these first",
    "near miss": "plausible, and different in a way that shows: what teaches taste",
    "hairline": "nearly the same words: clear lessons, but both answers can lose probability",
    "strangers": "two unrelated answers: nothing says which difference was meant",
}
BY_MODEL: Final = "share of the model's own texts of that length that are less likely"
BY_CHOSEN: Final = (
    "share of the model's own texts that are less likely, moved to the level of the chosen answers"
)
BY_SPELLING: Final = (
    "the model wrote no texts to compare with: how much of the rejected answer's spelling other"
    " pairs' answers have; of cartoons only keyboard mash is seen"
)
BY_TEXT: Final = (
    "no model was asked: how much of the rejected answer's spelling other pairs' answers have, as a"
    " percentile of the chosen answers; of cartoons only keyboard mash is seen (--model sees more)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """One pair on the map; both figures in 0..1.  `basis`: what `plausible` means, in words."""

    line: int
    plausible: float
    apart: float
    zone: Zone
    basis: str = BY_MODEL


def places(case: Case) -> tuple[Place, ...]:
    """Every pair of the case, in its order.

    A pair that the model could not be given stands by its text alone.
    """
    plausible_P, cartoon_P, basis = _plausible(case)
    found = []
    for pair, plausible, is_cartoon in zip(case.pairs, plausible_P, cartoon_P, strict=True):
        gap = apart(pair.chosen, pair.rejected)
        zone = _zone(bool(is_cartoon), gap)
        # the zone's border is drawn at CARTOON, so each pair stands on its own side of it
        on_side = min(plausible, CARTOON * 0.99) if is_cartoon else max(plausible, CARTOON)
        found.append(Place(pair.line, float(on_side), gap, zone, basis))
    return tuple(found)


def _zone(is_cartoon: bool, gap: float) -> Zone:
    if is_cartoon:
        return "cartoon"
    return "hairline" if gap < HAIRLINE else "strangers" if gap > STRANGERS else "near miss"


def _plausible(case: Case) -> tuple[Floats, cartoon.Bools, str]:
    """(plausible_P, cartoon_P, basis): the model's word where there is one."""
    found = cartoon.cartoons(case.measured)
    if found is None:
        plausible_P, odd_P = _by_text(case.pairs)
        return plausible_P, odd_P, BY_TEXT if case.measured is None else BY_SPELLING
    plausible_P = found.plausible_P.copy()
    unknown_P = ~np.isfinite(plausible_P)
    if unknown_P.any():
        plausible_P[unknown_P] = _by_text(case.pairs)[0][unknown_P]
    return plausible_P, found.hit_P, BY_CHOSEN if found.foreign else BY_MODEL


def _by_text(
    pairs: Sequence[PairText],
) -> tuple[Floats, cartoon.Bools]:
    """A stand-in: familiar spelling, and which answers have hardly any of it.

    Tells keyboard mash; blind to other topics, to praise, and to whatever recurs in the file.
    """
    familiar_P2 = _familiar(pairs)
    ranked = np.sort(familiar_P2[:, 0])
    below_P = np.searchsorted(ranked, familiar_P2[:, 1], "left").astype(float)
    below_P += np.searchsorted(ranked, familiar_P2[:, 1], "right")
    plausible_P: Floats = (below_P / 2 + 0.5) / (len(ranked) + 1)
    usual = float(np.median(ranked)) if len(ranked) else 0.0
    odd_P: cartoon.Bools = (familiar_P2[:, 1] < ODD * usual) & (plausible_P < 2 * CARTOON)
    return plausible_P, odd_P


def _familiar(pairs: Sequence[PairText]) -> Floats:
    """Share of each answer's character 4-grams (P,2) that answers of other prompts have too."""
    sides = [[_grams(text) for text in (pair.chosen, pair.rejected)] for pair in pairs]
    of_prompt: dict[str, list[Codes]] = {}
    for pair, both in zip(pairs, sides, strict=True):
        of_prompt.setdefault(normalised(pair.prompt), []).extend(both)
    count = np.zeros(1 << BITS, np.int32)
    for grams in of_prompt.values():
        count[np.unique(np.concatenate(grams))] += 1
    found = [[float((count[grams] > 1).mean()) for grams in both] for both in sides]
    return np.array(found, float).reshape(-1, 2)


def _grams(text: str) -> Codes:
    """The distinct 4-grams of a text as numbers below 2**24; one in a hundred may share one."""
    plain = f" {normalised(text)} ".ljust(GRAM).encode("utf-32-le", "replace")
    signs = np.frombuffer(plain, np.uint32).astype(np.uint64)
    code = np.zeros(len(signs) - GRAM + 1, np.uint64)
    for place in range(GRAM):
        code = code * MIX + signs[place : place + len(code)]
    return np.unique(((code * MIX) >> np.uint64(64 - BITS)).astype(np.int32))
