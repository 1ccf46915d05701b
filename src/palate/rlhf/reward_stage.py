"""`palate reward`: a reward model from pairs, by the loop that trains every stage.

What is its own: a scalar head beside the adapter, `final/` as a sequence classification folder, and
what held-out pairs say of it: accuracy, calibration, mean and spread of its rewards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from palate.config import RewardConfig
from palate.data.rows import Sequence as Tokens
from palate.engine.classifier import require_class, save_classifier
from palate.engine.model import Loaded
from palate.engine.policy import Policy
from palate.engine.value import RewardModel, new_head, reward_items
from palate.errors import NumericsError
from palate.objectives.reward import reward_objective
from palate.rlhf.calibration import Bin, Calibration, calibration
from palate.runs.folder import Run
from palate.stats import Interval
from palate.train.events import Listener, silent
from palate.train.loop import Task
from palate.train.stage import Finished, run_stage


@dataclass(frozen=True, slots=True)
class RewardFacts:
    """Of the final weights.  `found` is on the held-out pairs that did not choose the weights.

    `chose`: they did, for there are too few to keep any apart.  `mean` and `std` are of `answers`
    rewards, chosen and rejected: of all held-out pairs, or of those trained on if none is held out.
    Rewards are left as they are: their zero is arbitrary, and the head has no bias to shift it by.
    """

    mean: float
    std: float
    answers: int
    found: Calibration | None
    chose: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "RewardFacts":
        """From run.json."""
        found = fields["found"] and Calibration(
            Interval(**fields["found"]["accuracy"]),
            fields["found"]["error"],
            tuple(_bin(each) for each in fields["found"]["bins"]),
        )
        return cls(fields["mean"], fields["std"], fields["answers"], found, fields["chose"])


def _bin(fields: Mapping[str, Any]) -> Bin:
    return Bin(**{**fields, "right": Interval(**fields["right"])})


class RewardLearner:
    """Trunk and head learn together; see `train.learner`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._width = 0

    def check(self, loaded: Loaded) -> None:
        """Raise ModelError for a family that has no sequence classification class."""
        self._width = require_class(loaded.core)

    def model(self, policy: Policy) -> RewardModel:
        return RewardModel(policy, new_head(policy, self._width, seed=self._seed)).eval()

    def measured(self, task: Task) -> Mapping[str, Any]:
        """`reward` of run.json.  Raises NumericsError for rewards that are all the same."""
        items = (task.heldout or task.train).items
        rewards_I2 = reward_items(_of(task), items, task.settings.token_budget).double().cpu()
        std = float(rewards_I2.std())
        if not std > 0:
            raise NumericsError(
                "the reward model gives every answer the same reward: it learnt nothing.",
                hint="Look at the data (palate doctor), or raise --lr.",
            )
        found, chose = None, False
        if task.heldout is not None:
            gap_I = (rewards_I2[:, 0] - rewards_I2[:, 1]).tolist()
            choosing = set(task.choosing) if task.config.final == "best" else set()
            kept = [gap for place, gap in enumerate(gap_I) if place not in choosing]
            found, chose = calibration(kept or gap_I), not kept
        facts = RewardFacts(float(rewards_I2.mean()), std, rewards_I2.numel(), found, chose)
        return {"reward": asdict(facts)}

    def save(self, loaded: Loaded, task: Task, folder: Path) -> None:
        """One merged sequence classification model, compared with the class before it counts."""
        items = (task.heldout or task.train).items
        save_classifier(loaded, _of(task), folder, _sequences(items))


def _of(task: Task) -> RewardModel:
    assert isinstance(task.model, RewardModel)
    return task.model


def _sequences(items: Sequence[Any]) -> list[Tokens]:
    return [sequence for item in items for sequence in item.sequences]


@dataclass(frozen=True, slots=True)
class RewardRun:
    """A reward model's stage at its end."""

    finished: Finished
    facts: RewardFacts


def train_reward(
    config: RewardConfig, listen: Listener = silent, *, overridden: Sequence[str] = ()
) -> RewardRun:
    """Train a reward model; continue if the run exists.  Raises PalateError."""
    objective = reward_objective(
        margin=config.margin, label_smoothing=config.label_smoothing, centring=config.centring
    )
    learner = RewardLearner(config.seed)
    done = run_stage(config, objective, listen, overridden=overridden, learner=learner)
    return RewardRun(done, RewardFacts.of(Run.read(done.path)["reward"]))
