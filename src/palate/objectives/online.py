"""What learning from a model's own texts is made of: advantages, clipped losses, KL estimates.

Pure functions over padded arrays, nothing reduced.  A mask is True at the tokens of a completion,
which stand at the left; what stands in the padding is never read, and results are 0 there.
Log-probs and KL are in nats, rewards and values in the reward's own unit.

Shape suffixes: S sequences, L places of the longest, P prompts, N completions of each.
"""

import torch
from torch import Tensor

FARTHEST = 80.0  # a log-ratio beyond it is held there: finite in fp32, and so is its gradient
STEADY = 1e-8  # added to a variance before the root, so that equal numbers whiten to 0
OF_SPREAD = 1e-4  # added to a group's standard deviation, as TRL does


def shaped(
    scores_S: Tensor, logps_SL: Tensor, reference_SL: Tensor, mask_SL: Tensor, *, kl: float
) -> Tensor:
    """Rewards per token (S,L): `-kl` times the log-ratio, and the score at the last token.

    Ziegler et al. 2019, eq. 2, given out token by token; Stiennon et al. 2020, section 3.4.
    Summed over a row they are its KL-shaped reward, as RLOO takes it.
    """
    rewards_SL = _inside(-kl * (logps_SL - reference_SL), mask_SL)
    last_S = (mask_SL.sum(-1) - 1).clamp(min=0)
    paid_S = _inside(scores_S.to(rewards_SL), mask_SL.any(-1))
    return rewards_SL.scatter_add(-1, last_S[:, None], paid_S[:, None])


def returns(rewards_SL: Tensor, mask_SL: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Discounted sum of the rewards from each token on (S,L), 0 in the padding."""
    return _backwards(_inside(rewards_SL, mask_SL), mask_SL, gamma)


def gae(
    rewards_SL: Tensor, values_SL: Tensor, mask_SL: Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Advantages (S,L), and the returns (S,L) that values are fitted to: advantage plus value.

    Schulman et al. 2016, eq. 16: sums of `reward + gamma * next value - value` with the factor
    `gamma * lam` per token.  A text ends in value 0, cut off or not.
    """
    values_SL = _inside(values_SL, mask_SL)
    later_SL = torch.cat([values_SL[:, 1:], torch.zeros_like(values_SL[:, :1])], -1)
    surprise_SL = _inside(rewards_SL, mask_SL) + gamma * later_SL - values_SL
    advantages_SL = _backwards(surprise_SL, mask_SL, gamma * lam)
    return advantages_SL, advantages_SL + values_SL


def whiten(values_SL: Tensor, mask_SL: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the tokens (S,L).  Huang et al. 2024, advantage whitening.

    Over all tokens of the array, with the variance of the population.  Equal numbers become 0.
    """
    shifted_SL = _inside(values_SL - mean(values_SL, mask_SL), mask_SL)
    return shifted_SL * (mean(shifted_SL.square(), mask_SL) + STEADY).rsqrt()


def clipped_policy(logps: Tensor, old: Tensor, advantages: Tensor, *, clip: float) -> Tensor:
    """Minus the clipped surrogate, in the shape of `logps`.  Schulman et al. 2017, eq. 7.

    `old` are the log-probs under the policy that drew.  An entry is a token, or a whole sequence
    where that is the action.
    """
    ratio = (logps - old).clamp(max=FARTHEST).exp()
    held = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantages, held * advantages)


def is_clipped(logps: Tensor, old: Tensor, advantages: Tensor, *, clip: float) -> Tensor:
    """Whether `clipped_policy` gives an entry no gradient: its ratio has gone far enough.

    Bool, in the shape of `logps`; where the advantage is 0, False.
    """
    change = (logps - old).clamp(max=FARTHEST).exp() - 1
    return ((change > clip) & (advantages > 0)) | ((change < -clip) & (advantages < 0))


def clipped_value(values: Tensor, old: Tensor, wanted: Tensor, *, clip: float) -> Tensor:
    """Half the squared error of a value, the worse of itself and held near the old one.

    In the shape of `values`.  Huang et al. 2024, value clipping, from OpenAI's code for Schulman
    et al. 2017; `clip` is in the reward's unit.
    """
    held = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - wanted).square(), (held - wanted).square())


def rloo(rewards_PN: Tensor) -> Tensor:
    """Each reward minus the mean of the other completions' (P,N).  Ahmadian et al. 2024, RLOO.

    A completion is left out of its own baseline, so the baseline does not bias the gradient.
    Raises ValueError for fewer than two completions.
    """
    apart_PN, count = _from_the_first(rewards_PN)
    return (apart_PN - apart_PN.mean(-1, keepdim=True)) * count / (count - 1)


def grpo(rewards_PN: Tensor, *, scale: bool = True) -> Tensor:
    """Each reward minus its group's mean, over the group's standard deviation (P,N).

    Shao et al. 2024, section 4.1.2.  Without `scale` the mean alone is taken off, so that prompts
    whose answers hardly differ are not blown up: Liu et al. 2025 (Dr. GRPO).  The deviation is the
    sample's, plus 1e-4, as in TRL.  A group of equal rewards gets 0.  Raises ValueError for fewer
    than two completions.
    """
    apart_PN, _ = _from_the_first(rewards_PN)
    apart_PN = apart_PN - apart_PN.mean(-1, keepdim=True)
    return apart_PN / (apart_PN.std(-1, keepdim=True) + OF_SPREAD) if scale else apart_PN


def kl_k1(logps: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) from a draw of the policy: the log-ratio.  Unbiased, may be negative.

    Schulman 2020, "Approximating KL divergence", k1; in the shape of `logps`.
    """
    return logps - reference


def kl_k2(logps: Tensor, reference: Tensor) -> Tensor:
    """Half the square of the log-ratio: biased, never negative.  Schulman 2020, k2."""
    return 0.5 * (logps - reference).square()


def kl_k3(logps: Tensor, reference: Tensor) -> Tensor:
    """`r - 1 - log r` with r = reference over policy: unbiased, never negative.

    Schulman 2020, k3; the penalty of Shao et al. 2024, eq. 4.
    """
    away = (reference - logps).clamp(max=FARTHEST)
    return torch.expm1(away) - away


def adaptive_coefficient(
    coefficient: float, kl: float, *, target: float, gain: float = 0.1
) -> float:
    """The KL coefficient of the next step, from this step's KL per text in nats.

    Ziegler et al. 2019, section 2.2: a proportional controller in log space, the error clipped to
    +-0.2, `gain` the paper's K_beta.
    """
    error = min(max((kl - target) / target, -0.2), 0.2)
    return coefficient * (1 + gain * error)


def explained_variance(values_SL: Tensor, returns_SL: Tensor, mask_SL: Tensor) -> float:
    """Share of the returns' variance that the values explain: 1 all, 0 none, below 0 worse.

    0 where the returns do not vary.
    """
    spread = _variance(returns_SL, mask_SL)
    left = _variance(returns_SL - values_SL, mask_SL)
    return float(1 - left / spread) if spread > 0 else 0.0


def mean(values_SL: Tensor, mask_SL: Tensor) -> Tensor:
    """Mean over the tokens, a scalar; 0 where there are none."""
    return _inside(values_SL, mask_SL).sum() / mask_SL.sum().clamp(min=1)


def _variance(values_SL: Tensor, mask_SL: Tensor) -> Tensor:
    return mean((values_SL - mean(values_SL, mask_SL)).square(), mask_SL)


def _inside(values: Tensor, mask: Tensor) -> Tensor:
    """0 in the padding, whatever stood there."""
    return torch.where(mask, values, torch.zeros_like(values))


def _backwards(values_SL: Tensor, mask_SL: Tensor, factor: float) -> Tensor:
    """Sum of a token's value and those after it, each place further times `factor`."""
    total_S, columns = torch.zeros_like(values_SL[:, 0]), []
    for values_S in values_SL.flip(-1).unbind(-1):
        total_S = values_S + factor * total_S
        columns.append(total_S)
    return _inside(torch.stack(columns, -1).flip(-1), mask_SL)


def _from_the_first(rewards_PN: Tensor) -> tuple[Tensor, int]:
    """Rewards counted from the group's first, so that equal ones are exactly 0; and N."""
    count = rewards_PN.shape[-1]
    if count < 2:
        raise ValueError(f"a group of {count} has nothing to be compared with")
    return rewards_PN - rewards_PN[:, :1], count
