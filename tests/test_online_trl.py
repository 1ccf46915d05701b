"""RLOO and GRPO against TRL's own trainers: advantages, loss and gradient of made rollouts.

The trainers are made without `__init__` and handed texts, rewards and log-probs: what is compared
is what the installed TRL computes, and nothing of it is copied.
"""

import importlib.metadata
import os
import random
import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from palate.objectives import online
from palate.rlhf.methods import METHODS, Rolled

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("trl", reason="needs TRL (the extra bench), which is not installed")
    if not importlib.metadata.version("trl").startswith("1.16."):
        pytest.skip("compares with TRL 1.16, and another is installed", allow_module_level=True)
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.rloo_trainer import RLOOTrainer

KL, CLIP, GROUP, PROMPTS = 0.3, 0.2, 4, 3
TRAINERS: dict[str, Any] = {"rloo": RLOOTrainer, "grpo": GRPOTrainer}
CLOSE: dict[str, dict[str, Any]] = {  # TRL corrects its standard deviation by a factor in float32
    "rloo": {"rtol": 1e-10, "atol": 1e-10},
    "grpo": {"rtol": 1e-7, "atol": 1e-7},
}


class Made:
    """A rollout of ragged texts; the policy has moved since, some tokens past the clip."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.sizes = [draw.randint(1, 7) for _ in range(PROMPTS * GROUP)]
        longest = max(self.sizes)
        self.mask_SL = torch.arange(longest) < torch.tensor(self.sizes)[:, None]
        shape, generator = self.mask_SL.shape, torch.Generator().manual_seed(seed)

        def noise(spread: float) -> Tensor:
            return spread * torch.randn(shape, generator=generator, dtype=torch.float64)

        self.old_SL = -1.5 + noise(0.4)
        self.reference_SL = self.old_SL + noise(0.3)
        self.now_SL = self.old_SL + noise(0.15)
        self.scores_S = torch.tensor([draw.gauss(0, 2) for _ in self.sizes], dtype=torch.float64)

    @property
    def rolled(self) -> Rolled:
        return Rolled(GROUP, self.scores_S, self.old_SL, self.reference_SL, self.mask_SL)


SETTINGS: dict[str, Any] = {
    "accelerator": SimpleNamespace(
        device=torch.device("cpu"),
        gather=lambda x: x,
        reduce=lambda x, reduction: x,
        process_index=0,
        num_processes=1,
    ),
    "args": SimpleNamespace(
        per_device_train_batch_size=1,
        steps_per_generation=2,
        gradient_accumulation_steps=1,
        gradient_checkpointing_kwargs=None,
        delta=None,
        use_bias_correction_kl=False,
    ),
    "model": SimpleNamespace(training=True, is_gradient_checkpointing=False),
    "ref_model": object(),
    "_tokenizer": SimpleNamespace(pad_token_id=0),
    "eos_token_ids": [0],
    "reward_weights": torch.ones(1, dtype=torch.float64),
    "reward_func_names": ["made"],
    "num_generations": GROUP,
    "num_iterations": 2,
    "multi_objective_aggregation": "sum_then_normalize",
    "scale_rewards": "group",
    "importance_sampling_level": "token",
    "loss_type": "grpo",
    "top_entropy_quantile": 1.0,
    "current_gradient_accumulation_steps": 1,
    "beta": KL,
    "epsilon_low": CLIP,
    "epsilon_high": CLIP,
    "_pending_extra_logs": {},
    "_pending_metrics": {},
    "state": SimpleNamespace(global_step=0, num_input_tokens_seen=0),
    "max_completion_length": 7,
}


def trainer(kind: str, made: Made, logps: list[Tensor]) -> Any:
    """TRL's trainer: it is told texts and rewards, and `logps` one after the other.

    Whatever else it asks itself is None: off.
    """
    told = iter(logps)

    def per_token(*_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
        table_SL = next(told)
        return table_SL, torch.zeros_like(table_SL), None

    off = {"__getattr__": lambda self, name: None}
    found: Any = object.__new__(type("Bare", (TRAINERS[kind],), off))
    texts = [[2] * size for size in made.sizes]
    drawn: tuple[Any, ...] = ([[1]] * len(texts), texts, ["text"] * len(texts))
    if kind == "grpo":
        drawn = (*drawn[:2], None, drawn[2], None, {}, None, None)
    logs: defaultdict[str, Any] = defaultdict(list)
    logs |= {"rewards": defaultdict(list), "extra": defaultdict(list)}
    found.__dict__.update(
        SETTINGS,
        _metrics={"train": defaultdict(list)},
        _logs=logs,
        _get_per_token_logps_and_entropies=per_token,
        _calculate_rewards=lambda *_: made.scores_S[:, None],
        _generate=lambda prompts: drawn,
    )
    return found


def theirs(kind: str, made: Made, **changed: Any) -> tuple[Tensor, Tensor, Tensor]:
    """TRL's advantages (S), loss, and its gradient by the log-probs as they are now (S,L)."""
    now_SL = made.now_SL.clone().requires_grad_()
    found = trainer(kind, made, [made.old_SL, made.reference_SL, now_SL])
    found.__dict__.update(changed)
    batch = found._generate_and_score_completions([{"prompt": "p"}] * len(made.sizes))
    loss = found._compute_loss(found.model, batch)
    (gradient_SL,) = torch.autograd.grad(loss, now_SL)
    return batch["advantages"], loss.detach(), gradient_SL


def ours(kind: str, made: Made) -> tuple[Tensor, Tensor, Tensor]:
    method, knobs = METHODS[kind], {"kl": KL, "clip": CLIP}
    now_SL = made.now_SL.clone().requires_grad_()
    targets = method.targets(made.rolled, knobs)
    loss = method.losses(now_SL, None, targets, knobs).total() / method.count(targets)
    (gradient_SL,) = torch.autograd.grad(loss, now_SL)
    return targets.advantages_SL[:, 0], loss.detach(), gradient_SL


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", TRAINERS)
def test_advantages_loss_and_gradient_are_trls(kind: str, seed: int) -> None:
    made = Made(seed)
    for mine, other in zip(ours(kind, made), theirs(kind, made), strict=True):
        torch.testing.assert_close(mine, other, **CLOSE[kind])


@pytest.mark.parametrize("kind", TRAINERS)
def test_another_coefficient_or_clip_would_be_seen(kind: str) -> None:
    rollouts = [Made(seed) for seed in range(4)]
    for changed in ({"beta": 2 * KL}, {"epsilon_high": 2 * CLIP}, {"epsilon_low": CLIP / 2}):
        gaps = [ours(kind, each)[2] - theirs(kind, each, **changed)[2] for each in rollouts]
        assert max(float(gap_SL.abs().max()) for gap_SL in gaps) > 1e-3, changed


def test_grpo_without_scaling_is_trls_too() -> None:
    made = Made(1)
    advantages_S, _, _ = theirs("grpo", made, scale_rewards="none")
    found_PN = online.grpo(made.scores_S.view(-1, GROUP), scale=False)
    torch.testing.assert_close(found_PN.view(-1), advantages_S, **CLOSE["rloo"])
