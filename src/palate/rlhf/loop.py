"""The loop for every online method: rollouts, updates, held-out texts, checkpoints.

It asks a method what it is (`targets`, `losses`, `values`), never its name.  Nothing that was drawn
is stored: a step is a function of weights, moments, KL coefficient, scale, seed and its number, so
one that was killed is done again bit for bit.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from palate.config import PpoConfig
from palate.data.rewards import Reward
from palate.engine.model import Loaded
from palate.engine.policy import Policy
from palate.engine.reference import NOISE
from palate.engine.sample import SampleSettings
from palate.errors import Interrupted, NumericsError
from palate.objectives import online
from palate.rlhf.heldout import Heldout, evaluation
from palate.rlhf.methods import Method, Rolled
from palate.rlhf.ppo import Lesson, Told, Updater
from palate.rlhf.rollout import (
    Prompt,
    Read,
    Scale,
    Texts,
    draw_texts,
    read,
    score_texts,
    seed_of,
)
from palate.runs import checkpoint
from palate.runs.cost import Meter
from palate.runs.folder import Run
from palate.runs.signals import Stop
from palate.train import best
from palate.train.clock import Clock
from palate.train.defaults import Settings, places
from palate.train.events import Evaluation, Listener, Note, Round
from palate.train.optimise import rate_at
from palate.train.order import Order
from palate.train.step import out_of_memory


@dataclass(frozen=True, slots=True)
class Task:
    """What a run learns from, and how.  `reference` is the locked copy of the starting model."""

    loaded: Loaded
    updater: Updater
    reference: Policy
    reward: Reward
    train: tuple[Prompt, ...]
    heldout: Heldout
    config: PpoConfig
    settings: Settings
    sampling: SampleSettings
    knobs: Mapping[str, float]
    digest: str

    @property
    def policy(self) -> Policy:
        return self.updater.policy

    @property
    def method(self) -> Method:
        return self.updater.method


class _StopNow(Exception):
    """Asked to stop while texts were drawn: nothing has moved."""


@dataclass(frozen=True, slots=True)
class _Rollout:
    """One step's texts, what they were given, and what each model said of them."""

    texts: Texts
    scores_S: Tensor
    old: Read
    rolled: Rolled


class Loop:
    """A run on its way: `train()` takes it to the last step, from wherever it was."""

    def __init__(self, task: Task, run: Run, stop: Stop, listen: Listener) -> None:
        self.task = task
        self.run = run
        self.stop = stop
        self.listen = listen
        groups = [prompt.group for prompt in task.train]
        self.order = Order(groups, digest=task.digest, seed=task.config.seed)
        self.meter = Meter(run, models=2 + task.reward.models)
        self.scale = Scale()
        self.kl = task.knobs.get("kl", 0.0)
        self.begun = False
        self.step = self.best_step = 0
        self.best_loss = math.inf

    def train(self) -> Evaluation | None:
        """Train, leave the best weights in the model, give their held-out evaluation.

        Raises NumericsError, DiskError, MemoryLimitError or Interrupted, after each of which the
        same command continues.
        """
        with self._told():
            if not self._resume():
                self._begin()
            clock = Clock(self.step)
            while self.step < self.task.settings.steps:
                row = self._one_step(clock)
                self.step += 1
                self._record(row)
                if self._last or self.step % self.task.settings.save_every == 0:
                    self._save()
                self._check_stop()
        return self._take_best()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What went wrong, with the step and what to do."""
        try:
            yield
        except _StopNow:
            if self.begun:
                self._save()
            raise Interrupted(
                f"stopped after step {self.step} of {self.task.settings.steps}; saved.",
                exit_code=self.stop.exit_code,
                hint="The same command continues.",
            ) from None
        except NumericsError as error:
            raise NumericsError(
                f"step {self.step + 1}: {error.message}",
                hint=error.hint or "Lower --lr. The last checkpoint is intact.",
            ) from error
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self.task.settings.token_budget) from error

    @property
    def _last(self) -> bool:
        return self.step == self.task.settings.steps

    # ---- one step

    def _one_step(self, clock: Clock) -> dict[str, Any]:
        """Draw, score, read, learn; gives the step's row of the metrics."""
        task, lr = self.task, rate_at(self.step, self.task.settings, self.task.config)
        texts = self._draw()
        rollout = self._roll(texts, score_texts(task.reward, texts))
        knobs = dict(task.knobs) | ({"kl": self.kl} if "kl" in task.knobs else {})
        targets = task.method.targets(rollout.rolled, knobs)
        critic, passes = task.updater.critic, task.config.passes or task.method.passes
        value_rate = 0.0 if critic is None else critic.rate
        lesson = Lesson(texts, targets, knobs, passes, lr, value_rate)
        told = task.updater.learn(lesson, task.settings.token_budget)
        if self.step == 0:
            self._check_start(rollout, told)
        clock.tick(task.settings.steps)
        event = self._round(rollout, targets.advantages_SL, told, clock)
        self.listen(event)
        if task.config.kl_target is not None:
            self.kl = online.adaptive_coefficient(self.kl, event.kl, target=task.config.kl_target)
        return {k: v for k, v in asdict(event).items() if k not in ("total", "seconds_left")}

    def _draw(self) -> Texts:
        """The texts of this step.  Raises _StopNow, between two batches, when asked to stop."""
        task = self.task
        index = self.order.batch(
            self.step,
            task.settings.batch_size,
            places(task.settings.epochs, len(task.train)),
        )
        prompts = [task.train[place] for place in index]
        seed = seed_of(task.config.seed, "rollout", self.step)
        self._check_stop()
        task.policy.restore()
        return draw_texts(
            task.loaded, prompts, task.sampling, seed=seed, progress=lambda *_: self._check_stop()
        )

    def _check_stop(self) -> None:
        if self.stop.requested:
            raise _StopNow

    def _roll(self, texts: Texts, scores_S: Tensor) -> _Rollout:
        """What policy, value head and reference say of the texts, before anything moves."""
        task, budget = self.task, self.task.settings.token_budget
        old = read(task.policy, texts, budget, critic=task.updater.critic, entropy=True)
        reference = read(task.reference, texts, budget, entropy=False)
        rolled = Rolled(
            group=texts.completions,
            scores_S=self.scale.paid(scores_S, texts.ended).to(old.logps_SL),
            old_SL=old.logps_SL,
            reference_SL=reference.logps_SL,
            mask_SL=texts.mask_SL.to(old.logps_SL.device),
            values_SL=old.values_SL,
        )
        return _Rollout(texts, scores_S, old, rolled)

    def _round(self, rollout: _Rollout, advantages_SL: Tensor, told: Told, clock: Clock) -> Round:
        """The step as it is told and written down."""
        rolled, texts = rollout.rolled, len(rollout.scores_S)
        kl_S = (rolled.old_SL - rolled.reference_SL).sum(-1)
        has_values = rolled.values_SL is not None
        return Round(
            step=self.step + 1,
            total=self.task.settings.steps,
            score=float(rollout.scores_S.mean()),
            reward=float((rolled.scores_S - self.kl * kl_S).mean()),
            kl=float(kl_S.mean()),
            kl_coefficient=self.kl,
            policy_loss=told.mean(told.policy_loss),
            value_loss=told.mean(told.value_loss) if has_values else None,
            explained=self._explained(rolled) if has_values else None,
            clip_fraction=told.clip_fraction,
            advantage_std=float(advantages_SL[rolled.mask_SL].std(correction=0)),
            entropy=rollout.old.entropy,
            length=float(rolled.mask_SL.sum()) / texts,
            ended=float(rollout.texts.ended.float().mean()),
            lr=rate_at(self.step, self.task.settings, self.task.config),
            grad_norm=told.mean(told.grad_norm),
            items_per_second=texts / clock.seconds_per_step,
            seconds_left=clock.seconds_left,
        )

    def _explained(self, rolled: Rolled) -> float:
        """What the value head foresaw of what was still paid, token by token."""
        assert rolled.values_SL is not None
        rewards_SL = online.shaped(
            rolled.scores_S, rolled.old_SL, rolled.reference_SL, rolled.mask_SL, kl=self.kl
        )
        paid_SL = online.returns(rewards_SL, rolled.mask_SL)
        return online.explained_variance(rolled.values_SL, paid_SL, rolled.mask_SL)

    def _check_start(self, rollout: _Rollout, told: Told) -> None:
        """Before the first update the policy is the reference, and the texts' own author.

        In half precision only what is grossly wrong shows: another row rounds otherwise.
        """
        rolled, dtype = rollout.rolled, next(self.task.policy.model.parameters()).dtype
        whole = dtype in (torch.float32, torch.float64)
        allowed = NOISE[dtype] / 10 if whole else 10 * NOISE[dtype]
        allowed *= 1 + float(rolled.old_SL.abs().max())
        away = float((rolled.old_SL - rolled.reference_SL).abs().max())
        for what, gap in (("the reference", away), ("what the update computes", told.change)):
            if not gap <= allowed:
                raise NumericsError(
                    f"{what} is {gap:.2e} nats away from the policy before the first update"
                    f" (allowed {allowed:.2e}), so its KL is not 0 or its ratio not 1.",
                    hint="Report it.",
                )

    # ---- start, record, save

    def _begin(self) -> None:
        """What scores are counted from, and the starting model on the held-out prompts."""
        self.scale = Scale.of(score_texts(self.task.reward, self._draw()))
        self.run.update(scale=asdict(self.scale))
        self._record({"step": 0})
        self._save()
        self.begun = True

    def _record(self, row: dict[str, Any]) -> None:
        """Evaluate if it is time, keep the weights if they are wanted, write the metrics row."""
        task = self.task
        due = self.step == 0 or self._last or self.step % task.settings.eval_every == 0
        if due and task.heldout.prompts:
            event = evaluation(task, self.step, self.scale, self.best_loss)
            if event.best:
                assert event.choosing_loss is not None
                self.best_loss = event.choosing_loss
            if event.best or task.config.final == "last":
                self.best_step = self.step
                best.keep(self.run, task.updater.optimiser.weights(), event)
            self.listen(event)
            row = row | {"heldout": asdict(event)}
        self.run.metrics.append(row)

    def _save(self) -> None:
        """Commit a checkpoint: weights and moments of both optimisers, and where the run is."""
        groups: dict[str, Mapping[str, Tensor]] = {
            f"{prefix}{name}": group
            for prefix, optimiser in self.task.updater.optimisers.items()
            for name, group in (("weights", optimiser.weights()), ("moments", optimiser.state()))
        }
        state = {
            "best_step": self.best_step,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "kl": self.kl,
            "scale": [self.scale.mean, self.scale.spread],
        }
        filled = {name: group for name, group in groups.items() if group}
        checkpoint.save(self.run.path, self.step, filled, state, keep=self.task.config.keep)
        self.meter.write()

    def _resume(self) -> bool:
        """Take up the newest intact checkpoint; False if there is none."""
        found = checkpoint.newest(self.run.path)
        if found is None:
            self.run.metrics.rewind(-1)
            return False
        checkpoint.tidy(self.run.path)
        for reason in found.skipped:
            self.listen(Note(f"checkpoint passed over: {reason}", warning=True))
        for prefix, optimiser in self.task.updater.optimisers.items():
            moments = found.tensors.get(f"{prefix}moments", {})
            optimiser.load(found.tensors[f"{prefix}weights"], moments)
        self.run.metrics.rewind(found.step)
        self.begun, self.step, self.best_step = True, found.step, found.state["best_step"]
        self.kl, self.scale = found.state["kl"], Scale(*found.state["scale"])
        loss = found.state["best_loss"]
        self.best_loss = math.inf if loss is None else loss
        self.listen(Note(f"continuing after step {self.step} of {self.task.settings.steps}"))
        return True

    def _take_best(self) -> Evaluation | None:
        """Put the weights of the best held-out step, or of the last one, into the model."""
        if not self.task.heldout.prompts:
            self.best_step = self.step
            return None
        weights, found = best.take(self.run, self.best_step)
        self.task.updater.optimiser.load_weights(weights)
        return found
