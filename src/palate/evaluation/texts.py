"""The texts of every model on the same prompts and seeds, drawn once and kept beside the run.

A file of texts is named after what they are a function of: the weights, the prompts, how they were
drawn.  So the same command reads what is there and goes on where it was stopped, and another one
draws its own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from palate.config import EvaluateOptions, SampleConfig
from palate.data.rows import Text
from palate.errors import UsageError
from palate.evaluation.contestants import Contestant
from palate.runs.atomic import make_folder
from palate.study.checklist import load
from palate.study.drawn import Drawn, draw
from palate.study.sampling import plain
from palate.train.events import Listener, Note

FOLDER = "evaluation"


@dataclass(frozen=True, slots=True)
class Pen:
    """How texts are drawn in one evaluation, and where they are kept.

    `layout`: join and plain of the run, for models that remember none of their own.
    """

    folder: Path
    options: EvaluateOptions
    layout: Mapping[str, Any]
    listen: Listener

    def settings(self, contestant: Contestant) -> SampleConfig:
        options = self.options
        rendering = {} if contestant.record is not None else dict(self.layout)
        return SampleConfig(
            n=1 if options.temperature == 0 else options.n,
            temperature=options.temperature,
            top_p=options.top_p,
            max_new_tokens=options.max_new_tokens,
            seed=options.seed,
            **rendering,
        )

    def draw(
        self, contestant: Contestant, prompts: Sequence[Text], *, shown: Sequence[Text] = ()
    ) -> Drawn:
        """Texts of a model; `shown` is read in place of the prompts.  Raises PalateError."""
        settings, read = self.settings(contestant), tuple(shown or prompts)
        about = [contestant.identity, settings.model_dump(mode="json"), [*map(plain, read)]]
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        path = self.folder / "texts" / f"{contestant.name.replace('/', '-')}-{name}.jsonl"
        found = _whole(path, read)
        if found is None:
            make_folder(path.parent)
            self.listen(Note(f"{contestant.name}: drawing {settings.n} for each of {len(read)}"))
            found = draw(contestant.path, read, settings, path, self.listen)
        return replace(found, model=contestant.name, prompts=tuple(prompts))


def _whole(path: Path, prompts: Sequence[Text]) -> Drawn | None:
    """What a file holds if it holds all; no model is needed for that."""
    if not path.exists():
        return None
    lines = path.read_bytes().splitlines(keepends=True)
    try:
        rows = [json.loads(line) for line in lines if line.endswith(b"\n")]
        blocks = [list(same) for _, same in groupby(rows, lambda row: row["line"])]
        whole = all(len(block) == block[0]["kept"] for block in blocks)
        asked = [block[0]["prompt"] for block in blocks]
        if len(rows) < len(lines) or not whole or asked != [*map(plain, prompts)]:
            return None
        return Drawn(
            "",
            tuple(prompts),
            tuple(tuple(row["completion"] for row in block) for block in blocks),
            tuple(tuple(row["ended"] for row in block) for block in blocks),
        )
    except (ValueError, KeyError, TypeError):
        return None


def layout_of(contestant: Contestant) -> dict[str, Any]:
    """How a run lays a prompt out, for models that are no run."""
    config = {} if contestant.record is None else contestant.record["config"]
    return {name: config[name] for name in ("join", "plain") if config.get(name)}


def check(options: EvaluateOptions) -> None:
    """Raises UsageError for options without effect, DataError for a rubric that is wrong."""
    if options.rubric is not None:
        load(options.rubric)  # said now, and not after an hour of drawing
    if options.temperature == 0 and "n" in options.model_fields_set and options.n > 1:
        raise UsageError("--n has no effect at temperature 0.", hint="Leave it out.")
    if options.temperature == 0 and options.top_p < 1:
        raise UsageError("--top-p has no effect at temperature 0.", hint="Leave it out.")
    if options.ask and options.store is None:
        raise UsageError("--ask has no effect without --store.", hint="Name your store.")
    for flag in ("judge_model", "insecure"):
        if getattr(options, flag) and options.judge_with is None:
            name = flag.replace("_", "-")
            raise UsageError(f"--{name} has no effect without --judge-with.", hint="Leave it out.")
    if options.frontier and options.reward is None:
        raise UsageError("--frontier needs points.", hint="Give --reward too.")
