"""What the microscope saw, as plain values: what pages, terminal and JSON are made from.

No torch here.  Log-probs in nats; a weight is `-dL/dlogp` of the row's own loss; `push` of a token
is the length of its logit gradient, `|weight| * ||softmax - onehot||`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["shared", "first", "after"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """What the model would have said: its probability, and the signed push on its logit."""

    text: str
    p: float
    push: float


@dataclass(frozen=True, slots=True)
class Token:
    """One scored token.  `net_logit_grad_norm`: both sides' push at the first divergence."""

    text: str
    logp: float
    ref_logp: float | None
    logit_grad_norm: float
    kind: Kind
    alternatives: tuple[Alternative, ...]
    net_logit_grad_norm: float | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One completion.  `mass`: the pushes of its tokens summed.  `detail`: token by token."""

    name: str
    logp: float
    ref_logp: float | None
    count: int
    weight: float
    mass: float | None = None
    detail: tuple[Token, ...] | None = None


@dataclass(frozen=True, slots=True)
class Switched:
    """One objective with its options: weights of each row's sides, and its weight curve.

    `curve_weights[i]` is chosen's weight at `curve_margins[i]`, the objective's own margin, for a
    row of typical length whose sides are moved equally.
    """

    objective: str
    options: dict[str, Any]
    weights: tuple[tuple[float, float], ...]
    losses: tuple[float, ...]
    margins: tuple[float, ...]
    curve_margins: tuple[float, ...]
    curve_weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file: a pair (two sides, chosen first) or an example (one)."""

    number: int
    line: int
    prompt: str
    sides: tuple[Side, ...]
    loss: float
    words: str
    margin: float | None = None
    shared: int = 0
    tag: str | None = None

    @property
    def mass(self) -> float:
        """The pushes of all tokens of all sides."""
        return sum(side.mass or 0.0 for side in self.sides)

    def as_json(self) -> dict[str, Any]:
        """The object that `palate explain --json` prints."""
        found: dict[str, Any] = {
            "pair" if len(self.sides) == 2 else "row": self.number,
            "line": self.line,
            "prompt": self.prompt,
            "margin": self.margin,
            "loss": self.loss,
            "weights": {side.name: side.weight for side in self.sides},
            "words": self.words,
        }
        for side in self.sides:
            tokens = None if side.detail is None else [_token(token) for token in side.detail]
            found[side.name] = {
                "logp": side.logp,
                "ref_logp": side.ref_logp,
                "count": side.count,
                "mass": side.mass,
                "tokens": tokens,
            }
        return found


@dataclass(frozen=True, slots=True)
class Frame:
    """A row at one step of training: its margin, its weights, and the push on every token."""

    step: int
    margin: float | None
    weights: tuple[float, ...]
    pushes: tuple[tuple[float, ...], ...]
    logps: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """A few rows at a dozen steps.  `imitated`: the same rows under SFT on chosen, per frame."""

    rows: tuple[Row, ...]
    frames: tuple[tuple[Frame, ...], ...]
    imitated: tuple[tuple[Frame, ...], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A file under a model.  `switched` holds five objectives at five betas, for pairs."""

    model: str
    reference: str | None
    source: str
    objective: str
    options: dict[str, Any]
    step: int | None
    rows: tuple[Row, ...]
    switched: tuple[Switched, ...] = ()
    replay: Replay | None = None


def _token(token: Token) -> dict[str, Any]:
    found = asdict(token)
    if token.net_logit_grad_norm is None:
        del found["net_logit_grad_norm"]
    return found
