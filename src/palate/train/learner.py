"""What differs between stages that share one loop: which model learns, how it is written down."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from palate.engine.adapters import save_final
from palate.engine.model import Loaded
from palate.engine.policy import Policy
from palate.engine.value import Model
from palate.train.loop import Task


class Learner(Protocol):
    """A policy (`PolicyLearner`), or a reward model (`rlhf.reward_stage.RewardLearner`)."""

    def check(self, loaded: Loaded) -> None:
        """Raise ModelError, before any work, for a model that cannot be what is asked."""

    def model(self, policy: Policy) -> Model:
        """What learns, in eval mode, made of the policy that was loaded."""

    def measured(self, task: Task) -> Mapping[str, Any]:
        """What run.json says of the final weights beyond their held-out evaluation."""

    def save(self, loaded: Loaded, task: Task, folder: Path) -> None:
        """Write `final/`.  `folder` exists and is empty; the model is not used afterwards."""


class PolicyLearner:
    """SFT, DPO and the other objectives over log-probs: `final/` is an adapter or a model."""

    def check(self, loaded: Loaded) -> None:
        """Whatever was loaded will do."""

    def model(self, policy: Policy) -> Policy:
        return policy

    def measured(self, task: Task) -> Mapping[str, Any]:
        return {}

    def save(self, loaded: Loaded, task: Task, folder: Path) -> None:
        task.policy.restore()
        save_final(loaded, folder)
