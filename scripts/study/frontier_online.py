"""The older way's arms: a reward model from the pairs, and policies reinforced by a reward."""

from math import ceil
from typing import Any

from palate.config import PpoConfig, RewardConfig, TrainConfig
from study.frontier import ONLINE_RATE, Arm
from study.frontier_data import Place


def online(arm: Arm, place: Place, about: dict[str, Any]) -> TrainConfig:
    """The config of a `reward` or `ppo` stage; a reward model has the stage's own learning rate."""
    scale = place.scale
    quiet = {"final": "last", "eval_every": 100_000}
    if arm.stage == "reward":
        paired = {"epochs": scale.epochs, "batch_size": scale.batch}
        return RewardConfig(**about, **quiet, **paired, heldout=str(place.file("held")))
    paid = arm.paid_by if arm.paid_by == "demo" else str(place.run(arm.paid_by))
    prompts = max(1, scale.online_batch // int(arm.options.get("n", 1)))  # as many texts for all
    steps = scale.online_steps
    moments = scale.moments if arm.along else 1
    return PpoConfig(
        **{"lr": ONLINE_RATE, **about, **quiet},
        reward=paid,
        batch_size=prompts,
        epochs=steps * prompts / scale.prompts,
        max_new_tokens=scale.tokens,
        heldout=str(place.file("prompts-held")),
        save_every=ceil(steps / moments),
        keep=moments + 2,
    )


def run(config: TrainConfig) -> int:
    """The stage; gives its optimiser steps."""
    from palate.cli.reward_with import reward_with
    from palate.rlhf.reward_stage import train_reward
    from palate.rlhf.stage import run_online
    from palate.train.events import silent

    if isinstance(config, RewardConfig):
        return train_reward(config).finished.steps
    assert isinstance(config, PpoConfig)
    reward = reward_with(config.reward, silent, policy=config.model)
    return run_online(config, reward, silent).steps
