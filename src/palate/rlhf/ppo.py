"""The updates of one step: several over the whole of its rollout, for every online method.

The summed loss is divided by the method's count of the whole rollout, so its gradient does not
depend on the packing.  A gradient that is not finite moves nothing.

Shape suffixes: S sequences, L places of the longest, K scored tokens of a row.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from palate.engine.pack import pack
from palate.engine.policy import Policy
from palate.errors import NumericsError
from palate.rlhf.critic import Critic
from palate.rlhf.methods import Knobs, Losses, Method, Targets
from palate.rlhf.rollout import Texts, padded, sequences_of
from palate.train.optimise import Optimiser


@dataclass(frozen=True, slots=True)
class Lesson:
    """One step's texts and what is to be learnt of them: so many updates, at these rates."""

    texts: Texts
    targets: Targets
    knobs: Knobs
    passes: int
    rate: float
    value_rate: float


@dataclass(slots=True)
class Told:
    """What the updates of one step said; `change` is the largest log-ratio before the first."""

    policy_loss: list[float] = field(default_factory=list)
    value_loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    clipped: int = 0
    tokens: int = 0
    change: float = 0.0

    @property
    def clip_fraction(self) -> float:
        """Share of the tokens, over all updates, that the clip left without gradient."""
        return self.clipped / max(1, self.tokens)

    @staticmethod
    def mean(values: Sequence[float]) -> float:
        """Over the updates."""
        return sum(values) / max(1, len(values))


class Updater:
    """A policy, its value head if the method has one, and their optimisers."""

    def __init__(
        self, policy: Policy, method: Method, optimiser: Optimiser, *, critic: Critic | None = None
    ) -> None:
        self.policy, self.method, self.optimiser, self.critic = policy, method, optimiser, critic
        self.value_optimiser = None
        if critic is not None:
            named = dict(critic.named_parameters())
            self.value_optimiser = Optimiser(named, weight_decay=0.0, clip=math.inf)

    @property
    def optimisers(self) -> dict[str, Optimiser]:
        """By the prefix of their tensors in a checkpoint."""
        value = {} if self.value_optimiser is None else {"value_": self.value_optimiser}
        return {"": self.optimiser, **value}

    def learn(self, lesson: Lesson, budget: int) -> Told:
        """All updates of one step.  Raises NumericsError, after which the weights are no good."""
        told = Told()
        self.policy.train()  # gradient checkpointing works in this mode alone
        try:
            for _ in range(lesson.passes):
                self._accumulate(lesson, budget, told)
                self._move(lesson, told)
        finally:
            self.policy.eval()
        return told

    def _accumulate(self, lesson: Lesson, budget: int, told: Told) -> None:
        """Add the gradient of the whole rollout."""
        count, policy_loss, value_loss = self.method.count(lesson.targets), 0.0, 0.0
        for losses, change in self._losses(lesson, budget):
            if count:
                (losses.total() / count).backward()
            policy_loss += float(losses.policy_S.detach().sum())
            value_loss += 0.0 if losses.value_S is None else float(losses.value_S.detach().sum())
            told.clipped += int(losses.clipped_SL.sum())
            if not told.grad_norm:
                told.change = max(told.change, change)
        told.tokens += int(lesson.targets.rolled.mask_SL.sum())
        told.policy_loss.append(policy_loss / max(1, count))
        told.value_loss.append(value_loss / max(1, count))

    def _losses(self, lesson: Lesson, budget: int) -> Iterator[tuple[Losses, float]]:
        """Of each packed row: its sequences' losses, and their largest change since the drawing."""
        targets, width = lesson.targets, lesson.targets.rolled.mask_SL.shape[1]
        for row in pack(lesson.texts.items, budget):
            out = self.policy(row, with_states=self.critic is not None)
            part = targets.at(sequences_of(out.row, targets.rolled.group))
            logps_SL = padded(out.logps_K, out.row, width)
            values_SL = None
            if self.critic is not None:
                values_SL = padded(self.critic(out.states_KD), out.row, width)
            change = float((logps_SL.detach() - part.rolled.old_SL).abs().max())
            yield self.method.losses(logps_SL, values_SL, part, lesson.knobs), change

    def _move(self, lesson: Lesson, told: Told) -> None:
        """One step of both optimisers, or of neither.  Raises NumericsError."""
        if all(p.grad is None for p in self.optimiser.parameters.values()):
            told.grad_norm.append(0.0)  # nothing but ties: nothing was learnt
            return
        value_optimiser = self.value_optimiser
        if value_optimiser is not None:
            grads = [p.grad for p in value_optimiser.parameters.values()]
            if not all(g is None or bool(torch.isfinite(g).all()) for g in grads):
                raise NumericsError("the gradient of the value head is not finite.")
        told.grad_norm.append(self.optimiser.step(lesson.rate))
        if value_optimiser is not None:
            value_optimiser.step(lesson.value_rate)
