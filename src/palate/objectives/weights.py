"""The weight of every sequence, and of every token, under any objective.

grad L = sum_i (dL/dl_i) grad l_i,   weight_i = -dL/dl_i

so training on L is SFT with these weights.  Objectives that read more of a token than the sum of
log-probs (`Objective.sums`) have no weight per sequence that says it all; every objective has one
per token.

Shape suffixes: I items of a step, N sequences of an item, K scored tokens.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from palate.objectives.base import Objective, Scored

FAR = 1e4  # nats by which a pair is made all right or all wrong
HUGE = 1e6  # a weight above this is a formula's overflow guard, not its limit


def weights(objective: Objective, scored: Scored) -> Tensor:
    """`-dL/dlogp` (I,N) of the summed loss: positive is pushed up, negative is pushed down."""
    return _pull(
        lambda logps_IN: objective.loss(replace(scored, logps_IN=logps_IN)), scored.logps_IN
    )


def token_weights(
    objective: Objective, read: Callable[[Tensor], Scored], logps_K: Tensor
) -> Tensor:
    """`-dL/dlogp` (K,) of the summed loss; `read` joins the tokens' log-probs to items.

    A token that several sequences share gets the sum of theirs: on a pair's shared prefix, 0.
    """
    return _pull(lambda leaf_K: objective.loss(read(leaf_K)), logps_K)


def weight_limits(objective: Objective, scored: Scored) -> tuple[Tensor, Tensor] | None:
    """Chosen's weight (I,) were the pair ranked all right, and all wrong; None if unbounded.

    None too if both are the same: then the weight does not depend on how the pair is ranked.
    """
    right_I, wrong_I = _at(objective, scored, FAR), _at(objective, scored, -FAR)
    further_I = _at(objective, scored, -2 * FAR)
    still = torch.allclose(wrong_I, further_I, rtol=1e-6)
    if not still or not bool(((wrong_I - right_I).abs() > 1e-9).all()) or wrong_I.max() > HUGE:
        return None
    return right_I.to(scored.logps_IN), wrong_I.to(scored.logps_IN)


def _at(objective: Objective, scored: Scored, nats: float) -> Tensor:
    """Chosen's weight (I,) with its log-prob moved by `nats`, in float64."""
    logps_IN, reference = scored.logps_IN.double().clone(), scored.reference_IN
    logps_IN[:, 0] += nats
    wide = None if reference is None else reference.double()
    return weights(objective, replace(scored, logps_IN=logps_IN, reference_IN=wide))[:, 0]


def _pull(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    return -gradient
