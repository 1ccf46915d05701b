"""A tiny base, SFT and DPO run and what is held out from them, made once for a module of tests."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tiny
from palate.config import DpoConfig, EvaluateOptions, SftConfig
from palate.data.judged import AskedPrompt, JudgeKind
from palate.data.rewards import Answered
from palate.judge.verdicts import Opinion

WORDS = ("near", "the", "flat", "river", "garden", "lift", "station", "two", "baths", "fee")


def worth(text: str) -> float:
    return float(sum(letter in "abcdefghijklm" for letter in text))


@dataclass(frozen=True)
class Letters:
    """A taste as a reward: letters of `a` to `m`."""

    name: str = "letters"
    kind: Literal["program", "model"] = "program"
    identity: str = "letters"
    models: int = 0

    def score(self, answered: Sequence[Answered]) -> list[float]:
        return [worth(each.answer) for each in answered]


class LettersJudge:
    """The same as a judge."""

    name = "by letters"
    kind: JudgeKind = "program"

    def compare(self, prompt: AskedPrompt, left: str, right: str) -> Opinion:
        gap = worth(left) - worth(right)
        return Opinion("left" if gap > 0 else "right" if gap < 0 else "tie")


@dataclass(frozen=True)
class World:
    """Where everything is."""

    base: Path
    sft: Path
    dpo: Path
    folder: Path

    def write(self, name: str, rows: Sequence[dict[str, Any]]) -> str:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)


def pair(n: int, **more: Any) -> dict[str, Any]:
    word = WORDS[n % len(WORDS)]
    return {
        "prompt": f"say {word} {n}",
        "chosen": f"the {word} is near {n}",
        "rejected": f"the {word} was there",
    } | more


def world(folder: Path) -> World:
    """Three steps of each stage: enough to be runs, and to have moved."""
    from palate import api

    base = tiny.folder(folder / "base", hidden_size=16, num_hidden_layers=2)
    made = World(base, folder / "sft", folder / "dpo", folder)
    examples = [{"prompt": pair(n)["prompt"], "completion": pair(n)["chosen"]} for n in range(40)]
    train, held = [pair(n) for n in range(100, 124)], [pair(n, tag="calm") for n in range(48)]
    common: dict[str, Any] = {"max_steps": 3, "batch_size": 8, "eval_every": 3, "save_every": 1}
    data = made.write("examples.jsonl", examples)
    api.sft(SftConfig(model=str(base), data=data, out=made.sft, lr=1e-3, **common))
    api.dpo(
        DpoConfig(
            model=str(made.sft),
            data=made.write("pairs.jsonl", train),
            heldout=made.write("held.jsonl", held),
            out=made.dpo,
            lr=5e-3,
            keep=4,
            **common,
        )
    )
    return made


def options(**given: Any) -> EvaluateOptions:
    return EvaluateOptions(**({"max_new_tokens": 6, "n": 2} | given))
