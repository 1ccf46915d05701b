"""Objectives over pairs that ask no reference: log-probs alone, in nats, summed over tokens.

Shape suffixes: P pairs, 2 the sides, chosen first.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from palate.objectives.base import NotNegative, Positive

SUREST = -1e-6  # nats per token above which a completion's odds are taken as infinite


def simpo(
    logps_P2: Tensor, tokens_P2: Tensor, *, beta: Positive = 2.0, gamma: NotNegative = 1.0
) -> Tensor:
    """Log-probs per token, a margin of `gamma` asked.  Meng et al. 2024, eq. 6.

    `gamma` is the paper's: it is not multiplied by `beta`.
    """
    chosen, rejected = (logps_P2 / tokens_P2).unbind(-1)
    return -F.logsigmoid(beta * (chosen - rejected) - gamma)


def orpo(logps_P2: Tensor, tokens_P2: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """SFT on chosen, plus the log of the odds ratio.  Hong et al. 2024, eq. 4 and 7.

    SFT is over the completion's tokens; TRL takes the prompt's too.  `beta` is the paper's lambda.
    """
    mean_P2 = logps_P2 / tokens_P2
    held_P2 = mean_P2.clamp(max=SUREST)
    odds_P2 = held_P2 - log1mexp(held_P2)
    return -mean_P2[:, 0] - beta * F.logsigmoid(odds_P2[:, 0] - odds_P2[:, 1])


def cpo(
    logps_P2: Tensor,
    tokens_P2: Tensor,
    *,
    beta: Positive = 0.1,
    alpha: NotNegative = 1.0,
    mean: Literal["token", "sum"] = "token",
) -> Tensor:
    """DPO with a uniform reference (eq. 3), plus `alpha` times SFT on chosen.  Xu et al. 2024.

    `mean="sum"` is the paper's formula, the log-prob of the whole of chosen; `"token"` is per
    token, as TRL's (there over the step's tokens together).
    """
    chosen, rejected = logps_P2.unbind(-1)
    imitate = -chosen if mean == "sum" else -chosen / tokens_P2[:, 0]
    return alpha * imitate - F.logsigmoid(beta * (chosen - rejected))


def unlikelihood(
    logps_P2: Tensor, tokens_P2: Tensor, unlikely_P2: Tensor, *, alpha: NotNegative = 1.0
) -> Tensor:
    """SFT on chosen, and log(1 - p) on every token of rejected, both per token.

    Welleck et al. 2019, the unlikelihood loss with rejected as negative candidates.  It reads every
    token's probability, so it is no function of the log-probs of sequences.
    """
    mean_P2, unlikely_P2 = logps_P2 / tokens_P2, unlikely_P2 / tokens_P2
    return -mean_P2[:, 0] - alpha * unlikely_P2[:, 1]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation.  Maechler 2012, eq. 7."""
    near_zero = x > -0.6931
    small = torch.log(-torch.expm1(torch.where(near_zero, x, -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near_zero, -1.0, x)))
    return torch.where(near_zero, small, large)
