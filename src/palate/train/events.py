"""What a stage tells its caller while it works.  The caller decides what to show."""

from collections.abc import Callable
from dataclasses import dataclass

from palate.stats import Interval


@dataclass(frozen=True, slots=True)
class Note:
    """One thing said once: a decision with its reason, or a warning."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Working:
    """Progress of what is not an optimiser step: rendering, the reference pass, sampling."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Regimes:
    """Pairs of one step by the weight they still get: < 0.1 beta, between, > 0.9 beta."""

    learnt: int
    undecided: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step.  `margin` and `regimes` only where the objective ranks pairs."""

    step: int
    total: int
    loss: float
    lr: float
    grad_norm: float
    items_per_second: float
    seconds_left: float
    margin: float | None = None
    regimes: Regimes | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The held-out split after `step`.  Log-prob changes: against the reference, nats per pair."""

    step: int
    loss: float
    items: int
    best: bool
    accuracy: Interval | None = None
    margin: float | None = None
    chosen_change: float | None = None
    rejected_change: float | None = None


Event = Note | Working | Step | Evaluation
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener of a caller who does not care."""
