"""What an objective takes and says of itself; the trainer asks this and never a name.

The leading parameters of a loss function say what it reads (`READS`), so a function without
`delta` or `reference` never makes anybody compute a reference.  Its keyword parameters are its
options, with type, limits and default.

Shape suffixes: I items of a step, N sequences of an item (1 for SFT; chosen, rejected for a pair).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from palate.data.rows import Item
from palate.errors import UsageError

Kind = Literal["row", "weighted", "pair", "labelled", "ranked"]
Count = Literal["items", "tokens"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Flips = Annotated[float, Field(ge=0, lt=0.5)]
Prepare = Callable[[Sequence[Item]], list[Item]]
FOR_PAIRS = ("sft_weight", "wpo")  # options of every objective over pairs (`table.build`)


@dataclass(frozen=True, slots=True)
class Scored:
    """Items with their log-probs in nats, summed over `tokens_IN` scored tokens each.

    `value_I` is the row's own number: its weight, its strength, or its verdict.  `sums`
    holds other sums over a sequence's tokens (`objectives.tokens`).  An item with fewer sequences
    than N has 0 tokens in the places that are left.
    """

    logps_IN: Tensor
    tokens_IN: Tensor
    reference_IN: Tensor | None = None
    value_I: Tensor | None = None
    sums: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def rewards_IN(self) -> Tensor:
        """Of a reward model, whose one number per sequence is a reward where a policy's is a
        log-prob: weights and margins are taken of both in the same way.
        """
        return self.logps_IN

    @property
    def deltas_IN(self) -> Tensor:
        """Log-ratios to the reference."""
        assert self.reference_IN is not None, "this objective needs a reference"
        return self.logps_IN - self.reference_IN


READS: dict[str, Callable[[Scored], Any]] = {
    "logps": lambda scored: scored.logps_IN,
    "rewards": lambda scored: scored.rewards_IN,
    "tokens": lambda scored: scored.tokens_IN.to(scored.logps_IN),
    "reference": lambda scored: scored.reference_IN,
    "delta": lambda scored: scored.deltas_IN,
    "value": lambda scored: scored.value_I,
    "sureness": lambda scored: scored.sums["sureness"],
    "unlikely": lambda scored: scored.sums["unlikely"],
}
OF_REFERENCE = {"reference", "delta"}
OF_TOKENS = {"sureness", "unlikely"}
OF_REWARD_MODEL = {"rewards"}


@dataclass(frozen=True, slots=True)
class Spec:
    """A row of the table of objectives.

    `loss` gives one loss per item, `formula` says it to people; `count` is what the summed loss is
    divided by (it may depend on the options); `coupled` items influence each other; `prepare` adds
    sequences to the items; `per_token`: its margin counts log-probs per token.
    """

    loss: Callable[..., Tensor]
    items: Kind
    formula: str
    paper: str
    when: str
    coupled: bool = False
    per_token: Callable[[Mapping[str, Any]], bool] = lambda options: False
    prepare: Prepare | None = None
    count: Callable[[Mapping[str, Any]], Count] = lambda options: "items"

    @property
    def reads(self) -> tuple[str, ...]:
        """What the function's leading parameters name, shape suffix cut off."""
        found = inspect.signature(self.loss).parameters.values()
        return tuple(p.name.rpartition("_")[0] for p in found if p.kind is not p.KEYWORD_ONLY)

    @property
    def options(self) -> dict[str, Any]:
        """Name -> default of every option."""
        found = inspect.signature(self.loss).parameters.values()
        return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY}

    @property
    def limits(self) -> dict[str, str]:
        """Name -> what the option may be, in words."""
        kinds = get_type_hints(self.loss, include_extras=True)
        return {option: allowed(kinds[option]) for option in self.options}

    @property
    def notes(self) -> str:
        """What the function says beyond its first paragraph, on one line."""
        return " ".join((inspect.getdoc(self.loss) or "").partition("\n\n")[2].split())

    def checked(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options, those left out at their default.  Raises UsageError naming a wrong one."""
        known = self.options
        for option in given:
            if option not in known:
                takes = (*known, *(FOR_PAIRS if self.items == "pair" else ()))
                raise UsageError(
                    f"the objective {name} has no option '{option}'.",
                    hint=f"It takes: {', '.join(takes) or 'none'}.",
                )
        kinds = get_type_hints(self.loss, include_extras=True)
        return {
            option: checked_option(name, option, kinds[option], given.get(option, default))
            for option, default in known.items()
        }


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss per item with its options set, and what the trainer must know to use it."""

    name: str
    paper: str
    loss: Callable[[Scored], Tensor]
    items: Kind
    count: Count = "items"
    needs: frozenset[str] = frozenset()
    coupled: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Prepare | None = None
    per_token: bool = False

    @property
    def sums(self) -> tuple[str, ...]:
        """The other sums over tokens that the loss reads."""
        return tuple(sorted(self.needs & OF_TOKENS))

    @property
    def uses_reference(self) -> bool:
        return "reference" in self.needs

    @property
    def uses_rewards(self) -> bool:
        """Whether what learns is a reward model, and no policy."""
        return "rewards" in self.needs

    def margin(self, scored: Scored) -> Tensor:
        """How far chosen lies above rejected (I,): implicit rewards, beta times nats.

        Without a reference: log-probs, or rewards, instead of log-ratios.  Per token where the
        loss is.
        """
        beta = self.options.get("beta", 1.0)
        values_IN = scored.deltas_IN if self.uses_reference else scored.logps_IN
        if self.per_token:
            values_IN = values_IN / scored.tokens_IN.clamp(min=1)
        margin: Tensor = beta * (values_IN[:, 0] - values_IN[:, 1])
        return margin


def made(name: str, spec: Spec, given: Mapping[str, Any]) -> Objective:
    """The objective of that row of the table, with these options."""
    options = spec.checked(name, given)
    reads = spec.reads

    def loss(scored: Scored) -> Tensor:
        return spec.loss(*(READS[each](scored) for each in reads), **options)

    needs = {"reference"} if OF_REFERENCE & set(reads) else set()
    return Objective(
        name=name,
        paper=spec.paper,
        loss=loss,
        items=spec.items,
        count=spec.count(options),
        needs=frozenset(needs | ((OF_TOKENS | OF_REWARD_MODEL) & set(reads))),
        coupled=spec.coupled,
        options=options,
        prepare=spec.prepare,
        per_token=spec.per_token(options),
    )


def allowed(kind: Any) -> str:
    """What an option's type lets through: `> 0`, `sum or token`, `true or false`."""
    if kind is bool:
        return "true or false"
    base, *details = get_args(kind)
    if base is not float:
        return " or ".join(get_args(kind))
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [bound for detail in details for bound in detail.metadata]
    found = ((sign, getattr(bound, name, None)) for bound in bounds for name, sign in signs.items())
    return ", ".join(f"{sign} {limit}" for sign, limit in found if limit is not None)


def checked_option(name: str, option: str, kind: Any, value: Any) -> Any:
    """The value as its type, or UsageError saying what is wrong with it."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Input ")
        raise UsageError(
            f"{option} {value} of the objective {name}: {said}.",
            hint=f"Leave it out for the default, or run: palate objectives {name}",
        ) from None
