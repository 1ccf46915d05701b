"""`palate ppo`: texts are drawn, scored and learnt from, by PPO, RLOO, GRPO or online DPO."""

from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from palate.config import PpoConfig

if TYPE_CHECKING:
    from palate.train.stage import Finished


def ppo(*, config: Annotated[PpoConfig, Parameter(name="*")]) -> None:
    """The stage, what the held-out prompts say, then how to look at its result."""
    from palate import api
    from palate.cli.reward_with import reward_of
    from palate.cli.show import shown

    with shown() as listen:
        done = api.ppo(config, reward_of(config, listen), listen)
    _say(done)
    run_folder = quote(str(done.path))
    paid_by = f"--reward {quote(config.reward)}" if config.reward else _judged(config)
    print(f"next: palate evaluate {run_folder} {paid_by}")
    print(f"      palate chat {run_folder}")


def _judged(config: PpoConfig) -> str:
    """The same judge, as flags."""
    asked = f"--judge-with {quote(str(config.judge_with))}"
    return asked if config.judge_model is None else f"{asked} --judge-model {config.judge_model}"


def _say(done: "Finished") -> None:
    from palate.cli.words import evaluation_line

    print(f"done: {done.final} holds step {done.best_step}")
    if done.evaluation is not None:
        print(evaluation_line(done.evaluation).removesuffix("  (best so far)"))
    if done.best_step == 0:
        print("warning: no step was better than the start: nothing learnt carries over")
