"""What differs between the methods that learn from a policy's own texts: one row of a table each.

The loop is the same for all and asks no method for its name.  It draws so many texts per prompt,
has them scored, and calls `targets` once; then, for every packed row of every pass, `losses` of
that row's sequences.  Their `total` is summed over the minibatch and divided by `count` of its
targets, so a gradient does not depend on the packing.  Sequences of a prompt stand side by side and
never come apart.  Adding a method: two functions and a row.

Shape suffixes: S sequences, L places of the longest, P prompts, N completions of each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from palate.errors import UsageError
from palate.objectives import online
from palate.objectives.pairwise import dpo

VALUE_CLIP = 0.2  # how far a value may move per rollout; Huang et al. 2024, from OpenAI's code

Knobs = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rolled:
    """One rollout, without gradient: `group` texts per prompt, one score each, token log-probs.

    `old_SL` are the log-probs under the policy that drew, `values_SL` what its value head said.
    """

    group: int
    scores_S: Tensor
    old_SL: Tensor
    reference_SL: Tensor
    mask_SL: Tensor
    values_SL: Tensor | None = None

    @property
    def scores_PN(self) -> Tensor:
        return self.scores_S.view(-1, self.group)

    @property
    def ties_P(self) -> Tensor:
        """Whether a prompt's texts were all scored alike, so that they cannot be compared."""
        scores_PN = self.scores_PN
        return (scores_PN == scores_PN[:, :1]).all(-1) & (self.group > 1)


@dataclass(frozen=True, slots=True)
class Targets:
    """What the losses are measured against: advantages, and the returns that values are fitted to.

    Of a pair of texts the advantage is a verdict: 1 the better one, -1 the other, 0 a tie.
    """

    rolled: Rolled
    advantages_SL: Tensor
    returns_SL: Tensor | None = None

    def at(self, index_S: Tensor) -> "Targets":
        """Those of some sequences, in that order; whole groups side by side."""
        rolled, values, returns = self.rolled, self.rolled.values_SL, self.returns_SL
        part = Rolled(
            rolled.group,
            rolled.scores_S[index_S],
            rolled.old_SL[index_S],
            rolled.reference_SL[index_S],
            rolled.mask_SL[index_S],
            None if values is None else values[index_S],
        )
        returns = None if returns is None else returns[index_S]
        return Targets(part, self.advantages_SL[index_S], returns)


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss per sequence, a sum over what `count` counts; `clipped_SL`: tokens past the clip."""

    policy_S: Tensor
    clipped_SL: Tensor
    value_S: Tensor | None = None

    def total(self) -> Tensor:
        """What goes backward, summed.

        Values need no weight: they are read off states that their loss does not reach.
        """
        policy = self.policy_S.sum()
        return policy if self.value_S is None else policy + self.value_S.sum()


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table.

    `completions` per prompt by default, from `fewest` to `most`; `passes` over each rollout.
    `knobs` are the numbers that it reads, with their defaults: another has no effect on this
    method.  `losses(logps_SL, values_SL, targets, knobs)` takes log-probs and values with their
    gradient.  `values`: it needs a value head; `by_verdict`: of scores it reads the order alone.
    """

    name: str
    paper: str
    completions: int
    fewest: int
    most: int | None
    passes: int
    knobs: Knobs
    targets: Callable[[Rolled, Knobs], Targets]
    losses: Callable[[Tensor, Tensor | None, Targets, Knobs], Losses]
    count: Callable[[Targets], int]
    values: bool = False
    by_verdict: bool = False

    def checked(self, given: Mapping[str, float | None]) -> dict[str, float]:
        """All knobs, those not given at their default.  Raises UsageError for any other."""
        found = {name: value for name, value in given.items() if value is not None}
        reads = [f"--{name.replace('_', '-')}" for name in given if name in self.knobs]
        for name in found:
            if name not in self.knobs:
                raise UsageError(
                    f"--{name.replace('_', '-')} has no effect with --method {self.name}.",
                    hint=f"Leave it out; {self.name} reads {', '.join(reads)}.",
                )
        return {**self.knobs, **found}

    def drawn(self, given: int | None) -> int:
        """Texts per prompt.  Raises UsageError where the method cannot do with so many."""
        count = self.completions if given is None else given
        if count < self.fewest or (self.most is not None and count > self.most):
            takes = f"{self.fewest} or more" if self.most is None else f"{self.most}"
            raise UsageError(
                f"--n {count}: {self.name} takes {takes} texts per prompt.",
                hint=f"Leave --n out for {self.completions}.",
            )
        return count


# ---- PPO: a token is an action, and a value head says what was to be expected


def _gae(rolled: Rolled, knobs: Knobs) -> Targets:
    """Shaped rewards -> GAE -> whitened advantages.  Returns are of advantages before whitening."""
    assert rolled.values_SL is not None, "PPO has a value head"
    advantages_SL, returns_SL = online.gae(
        _paid(rolled, knobs),
        rolled.values_SL,
        rolled.mask_SL,
        gamma=knobs["gamma"],
        lam=knobs["lam"],
    )
    return Targets(rolled, online.whiten(advantages_SL, rolled.mask_SL), returns_SL)


def _ppo(logps_SL: Tensor, values_SL: Tensor | None, targets: Targets, knobs: Knobs) -> Losses:
    """Every token counts the same."""
    rolled, returns_SL = targets.rolled, targets.returns_SL
    assert values_SL is not None and rolled.values_SL is not None and returns_SL is not None
    policy_SL, clipped_SL = _clipped(logps_SL, targets, knobs)
    value_SL = online.clipped_value(values_SL, rolled.values_SL, returns_SL, clip=VALUE_CLIP)
    return Losses(_sum(policy_SL, rolled.mask_SL), clipped_SL, _sum(value_SL, rolled.mask_SL))


# ---- RLOO and GRPO: the other texts of the prompt say what was to be expected


def _leave_one_out(rolled: Rolled, knobs: Knobs) -> Targets:
    """The whole text is one action, its reward the score less `kl` times its log-ratio."""
    paid_PN = _paid(rolled, knobs).sum(-1).view(-1, rolled.group)
    return Targets(rolled, _along(online.rloo(paid_PN).view(-1), rolled))


def _rloo(logps_SL: Tensor, values_SL: Tensor | None, targets: Targets, knobs: Knobs) -> Losses:
    """The clipped surrogate of whole texts, as TRL 1.16; before anything moved it is REINFORCE."""
    mask_SL, advantages_S, clip = targets.rolled.mask_SL, targets.advantages_SL[:, 0], knobs["clip"]
    now_S, old_S = _sum(logps_SL, mask_SL), _sum(targets.rolled.old_SL, mask_SL)
    clipped_S = online.is_clipped(now_S.detach(), old_S, advantages_S, clip=clip)
    loss_S = online.clipped_policy(now_S, old_S, advantages_S, clip=clip)
    return Losses(loss_S, clipped_S[:, None] & mask_SL)


def _in_group(rolled: Rolled, knobs: Knobs) -> Targets:
    return Targets(rolled, _along(online.grpo(rolled.scores_PN).view(-1), rolled))


def _grpo(logps_SL: Tensor, values_SL: Tensor | None, targets: Targets, knobs: Knobs) -> Losses:
    """Mean over a text's tokens, the KL estimate k3 in the loss.  Shao et al. 2024, eq. 3."""
    rolled, mask_SL = targets.rolled, targets.rolled.mask_SL
    policy_SL, clipped_SL = _clipped(logps_SL, targets, knobs)
    loss_SL = policy_SL + knobs["kl"] * online.kl_k3(logps_SL, rolled.reference_SL)
    return Losses(_sum(loss_SL, mask_SL) / mask_SL.sum(-1).clamp(min=1), clipped_SL)


# ---- online DPO: of two texts, which is better


def _verdicts(rolled: Rolled, knobs: Knobs) -> Targets:
    first_P, second_P = rolled.scores_PN.unbind(-1)
    verdict_P = torch.sign(first_P - second_P)
    verdict_S = torch.stack([verdict_P, -verdict_P], -1).view(-1)
    return Targets(rolled, _along(verdict_S, rolled))


def _online_dpo(
    logps_SL: Tensor, values_SL: Tensor | None, targets: Targets, knobs: Knobs
) -> Losses:
    """A pair's loss stands at its better text; a tie has none."""
    rolled, verdict_S = targets.rolled, targets.advantages_SL[:, 0]
    delta_P2 = _sum(logps_SL - rolled.reference_SL, rolled.mask_SL).view(-1, 2)
    swapped_P1 = verdict_S.view(-1, 2)[:, :1] < 0
    loss_P = dpo(torch.where(swapped_P1, delta_P2.flip(-1), delta_P2), beta=knobs["beta"])
    loss_S = loss_P.repeat_interleave(2) * (verdict_S > 0)
    return Losses(loss_S, torch.zeros_like(rolled.mask_SL))


# ---- what they share


def _paid(rolled: Rolled, knobs: Knobs) -> Tensor:
    """Rewards per token: the score at the end, less the KL."""
    return online.shaped(
        rolled.scores_S, rolled.old_SL, rolled.reference_SL, rolled.mask_SL, kl=knobs["kl"]
    )


def _clipped(logps_SL: Tensor, targets: Targets, knobs: Knobs) -> tuple[Tensor, Tensor]:
    """The clipped surrogate of every token, and which tokens are past the clip."""
    old_SL, advantages_SL, clip = targets.rolled.old_SL, targets.advantages_SL, knobs["clip"]
    loss_SL = online.clipped_policy(logps_SL, old_SL, advantages_SL, clip=clip)
    clipped_SL = online.is_clipped(logps_SL.detach(), old_SL, advantages_SL, clip=clip)
    return loss_SL, clipped_SL & targets.rolled.mask_SL


def _sum(values_SL: Tensor, mask_SL: Tensor) -> Tensor:
    return torch.where(mask_SL, values_SL, torch.zeros_like(values_SL)).sum(-1)


def _along(values_S: Tensor, rolled: Rolled) -> Tensor:
    """One number per text at each of its tokens."""
    return values_S.to(rolled.old_SL)[:, None] * rolled.mask_SL


def _tokens(targets: Targets) -> int:
    return int(targets.rolled.mask_SL.sum())


def _texts(targets: Targets) -> int:
    return len(targets.rolled.scores_S)


def _decided(targets: Targets) -> int:
    return int((~targets.rolled.ties_P).sum())


_ROWS = (
    Method(
        name="ppo",
        paper="Ziegler et al. 2019; Schulman et al. 2017; Huang et al. 2024",
        completions=1,
        fewest=1,
        most=None,
        passes=2,
        knobs={"kl": 0.05, "clip": 0.2, "gamma": 1.0, "lam": 1.0},
        targets=_gae,
        losses=_ppo,
        count=_tokens,
        values=True,
    ),
    Method(
        name="rloo",
        paper="Ahmadian et al. 2024",
        completions=4,
        fewest=2,
        most=None,
        passes=2,
        knobs={"kl": 0.05, "clip": 0.2},
        targets=_leave_one_out,
        losses=_rloo,
        count=_texts,
    ),
    Method(
        name="grpo",
        paper="Shao et al. 2024",
        completions=4,
        fewest=2,
        most=None,
        passes=2,
        knobs={"kl": 0.04, "clip": 0.2},
        targets=_in_group,
        losses=_grpo,
        count=_texts,
    ),
    Method(
        name="online_dpo",
        paper="Guo et al. 2024",
        completions=2,
        fewest=2,
        most=2,
        passes=2,
        knobs={"beta": 0.1},
        targets=_verdicts,
        losses=_online_dpo,
        count=_decided,
        by_verdict=True,
    ),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _ROWS}
