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
    """The held-out split after `step`.  Log-prob changes: against the reference, nats per pair.

    `choosing_loss`: of the half that chooses between weights, by which `best` is decided.  `score`:
    what a reward says of a text drawn for each held-out prompt, `kl` how far that text is from the
    reference (nats); the loss is then minus what is maximised.
    """

    step: int
    loss: float
    items: int
    best: bool = False
    accuracy: Interval | None = None
    margin: float | None = None
    chosen_change: float | None = None
    rejected_change: float | None = None
    choosing_loss: float | None = None
    score: Interval | None = None
    kl: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One step of an online method: texts drawn, scored, and learnt from.

    Means per text: `score` as the reward gave it, `reward` in the starting model's spreads with
    the KL penalty taken off, `kl` sampled (nats), `length` in tokens, `ended` a share.  `entropy`
    in nats per token; `explained` is the share of the returns' variance that the value head
    foresaw.
    """

    step: int
    total: int
    score: float
    reward: float
    kl: float
    kl_coefficient: float
    policy_loss: float
    value_loss: float | None
    explained: float | None
    clip_fraction: float
    advantage_std: float
    entropy: float
    length: float
    ended: float
    lr: float
    grad_norm: float
    items_per_second: float
    seconds_left: float


Event = Note | Working | Step | Round | Evaluation
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener of a caller who does not care."""
