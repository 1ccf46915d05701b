"""The loop for every offline objective: steps, held-out evaluations, checkpoints, the best weights.

It asks an objective what it is (`items`, `needs`, `count`), never its name.  A killed run continues
bit for bit: the order is a function of the step; the checkpoint holds state and reference.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from palate.config import TrainConfig
from palate.engine.policy import Policy
from palate.engine.value import Model
from palate.errors import Interrupted, NumericsError
from palate.objectives import Objective
from palate.runs import checkpoint
from palate.runs.cost import Meter
from palate.runs.folder import Run
from palate.runs.signals import Stop
from palate.train import best
from palate.train.clock import Clock
from palate.train.defaults import Settings, places
from palate.train.events import Evaluation, Listener, Note, Step
from palate.train.history import History
from palate.train.measure import Heldout, evaluation, ranking
from palate.train.optimise import Optimiser, rate_at
from palate.train.order import Order
from palate.train.step import Batch, Result, accumulate, out_of_memory


@dataclass(frozen=True, slots=True)
class Task:
    """What one stage learns from, and how."""

    model: Model
    objective: Objective
    train: Batch
    heldout: Batch | None
    config: TrainConfig
    settings: Settings
    digest: str
    choosing: tuple[int, ...] = ()  # held-out items by whose loss the weights are chosen

    @property
    def policy(self) -> Policy:
        """The model of an objective over log-probs."""
        assert isinstance(self.model, Policy)
        return self.model


class _StopNow(Exception):
    """Asked to stop in the middle of a step: its gradient is dropped."""


class Loop:
    """One stage on its way: `train()` takes it to the last step, from wherever it was."""

    def __init__(
        self, task: Task, optimiser: Optimiser, run: Run, stop: Stop, listen: Listener
    ) -> None:
        self.task = task
        self.optimiser = optimiser
        self.run = run
        self.stop = stop
        self.listen = listen
        groups = [item.group for item in task.train.items]
        self.order = Order(groups, digest=task.digest, seed=task.config.seed)
        self.history = History(run.path, task.train, task.objective)
        self.meter = Meter(run)
        self.step = 0
        self.best_step = 0
        self.best_loss = math.inf

    def train(self) -> Evaluation | None:
        """Train, leave the best weights in the model, give their held-out evaluation.

        Raises NumericsError, DiskError, MemoryLimitError or Interrupted, after each of which the
        same command continues.
        """
        if not self._resume():
            torch.manual_seed(self.task.config.seed)
            self._record({"step": 0})
            self._save()
        clock = Clock(self.step)
        while self.step < self.task.settings.steps:
            row = self._one_step(clock)
            self.step += 1
            self._record(row)
            if self._last or self.step % self.task.settings.save_every == 0:
                self._save()
        return self._take_best()

    @property
    def _last(self) -> bool:
        return self.step == self.task.settings.steps

    def _one_step(self, clock: Clock) -> dict[str, Any]:
        """One optimiser step; gives its row of the metrics."""
        index, lr, random = (
            self._index(),
            rate_at(self.step, self.task.settings, self.task.config),
            self._random(),
        )
        batch = self.task.train.subset(index)
        try:
            result = self._accumulate(batch)
            norm = self.optimiser.step(lr)
        except _StopNow:
            self.optimiser.forget()
            self._set_random(random)
            self._save()
            raise Interrupted(
                f"stopped after step {self.step} of {self.task.settings.steps}; saved.",
                exit_code=self.stop.exit_code,
                hint="The same command continues.",
            ) from None
        except NumericsError as error:
            rows = ", ".join(str(item.origin) for item in batch.items[:8])
            raise NumericsError(
                f"step {self.step + 1}: {error.message} Rows of the step: {rows}.",
                hint="Lower --lr, or look at these rows. The last checkpoint is intact.",
            ) from error
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self.task.settings.token_budget) from error
        self.history.append(self.step + 1, index, result)
        clock.tick(self.task.settings.steps)
        event = Step(
            step=self.step + 1,
            total=self.task.settings.steps,
            loss=result.loss,
            lr=lr,
            grad_norm=norm,
            items_per_second=len(batch.items) / clock.seconds_per_step,
            seconds_left=clock.seconds_left,
            **ranking(self.task.objective, result),
        )
        self.listen(event)
        return {k: v for k, v in asdict(event).items() if k not in ("total", "seconds_left")}

    def _accumulate(self, batch: Batch) -> Result:
        def check() -> None:
            if self.stop.requested:
                raise _StopNow

        check()
        model, budget = self.task.model, self.task.settings.token_budget
        model.train()  # adapter dropout and gradient checkpointing work in this mode alone
        try:
            return accumulate(model, batch, self.task.objective, budget, check)
        finally:
            model.eval()

    def _index(self) -> list[int]:
        """Which rows the next step takes."""
        settings = self.task.settings
        total = places(settings.epochs, len(self.task.train.items))
        return self.order.batch(self.step, settings.batch_size, total)

    def _record(self, row: dict[str, Any]) -> None:
        """Evaluate if it is time, keep the weights if they are wanted, write the metrics row."""
        settings, heldout = self.task.settings, self.task.heldout
        due = self.step == 0 or self._last or self.step % settings.eval_every == 0
        if due and heldout is not None:
            event = evaluation(
                self.task.model,
                Heldout(heldout, self.task.choosing),
                self.task.objective,
                budget=settings.token_budget,
                step=self.step,
            )
            chooses = event.loss if event.choosing_loss is None else event.choosing_loss
            event = replace(event, best=chooses < self.best_loss)
            if event.best:
                self.best_loss = chooses
            if event.best or self.task.config.final == "last":
                self.best_step = self.step
                best.keep(self.run, self.optimiser.weights(), event)
            self.listen(event)
            row = row | {"heldout": asdict(event)}
        self.run.metrics.append(row)

    def _save(self) -> None:
        """Commit a checkpoint: weights, moments, reference, random state, where the run is."""
        groups: dict[str, Mapping[str, Tensor]] = {
            "weights": self.optimiser.weights(),
            "moments": self.optimiser.state(),
            "rng": self._random(),
            "reference": self._references(),
        }
        state = {
            "best_step": self.best_step,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
        }
        filled = {name: group for name, group in groups.items() if group}
        checkpoint.save(self.run.path, self.step, filled, state, keep=self.task.config.keep)
        self.meter.write()

    def _resume(self) -> bool:
        """Take up the newest intact checkpoint; False if there is none."""
        found = checkpoint.newest(self.run.path)
        if found is None:
            self.run.metrics.rewind(-1)
            self.history.begin(-1)
            return False
        checkpoint.tidy(self.run.path)
        for reason in found.skipped:
            self.listen(Note(f"checkpoint passed over: {reason}", warning=True))
        self.optimiser.load(found.tensors["weights"], found.tensors.get("moments", {}))
        self._set_random(found.tensors["rng"])
        self.run.metrics.rewind(found.step)
        self.history.begin(found.step)
        self.step, self.best_step = found.step, found.state["best_step"]
        loss = found.state["best_loss"]
        self.best_loss = math.inf if loss is None else loss
        self.listen(Note(f"continuing after step {self.step} of {self.task.settings.steps}"))
        return True

    def _random(self) -> dict[str, Tensor]:
        """The state of the generators that a step may draw from."""
        on_cuda = self.task.model.device.type == "cuda"
        cuda = {"cuda": torch.cuda.get_rng_state()} if on_cuda else {}
        return {"cpu": torch.get_rng_state(), **cuda}

    def _set_random(self, state: Mapping[str, Tensor]) -> None:
        torch.set_rng_state(state["cpu"])
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"])

    def _references(self) -> dict[str, Tensor]:
        parts = {"train": self.task.train, "heldout": self.task.heldout}
        return {
            name: batch.reference_IN
            for name, batch in parts.items()
            if batch is not None and batch.reference_IN is not None
        }

    def _take_best(self) -> Evaluation | None:
        """Put the weights of the best held-out step, or of the last one, into the model."""
        if self.task.heldout is None:
            self.best_step = self.step
            return None
        weights, found = best.take(self.run, self.best_step)
        self.optimiser.load_weights(weights)
        return found


def stored_references(run: Run) -> dict[str, Tensor] | None:
    """The reference vectors that a run used, from its newest intact checkpoint."""
    found = checkpoint.newest(run.path)
    return None if found is None else found.tensors.get("reference")
