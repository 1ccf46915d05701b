"""What every objective takes and says of itself.

Shape suffixes: I items of a step, N sequences of an item (1 for SFT; chosen, rejected for a pair).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scored:
    """Items with their log-probs in nats, summed over `tokens_IN` scored tokens each."""

    logps_IN: Tensor
    tokens_IN: Tensor
    reference_IN: Tensor | None = None

    @property
    def deltas_IN(self) -> Tensor:
        """Log-ratios to the reference."""
        assert self.reference_IN is not None, "this objective needs a reference"
        return self.logps_IN - self.reference_IN


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss per item, and what the trainer must know to use it without asking its name.

    `count` is what the summed loss is divided by; `coupled` items influence each other, so a step
    takes all log-probs first; `full_weight` is the weight of a pair that is ranked all wrong.
    """

    name: str
    paper: str
    loss: Callable[[Scored], Tensor]
    items: Literal["row", "pair"]
    count: Literal["items", "tokens"] = "items"
    needs: frozenset[Literal["reference"]] = frozenset()
    coupled: bool = False
    full_weight: float = 1.0
