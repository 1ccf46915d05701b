"""What a step and the held-out split say: losses, margins, regimes, accuracy with its interval."""

import math
from typing import Any

from torch import Tensor

from palate.engine.policy import Policy
from palate.errors import NumericsError
from palate.objectives import Objective
from palate.stats import share
from palate.train.events import Evaluation, Regimes
from palate.train.step import Batch, Result, evaluate

LEARNT, WRONG = 0.1, 0.9


def margins(objective: Objective, result: Result) -> Tensor:
    """Implicit-reward margin of each pair (I,), in nats times beta."""
    deltas_IN = result.scored.deltas_IN
    return objective.full_weight * (deltas_IN[:, 0] - deltas_IN[:, 1])


def ranking(objective: Objective, result: Result) -> dict[str, Any]:
    """Margin and regimes of a step of pairs; nothing for single rows."""
    if objective.items != "pair":
        return {}
    pull = result.weights_IN[:, 0] / objective.full_weight
    learnt, wrong = int((pull < LEARNT).sum()), int((pull > WRONG).sum())
    regimes = Regimes(learnt, len(pull) - learnt - wrong, wrong)
    return {"margin": float(margins(objective, result).mean()), "regimes": regimes}


def evaluation(
    policy: Policy, heldout: Batch, objective: Objective, *, budget: int, step: int, best: float
) -> Evaluation:
    """The held-out split under the weights as they are.  Raises NumericsError if not finite."""
    result = evaluate(policy, heldout, objective, budget)
    if not math.isfinite(result.loss):
        raise NumericsError(f"the held-out loss after step {step} is not finite.")
    pairs: dict[str, Any] = {}
    if objective.items == "pair":
        margin, deltas_IN = margins(objective, result), result.scored.deltas_IN
        hits = float((margin > 0).sum() + 0.5 * (margin == 0).sum())
        pairs = {
            "accuracy": share(hits, len(margin)),
            "margin": float(margin.mean()),
            "chosen_change": float(deltas_IN[:, 0].mean()),
            "rejected_change": float(deltas_IN[:, 1].mean()),
        }
    return Evaluation(step, result.loss, len(heldout.items), result.loss < best, **pairs)
