"""A model to look at, with the rendering it was trained with: a run remembers its row options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palate.config import PromptOptions, RowOptions
from palate.data.render import Renderer
from palate.data.rows import Item
from palate.data.sources import parse_map, read_prompts
from palate.engine.model import Loaded, load
from palate.engine.policy import Policy
from palate.engine.selfcheck import plan_for
from palate.errors import CheckpointError, PalateError, UsageError
from palate.runs.folder import Run
from palate.train.defaults import TOKEN_BUDGET
from palate.train.events import Listener, Note
from palate.train.prepare import renderer_for

REMEMBERED = ("join", "plain")


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model, its renderer, and the run's record if it is one."""

    loaded: Loaded
    renderer: Renderer
    record: dict[str, Any] | None

    @property
    def reference(self) -> str | None:
        """What a DPO run was measured against."""
        return reference_of(self.record)

    @property
    def objective_options(self) -> dict[str, Any]:
        """What the run's objective was built with; empty for a model that is no run."""
        return {} if self.record is None else dict(self.record["objective"]["options"])

    @property
    def budget(self) -> int:
        return TOKEN_BUDGET[self.loaded.device.type]

    def policy(self, items: Sequence[Item]) -> Policy:
        """The model as a policy, under the plan that it earns on these items."""
        self.loaded.model.eval()
        return Policy(self.loaded.model, plan_for(self.loaded.model, items))


def open_source(model: str, options: PromptOptions, listen: Listener) -> Opened:
    """Load a run, a folder or an adapter; options left out are those that the run was made with."""
    loaded = load(model)
    for note in loaded.notes:
        listen(Note(note))
    record, rows = laid_out(model, options)
    return Opened(loaded, renderer_for(loaded, rows), record)


def laid_out(model: str, options: PromptOptions) -> tuple[dict[str, Any] | None, RowOptions]:
    """The record of a run, and how its rows are laid out: as it was made, unless asked."""
    record = Run.read(Path(model)) if (Path(model) / "run.json").exists() else None
    if record is not None:
        options = _remembered(options, record["config"])
    names = RowOptions.model_fields.keys() & type(options).model_fields.keys()
    return record, RowOptions(**{name: getattr(options, name) for name in names})


def reference_of(record: Mapping[str, Any] | None) -> str | None:
    """What a DPO run was measured against: the model it started from."""
    if record is None or record.get("reference") is None:
        return None
    return str(record["config"]["model"])


def check_reference(name: str, identity: str, record: Mapping[str, Any]) -> None:
    """Raise CheckpointError if this is no longer the model that the run was trained against."""
    if identity != record["reference"]:
        raise CheckpointError(
            f"{name} is not the reference that this run was trained against: "
            f"its weights have changed.",
            hint="Restore it; a margin against another model means nothing.",
        )


def own_data(model: str) -> str:
    """The file that a run was trained on.  Raises UsageError if there is none."""
    path = Path(model)
    if not (path / "run.json").exists():
        raise UsageError(
            f"{model} is no run of palate, so it has no data of its own.",
            hint="Name a file of pairs or examples.",
        )
    return str(Run.read(path)["config"]["data"])


def own_prompts(model: str, count: int = 8) -> tuple[str, ...]:
    """A few prompts of what a run was trained on; none if it is no run, or they are gone."""
    path = Path(model)
    if not (path / "run.json").exists():
        return ()
    config = Run.read(path)["config"]
    try:
        mapping, form = parse_map(config["map"]), config.get("format", "auto")
        rows = read_prompts(config["data"], mapping=mapping, format=form).rows
    except PalateError:
        return ()
    texts = [row.prompt for row in rows[:count] if row.prompt]
    return tuple(t if isinstance(t, str) else "\n".join(m.content for m in t) for t in texts)


def _remembered(options: PromptOptions, config: dict[str, Any]) -> PromptOptions:
    default = type(options)()
    update = {
        name: config[name]
        for name in REMEMBERED
        if getattr(options, name) == getattr(default, name)
    }
    return options.model_copy(update=update)
