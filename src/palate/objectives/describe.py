"""What the table of objectives says of each, as data: for `palate objectives` and the docs."""

from dataclasses import dataclass
from typing import Any

from palate.objectives.base import OF_REFERENCE, Kind
from palate.objectives.table import spec_of

ROWS: dict[Kind, str] = {
    "row": "prompt, completion",
    "weighted": "prompt, completion, weight",
    "pair": "prompt, chosen, rejected",
    "labelled": "prompt, completion, label",
    "ranked": "prompt, completions",
}
LEGEND = (
    "ℓ is a completion's log-prob in nats, summed over its n scored tokens; r the reference's; "
    "Δ = ℓ − r; w chosen, l rejected; m = β (Δ_w − Δ_l); σ the logistic function."
)


@dataclass(frozen=True, slots=True)
class Option:
    """`allowed` says what it may be: `> 0`, `sum or token`."""

    name: str
    default: Any
    allowed: str

    def __str__(self) -> str:
        value = str(self.default).lower() if isinstance(self.default, bool) else self.default
        return f"{self.name} = {value} ({self.allowed})"


OF_PAIRS = (Option("sft_weight", 0.0, "≥ 0"), Option("wpo", False, "true or false"))


@dataclass(frozen=True, slots=True)
class Described:
    """One objective for people.  `options` are its own; those of every pair are `OF_PAIRS`."""

    name: str
    stage: str
    when: str
    formula: str
    paper: str
    rows: str
    reference: bool
    lengths: bool
    coupled: bool
    pairs: bool
    options: tuple[Option, ...]
    notes: str


def described(name: str) -> Described:
    """Raises UsageError for a name that is not in the table."""
    spec = spec_of(name)
    limits = spec.limits
    return Described(
        name=name,
        stage="sft" if spec.items in ("row", "weighted") else "dpo",
        when=spec.when,
        formula=spec.formula,
        paper=spec.paper,
        rows=ROWS[spec.items],
        reference=bool(OF_REFERENCE & set(spec.reads)),
        lengths="tokens" in spec.reads,
        coupled=spec.coupled,
        pairs=spec.items == "pair",
        options=tuple(Option(key, value, limits[key]) for key, value in spec.options.items()),
        notes=spec.notes,
    )
