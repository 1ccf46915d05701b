"""`palate reward`: a reward model from pairs, and how far it can be trusted."""

from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from palate.config import RewardConfig

if TYPE_CHECKING:
    from palate.rlhf.calibration import Calibration
    from palate.rlhf.reward_stage import RewardFacts, RewardRun


def reward(*, config: Annotated[RewardConfig, Parameter(name="*")]) -> None:
    """The reward model's stage, what held-out pairs say of it, then who may be paid by it."""
    from palate import api
    from palate.cli.show import shown

    with shown() as listen:
        done = api.reward(config, listen)
    _say(done)
    _say_next(done, config.model)


def _say(done: "RewardRun") -> None:
    from palate.cli.words import evaluation_line

    finished = done.finished
    print(f"done: {finished.final} holds step {finished.best_step}")
    if finished.evaluation is not None:
        print(evaluation_line(finished.evaluation).removesuffix("  (best so far)"))
    if finished.best_step == 0:
        print("warning: held-out loss was lowest before the first step: the head is still random")
    print(_spread(done.facts))
    if done.facts.found is not None:
        _say_calibration(done.facts.found, chose=done.facts.chose)


def _spread(facts: "RewardFacts") -> str:
    from palate.cli.words import figure

    spread = f"rewards: mean {figure(facts.mean)}, standard deviation {figure(facts.std)}"
    return f"{spread}, over {facts.answers} {'answers' if facts.found else 'answers trained on'}"


def _say_calibration(found: "Calibration", *, chose: bool) -> None:
    """Accuracy and calibration, and whether these pairs also chose the weights."""
    which = "which chose the weights too" if chose else "which did not choose the weights"
    pairs = found.accuracy.count
    print(f"ranks {found.accuracy.percent()} of {pairs} held-out pairs right, {which}")
    print(f"calibration error {found.error:.3f}; where it said, and where it was right:")
    for each in found.bins:
        place = f"{each.low:.0%} to {each.high:.0%}"
        print(f"  {place:>12}  said {each.said:.0%}  right {each.right.percent()}", end="")
        print(f"  ({each.right.count} pairs)")


def _say_next(done: "RewardRun", model: str) -> None:
    run_folder, policy = quote(str(done.finished.path)), quote(model)
    out = quote(str(done.finished.path.with_name("ppo")))
    ppo = f"palate ppo --model {policy} --data prompts.jsonl --reward {run_folder} --out {out}"
    print(f"next: {ppo}")
    print(f"      palate best-of-n {policy} prompts.jsonl --reward {run_folder}")
