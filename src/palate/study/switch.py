"""The same rows under other objectives: five of them at five betas, all weights from the library.

What a page lets its reader switch between; it has no formula of its own.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from palate.objectives import OBJECTIVES, Objective, Scored, build, weights
from palate.study.seen import Switched

NAMES = ("dpo", "ipo", "hinge", "apo_zero", "simpo")
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
CURVE_POINTS = 81
CURVE_NATS = 60.0  # the curve runs to where beta times this many nats, or a row, lies


def switched(own: Objective, scored: Scored, wanted: Sequence[int]) -> tuple[Switched, ...]:
    """Weights, losses and margins of the wanted rows under each, and each one's curve.

    The row's own objective comes first, at its own beta.
    """
    pairs = replace(
        scored,
        logps_IN=scored.logps_IN[:, :2],
        tokens_IN=scored.tokens_IN[:, :2],
        reference_IN=None if scored.reference_IN is None else scored.reference_IN[:, :2],
    )
    if pairs.reference_IN is None:
        pairs = replace(pairs, reference_IN=pairs.logps_IN)
    found = [_one(own, scored, wanted)]
    for objective in _others(own):
        if _same(objective, own):
            continue
        found.append(_one(objective, scored if objective.name == own.name else pairs, wanted))
    return tuple(found)


def _others(own: Objective) -> list[Objective]:
    """Five objectives, the own one among them, at five betas around their default."""
    names = (own.name, *[name for name in NAMES if name != own.name])[:5]
    found = []
    for name in names:
        known = OBJECTIVES[name].options
        given: dict[str, Any] = {k: v for k, v in own.options.items() if name == own.name}
        centre = given.get("beta", known.get("beta"))
        if centre is None:
            continue
        for factor in FACTORS:
            beta = float(f"{centre * factor:.3g}")
            found.append(build(name, **{**given, "beta": beta}))
    return found


def _same(one: Objective, other: Objective) -> bool:
    return one.name == other.name and dict(one.options) == dict(other.options)


def _one(objective: Objective, scored: Scored, wanted: Sequence[int]) -> Switched:
    pull, losses = weights(objective, scored), objective.loss(scored)
    margins = objective.margin(scored)
    curve_margins, curve_weights = _curve(objective, scored)
    index = list(wanted)
    return Switched(
        objective=objective.name,
        options=dict(objective.options),
        weights=tuple((float(c), float(r)) for c, r in pull[index, :2].tolist()),
        losses=tuple(losses[index].tolist()),
        margins=tuple(margins[index].tolist()),
        curve_margins=curve_margins,
        curve_weights=curve_weights,
    )


def _curve(objective: Objective, scored: Scored) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Chosen's weight against the margin: a row of median length, chosen up and rejected down."""
    gap = scored.deltas_IN if objective.uses_reference else scored.logps_IN
    reach = max(float((gap[:, 0] - gap[:, 1]).abs().max()), CURVE_NATS) / 2
    nats = torch.linspace(-reach, reach, CURVE_POINTS, dtype=torch.float64)
    tokens = scored.tokens_IN.double().median(0).values.round().clamp(min=1)
    middle = scored.logps_IN.median(0).values
    level = torch.full_like(middle, float(middle[:2].mean())) * tokens / tokens[:2].mean()
    moved = level + nats[:, None] * _signs(len(level))
    made = Scored(
        moved,
        tokens.expand_as(moved),
        level.expand_as(moved),
        torch.ones(len(nats), dtype=torch.float64),
        {name: torch.zeros_like(moved) for name in objective.sums},
    )
    rows = [_at(made, place) for place in range(len(nats))]
    margins = tuple(float(objective.margin(row)) for row in rows)
    found = tuple(float(weights(objective, row)[0, 0]) for row in rows)
    return margins, found


def _signs(count: int) -> torch.Tensor:
    """Chosen up, rejected down; further sequences are theirs again."""
    return torch.tensor([1.0, -1.0] * ((count + 1) // 2), dtype=torch.float64)[:count]


def _at(scored: Scored, place: int) -> Scored:
    """One point of a curve as a step of its own: a coupled objective then sees it alone."""
    part = slice(place, place + 1)
    assert scored.reference_IN is not None and scored.value_I is not None
    return Scored(
        scored.logps_IN[part],
        scored.tokens_IN[part],
        scored.reference_IN[part],
        scored.value_I[part],
        {name: values[part] for name, values in scored.sums.items()},
    )
