"""What a file teaches a model: every row's weight, every token's push.

Reads the engine's log-probs and statistics and the objectives' weights; computes no log-prob and
no loss of its own.  One pass of the policy over the file, then, the policy let go, one of the
reference: never two models at once.

Shape suffixes: I rows of the file, N sequences of a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palate.config import ExplainOptions
from palate.data.forms import Kind
from palate.data.render import render
from palate.data.rows import Item
from palate.data.rows import Row as FileRow
from palate.data.sources import parse_map, read, sniff
from palate.engine.identity import cache_folder
from palate.engine.model import load
from palate.engine.policy import Plan, Policy
from palate.engine.reference import Reference, reference_logps
from palate.errors import UsageError
from palate.objectives import OBJECTIVES, Objective, build
from palate.study.reading import Reading, read_weights, sequence_logps
from palate.study.replay import replayed, spread
from palate.study.seen import Replay, Seen
from palate.study.show import Shown, shown_row
from palate.study.source import Opened, check_reference, open_source, reference_of
from palate.study.switch import switched
from palate.study.tokens import Measured, measure
from palate.train.events import Listener, Note, Working
from palate.train.stage import READ_AS

Found = list[tuple[Measured, ...]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A file under an objective, and the facts of the model that outlive it."""

    source: str
    objective: Objective
    rows: Sequence[FileRow]
    items: list[Item]
    record: dict[str, Any] | None
    tokenizer: Any
    budget: int
    plan: Plan


def look(
    model: str,
    source: str | Sequence[FileRow],
    options: ExplainOptions,
    listen: Listener,
    *,
    over_time: bool = False,
) -> Seen:
    """The file, or the rows typed in, under `model`.  Raises any PalateError.

    `over_time` replays a few rows at every checkpoint that the run kept.
    """
    subject, found = _policy_pass(model, source, options, listen)
    _check_pair(options, len(subject.items))
    compared = _reference_pass(model, subject, found, options, listen)
    reading = read_weights(subject.objective, subject.items, found, compared.logps_IN)
    picked = [options.pair - 1] if options.pair else reading.heaviest(options.detail)
    again = (picked if options.pair else spread(reading)) if over_time else []
    picked = list(dict.fromkeys((*picked, *again)))
    shown = Shown(subject.tokenizer, subject.objective, reading, set(picked))
    beside = compared.tokens(subject, picked, found)
    compared.policy = None
    wanted = picked if options.pair else range(len(subject.items))
    return Seen(
        model=model,
        reference=compared.name,
        source=subject.source,
        objective=subject.objective.name,
        options=dict(subject.objective.options),
        step=None if subject.record is None else subject.record.get("best_step"),
        rows=tuple(shown_row(shown, subject.rows[i], i, beside.get(i)) for i in wanted),
        switched=_switched(subject, reading, wanted),
        replay=_replay(model, subject, shown, again, beside, listen) if over_time else None,
    )


def _policy_pass(
    model: str, source: str | Sequence[FileRow], options: ExplainOptions, listen: Listener
) -> tuple[Subject, Found]:
    """Read the file and measure it under the policy, which is not needed after this."""
    opened = open_source(model, options, listen)
    objective = _objective(opened, source, options)
    rows = _rows(source, READ_AS[objective.items], options, listen)
    rendered = render(rows, opened.renderer, options)
    for note in rendered.notes:
        listen(Note(note))
    kept = {item.origin for item in rendered.items}
    items = list(rendered.items)
    if objective.prepare is not None:
        items = objective.prepare(items)
    with torch.enable_grad():
        policy = opened.policy(items)
    listen(Note(f"fast path: {policy.plan}", warning=bool(policy.plan.reasons)))
    subject = Subject(
        source if isinstance(source, str) else "typed in",
        objective,
        [row for row in rows if row.origin in kept],
        items,
        opened.record,
        opened.loaded.tokenizer,
        opened.budget,
        policy.plan,
    )
    return subject, _measured(policy, items, opened.budget, "tokens", listen)


def _measured(
    policy: Policy, items: Sequence[Item], budget: int, what: str, listen: Listener
) -> Found:
    found: list[tuple[Measured, ...]] = [()] * len(items)
    for done, (index, measured) in enumerate(measure(policy, items, budget), start=1):
        found[index] = measured
        if done % 64 == 0 or done == len(items):
            listen(Working(what, done, len(items)))
    return found


def _rows(
    source: str | Sequence[FileRow], kind: Kind, options: ExplainOptions, listen: Listener
) -> Sequence[FileRow]:
    if not isinstance(source, str):
        return source
    found: Any = read(source, kind=kind, mapping=parse_map(options.map), format=options.format)
    for note in found.notes:
        listen(Note(note))
    rows: Sequence[FileRow] = found.rows
    return rows


def _objective(
    opened: Opened, source: str | Sequence[FileRow], options: ExplainOptions
) -> Objective:
    """The one asked for; else the run's own if the file fits it; else DPO for pairs, or SFT."""
    if options.objective is not None:
        return build(options.objective, **options.objective_options)
    kind: Kind = "pairs"
    if isinstance(source, str):
        kind = sniff(source, parse_map(options.map), options.format)
    made = None if opened.record is None else opened.record["objective"]
    known = None if made is None else OBJECTIVES.get(made["name"])  # palate ppo has others
    fits = known is not None and READ_AS[known.items] == kind
    if made is not None and fits:
        return build(made["name"], **{**made["options"], **options.objective_options})
    default = {"pairs": "dpo", "labelled": "kto"}.get(kind, "sft")
    return build(default, **options.objective_options)


def _check_pair(options: ExplainOptions, count: int) -> None:
    if options.pair is not None and options.pair > count:
        raise UsageError(
            f"--pair {options.pair}: there are {count} rows.", hint=f"Give 1 to {count}."
        )


# ------------------------------------------------------------------ the reference


@dataclass(slots=True)
class Compared:
    """Reference log-probs of all rows (I,N); None if the objective needs no reference.

    `name` None with log-probs: the model is compared with itself, as before the first step.
    """

    logps_IN: Tensor | None = None
    name: str | None = None
    policy: Policy | None = None

    def tokens(
        self, subject: Subject, picked: Sequence[int], own: Found
    ) -> dict[int, tuple[Measured, ...]]:
        """The reference's tokens for the rows that are shown, by row."""
        if self.logps_IN is None:
            return {}
        if self.policy is None:
            return {index: own[index] for index in picked}
        items = [subject.items[index] for index in picked]
        return {picked[n]: found for n, found in measure(self.policy, items, subject.budget)}


def _reference_pass(
    model: str, subject: Subject, own: Found, options: ExplainOptions, listen: Listener
) -> Compared:
    if not subject.objective.uses_reference:
        if options.reference is not None:
            raise UsageError(
                f"--reference has no effect: {subject.objective.name} asks no reference.",
                hint="Leave it out.",
            )
        return Compared()
    name = options.reference or reference_of(subject.record)
    if name is None:
        said = f"{model} is compared with itself, as before the first DPO step"
        listen(Note(f"no reference: {said}"))
        return Compared(sequence_logps(own))
    loaded = load(name)
    if options.reference is None and subject.record is not None:
        check_reference(name, loaded.identity, subject.record)
    loaded.model.eval()
    policy = Policy(loaded.model, subject.plan)
    about = Reference(loaded.identity, subject.budget, cache_folder() / "reference")

    def progress(done: int, total: int) -> None:
        listen(Working("reference log-probs", done, total))

    found = reference_logps(policy, subject.items, about, progress)
    return Compared(found.logps_IN, name, policy)


def _replay(
    model: str,
    subject: Subject,
    shown: Shown,
    again: Sequence[int],
    beside: Mapping[int, tuple[Measured, ...]],
    listen: Listener,
) -> Replay:
    """The rows `again` at every checkpoint."""
    if subject.record is None:
        raise UsageError(f"--over-time replays a run's checkpoints; {model} is no run.")
    loaded = load(model)
    loaded.model.eval()
    reference_IN = shown.reading.scored.reference_IN
    task = (
        subject.objective,
        [subject.items[index] for index in again],
        None if reference_IN is None else reference_IN[list(again)],
    )
    policy = Policy(loaded.model, subject.plan)
    frames, imitated = replayed(Path(model), policy, task, subject.budget, listen)
    rows = tuple(shown_row(shown, subject.rows[i], i, beside.get(i)) for i in again)
    return Replay(rows, frames, imitated)


def _switched(subject: Subject, reading: Reading, wanted: Sequence[int]) -> tuple[Any, ...]:
    if subject.objective.items != "pair":
        return ()
    return switched(subject.objective, reading.scored, wanted)
