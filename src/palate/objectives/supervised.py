"""Objectives over single sequences: imitate what is shown."""

from typing import Literal

from torch import Tensor

from palate.objectives.base import Objective, Scored


def sft(logps_S: Tensor, tokens_S: Tensor, *, mean: Literal["token", "sequence"]) -> Tensor:
    """Loss per sequence (S,) in nats: negative log-likelihood of the completion.

    `mean="token"` leaves it summed, to be divided by the step's tokens: every completion token
    weighs the same (the convention of instruction tuning).  `mean="sequence"` takes 1/N within each
    sequence, as the formula is usually written: every completion weighs the same.
    """
    return -logps_S if mean == "token" else -logps_S / tokens_S


def objective(*, mean: Literal["token", "sequence"] = "token") -> Objective:
    """SFT as the trainer sees it."""

    def loss(scored: Scored) -> Tensor:
        return sft(scored.logps_IN[:, 0], scored.tokens_IN[:, 0], mean=mean)

    return Objective(
        name="sft",
        paper="Ouyang et al. 2022, arXiv:2203.02155",
        loss=loss,
        items="row",
        count="tokens" if mean == "token" else "items",
    )
