"""Objectives over single verdicts and over ranked lists, measured against a reference.

Shape suffixes: I items, 2 the completion and a mismatched one, N ranked completions, best first.
"""

import torch
from torch import Tensor

from palate.objectives.base import Positive

NOTHING = -1e30  # reward of an empty place; -inf would make its gradient nan


def kto(
    delta_I2: Tensor,
    value_I: Tensor,
    *,
    beta: Positive = 0.1,
    desirable: Positive = 1.0,
    undesirable: Positive = 1.0,
) -> Tensor:
    """Loss per verdict (I,): its reward against what the policy gained elsewhere.

    Ethayarajh et al. 2024, eq. 7.  `desirable` and `undesirable` weigh the two verdicts (lambda in
    the paper); a verdict is +1 or -1.  The baseline z is the mean log-ratio of the step's
    mismatched completions (each prompt with another row's), not below 0, and without gradient.
    """
    baseline = delta_I2[:, 1].mean().clamp(min=0).detach()
    scale_I = torch.where(value_I > 0, desirable, undesirable)
    return scale_I * (1 - torch.sigmoid(value_I * beta * (delta_I2[:, 0] - baseline)))


def plackett_luce(delta_IN: Tensor, tokens_IN: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """Negative log-likelihood of a whole ranking (I,).  Rafailov et al. 2023, appendix A.3.

    Lists may differ in length.  With two completions this is DPO.
    """
    here_IN = tokens_IN > 0  # a place without tokens is empty: that list is shorter
    rewards_IN = (beta * delta_IN).masked_fill(~here_IN, NOTHING)
    rest_IN = rewards_IN.flip(-1).logcumsumexp(-1).flip(-1)
    return (rest_IN - rewards_IN).masked_fill(~here_IN, 0.0).sum(-1)
