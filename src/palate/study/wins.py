"""One model's texts against another's: win rates, raw and at equal length, and by reason.

A tie is half a win.  The length-controlled rate follows Dubois et al. 2024 (arXiv:2404.04475) in
its simplest form, P(win) = sigma(theta + phi * tanh(d / sd)) with d the difference in words: what
is reported is sigma(theta), the rate at equal length.  Their difficulty of an instruction is left
out.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from palate.stats import Interval, rate, verdict
from palate.study.evaluated import Slice

FEWEST: Final = 100  # prompts, for a rate at equal length
DRAWS: Final = 1000
STEPS: Final = 30  # of Newton's method, at most
ENOUGH: Final = 1e-6  # nats: a smaller step is the last
RIDGE: Final = 1e-2  # of one prompt: keeps a separable resample finite, moves no rate visibly
SLICES: Final = 12
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Met:
    """Two texts to one prompt: what ours scored (1, a half, 0), and how much longer it is."""

    prompt: Hashable
    score: float
    longer: int  # words of ours minus words of theirs
    tags: tuple[str, ...] = ()


def raw(met: Sequence[Met]) -> Interval:
    """The win rate.  Raises ValueError if nothing met."""
    return rate([each.score for each in met], [each.prompt for each in met])


def counts(met: Sequence[Met]) -> tuple[int, int, int]:
    """Wins, losses, ties."""
    scores = [each.score for each in met]
    return scores.count(1.0), scores.count(0.0), scores.count(0.5)


def controlled(met: Sequence[Met], *, seed: int = 0) -> Interval | None:
    """The win rate at equal length, prompts resampled; None below `FEWEST` prompts."""
    prompts = {prompt: place for place, prompt in enumerate(dict.fromkeys(m.prompt for m in met))}
    if len(prompts) < FEWEST:
        return None
    place_M = np.array([prompts[each.prompt] for each in met])
    score_M = np.array([each.score for each in met])
    longer_M = np.array([each.longer for each in met], dtype=np.float64)
    spread = longer_M.std()
    bent_M = np.tanh(longer_M / spread) if spread > 0 else np.zeros_like(longer_M)
    drawn_BP = np.random.default_rng(seed).multinomial(
        len(prompts), np.full(len(prompts), 1 / len(prompts)), size=DRAWS
    )
    whole_12 = fitted(score_M, bent_M, np.ones((1, len(met))), np.zeros((1, 2)))
    weight_BM = drawn_BP[:, place_M].astype(np.float64)
    rates_B = _sigma(fitted(score_M, bent_M, weight_BM, np.repeat(whole_12, DRAWS, 0))[:, 0])
    low, high = np.quantile(rates_B, [0.025, 0.975])
    return Interval(float(_sigma(whole_12[0, 0])), float(low), float(high), len(met))


def fitted(score_M: Floats, bent_M: Floats, weight_BM: Floats, start_B2: Floats) -> Floats:
    """(theta, phi) of each weighting (B, 2): logistic regression by Newton's method, `RIDGE` on
    both, no step longer than one."""
    design_M2 = np.stack([np.ones_like(bent_M), bent_M], axis=1)
    squares_M3 = np.stack([np.ones_like(bent_M), bent_M, bent_M * bent_M], axis=1)
    found_B2 = start_B2.copy()
    for _ in range(STEPS):
        p_BM = _sigma(found_B2 @ design_M2.T)
        slope_B2 = (weight_BM * (score_M - p_BM)) @ design_M2 - RIDGE * found_B2
        p_BM *= 1 - p_BM
        p_BM *= weight_BM
        curve_B3 = p_BM @ squares_M3 + np.array([RIDGE, 0.0, RIDGE])
        a_B, b_B, d_B = curve_B3.T
        inverse_B = 1 / (a_B * d_B - b_B * b_B)
        step_B2 = np.stack(
            [
                (d_B * slope_B2[:, 0] - b_B * slope_B2[:, 1]) * inverse_B,
                (a_B * slope_B2[:, 1] - b_B * slope_B2[:, 0]) * inverse_B,
            ],
            axis=1,
        )
        longest_B1 = np.abs(step_B2).max(1, keepdims=True)
        found_B2 += step_B2 / np.maximum(1.0, longest_B1)
        if longest_B1.max() < ENOUGH:
            break
    return found_B2


def slices(met: Sequence[Met]) -> tuple[Slice, ...]:
    """Win rate on the prompts with each of the user's own tags, the most frequent first."""
    tagged: dict[str, list[Met]] = {}
    for each in met:
        for tag in dict.fromkeys(each.tags):
            tagged.setdefault(tag, []).append(each)
    ranked = sorted(tagged.items(), key=lambda each: (-len(each[1]), each[0]))
    rates = [(tag, raw(found)) for tag, found in ranked[:SLICES]]
    return tuple(Slice(tag=tag, wins=r, verdict=verdict(r, null=0.5)) for tag, r in rates)


def _sigma(value: Any) -> Any:
    from scipy.special import expit

    return expit(value)
