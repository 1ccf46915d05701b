"""How a model came to be, from the runs that made it: base, SFT, DPO ..., and the commands.

Only what run.json, metrics.jsonl and the manifest of `final/` say; no weights are read.
"""

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from palate.config import TrainConfig
from palate.errors import PalateError
from palate.report.page import shown
from palate.runs.atomic import size_text
from palate.runs.folder import METRICS, Metrics, Run

HASH: Final = 12  # digits of a hash that are shown beside a figure
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One run: its record, its metrics, and the sha256 of the weights that it kept."""

    path: Path
    record: Record
    metrics: tuple[Record, ...]
    weights: str | None

    @property
    def name(self) -> str:
        return self.path.name or str(self.path)

    @property
    def kind(self) -> str:
        return str(self.record.get("stage", "run"))

    @property
    def steps(self) -> int:
        return max((int(row["step"]) for row in self.metrics), default=0)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The stages, oldest first.  `base`: what the oldest began with; `lost`: a run that is gone."""

    base: str
    identity: str
    stages: tuple[Stage, ...]
    lost: str | None = None


def lineage(path: Path) -> Lineage:
    """The run at `path` and those it started from.  Raises UsageError if it is no run."""
    stages, lost = [_stage(path)], None
    seen = {path.resolve()}
    while parent := _parent(stages[0].record):
        found = Path(parent)
        if found.resolve() in seen or not (found / "run.json").exists():
            lost = parent
            break
        try:
            stages.insert(0, _stage(found))
        except PalateError:
            lost = parent
            break
        seen.add(found.resolve())
    first = stages[0].record
    base = lost or str(first.get("base") or _config(first).get("model", ""))
    return Lineage(base, str(first.get("base_identity", "")), tuple(stages), lost)


def _stage(path: Path) -> Stage:
    record = Run.read(path)
    return Stage(path, record, tuple(Metrics(path / METRICS).rows()), _weights(path / "final"))


def _parent(record: Record) -> str | None:
    """The run that this one started from, as it was named then."""
    parent = record.get("parent")
    return str(parent) if parent else None


def _weights(final: Path) -> str | None:
    """sha256 of the weights as their manifest has it; of several files, of the first."""
    try:
        files = json.loads((final / "manifest.json").read_bytes())["files"]
        names = sorted(name for name in files if name.endswith(".safetensors"))
        return str(files[names[0]]["sha256"]) if names else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _config(record: Record) -> Record:
    found = record.get("config")
    return found if isinstance(found, Mapping) else {}


# ---- in words


def facts(stage: Stage) -> Iterator[tuple[str, str]]:
    """What a stage was made of and what it cost: (what, how much)."""
    record, config = stage.record, _config(stage.record)
    if objective := _objective(record):
        yield "objective", objective
    reward = record.get("reward")
    if isinstance(reward, Mapping) and reward.get("name"):
        yield "reward", f"{reward['name']}, a {reward.get('kind', 'program')}"
    if config.get("data"):
        yield "data", PurePath(str(config["data"])).name
    rows = record.get("rows")
    if isinstance(rows, Mapping):
        yield "rows", f"{rows.get('train', 0):,}, {rows.get('heldout', 0):,} held out"
    if digest := _frozen(record).get("data_digest"):
        yield "data hash", str(digest)[:HASH]
    if stage.steps:
        yield "steps", f"{stage.steps:,}{_kept(stage)}"
    yield from _cost(record)
    if stage.weights:
        yield "weights", stage.weights[:HASH]


def _objective(record: Record) -> str:
    """`dpo, beta 0.1`: options that are 0 or off go without saying."""
    found = record.get("objective")
    if not isinstance(found, Mapping):
        return ""
    options = {name: value for name, value in dict(found.get("options") or {}).items() if value}
    told = [f"{name.replace('_', ' ')} {_plain(value)}" for name, value in options.items()]
    return ", ".join([str(found.get("name", "")), *told])


def _kept(stage: Stage) -> str:
    best = stage.record.get("best_step")
    return f", {best:,} kept" if best is not None and best != stage.steps else ""


def _cost(record: Record) -> Iterator[tuple[str, str]]:
    """What the meter wrote down; an older run has none."""
    cost = record.get("cost")
    if not isinstance(cost, Mapping):
        return
    if cost.get("seconds"):
        yield "time", duration(float(cost["seconds"]))
    if cost.get("peak_bytes"):
        yield "peak memory", size_text(float(cost["peak_bytes"]))
    if cost.get("models"):
        yield "models in memory", str(cost["models"])


def duration(seconds: float) -> str:
    """`8 s`, `2 min 10 s`, `3 h 05 min`."""
    whole = max(0, round(seconds)) if math.isfinite(seconds) else 0
    minutes, hours = whole // 60, whole // 3600
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def overridden(stage: Stage) -> list[str]:
    """Findings of the doctor that somebody trained in spite of, as the record has them."""
    found = stage.record.get("overridden") or []
    return [_finding(each) for each in found] if isinstance(found, Sequence) else []


def _finding(found: object) -> str:
    if isinstance(found, Mapping):
        told = [str(found[name]) for name in ("check", "message") if found.get(name)]
        return ": ".join(told) or json.dumps(dict(found), ensure_ascii=False)
    return str(found)


# ---- to do it again


def commands(found: Lineage, settings: Record) -> list[str]:
    """What to type to make it all again, oldest first: only what differs from a default.

    `settings`: of the evaluation, as its record has them.
    """
    last = found.stages[-1].path
    home = os.path.dirname(os.path.abspath(last))
    told = [command(stage.record, home) for stage in found.stages]
    runs, asked = settings.get("runs"), settings.get("asked")
    if isinstance(runs, list) and isinstance(asked, Mapping):
        words = [_typed(each, home) for each in runs] + list(_flags(asked, home))
        told.append(shlex.join(["palate", "evaluate", *words]))
    return [*told, shlex.join(["palate", "report", _typed(os.path.abspath(last), home)])]


def command(record: Record, home: str) -> str:
    """`palate dpo --model sft --data ...`; paths as they are typed in the folder `home`."""
    kind = str(record.get("stage", ""))
    config, model = _config(record), _configs().get(kind)
    fields = model.model_fields if model else {}
    defaults = {
        name: field.get_default() for name, field in fields.items() if not field.is_required()
    }
    asked = {name: value for name, value in config.items() if not _same(value, defaults.get(name))}
    return shlex.join(["palate", kind, *_flags(asked, home)])


def _flags(asked: Record, home: str) -> Iterator[str]:
    for name, value in asked.items():
        if value is not None and value is not False and value != []:
            yield f"--{name.replace('_', '-')}"
            if value is not True:
                yield _typed(value, home)


def _configs() -> dict[str, type[TrainConfig]]:
    """Stage -> its options."""
    found: dict[str, type[TrainConfig]] = {}
    waiting = list(TrainConfig.__subclasses__())
    while waiting:
        one = waiting.pop(0)
        found.setdefault(one.stage, one)
        waiting += one.__subclasses__()
    return found


def _same(value: object, default: object) -> bool:
    """Whether JSON's `value` is this default: its tuples are lists."""
    return value == (list(default) if isinstance(default, tuple) else default)


def _typed(value: object, home: str) -> str:
    if isinstance(value, list):
        return ",".join(_plain(each) for each in value)
    if isinstance(value, str) and os.path.isabs(value):
        beside = os.path.relpath(value, home)
        return value if beside.startswith("..") else beside
    return _plain(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def seeds(found: Lineage) -> str:
    """`sft 0, dpo 0`."""
    told = [(stage.name, _config(stage.record).get("seed")) for stage in found.stages]
    return ", ".join(f"{name} {seed}" for name, seed in told if seed is not None)


def _frozen(record: Record) -> Record:
    found = record.get("frozen")
    return found if isinstance(found, Mapping) else {}


def hashes(found: Lineage) -> Iterator[tuple[str, str]]:
    """Everything that pins a stage, in full."""
    if found.identity:
        yield "what it all started from", found.identity
    for stage in found.stages:
        for what, value in (
            ("data", _frozen(stage.record).get("data_digest")),
            ("reference", stage.record.get("reference")),
            ("weights", stage.weights),
        ):
            if value:
                yield f"{stage.name}: {what}", str(value)


def versions(found: Lineage) -> dict[str, str]:
    """Of palate and what it stood on, from the last stage."""
    last = found.stages[-1].record
    told = {"palate": str(last.get("palate", ""))} | dict(last.get("versions") or {})
    return {name: str(value) for name, value in told.items() if value}


def losses(stage: Stage) -> str:
    """How the held-out loss went, or the score, in words; empty if nothing was held out."""
    found = [row["heldout"] for row in stage.metrics if isinstance(row.get("heldout"), Mapping)]
    scores = [each["score"]["value"] for each in found if isinstance(each.get("score"), Mapping)]
    values = scores or [each["loss"] for each in found if isinstance(each.get("loss"), int | float)]
    if len(values) < 2:
        return ""
    best = max(values) if scores else min(values)
    what = "The score of texts for held-out prompts" if scores else "The held-out loss"
    went = f"{what} went from {shown(values[0])} to {shown(best)}"
    after = f", and then to {shown(values[-1])}" if shown(values[-1]) != shown(best) else ""
    step = stage.record.get("best_step")
    kept = f"; the weights kept are those of step {step:,}" if isinstance(step, int) else ""
    return f"{went}{after}{kept}."
