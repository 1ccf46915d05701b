"""Objectives over pairs: of two completions of one prompt, prefer the first.

Shape suffixes: P pairs, 2 the sides, chosen first.
"""

import torch.nn.functional as F
from torch import Tensor

from palate.objectives.base import Objective, Scored


def dpo(delta_P2: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Loss per pair (P,) from log-ratios to the reference, in nats.  Rafailov et al. 2023, eq. 7.

    `label_smoothing` is the share of verdicts assumed to be wrong: conservative DPO, Mitchell 2023,
    "A note on DPO with noisy preferences", eq. 3.
    """
    margin = implicit_margin(delta_P2, beta=beta)
    right, wrong = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    return (1 - label_smoothing) * right + label_smoothing * wrong


def implicit_margin(delta_P2: Tensor, *, beta: float) -> Tensor:
    """Implicit reward of chosen minus that of rejected (P,).  Rafailov et al. 2023, section 5.1."""
    chosen, rejected = delta_P2.unbind(-1)
    return beta * (chosen - rejected)


def objective(*, beta: float, label_smoothing: float = 0.0) -> Objective:
    """DPO as the trainer sees it."""

    def loss(scored: Scored) -> Tensor:
        return dpo(scored.deltas_IN, beta=beta, label_smoothing=label_smoothing)

    return Objective(
        name="dpo",
        paper="Rafailov et al. 2023, arXiv:2305.18290",
        loss=loss,
        items="pair",
        needs=frozenset({"reference"}),
        full_weight=beta,
    )
