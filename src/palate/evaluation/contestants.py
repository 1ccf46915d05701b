"""Which models are compared, under which names, and why each is there.

The first candidate's starting model is the baseline unless `--against` names others.  Names are the
folders', and as much of the path as tells two apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from palate.config import EvaluateOptions
from palate.engine.identity import model_identity
from palate.engine.locate import locate
from palate.errors import ModelError, UsageError
from palate.runs.folder import Run
from palate.study.evaluated import Role

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model, by its path, and the record of its run if it is one."""

    name: str
    role: Role
    path: str
    identity: str
    record: Record | None = None

    @property
    def stage(self) -> str | None:
        return None if self.record is None else str(self.record["stage"])

    @property
    def start(self) -> str | None:
        """What it was trained from; None for a model that is no run."""
        return None if self.record is None else str(self.record["config"]["model"])


def contestants(
    runs: Sequence[str], options: EvaluateOptions, *, roots: bool = False
) -> tuple[Contestant, ...]:
    """Candidates, the baseline, others, the control; with `roots` also the untuned model.

    Raises UsageError for what is no finished run of palate, or named twice; ModelError.
    """
    found = [_run(each, "candidate") for each in runs]
    for candidate in found:
        if candidate.start == candidate.path:
            raise UsageError(f"{candidate.path} started from itself.", hint="Restore its run.json.")
    if options.against:
        found.append(_model(options.against[0], "baseline"))
        found += [_model(each, "other") for each in options.against[1:]]
    elif found[0].start is not None:
        found.append(_start(found[0]))
    if options.control is not None:
        found.append(_control(options.control))
    _refuse_twice(found)
    if roots and (root := untuned(found[0])) is not None:
        known = {each.identity for each in found}
        found += [root] if root.identity not in known else []
    return _named(found)


def untuned(contestant: Contestant) -> Contestant | None:
    """Where the chain of runs began; None if that model is not here any more."""
    while contestant.start is not None:
        try:
            contestant = replace(_start(contestant), role="other")
        except (ModelError, UsageError):
            return None
    return contestant


def ancestor(contestant: Contestant, stage: str) -> Contestant | None:
    """The nearest run of a stage that it goes back to, itself included."""
    while True:
        if contestant.stage == stage:
            return contestant
        if contestant.start is None or not (Path(contestant.start) / "run.json").exists():
            return None
        contestant = _start(contestant)


def _run(path: str, role: Role) -> Contestant:
    """A finished run.  Raises UsageError."""
    record = Run.read(Path(path))
    if not record["finished"]:
        raise UsageError(f"{path} is not finished.", hint="Repeat its command: it continues.")
    return _model(path, role)


def _control(path: str) -> Contestant:
    try:
        found = _run(path, "control")
    except UsageError as error:
        raise UsageError(f"--control: {error.message}", hint=error.hint) from error
    assert found.record is not None
    if not found.record["config"].get("random_labels"):
        raise UsageError(
            f"--control: {path} was not trained on random labels.",
            hint="Make one: the run's own palate dpo command with --random-labels and another"
            " --out.",
        )
    return found


def _model(path: str, role: Role) -> Contestant:
    """Any model.  Raises ModelError if there is none."""
    place = locate(path)
    folder = Path(path)
    record = Run.read(folder) if (folder / "run.json").exists() else None
    if record is not None and record["stage"] == "reward":
        raise UsageError(
            f"{path} is a reward model: it writes no texts to compare.",
            hint=f"It can give the points: --reward {path}.",
        )
    name = folder.name or folder.resolve().name
    return Contestant(name, role, path, model_identity(place.base, place.adapter), record)


def _start(contestant: Contestant) -> Contestant:
    """Its starting model, as it was.  Raises UsageError if that has changed since."""
    assert contestant.start is not None and contestant.record is not None
    found = _model(contestant.start, "baseline")
    if found.identity != contestant.record["base_identity"]:
        raise UsageError(
            f"{contestant.start} has changed since {contestant.path} started from it.",
            hint="Restore it, or name what to compare with: --against MODEL.",
        )
    return found


def _refuse_twice(found: Sequence[Contestant]) -> None:
    seen: dict[str, Contestant] = {}
    for each in found:
        other = seen.setdefault(str(Path(each.path).resolve()), each)
        if other is not each:
            raise UsageError(
                f"{each.path} is named twice: as {other.role} and as {each.role}.",
                hint="Name each model once.",
            )


def _named(found: Sequence[Contestant]) -> tuple[Contestant, ...]:
    """The shortest ends of the paths that differ; where none does, a number."""
    parts = [Path(each.path).resolve().parts for each in found]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return tuple(replace(each, name=name) for each, name in zip(found, names, strict=True))
    raise UsageError("Two models have one name.", hint="Name each model once.")
