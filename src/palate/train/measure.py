"""What a step and the held-out split say: losses, margins, regimes, accuracy with its interval."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from palate.engine.value import Model
from palate.errors import NumericsError
from palate.objectives import Objective, weight_limits
from palate.stats import share
from palate.train.events import Evaluation, Regimes
from palate.train.step import Batch, Result, evaluate

LEARNT, WRONG = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Heldout:
    """The held-out split, and the places in it of the rows by whose loss weights are chosen."""

    batch: Batch
    choosing: tuple[int, ...] = ()


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
    model: Model, heldout: Heldout, objective: Objective, *, budget: int, step: int
) -> Evaluation:
    """The held-out split under the weights as they are.  Raises NumericsError if not finite."""
    result = evaluate(model, heldout.batch, objective, budget)
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
    choosing_loss = _choosing_loss(heldout, objective, result)
    items = len(heldout.batch.items)
    return Evaluation(step, result.loss, items, choosing_loss=choosing_loss, **pairs)


def _choosing_loss(heldout: Heldout, objective: Objective, result: Result) -> float:
    """The loss of the rows that choose; of all if none was told apart."""
    if not heldout.choosing:
        return result.loss
    index = list(heldout.choosing)
    count = heldout.batch.subset(index).count(objective)
    return float(result.losses_I[index].double().sum()) / count
