"""One arm of a seed trained as a user would: the stage's own command, its last weights kept.

What it took is measured in the process that trains and does nothing else.
"""

import json
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import palate.demo
from palate.config import DpoConfig, SftConfig, TrainConfig
from study.frontier import RATE, Arm
from study.frontier_data import Place
from study.jobs import Usage

BASE_MODEL = Path(palate.demo.__file__).with_name("base")
PARAMETERS = 3_600_000  # of the demo's base, for the defaults
NEVER = 100_000


def trained(arm: Arm, place: Place) -> dict[str, Any]:
    """Train the arm, and what that took."""
    config = configured(arm, place)
    usage = Usage()
    steps = _run(config)
    return {"steps": steps, **usage.told(), **_kept(config.out), **lines(config)}


def start_of(arm: Arm, place: Place) -> Path:
    return BASE_MODEL if arm.start == "base" else place.sft


def configured(arm: Arm, place: Place) -> TrainConfig:
    """The stage's config; a flag that is not set here is the stage's own default."""
    scale = place.scale
    rows = sum(1 for _ in place.file(arm.data).open(encoding="utf-8"))
    about: dict[str, Any] = {
        "model": str(start_of(arm, place)),
        "data": str(place.file(arm.data)),
        "out": place.run(arm.name),
        "seed": place.seed,
        "threads": 1,
        **dict(arm.options),
    }
    if arm.stage in ("ppo", "reward"):
        from study.frontier_online import online

        return online(arm, place, about)
    moments = scale.moments if arm.along else 1
    quiet = {"final": "last", "eval_every": NEVER, "keep": moments + 2}
    if arm.stage == "sft":
        imitates = arm.data.startswith("examples")
        held = "examples-held" if imitates else "chosen-held"
        epochs = scale.imitated if imitates else scale.epochs
        about |= {"epochs": epochs, "heldout": str(place.file(held)), **quiet}
        return _spread(SftConfig(**about), rows, moments)
    about = {"lr": RATE, "epochs": scale.epochs, "batch_size": scale.batch, **about}
    about |= {"heldout": str(place.file("held")), **quiet}
    return _spread(DpoConfig(**about), rows, moments)


def _spread(config: TrainConfig, rows: int, moments: int) -> TrainConfig:
    """With checkpoints at evenly spaced moments, the last one at the end."""
    from palate.train.defaults import settings

    steps = settings(config, parameters=PARAMETERS, rows=rows, device="cpu").steps
    return config.model_copy(update={"save_every": ceil(steps / moments)})


def _run(config: TrainConfig) -> int:
    """The stage; gives its optimiser steps."""
    from palate import api

    if isinstance(config, SftConfig):
        return api.sft(config).steps
    if isinstance(config, DpoConfig):
        return api.dpo(config).steps
    from study.frontier_online import run

    return run(config)


def _kept(run: Path) -> dict[str, Any]:
    """What the run says of its cost, and of the reward model that it may be."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    found = {"models": (record.get("cost") or {}).get("models", 1)}
    if "reward" in record and "found" in record["reward"]:  # of a reward model, on held-out pairs
        found["held"] = record["reward"]["found"]["accuracy"]["value"]
    return found


def lines(config: TrainConfig) -> Mapping[str, int]:
    """`lines`: of a palate.toml that says the same.  `own`: settings that only this stage has."""
    study = {"seed", "threads", "final", "eval_every", "save_every", "keep", "heldout"}
    said = config.model_fields_set - study
    own = type(config).model_fields.keys() - TrainConfig.model_fields.keys()
    return {"lines": len(said), "own": len(own)}
