"""What a check reads and what it says: the case, the finding, the check.

A check never raises for what it finds, never edits, and says nothing of what it cannot see: what a
tier did not bring is None, and too few rows are told as such.

Shape suffixes: P pairs of the case, in its order; 2 chosen, rejected; M model's own samples.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from palate.stats import Interval
from palate.study.history import RunHistory

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Severity = Literal["error", "warning", "info", "ok", "too few"]
Tier = Literal[0, 1, 2]
OURS = "our default"
ENOUGH = 50


@dataclass(frozen=True, slots=True)
class PairText:
    """One pair as text.  `prompt` holds every earlier turn; `extra` the record's other fields."""

    line: int
    prompt: str
    chosen: str
    rejected: str
    tag: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExampleText:
    """One SFT row as text; no prompt is an empty one."""

    line: int
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Texts of the model itself on some of the case's prompts.

    `logps_M` are nats per token, `tokens_M` their lengths, `pair_M` which pair's prompt it was.
    """

    pair_M: Ints
    logps_M: Floats
    tokens_M: Ints
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What the model says of every pair, from one pass.  Log-probs in nats, summed over tokens.

    `empty_P2` are log-probs of the same answers after an empty prompt.  `states_P2D` are means of
    last-layer states over the scored tokens, in float32.  `ln_ches_P` is the length-normalised CHES
    score.  `first_P` is the first token in which the sides differ, counted from the answer's start.
    NaN (or −1) stands for a pair that could not be rendered.
    """

    model: str
    beta: float
    limit: int
    logps_P2: Floats
    tokens_P2: Ints
    first_P: Ints
    ln_ches_P: Floats
    states_P2D: NDArray[np.float32]
    cut: Mapping[int, str] = field(default_factory=dict)
    samples: Samples | None = None
    empty_P2: Floats | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """Everything that a check may read."""

    path: str
    pairs: Sequence[PairText] = ()
    examples: Sequence[ExampleText] = ()
    heldout: Sequence[PairText | ExampleText] = ()
    heldout_path: str | None = None
    measured: Measured | None = None
    history: RunHistory | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, the figure behind it, what it was held against, who says so, and the rows.

    `key` tells findings of one check apart (a feature, a prompt).  `rows` are line numbers, worst
    first.  `value` is in the unit of `threshold`, a share unless the check says otherwise.
    """

    check: str
    severity: Severity
    message: str
    value: float | None = None
    interval: Interval | None = None
    threshold: str = ""
    source: str = OURS
    rows: tuple[int, ...] = ()
    todo: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table: what it asks, what it cannot see, and the function that looks.

    `tier` 0 reads text alone, 1 needs `measured`, 2 verdicts or a training history.
    """

    name: str
    tier: Tier
    asks: str
    blind: str
    run: Callable[[Case], Iterable[Finding]]


def too_few(check: str, count: int, what: str = "pairs", *, enough: int = ENOUGH) -> Finding:
    """The honest answer of a check that has too little to go on."""
    message = f"{count} {what} are too few to tell (from {enough} on)."
    return Finding(check, "too few", message, value=float(count), threshold=f"{enough} {what}")


def graded(value: float, *, warn: float, error: float | None = None) -> Severity:
    """The severity of a figure that is worse the larger it is."""
    if error is not None and value >= error:
        return "error"
    return "warning" if value >= warn else "ok"
