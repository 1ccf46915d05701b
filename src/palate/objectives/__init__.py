"""What is learnt: pure functions of log-probs.  No model, no I/O, no reduction.

`OBJECTIVES` maps a name to the function that builds it from its options.
"""

from collections.abc import Callable
from typing import Any

from palate.objectives import pairwise, supervised
from palate.objectives.base import Objective, Scored
from palate.objectives.weights import weights

__all__ = ["OBJECTIVES", "Objective", "Scored", "weights"]

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "sft": supervised.objective,
    "dpo": pairwise.objective,
}


def build(name: str, **options: Any) -> Objective:
    """The objective of that name.  An option that it does not take raises TypeError."""
    return OBJECTIVES[name](**options)
