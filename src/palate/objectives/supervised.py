"""Objectives over single sequences: imitate what is shown.

Shape suffixes: S sequences, I items, N sequences of an item.
"""

from typing import Literal

from torch import Tensor


def sft(
    logps_S1: Tensor, tokens_S1: Tensor, *, mean: Literal["token", "sequence"] = "token"
) -> Tensor:
    """Loss per sequence (S,) in nats: negative log-likelihood of the completion.

    `mean="token"` leaves it summed, to be divided by the step's tokens: every completion token
    weighs the same (the convention of instruction tuning).  `mean="sequence"` takes 1/N within each
    sequence, as the formula is usually written: every completion weighs the same.
    """
    loss_S1 = -logps_S1 if mean == "token" else -logps_S1 / tokens_S1
    return loss_S1[:, 0]


def weighted_sft(
    logps_S1: Tensor,
    tokens_S1: Tensor,
    value_S: Tensor,
    *,
    mean: Literal["token", "sequence"] = "token",
) -> Tensor:
    """SFT times the row's own weight (S,).

    0 or 1 is rejection sampling; an advantage, which may be negative, is offline policy gradient
    (REINFORCE, Williams 1992, with the data's policy in place of the current one).
    """
    return value_S * sft(logps_S1, tokens_S1, mean=mean)
