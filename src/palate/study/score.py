"""Log-probs of every row of a file, under a model and its reference: what training would see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from palate.config import RowOptions
from palate.data.render import render
from palate.data.rows import Item
from palate.data.sources import parse_map, read, sniff
from palate.engine.identity import cache_folder
from palate.engine.model import load
from palate.engine.policy import Plan, Policy
from palate.engine.reference import Reference, reference_logps
from palate.engine.scoring import score as score_items
from palate.study.source import Opened, check_reference, open_source
from palate.train.events import Listener, Note, Working

NAMES = {1: ("",), 2: ("chosen_", "rejected_")}


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One row: log-probs in nats, summed over completion tokens, and the reference's if any.

    `margin` is the implicit reward of chosen minus that of rejected, beta times nats.
    """

    line: int
    logps: tuple[float, ...]
    tokens: tuple[int, ...]
    reference: tuple[float, ...] | None = None
    beta: float | None = None

    @property
    def margin(self) -> float | None:
        if self.reference is None or self.beta is None or len(self.logps) != 2:
            return None
        chosen, rejected = (a - b for a, b in zip(self.logps, self.reference, strict=True))
        return self.beta * (chosen - rejected)

    def as_json(self) -> dict[str, Any]:
        """The object that `palate score --json` prints."""
        names = NAMES[len(self.logps)]
        found: dict[str, Any] = {"line": self.line}
        found |= {f"{n}logp": v for n, v in zip(names, self.logps, strict=True)}
        found |= {f"{n}tokens": v for n, v in zip(names, self.tokens, strict=True)}
        if self.reference is not None:
            found |= {f"ref_{n}logp": v for n, v in zip(names, self.reference, strict=True)}
        if self.margin is not None:
            found["margin"] = self.margin
        return found


def score(model: str, data: str, options: RowOptions, listen: Listener) -> tuple[ScoredRow, ...]:
    """Score every row of `data`.  Raises DataError, ModelError, CheckpointError."""
    mapping = parse_map(options.map)
    kind = sniff(data, mapping, options.format)
    found: Any = read(data, kind=kind, mapping=mapping, format=options.format)
    for note in found.notes:
        listen(Note(note))
    return score_rows(model, found.rows, options, listen)


@torch.no_grad()
def score_rows(
    model: str, rows: Sequence[Any], options: RowOptions, listen: Listener
) -> tuple[ScoredRow, ...]:
    """The same for rows that were read; those that cannot be laid out are an error, or left out."""
    opened = open_source(model, options, listen)
    rendered = render(rows, opened.renderer, options)
    for note in rendered.notes:
        listen(Note(note))
    items = rendered.items
    with torch.enable_grad():
        policy = opened.policy(items)
    listen(Note(f"fast path: {policy.plan}", warning=bool(policy.plan.reasons)))
    logps = _in_parts(policy, items, opened.budget, listen)
    reference = _reference(opened, items, policy.plan, listen)
    beta = opened.objective_options.get("beta")
    return tuple(
        ScoredRow(
            item.origin.line,
            tuple(of_row),
            tuple(s.scored for s in item.sequences),
            None if reference is None else tuple(reference[place]),
            beta,
        )
        for place, (item, of_row) in enumerate(zip(items, logps, strict=True))
    )


def _in_parts(
    policy: Policy, items: Sequence[Item], budget: int, listen: Listener
) -> list[list[float]]:
    """Score in slices, so that progress shows and memory stays flat."""
    found: list[list[float]] = []
    size = 256
    for start in range(0, len(items), size):
        found += score_items(policy, items[start : start + size], budget).double().tolist()
        listen(Working("scoring", min(start + size, len(items)), len(items)))
    return found


def _reference(
    opened: Opened, items: Sequence[Item], plan: Plan, listen: Listener
) -> list[list[float]] | None:
    """Reference log-probs of a DPO run; refused if the model it started from has changed since."""
    if opened.reference is None or opened.record is None:
        return None
    loaded = load(opened.reference)
    check_reference(opened.reference, loaded.identity, opened.record)
    loaded.model.eval()
    policy = Policy(loaded.model, plan)
    about = Reference(loaded.identity, opened.budget, cache_folder() / "reference")

    def progress(done: int, total: int) -> None:
        listen(Working("reference log-probs", done, total))

    return reference_logps(policy, items, about, progress).logps_IN.double().tolist()
