"""What a flag left out becomes: derived from model size, adapter or not, and row count, and why.

The learning rates follow published recipes at 1 to 7 billion parameters (SFT 2e-5 at 1 B; for DPO
Tunstall et al. 2023 used 5e-7 at 7 B; more for LoRA) and grow with the inverse root of the
size, which `docs/defaults.md` checks on small models.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from palate.config import TrainConfig

TOKEN_BUDGET = {"cpu": 640, "cuda": 16384}
LORA_RANK = 16
EVALUATIONS = 10
SAVE_STEPS = 200
HELDOUT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """What differs between stages: learning rate at 1 B parameters, its limits, steps aimed at."""

    lr_at_1b: float
    lora_factor: float
    lora_most: float
    lr_limits: tuple[float, float]
    epochs: tuple[int, int]
    steps: int


SFT = Stage(
    lr_at_1b=2e-5,
    lora_factor=10,
    lora_most=3.2e-3,
    lr_limits=(1e-5, 1e-3),
    epochs=(2, 6),
    steps=120,
)
DPO = Stage(
    lr_at_1b=2.5e-6,
    lora_factor=10,
    lora_most=2e-4,
    lr_limits=(5e-7, 2e-5),
    epochs=(1, 4),
    steps=80,
)

REWARD = Stage(
    lr_at_1b=1e-5,
    lora_factor=10,
    lora_most=1e-3,
    lr_limits=(1e-6, 1e-4),
    epochs=(1, 4),
    steps=80,
)

PPO = Stage(
    lr_at_1b=3e-6,  # Huang et al. 2024, at 1 to 7 billion parameters
    lora_factor=20,
    lora_most=1e-3,
    lr_limits=(1e-6, 5e-5),
    epochs=(1, 4),
    steps=36,
)

STAGES = {"sft": SFT, "dpo": DPO, "reward": REWARD, "ppo": PPO}


@dataclass(frozen=True, slots=True)
class Settings:
    """Every number that the loop reads, decided."""

    batch_size: int
    epochs: float
    steps: int
    lr: float
    token_budget: int
    eval_every: int
    save_every: int


def settings(config: TrainConfig, *, parameters: int, rows: int, device: str) -> Settings:
    """Fill what the flags leave open.  `parameters` is the size of the whole model."""
    stage = stage_of(config)
    batch_size = config.batch_size or _batch_size(rows)
    epochs = config.epochs or _epochs(stage, rows, batch_size)
    steps = ceil(places(epochs, rows) / batch_size)
    steps = min(steps, config.max_steps or steps)
    eval_every = config.eval_every or max(1, steps // EVALUATIONS)
    return Settings(
        batch_size=batch_size,
        epochs=epochs,
        steps=steps,
        lr=config.lr or _learning_rate(stage, parameters, full=config.full),
        token_budget=config.token_budget or TOKEN_BUDGET[device],
        eval_every=eval_every,
        save_every=config.save_every or min(eval_every, SAVE_STEPS),
    )


def reasons(config: TrainConfig, found: Settings, *, parameters: int, rows: int) -> Iterator[str]:
    """One line for each number that was derived, with where it comes from."""
    if config.batch_size is None:
        yield f"batch size {found.batch_size}: {rows} rows, about twelve steps or more an epoch"
    if config.epochs is None:
        yield f"{found.epochs:g} epochs, {found.steps} steps: {rows} rows"
    if config.lr is None:
        factor = stage_of(config).lora_factor
        kind = "full fine-tuning" if config.full else f"LoRA, up to {factor:g} times that of --full"
        yield f"learning rate {found.lr:.1e}: {parameters / 1e6:.3g} M parameters, {kind}"


def places(epochs: float, rows: int) -> int:
    """Rows that a run goes through, repeats counted."""
    return max(1, round(epochs * rows))


def stage_of(config: TrainConfig) -> Stage:
    return STAGES[config.stage]


def _batch_size(rows: int) -> int:
    """The largest power of two that leaves twelve steps an epoch, from 4 to 32."""
    size = 4
    while size < 32 and size * 2 * 12 <= rows:
        size *= 2
    return size


def _epochs(stage: Stage, rows: int, batch_size: int) -> float:
    low, high = stage.epochs
    return float(min(max(ceil(stage.steps * batch_size / rows), low), high))


def _learning_rate(stage: Stage, parameters: int, *, full: bool) -> float:
    low, high = stage.lr_limits
    rate = min(max(stage.lr_at_1b * (1e9 / parameters) ** 0.5, low), high)
    lora = min(rate * stage.lora_factor, stage.lora_most)
    return float(f"{rate if full else lora:.1e}")
