"""Learning from own texts again, from the papers, in plain Python numbers: one text at a time.

A text is a list of its tokens' numbers; nothing is padded.  Log-probs may be complex, so that a
loss differentiates itself (`naive_objectives`).
"""

import cmath
import math
from collections.abc import Sequence

Number = complex
Floats = Sequence[float]
Texts = Sequence[Sequence[float]]


def shaped(score: float, logps: Floats, reference: Floats, kl: float) -> list[float]:
    found = [-kl * (p - q) for p, q in zip(logps, reference, strict=True)]
    found[-1] += score
    return found


def returns(rewards: Floats, gamma: float) -> list[float]:
    return [
        sum(gamma ** (k - t) * rewards[k] for k in range(t, len(rewards)))
        for t in range(len(rewards))
    ]


def gae(rewards: Floats, values: Floats, gamma: float, lam: float) -> list[float]:
    """Every advantage by its own sum over the later surprises, as eq. 16 is written."""
    ahead = [*values[1:], 0.0]
    surprise = [r + gamma * v1 - v for r, v, v1 in zip(rewards, values, ahead, strict=True)]
    return [
        sum((gamma * lam) ** (k - t) * surprise[k] for k in range(t, len(surprise)))
        for t in range(len(surprise))
    ]


def whiten(texts: Texts) -> list[list[float]]:
    tokens = [x for text in texts for x in text]
    mean = sum(tokens) / len(tokens)
    variance = sum((x - mean) ** 2 for x in tokens) / len(tokens)
    return [[(x - mean) / math.sqrt(variance + 1e-8) for x in text] for text in texts]


def surrogate(logp: Number, old: float, advantage: float, clip: float) -> Number:
    ratio = cmath.exp(logp - old)
    held = complex(min(max(ratio.real, 1 - clip), 1 + clip))
    if abs(ratio.real - 1) < clip:
        held = ratio
    one, other = ratio * advantage, held * advantage
    return -(one if one.real <= other.real else other)


def value_loss(value: Number, old: float, wanted: float, clip: float) -> Number:
    moved = value - old
    held = old + (moved if abs(moved.real) < clip else math.copysign(clip, moved.real))
    one, other = (value - wanted) ** 2, (held - wanted) ** 2
    return 0.5 * (one if one.real >= other.real else other)


def rloo(rewards: Floats) -> list[float]:
    return [
        mine - sum(r for j, r in enumerate(rewards) if j != i) / (len(rewards) - 1)
        for i, mine in enumerate(rewards)
    ]


def grpo(rewards: Floats, scale: bool) -> list[float]:
    mean = sum(rewards) / len(rewards)
    spread = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1))
    return [(r - mean) / ((spread + 1e-4) if scale else 1.0) for r in rewards]


def k3(logp: Number, reference: float) -> Number:
    return cmath.exp(reference - logp) - 1 - (reference - logp)
