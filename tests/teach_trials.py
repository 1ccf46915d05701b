"""`palate teach` on a tiny model in a forked child that can be killed: points are events, disk
operations, writes to the store and questions to the judge."""

import json
import os
from pathlib import Path
from typing import Any

import fork_server
from fork_server import Points, Server, Trial
from palate.data.judged import AskedPrompt, JudgeKind
from palate.judge.verdicts import Opinion


class Letters:
    """A taste that a child can check: the more letters of `a` to `m`, the better."""

    name = "letters"
    kind: JudgeKind = "program"

    def compare(self, prompt: AskedPrompt, left: str, right: str) -> Opinion:
        gap = worth(left) - worth(right)
        return Opinion("left" if gap > 0 else "right" if gap < 0 else "tie")


def worth(text: str) -> int:
    return sum(letter in "abcdefghijklm" for letter in text)


class TeachServer(Server):
    """The same pipe, with this module's command behind it."""

    script = __file__


def command(trial: Trial, points: Points) -> None:
    """What the child does instead of a stage."""
    from palate.config import TeachOptions
    from palate.judge import database
    from palate.judge.database import Database
    from palate.runs import atomic, folder
    from palate.study import sampling_file
    from palate.teach.loop import teach
    from palate.teach.voices import Asked

    os.environ["PALATE_CACHE"] = trial.cache
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    for module in (atomic, folder, sampling_file):
        module.os = points  # type: ignore[attr-defined]
    # A kill loses nothing that was written, so there is no need to wait for the disk.
    settings = (each.replace("= FULL", "= OFF") for each in database._SETTINGS)
    database._SETTINGS = tuple(settings)  # type: ignore[assignment]
    write, compare = Database.write, Letters.compare

    def told_write(self: Database, statement: str, values: Any = ()) -> None:
        points.pass_by("store")
        write(self, statement, values)

    def told_compare(self: Letters, prompt: AskedPrompt, left: str, right: str) -> Opinion:
        points.pass_by("judge")
        return compare(self, prompt, left, right)

    Database.write = told_write  # type: ignore[method-assign]
    Letters.compare = told_compare  # type: ignore[method-assign]
    options = dict(trial.config)
    model, prompts = options.pop("model"), options.pop("prompts")
    teach(model, prompts, TeachOptions(**options), Asked(Letters()), points)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    fork_server._command = command
    fork_server.serve()
