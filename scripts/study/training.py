"""What DPO makes of pairs: one short run from the demo's SFT model, and the taste of its texts.

Every run has the same size, rate and number of steps, and its LAST weights are judged: to keep the
step that does best on held-out pairs would mend part of what is to be measured.  Arms of one seed
share prompts, order, sheets and the noise of the draws, so they are compared pair by pair.
"""

import json
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from palate.demo import figures, rows
from palate.demo.sheets import Sheet, sheets

Row = Mapping[str, Any]
RATE, BATCH = 8e-4, 4  # the demo's learning rate


@dataclass(frozen=True, slots=True)
class Sizes:
    """Pairs trained on, held-out pairs, epochs, sheets to describe, draws for each."""

    pairs: int = 200
    held: int = 40
    epochs: float = 2.0
    unseen: int = 100
    draws: int = 2


QUICK = Sizes(pairs=24, held=8, epochs=1.0, unseen=6, draws=1)


@dataclass(frozen=True)
class Demo:
    """A finished `palate demo`: its SFT model, its pairs, and the sheet of every prompt."""

    folder: Path

    @property
    def sft(self) -> Path:
        return self.folder / "sft"

    @cached_property
    def pairs(self) -> tuple[Row, ...]:
        text = (self.folder / "data" / "pairs.jsonl").read_text(encoding="utf-8")
        return tuple(json.loads(line) for line in text.splitlines())

    @cached_property
    def about(self) -> dict[str, Sheet]:
        """Prompt -> the sheet that it asks about; the demo's own sheets, drawn again."""
        record = json.loads((self.folder / "demo.json").read_text(encoding="utf-8"))
        seed, count = record["seed"], record["pairs"] + record["prompts without a pair"]
        found = sheets(count, f"prompts {seed}")
        prompts = rows.prompts(found)
        return {row["prompt"]: sheet for row, sheet in zip(prompts, found, strict=True)}

    def split(self, seed: int, sizes: Sizes) -> tuple[list[Row], list[Row], list[Row]]:
        """Pairs to train on, held-out pairs, and what is left over, for one seed."""
        order = random.Random(f"split {seed}").sample(self.pairs, len(self.pairs))
        stop = sizes.pairs + sizes.held
        return order[: sizes.pairs], order[sizes.pairs : stop], order[stop:]


def trained(
    demo: Demo, pairs: Sequence[Row], seed: int, sizes: Sizes, work: Path
) -> dict[str, Any]:
    """DPO on these pairs; points, figures and texts of its last weights.  `work` is emptied."""
    from palate import api
    from palate.config import DpoConfig

    start = time.monotonic()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    data, held = work / "pairs.jsonl", work / "held.jsonl"
    for path, found in ((data, pairs), (held, demo.split(seed, sizes)[1])):
        kept = ({name: row[name] for name in ("prompt", "chosen", "rejected")} for row in found)
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    config = DpoConfig(
        model=str(demo.sft),
        data=str(data),
        heldout=str(held),
        out=work / "run",
        lr=RATE,
        epochs=sizes.epochs * sizes.pairs / len(pairs),  # the same steps, whatever was dropped
        batch_size=BATCH,
        eval_every=100_000,
        save_every=100_000,
        seed=seed,
        threads=1,
    )
    api.dpo(config)
    middle = time.monotonic()
    steps = [json.loads(line) for line in (work / "run" / "metrics.jsonl").open(encoding="utf-8")]
    last = steps[-1]
    told = described(work / "run", seed, sizes, last=True)
    shutil.rmtree(work)
    return {
        "pairs": len(pairs),
        "steps": last["step"],
        "held": last.get("heldout"),
        "seconds": [round(middle - start, 1), round(time.monotonic() - middle, 1)],
        **told,
    }


def described(model: Path, seed: int, sizes: Sizes, *, last: bool = False) -> dict[str, Any]:
    """Texts about unseen sheets, drawn and greedy, and what the taste says of them.

    `last`: under the weights of the run's last checkpoint instead of its best.
    """
    from palate.config import SampleConfig
    from palate.engine.sample import SampleSettings, sample
    from palate.study.source import open_source
    from palate.train.events import silent

    opened = open_source(str(model), SampleConfig(), silent)
    if last:
        _take_last(opened.loaded.model, model)
    about = sheets(sizes.unseen, f"study {seed}")
    ids = [opened.renderer.prompt_ids(row["prompt"]) for row in rows.prompts(about)]
    found: dict[str, Any] = {}
    for name, warmth, draws in (("drawn", 1.0, sizes.draws), ("greedy", 0.0, 1)):
        stops = tuple(sorted(opened.renderer.stop_ids))
        settings = SampleSettings(128, draws, warmth, stop_ids=stops)
        texts = [draw.text for draw in sample(opened.loaded, ids, settings, seed=seed)]
        judged = figures.read([sheet for sheet in about for _ in range(draws)], texts)
        means = {name: round(each.value, 4) for name, each in figures.figures(judged).items()}
        points = [each.verdict.score for each in judged]
        found[name] = {"figures": means, "points": points, "texts": texts}
    return found


def _take_last(model: Any, run: Path) -> None:
    """Put the weights of the last checkpoint into a model that was opened from its run."""
    import torch

    from palate.runs import checkpoint

    *_, (_, weights) = checkpoint.kept_weights(run)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
