"""`palate sft`, `palate dpo` and `palate run`: the config is the flags."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from palate.config import DpoConfig, SftConfig

if TYPE_CHECKING:
    from palate.api import Finished
    from palate.train.events import Listener


def sft(*, config: Annotated[SftConfig, Parameter(name="*")]) -> None:
    """The SFT stage, then the command that comes after it."""
    from palate.cli.show import shown

    with shown() as listen:
        done = _sft(config, listen)
    _say_done(done)
    _say_next(_dpo_command(done))


def dpo(*, config: Annotated[DpoConfig, Parameter(name="*")]) -> None:
    """The DPO stage, then how to look at its result."""
    from palate.cli.show import shown

    with shown() as listen:
        done = _dpo(config, listen)
    _say_done(done)
    _say_next(*_after_dpo(done, config.data))


def run(recipe: Path, /) -> None:
    """The stages that a file names, one after the other.

    Parameters
    ----------
    recipe:
        a palate.toml
    """
    from palate.cli.show import shown
    from palate.config_file import load

    stages = load(recipe)
    with shown() as listen:
        done = [_sft(stages.sft, listen)] if stages.sft else []
        done += [_dpo(stages.dpo, listen)] if stages.dpo else []
    for finished in done:
        _say_done(finished)
    if stages.dpo:
        _say_next(*_after_dpo(done[-1], stages.dpo.data))
    else:
        _say_next(_dpo_command(done[-1]))


def _sft(config: SftConfig, listen: "Listener") -> "Finished":
    from palate import api

    return api.sft(config, listen)


def _dpo(config: DpoConfig, listen: "Listener") -> "Finished":
    from palate import api

    return api.dpo(config, listen)


def _say_done(done: "Finished") -> None:
    from palate.cli.words import evaluation_line

    print(f"done: {done.final} holds step {done.best_step}")
    if done.evaluation is not None:
        print(evaluation_line(done.evaluation).removesuffix("  (best so far)"))
    if done.best_step == 0:
        print(
            "warning: held-out loss was lowest before the first step: nothing learnt carries over"
        )


def _dpo_command(done: "Finished") -> str:
    out = done.path.with_name(f"{done.path.name}-dpo")
    return f"palate dpo --model {quote(str(done.path))} --data pairs.jsonl --out {quote(str(out))}"


def _after_dpo(done: "Finished", data: str) -> tuple[str, str]:
    run_folder = quote(str(done.path))
    return f"palate score {run_folder} {quote(data)}", f"palate chat {run_folder}"


def _say_next(*commands: str) -> None:
    for place, command in enumerate(commands):
        print("next: " if place == 0 else "      ", command, sep="")
