"""One stage from command to run folder: SFT, DPO or a reward model, whatever the objective needs.

Refuses to start with a reference that is not the model at step 0, and to continue a run under other
options, data, base or reference.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palate.config import NAMED_OPTIONS, TrainConfig
from palate.data.forms import Kind
from palate.data.rows import Item
from palate.engine.adapters import trainable
from palate.engine.identity import cache_folder
from palate.engine.model import Loaded
from palate.engine.pack import pack
from palate.engine.policy import Policy
from palate.engine.reference import NOISE, Reference, reference_logps
from palate.engine.value import Model
from palate.errors import Interrupted, NumericsError
from palate.objectives import Objective
from palate.runs import atomic
from palate.runs.folder import Run
from palate.runs.signals import Stop, stop_on_signals
from palate.train.defaults import reasons, settings
from palate.train.events import Evaluation, Event, Listener, Note, Working
from palate.train.learner import Learner, PolicyLearner
from palate.train.loop import Loop, Task, stored_references
from palate.train.optimise import Optimiser
from palate.train.prepare import (
    Rows,
    load_for_training,
    read_rows,
    render_rows,
    renderer_for,
    use_threads,
)
from palate.train.record import (
    check_writable,
    evaluation_of,
    frozen,
    parameters_of,
    policy_for,
    written,
)
from palate.train.step import Batch, evaluate

READ_AS: dict[str, Kind] = {
    "row": "sft",
    "weighted": "weighted",
    "pair": "pairs",
    "labelled": "labelled",
    "ranked": "ranked",
}
READY_ITEMS = 48
FAR = 1.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A stage at its end: the run, its final weights, and what the held-out split says."""

    path: Path
    final: Path
    best_step: int
    steps: int
    evaluation: Evaluation | None


def run_stage(
    config: TrainConfig,
    objective: Objective,
    listen: Listener,
    *,
    overridden: Sequence[str] = (),
    learner: Learner | None = None,
) -> Finished:
    """Train `config.model` on `config.data` under `objective`; continue if the run exists.

    `overridden`: what was found wrong with the data and is gone on with, to be written down.
    `learner`: what is trained, if it is no policy.  Raises any PalateError; nothing half-written
    stays behind.
    """
    kind, learner = READ_AS[objective.items], learner or PolicyLearner()
    with stop_on_signals() as stop:
        threads = use_threads(config.threads)
        check_writable(config.out)
        rows = read_rows(config, kind, listen)
        loaded = load_for_training(config, listen)
        learner.check(loaded)
        renderer = renderer_for(loaded, config)
        train = render_rows(rows.train, renderer, config, listen)
        heldout = render_rows(rows.heldout, renderer, config, listen, aloud=False)
        if objective.prepare is not None:
            train, heldout = objective.prepare(train), objective.prepare(heldout)
        unchanged = _frozen(config, objective, rows, loaded, threads)
        record = _record(config, objective, loaded) | {
            "rows": {"train": len(train), "heldout": len(heldout)},
            "overridden": list(overridden),
        }
        with Run.open(config.out, record, frozen=unchanged) as run:
            if run.finished:
                listen(Note(f"{config.out} is finished: nothing to do"))
                return finished(run)
            model = learner.model(policy_for(config, run, loaded, train, listen))
            task = _task(config, objective, rows, model, (train, heldout))
            size = parameters_of(loaded)
            for line in reasons(config, task.settings, parameters=size, rows=len(train)):
                listen(Note(line))
            if objective.uses_reference:
                task = _with_reference(task, run, loaded, _until(stop, listen))
            optimiser = Optimiser(
                trainable(model.model if isinstance(model, Policy) else model),
                weight_decay=config.weight_decay,
                clip=config.clip,
            )
            loop = Loop(task, optimiser, run, stop, listen)
            found = loop.train()
            _write_final(run, loaded, learner, task, (loop.best_step, found))
            return finished(run)


def _task(
    config: TrainConfig,
    objective: Objective,
    rows: Rows,
    model: Model,
    splits: tuple[list[Item], list[Item]],
) -> Task:
    train, heldout = splits
    found = settings(
        config,
        parameters=sum(p.numel() for p in model.parameters()),
        rows=len(train),
        device=model.device.type,
    )
    held = Batch(heldout) if heldout else None
    choosing = tuple(i for i, item in enumerate(heldout) if item.origin in rows.choosing)
    return Task(model, objective, Batch(train), held, config, found, rows.digest, choosing)


def _with_reference(task: Task, run: Run, loaded: Loaded, listen: Listener) -> Task:
    """Reference log-probs from the run's own checkpoint, else from the cache, else computed."""
    stored = stored_references(run)
    if stored is None:
        _say_readiness(task, listen)
        stored = _reference_pass(task, run, loaded, listen)
        for name, batch in _splits(task).items():
            _check_start(task, Batch(batch.items, stored[name]))
    heldout = task.heldout and Batch(task.heldout.items, stored["heldout"])
    return replace(task, train=Batch(task.train.items, stored["train"]), heldout=heldout)


def _splits(task: Task) -> dict[str, Batch]:
    parts = {"train": task.train, "heldout": task.heldout}
    return {name: batch for name, batch in parts.items() if batch is not None}


def _until(stop: Stop, listen: Listener) -> Listener:
    """A listener that ends the reference pass, between two chunks, when the process is asked to."""

    def heard(event: Event) -> None:
        listen(event)
        if isinstance(event, Working) and stop.requested:
            raise Interrupted(
                "stopped before the first step; the reference log-probs so far are kept.",
                exit_code=stop.exit_code,
                hint="The same command continues.",
            )

    return heard


def _reference_pass(task: Task, run: Run, loaded: Loaded, listen: Listener) -> dict[str, Tensor]:
    reference = Reference(loaded.identity, task.settings.token_budget, cache_folder() / "reference")
    stored: dict[str, Tensor] = {}
    for name, batch in _splits(task).items():

        def progress(done: int, total: int, name: str = name) -> None:
            listen(Working(f"reference log-probs, {name}", done, total))

        found = reference_logps(task.policy, batch.items, reference, progress)
        stored[name] = found.logps_IN
        if found.reused:
            listen(Note(f"reference log-probs, {name}: {found.reused} chunks from the cache"))
    run.update(reference=loaded.identity)
    return stored


def _check_start(task: Task, split: Batch) -> None:
    """Locked reference: before the first step every margin is 0 and the loss ln 2."""
    batch = split.subset(range(min(len(split.items), task.settings.batch_size)))
    result = evaluate(task.policy, batch, task.objective, task.settings.token_budget)
    size_I = (result.scored.logps_IN.abs() + batch.tokens_IN.to(result.losses_I)).sum(-1)
    allowed = _noise(task, batch, result.scored.logps_IN, size_I) * size_I
    gap = result.scored.deltas_IN.abs().sum(-1)
    if not bool((gap <= allowed).all()):
        worst = int((gap - allowed).argmax())
        raise NumericsError(
            f"the reference is wrong: before the first step {batch.items[worst].origin} is "
            f"{float(gap[worst]):.2e} nats away from it (allowed {float(allowed[worst]):.2e}), "
            f"so the margin is not 0 and the loss is not ln 2.",
            hint="Remove the cache folder; if it stays, report it.",
        )


def _noise(task: Task, batch: Batch, logps_IN: Tensor, size_I: Tensor) -> float:
    """What rounding may change, as a share of `size_I`: in half precision this is measured.

    There, three times the difference that another layout of the same rows makes.
    """
    dtype = next(task.policy.model.parameters()).dtype
    stated = NOISE[dtype] / 10
    if dtype in (torch.float32, torch.float64):
        return stated
    apart = Policy(task.policy.model, replace(task.policy.plan, shared=False))
    again = evaluate(apart, batch, task.objective, task.settings.token_budget)
    change_I = (again.scored.logps_IN - logps_IN).abs().sum(-1) / size_I
    return max(stated, 3 * float(change_I.max()))


def _say_readiness(task: Task, listen: Listener) -> None:
    """How far the chosen answers are from what this model says by itself, in nats per token."""
    items = task.train.items[:READY_ITEMS]
    chosen = [Item(item.sequences[:1], item.group, item.origin) for item in items]
    surprise, entropy, tokens = 0.0, 0.0, 0
    with torch.no_grad():
        for row in pack(chosen, task.settings.token_budget):
            output = task.policy(row, with_statistics=True)
            assert output.statistics is not None
            owner_E = output.row.token_E
            surprise -= float(output.logps_S.sum())
            entropy += float(output.statistics.entropy_K.cpu()[owner_E].sum())
            tokens += len(owner_E)
    gap = (surprise - entropy) / tokens
    far = gap > FAR
    advice = "far: run `palate sft` on the chosen answers first" if far else "near enough for DPO"
    listen(
        Note(
            f"the chosen answers are {gap:.2f} nats per token from what this model says by itself: "
            + advice,
            warning=far,
        )
    )


def _frozen(
    config: TrainConfig, objective: Objective, rows: Rows, loaded: Loaded, threads: int
) -> dict[str, Any]:
    """What a resume must find unchanged; options of the objective as they came out."""
    kept = frozen(config, loaded, digest=rows.digest, threads=threads)
    asked = {name: objective.options.get(name) for name in NAMED_OPTIONS if name in kept}
    return kept | asked


def _record(config: TrainConfig, objective: Objective, loaded: Loaded) -> dict[str, Any]:
    """What the run writes down of itself."""
    learnt = {"name": objective.name, "options": dict(objective.options)}
    return written(config, loaded) | {"objective": learnt, "paper": objective.paper}


def _write_final(
    run: Run,
    loaded: Loaded,
    learner: Learner,
    task: Task,
    best: tuple[int, Evaluation | None],
) -> None:
    """Commit `final/` whole, then say in run.json that the run is finished."""
    best_step, found = best
    measured = learner.measured(task)
    final = run.path / "final"
    note = {"step": best_step, "stage": run.record["stage"]}
    atomic.commit_folder(
        final, lambda temp: learner.save(loaded, task, temp), replace=True, note=note
    )
    fields = None if found is None else asdict(found)
    run.update(finished=True, best_step=best_step, evaluation=fields, **measured)


def finished(run: Run) -> Finished:
    """A run at its end, as its record tells it."""
    fields, rows = run.record.get("evaluation"), run.metrics.rows()
    return Finished(
        path=run.path,
        final=run.path / "final",
        best_step=int(run.record["best_step"]),
        steps=max((int(row["step"]) for row in rows), default=0),
        evaluation=None if fields is None else evaluation_of(fields),
    )
