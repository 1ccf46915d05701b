"""The weight of every sequence under any objective: training on L is SFT with these weights.

grad L = sum_i (dL/dl_i) grad l_i,   weight_i = -dL/dl_i
"""

from dataclasses import replace

import torch
from torch import Tensor

from palate.objectives.base import Objective, Scored


def weights(objective: Objective, scored: Scored) -> Tensor:
    """`-dL/dlogp` (I,N) of the summed loss: positive is pushed up, negative is pushed down."""
    with torch.enable_grad():
        logps = scored.logps_IN.detach().requires_grad_()
        total = objective.loss(replace(scored, logps_IN=logps)).sum()
        (gradient,) = torch.autograd.grad(total, logps)
    return -gradient
