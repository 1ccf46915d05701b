"""What is learnt: pure functions of log-probs.  No model, no I/O, no reduction."""

from palate.objectives.base import Objective, Scored
from palate.objectives.table import OBJECTIVES, build
from palate.objectives.weights import token_weights, weight_limits, weights

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Scored",
    "build",
    "token_weights",
    "weight_limits",
    "weights",
]
