"""What a step and the held-out split say: losses, margins, regimes, accuracy with its interval."""

import math
from typing import Any

from torch import Tensor

from palate.engine.policy import Policy
from palate.errors import NumericsError
from palate.objectives import Objective, weight_limits
from palate.stats import share
from palate.train.events import Evaluation, Regimes
from palate.train.step import Batch, Result, evaluate

LEARNT, WRONG = 0.1, 0.9


def ranking(objective: Objective, result: Result) -> dict[str, Any]:
    """Margin of a step of pairs, and regimes where weights are bounded; nothing for other rows."""
    if objective.items != "pair":
        return {}
    found = {"margin": float(objective.margin(result.scored).mean())}
    share_I = push_share(objective, result)
    if share_I is None:
        return found
    learnt, wrong = int((share_I < LEARNT).sum()), int((share_I > WRONG).sum())
    return {**found, "regimes": Regimes(learnt, len(share_I) - learnt - wrong, wrong)}


def push_share(objective: Objective, result: Result) -> Tensor | None:
    """Where chosen's weight lies (I,) between that of a pair ranked right (0) and wrong (1)."""
    limits = weight_limits(objective, result.scored)
    if limits is None:
        return None
    least_I, most_I = limits
    return (result.weights_IN[:, 0] - least_I) / (most_I - least_I)


def evaluation(
    policy: Policy, heldout: Batch, objective: Objective, *, budget: int, step: int, best: float
) -> Evaluation:
    """The held-out split under the weights as they are.  Raises NumericsError if not finite."""
    result = evaluate(policy, heldout, objective, budget)
    if not math.isfinite(result.loss):
        raise NumericsError(f"the held-out loss after step {step} is not finite.")
    pairs: dict[str, Any] = {}
    if objective.items == "pair":
        margin = objective.margin(result.scored)
        hits = float((margin > 0).sum() + 0.5 * (margin == 0).sum())
        pairs = {"accuracy": share(hits, len(margin)), "margin": float(margin.mean())}
        if objective.uses_reference:
            chosen, rejected = result.scored.deltas_IN[:, :2].mean(0).tolist()
            pairs |= {"chosen_change": chosen, "rejected_change": rejected}
    return Evaluation(step, result.loss, len(heldout.items), result.loss < best, **pairs)
