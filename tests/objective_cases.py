"""Steps of made rows for every kind of objective, read as the engine would hand them over."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from naive_objectives import Line, Side
from palate.objectives import OBJECTIVES, Objective, Scored, derived
from palate.objectives.tokens import SUMS

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("sft", {"mean": "sequence"}),
    ("weighted_sft", {"mean": "sequence"}),
    ("dpo", {"label_smoothing": 0.2}),
    ("robust", {"label_smoothing": 0.3, "beta": 1.0}),
    ("ipo", {"mean": "token"}),
    ("exo", {"label_smoothing": 0.3, "beta": 2.0}),
    ("aot", {"label_smoothing": 0.2, "beta": 0.7}),
    ("aot_unpaired", {"label_smoothing": 0.2, "beta": 0.7}),
    ("discopop", {"tau": 2.0, "beta": 0.5}),
    ("dpop", {"penalty": 5.0}),
    ("ld_dpo", {"on_reference": False, "beta": 1.0}),
    ("ld_dpo", {"alpha": 0.0}),
    ("ld_dpo", {"alpha": 1.0}),
    ("f_dpo", {"divergence": "reverse_kl"}),
    ("f_dpo", {"divergence": "js", "beta": 1.0}),
    ("f_dpo", {"divergence": "alpha", "alpha": 0.3}),
    ("cpo", {"mean": "sum", "alpha": 0.4}),
    ("orpo", {"beta": 1.0}),
    ("unlikelihood", {"alpha": 0.3}),
    ("kto", {"desirable": 2.0, "undesirable": 0.5, "beta": 1.0}),
    ("plackett_luce", {"beta": 1.5}),
    ("dpo", {"sft_weight": 0.7}),
    ("ipo", {"wpo": True}),
    ("bco", {"sft_weight": 0.2, "wpo": True}),
    ("unlikelihood", {"sft_weight": 0.2, "wpo": True}),
]
CASES = [*((name, dict[str, Any]()) for name in OBJECTIVES), *VARIANTS]
EXACT = torch.float64


def case_id(case: object) -> str:
    """`dpo`, `label_smoothing=0.2`, or `-` for the defaults."""
    if isinstance(case, dict):
        return ",".join(f"{key}={value}" for key, value in case.items()) or "-"
    return str(case)


def lines_of(objective: Objective, *, seed: int = 0, rows: int = 6) -> list[Line]:
    """Rows of the kind that the objective takes, no two of one length; ranked lists are ragged."""
    draw = random.Random(f"{objective.items}/{seed}")
    found = []
    for _ in range(rows):
        sides = {"pair": 2, "labelled": 2, "ranked": draw.randint(2, 4)}.get(objective.items, 1)
        value = {"labelled": draw.choice((1.0, -1.0)), "weighted": draw.uniform(-2, 2)}
        made = tuple(_side(draw) for _ in range(sides))
        found.append(Line(made, value.get(objective.items, 1.0)))
    return found


def _side(draw: random.Random) -> Side:
    count = draw.randint(1, 7)
    policy = [draw.uniform(-3, -0.05) for _ in range(count)]
    reference = [min(x + draw.uniform(-0.8, 0.8), -0.01) for x in policy]
    square = [draw.uniform(0.1, 0.9) for _ in range(count)]
    return Side(*(tuple(map(complex, values)) for values in (policy, reference, square)))


def reader(
    objective: Objective, lines: Sequence[Line], dtype: torch.dtype = EXACT
) -> tuple[Tensor, Callable[[Tensor], Scored]]:
    """All token log-probs (K,), and what joins them to the rows' sequences."""
    places = [_places(objective, line) for line in lines]
    width = max(map(len, places))
    token_E: list[int] = []
    slot_E: list[int] = []
    start = 0
    for i, line in enumerate(lines):
        starts = [start + sum(side.n for side in line.sides[:s]) for s in range(len(line.sides))]
        for column, (side, count) in enumerate(places[i]):
            token_E += range(starts[side], starts[side] + count)
            slot_E += [i * width + column] * count
        start += sum(side.n for side in line.sides)

    def summed(values_K: Tensor) -> Tensor:
        empty = values_K.new_zeros(len(lines) * width)
        index_E = torch.tensor(slot_E)
        return empty.index_add(0, index_E, values_K[token_E]).view(len(lines), width)

    def column_of(name: str) -> Tensor:
        sides = [side for line in lines for side in line.sides]
        return torch.tensor([x.real for s in sides for x in getattr(s, name)], dtype=dtype)

    logps_K, reference_K, square_K = map(column_of, ("policy", "reference", "square"))

    def read(leaf_K: Tensor) -> Scored:
        return Scored(
            summed(leaf_K),
            summed(torch.ones_like(leaf_K)).long(),
            summed(reference_K) if objective.uses_reference else None,
            torch.tensor([line.value for line in lines], dtype=dtype),
            {name: summed(SUMS[name](leaf_K, square_K)) for name in objective.sums},
        )

    return logps_K, read


def _places(objective: Objective, line: Line) -> list[tuple[int, int]]:
    """Which side each sequence is, and how many of its tokens."""
    whole = [(place, side.n) for place, side in enumerate(line.sides)]
    if objective.prepare is not derived.heads:
        return whole
    shorter = min(side.n for side in line.sides)
    return [*whole, *((place, shorter) for place, _ in whole)]


def scored_of(objective: Objective, *, seed: int = 0, rows: int = 6) -> Scored:
    logps_K, read = reader(objective, lines_of(objective, seed=seed, rows=rows))
    return read(logps_K)
