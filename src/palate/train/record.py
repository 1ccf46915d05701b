"""What every stage that trains writes into its run folder beside the metrics, and reads back."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

from palate.config import TrainConfig, resume_rule
from palate.data.rows import Item
from palate.engine.model import Loaded
from palate.engine.policy import Plan, Policy, recompute_activations
from palate.engine.selfcheck import plan_for
from palate.runs import atomic
from palate.runs.folder import Run
from palate.stats import Interval
from palate.train.events import Evaluation, Listener, Note


def check_writable(out: Path) -> None:
    """Fail before any work if the folder cannot be written."""
    with atomic.disk_errors(out):
        atomic.make_folder(out.parent)


def written(config: TrainConfig, loaded: Loaded) -> dict[str, Any]:
    """What the run writes down of itself, whatever is learnt."""
    parent = Path(config.model)
    return {
        "stage": config.stage,
        "config": config.model_dump(mode="json"),
        "base": loaded.base,
        "base_identity": loaded.identity,
        "parent": config.model if (parent / "run.json").exists() else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "numpy": np.__version__,
        },
    }


def frozen(config: TrainConfig, loaded: Loaded, *, digest: str, threads: int) -> dict[str, Any]:
    """What a resume must find unchanged, whatever is learnt."""
    fields = config.model_dump(mode="json")
    kept = {n: v for n, v in fields.items() if resume_rule(type(config), n) == "frozen"}
    return kept | {
        "stage": config.stage,
        "data_digest": digest,
        "base": loaded.identity,
        "threads": threads,
        "torch": torch.__version__,
    }


def policy_for(
    config: TrainConfig, run: Run, loaded: Loaded, items: Sequence[Item], listen: Listener
) -> Policy:
    """The policy under the plan that this architecture has earned, decided once per run."""
    stored = run.record.get("plan")
    if stored is not None:
        plan = Plan(stored["shared"], stored["chunked"], tuple(stored["reasons"]))
    else:
        plan = _decided(config, loaded, items)
        run.update(
            plan={"shared": plan.shared, "chunked": plan.chunked, "reasons": list(plan.reasons)}
        )
    listen(Note(f"fast path checked against the plain one: {plan}", warning=bool(plan.reasons)))
    if config.grad_checkpoint:
        recompute_activations(loaded.core)
    return Policy(loaded.model, plan).eval()


def _decided(config: TrainConfig, loaded: Loaded, items: Sequence[Item]) -> Plan:
    if config.lora_dropout > 0:
        return Plan(False, True, ("dropout draws per row, so nothing may be shared",))
    return plan_for(loaded.model, items)


def evaluation_of(fields: Mapping[str, Any]) -> Evaluation:
    """An evaluation as it was written down."""
    intervals = {name: fields.get(name) for name in ("accuracy", "score")}
    read = {name: value and Interval(**value) for name, value in intervals.items()}
    return Evaluation(**{**fields, **read})


def parameters_of(loaded: Loaded) -> int:
    """Size of the model, the adapter's included."""
    return sum(p.numel() for p in loaded.core.parameters())
