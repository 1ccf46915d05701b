"""What `--reward` names: the demo's taste, a rubric in TOML, or the folder of a reward model.

And whom `--judge-with` names, who compares two texts where no reward is asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from palate.config import PpoConfig

if TYPE_CHECKING:
    from palate.data.rewards import Reward
    from palate.endpoint import Endpoint
    from palate.judge.verdicts import Judge
    from palate.rlhf.judged import Couple, Judged
    from palate.train.events import Listener

DEMO: Final = "demo"
AT_ONCE: Final = 8  # questions to a server under way
_KNOWN = "It is demo, a rubric (a .toml file of checks), or the folder of a reward model."


def reward_of(config: PpoConfig, listen: "Listener") -> "Reward":
    """What a run learns from: a reward, or a judge.  Raises a PalateError unless it is one."""
    from palate.errors import UsageError

    if (config.reward is None) == (config.judge_with is None):
        given = "neither --reward nor" if config.reward is None else "both --reward and"
        raise UsageError(
            f"{given} --judge-with is given.",
            hint="Give one: --reward scores each text, --judge-with compares two (online_dpo).",
        )
    if config.judge_with is None:
        _refuse_without_judge(config)
        return reward_with(str(config.reward), listen, policy=config.model)
    return judged_with(config.judge_with, config.judge_model, insecure=config.insecure)


def reward_with(words: str, listen: "Listener", *, policy: str | None = None) -> "Reward":
    """The reward of that name.

    With `policy`, the model that is to be paid, a reward model must read the same tokens.  Raises
    UsageError, DataError for a rubric, ModelError for a folder.
    """
    from palate.errors import UsageError

    if words == DEMO:
        from palate.demo.reward import DemoReward

        return DemoReward()
    path = Path(words).expanduser()
    if path.is_file():
        if path.suffix.lower() == ".toml":
            return _rubric(path, listen)
        raise UsageError(f"--reward {words}: this file is no .toml.", hint=_KNOWN)
    is_hub_id = words.count("/") == 1 and not path.parent.exists()
    if path.is_dir() or is_hub_id:
        return _model(str(path), listen, policy)
    raise UsageError(f"--reward {words}: there is no such file or folder.", hint=_KNOWN)


def _rubric(path: Path, listen: "Listener") -> "Reward":
    """The share of a rubric's checks that an answer passes."""
    from palate.study.checklist import RubricReward, load
    from palate.train.events import Note

    reward = RubricReward(load(path))
    if reward.left_out:
        names = ", ".join(reward.left_out)
        listen(Note(f"{path.name} pays by its programs; left out, for a judge alone: {names}"))
    return reward


def _model(words: str, listen: "Listener", policy: str | None) -> "Reward":
    from palate.engine.locate import locate
    from palate.engine.model import read_tokenizer
    from palate.rlhf.reward import open_reward, require_same_tokenizer
    from palate.train.events import Note

    reward = open_reward(words)
    for note in reward.notes:
        listen(Note(f"{words}: {note}"))
    if policy is not None:
        require_same_tokenizer(reward, read_tokenizer(locate(policy), policy), policy)
    return reward


def _refuse_without_judge(config: PpoConfig) -> None:
    """An option that would have no effect is an error."""
    from palate.errors import UsageError

    for flag in ("judge_model", "insecure"):
        if getattr(config, flag):
            raise UsageError(
                f"--{flag.replace('_', '-')} has no effect without --judge-with.",
                hint="Leave it out.",
            )


def judged_with(words: str, model: str | None, *, insecure: bool) -> "Judged":
    """A judge as what pays: a program is asked once, a model in both orders.

    Raises UsageError; when asked, what the judge raises.
    """
    from palate.rlhf.judged import Judged

    judge = judge_of(words, model, insecure=insecure)
    is_program = judge.kind == "program"

    def compare(couples: "Sequence[Couple]") -> list[int]:
        return _verdicts(judge, couples)

    kind: Literal["program", "model"] = "program" if is_program else "model"
    return Judged(judge.name, kind, compare, both_orders=not is_program)


def judge_of(words: str, model: str | None, *, insecure: bool) -> "Judge":
    """The demo's taste, or the model of a server.  Raises UsageError."""
    from palate.judge.by_endpoint import EndpointJudge

    if words != DEMO:
        return EndpointJudge(endpoint_of(words, model, insecure=insecure))
    return _demo_judge(model, insecure=insecure)


def _demo_judge(model: str | None, *, insecure: bool) -> "Judge":
    from palate.demo.judge import DemoJudge
    from palate.errors import UsageError

    if model or insecure:
        flag = "--judge-model" if model else "--insecure"
        raise UsageError(f"{flag} has no effect with demo.", hint="Leave it out.")
    return DemoJudge()


def endpoint_of(url: str, model: str | None, *, insecure: bool) -> "Endpoint":
    """A server and which of its models is asked.  Raises UsageError."""
    from palate.endpoint import Endpoint
    from palate.errors import UsageError

    if not model:
        raise UsageError("--judge-model is needed.", hint="Name a model that the server has.")
    return Endpoint(url, model, insecure=insecure)


def _verdicts(judge: "Judge", couples: "Sequence[Couple]") -> list[int]:
    """1 where the first answer won, -1 where the second did, 0 for no winner."""
    from palate.data.judged import AskedPrompt
    from palate.study.checklist import as_string
    from palate.study.sampling_endpoint import side_by_side

    def ask(couple: "Couple") -> int:
        prompt, one, other = couple
        asked = AskedPrompt("", as_string(prompt), "train")
        return {"left": 1, "right": -1}.get(judge.compare(asked, one, other).verdict, 0)

    return side_by_side(ask, couples, AT_ONCE if judge.kind == "model" else 1)
