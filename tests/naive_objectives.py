"""Every objective again, from the papers, in plain Python numbers: one row at a time, no torch.

A log-prob is a Python number.  Given complex ones, every function differentiates itself: the value
at x + ih has h f'(x) as its imaginary part, exact to rounding (`slopes`).  What a paper holds
constant drops its imaginary part (`fixed`); comparisons look at the real part.
"""

import cmath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Number = complex
Tokens = tuple[Number, ...]
H = 1e-30  # the step of the derivative; nothing is subtracted, so it may be this small


@dataclass(frozen=True)
class Side:
    """Token log-probs of one completion under policy and reference, and the sum of p^2 at each."""

    policy: Tokens
    reference: Tokens
    square: Tokens

    @property
    def n(self) -> int:
        return len(self.policy)

    @property
    def logp(self) -> Number:
        return sum(self.policy, 0j)

    @property
    def ratio(self) -> Number:
        return sum(self.policy, 0j) - sum(self.reference, 0j)


@dataclass(frozen=True)
class Line:
    """One row of a file: its completions (chosen, rejected; or ranked; or one), its own number."""

    sides: tuple[Side, ...]
    value: float = 1.0


Loss = Callable[..., list[Number]]


def slopes(loss: Callable[[Sequence[Line]], list[Number]], lines: Sequence[Line]) -> list[float]:
    """d(summed loss)/d(token log-prob), tokens in order of line, side, place."""
    found = []
    for i, line in enumerate(lines):
        for s, side in enumerate(line.sides):
            for t in range(side.n):
                moved = tuple(x + H * 1j * (k == t) for k, x in enumerate(side.policy))
                sides = (*line.sides[:s], replace(side, policy=moved), *line.sides[s + 1 :])
                step = [*lines[:i], replace(line, sides=sides), *lines[i + 1 :]]
                found.append(sum(loss(step), 0j).imag / H)
    return found


def each(one: Callable[..., Number]) -> Loss:
    """A loss of one line as a loss of a step of them."""
    return lambda lines, **options: [one(line, **options) for line in lines]


def sigmoid(x: Number) -> Number:
    return 1 / (1 + cmath.exp(-x))


def log_sigmoid(x: Number) -> Number:
    return -cmath.log(1 + cmath.exp(-x))


def above(x: Number, floor: float) -> Number:
    return x if x.real > floor else complex(floor)


def fixed(x: Number) -> Number:
    return complex(x.real)


def gap(line: Line) -> Number:
    """log pi(w)/ref(w) - log pi(l)/ref(l)."""
    return line.sides[0].ratio - line.sides[1].ratio


def mean_gap(line: Line) -> Number:
    chosen, rejected = line.sides
    return chosen.ratio / chosen.n - rejected.ratio / rejected.n


def smoothed(margin: Number, flips: float) -> Number:
    return -(1 - flips) * log_sigmoid(margin) - flips * log_sigmoid(-margin)


# ------------------------------------------------------------------ single rows


def _sft(line: Line, *, mean: str) -> Number:
    (side,) = line.sides
    return -side.logp if mean == "token" else -side.logp / side.n


sft = each(_sft)
weighted_sft = each(lambda line, *, mean: line.value * _sft(line, mean=mean))


def kto(
    lines: Sequence[Line], *, beta: float, desirable: float, undesirable: float
) -> list[Number]:
    """lambda - v(x, y); z is the mean log-ratio of the mismatched completions, held constant."""
    baseline = fixed(above(sum(line.sides[1].ratio for line in lines) / len(lines), 0.0))
    found = []
    for line in lines:
        reward = line.sides[0].ratio
        if line.value > 0:
            found.append(desirable - desirable * sigmoid(beta * (reward - baseline)))
        else:
            found.append(undesirable - undesirable * sigmoid(beta * (baseline - reward)))
    return found


def _plackett_luce(line: Line, *, beta: float) -> Number:
    """-log prod_k exp(r_k) / sum_{j >= k} exp(r_j)."""
    rewards = [beta * side.ratio for side in line.sides]
    likely: Number = 1 + 0j
    for k, reward in enumerate(rewards):
        likely *= cmath.exp(reward) / sum(cmath.exp(other) for other in rewards[k:])
    return -cmath.log(likely)


plackett_luce = each(_plackett_luce)

# ------------------------------------------------------------------ pairs with a reference

dpo = each(lambda line, *, beta, label_smoothing: smoothed(beta * gap(line), label_smoothing))
dpo_norm = each(lambda line, *, beta: -log_sigmoid(beta * mean_gap(line)))
hinge = each(lambda line, *, beta: above(1 - beta * gap(line), 0.0))


def _robust(line: Line, *, beta: float, label_smoothing: float) -> Number:
    right, wrong = -log_sigmoid(beta * gap(line)), -log_sigmoid(-beta * gap(line))
    keep = 1 - label_smoothing
    return (keep * right - label_smoothing * wrong) / (keep - label_smoothing)


def _ipo(line: Line, *, beta: float, mean: str) -> Number:
    return ((gap(line) if mean == "sum" else mean_gap(line)) - 0.5 / beta) ** 2


def _exo(line: Line, *, beta: float, label_smoothing: float) -> Number:
    """KL(p || q) of p = softmax(beta * log-ratios), q = (1 - eps, eps)."""
    powers = [cmath.exp(beta * side.ratio) for side in line.sides]
    shares = [power / sum(powers) for power in powers]
    wanted = (1 - label_smoothing, label_smoothing)
    return sum((p * (cmath.log(p) - cmath.log(q)) for p, q in zip(shares, wanted)), 0j)


def _nca(line: Line, *, beta: float) -> Number:
    chosen, rejected = (beta * side.ratio for side in line.sides)
    return -log_sigmoid(chosen) - 0.5 * (log_sigmoid(-chosen) + log_sigmoid(-rejected))


def bco(lines: Sequence[Line], *, beta: float) -> list[Number]:
    rewards = [[beta * side.ratio for side in line.sides] for line in lines]
    shift = fixed(sum(sum(pair) for pair in rewards) / (2 * len(rewards)))
    return [-log_sigmoid(w - shift) - log_sigmoid(-(l - shift)) for w, l in rewards]  # noqa: E741


def _sppo(line: Line, *, beta: float) -> Number:
    """(log-ratio - eta (P - 1/2))^2 with eta = 1/beta, P = 1 for chosen and 0 for rejected."""
    return sum(
        ((side.ratio - (won - 0.5) / beta) ** 2 for side, won in zip(line.sides, (1, 0))), 0j
    )


def _apo_zero(line: Line, *, beta: float) -> Number:
    return -sigmoid(beta * line.sides[0].ratio) + sigmoid(beta * line.sides[1].ratio) + 1


def _apo_down(line: Line, *, beta: float) -> Number:
    return sigmoid(beta * line.sides[0].ratio) - sigmoid(beta * gap(line)) + 1


def _discopop(line: Line, *, beta: float, tau: float) -> Number:
    margin = beta * gap(line)
    share = sigmoid(margin / tau)
    return (1 - share) * cmath.log(1 + cmath.exp(-margin)) + share * cmath.exp(-margin)


def _dpop(line: Line, *, beta: float, penalty: float) -> Number:
    return -log_sigmoid(beta * (gap(line) - penalty * above(-line.sides[0].ratio, 0.0)))


def _r_dpo(line: Line, *, beta: float, alpha: float) -> Number:
    chosen, rejected = line.sides
    return -log_sigmoid(beta * gap(line) + alpha * chosen.n - alpha * rejected.n)


def _ld_dpo(line: Line, *, beta: float, alpha: float, on_reference: bool) -> Number:
    """Token by token: those past the shorter side's length count alpha."""
    shorter = min(side.n for side in line.sides)

    def counted(tokens: Tokens, share: float) -> Number:
        return sum((x if t < shorter else share * x for t, x in enumerate(tokens)), 0j)

    chosen, rejected = (
        counted(side.policy, alpha) - counted(side.reference, alpha if on_reference else 1.0)
        for side in line.sides
    )
    return -log_sigmoid(beta * (chosen - rejected))


def _f_dpo(line: Line, *, beta: float, divergence: str, alpha: float) -> Number:
    """beta f'(u) as the reward of u = pi/ref; Wang et al. 2023, table 1."""
    slope: Callable[[Number], Number] = {
        "reverse_kl": lambda u: cmath.log(u) + 1,
        "forward_kl": lambda u: -1 / u,
        "js": lambda u: cmath.log(2 * u / (1 + u)),
        "alpha": lambda u: (1 - u**-alpha) / alpha,
    }[divergence]
    chosen, rejected = (slope(cmath.exp(side.ratio)) for side in line.sides)
    return -log_sigmoid(beta * (chosen - rejected))


robust, ipo, exo, nca, sppo = each(_robust), each(_ipo), each(_exo), each(_nca), each(_sppo)
apo_zero, apo_down, discopop = each(_apo_zero), each(_apo_down), each(_discopop)
dpop, r_dpo, ld_dpo, f_dpo = each(_dpop), each(_r_dpo), each(_ld_dpo), each(_f_dpo)


def _ranks(values: Sequence[Number]) -> list[int]:
    """How many of the values lie below each."""
    return [sum(other.real < value.real for other in values) for value in values]


def _ascending(values: Sequence[Number]) -> list[Number]:
    return sorted(values, key=lambda value: value.real)


def aot(lines: Sequence[Line], *, beta: float, label_smoothing: float) -> list[Number]:
    """The k-th smallest gap of the policy against the k-th smallest of the reference."""
    ours = [line.sides[0].logp - line.sides[1].logp for line in lines]
    sums = [[sum(side.reference, 0j) for side in line.sides] for line in lines]
    theirs = _ascending([w - l for w, l in sums])  # noqa: E741
    pairs = zip(ours, _ranks(ours))
    return [smoothed(beta * (mine - theirs[rank]), label_smoothing) for mine, rank in pairs]


def aot_unpaired(lines: Sequence[Line], *, beta: float, label_smoothing: float) -> list[Number]:
    """The k-th smallest log-ratio of the chosen against the k-th smallest of the rejected."""
    chosen, rejected = ([line.sides[side].ratio for line in lines] for side in (0, 1))
    below = _ascending(rejected)
    pairs = zip(chosen, _ranks(chosen))
    return [smoothed(beta * (mine - below[rank]), label_smoothing) for mine, rank in pairs]


# ------------------------------------------------------------------ pairs without a reference


def _simpo(line: Line, *, beta: float, gamma: float) -> Number:
    chosen, rejected = (side.logp / side.n for side in line.sides)
    return -log_sigmoid(beta * chosen - beta * rejected - gamma)


def _orpo(line: Line, *, beta: float) -> Number:
    likely = [cmath.exp(side.logp / side.n) for side in line.sides]
    chosen, rejected = (p / (1 - p) for p in likely)
    return -cmath.log(likely[0]) - beta * log_sigmoid(cmath.log(chosen / rejected))


def _cpo(line: Line, *, beta: float, alpha: float, mean: str) -> Number:
    chosen, rejected = line.sides
    imitate = -chosen.logp / (chosen.n if mean == "token" else 1)
    return -log_sigmoid(beta * chosen.logp - beta * rejected.logp) + alpha * imitate


def _unlikelihood(line: Line, *, alpha: float) -> Number:
    chosen, rejected = line.sides
    unsaid = -sum((cmath.log(1 - cmath.exp(x)) for x in rejected.policy), 0j) / rejected.n
    return -chosen.logp / chosen.n + alpha * unsaid


simpo, orpo, cpo, unlikelihood = each(_simpo), each(_orpo), each(_cpo), each(_unlikelihood)

# ------------------------------------------------------------------ what any pair can have


def with_extras(loss: Loss, *, sft_weight: float = 0.0, wpo: bool = False) -> Loss:
    """RPO's SFT on chosen, per token; WPO's weight of a pair, held constant and at most 1."""

    def found(lines: Sequence[Line], **options: Any) -> list[Number]:
        losses = loss(lines, **options)
        if wpo:
            losses = [_sureness(line) * x for line, x in zip(lines, losses)]
        sides = [line.sides[0] for line in lines]
        return [x - sft_weight * side.logp / side.n for x, side in zip(losses, sides)]

    return found


def _sureness(line: Line) -> Number:
    """Geometric mean of p / sum p^2 over the tokens of a side, both sides multiplied."""
    found = 1 + 0j
    for side in line.sides:
        ratios = [cmath.exp(x) / q for x, q in zip(side.policy, side.square)]
        product = 1 + 0j
        for ratio in ratios:
            product *= fixed(ratio)
        found *= product ** (1 / side.n)
    return found if found.real < 1 else 1 + 0j
