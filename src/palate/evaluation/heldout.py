"""What is measured on: prompts and pairs that no run under evaluation learnt from or was chosen by.

In order: what the command names, the store's held-out verdicts, the run's own held-out rows, of
these the half that chose no weights.  Prompts that were trained on are left out, and counted aloud.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palate.config import DpoConfig, EvaluateOptions, SftConfig, TrainConfig
from palate.data.rows import Example, Origin, Pair, Text
from palate.data.sources import parse_map, read, read_prompts
from palate.data.split import halves, prompt_key, split
from palate.errors import PalateError, UsageError
from palate.evaluation.contestants import Contestant
from palate.evaluation.verdicts import Kept
from palate.train.defaults import HELDOUT_SHARE
from palate.train.events import Listener, Note, silent

CHOSE: str = "which also chose its weights: too few to divide"
Rows = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Heldout:
    """Each prompt once; pairs, several of a prompt possible; tags by `prompt_key`."""

    prompts: tuple[Text, ...]
    pairs: tuple[Pair, ...]
    source: str
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 of the content, whatever its order."""
        parts = sorted({key(each) for each in self.prompts})
        parts += sorted(
            json.dumps([prompt_key(p), repr(p.chosen), repr(p.rejected)]) for p in self.pairs
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def tags_of(self, prompt: Text) -> tuple[str, ...]:
        return self.tags.get(key(prompt), ())


@dataclass(frozen=True, slots=True)
class Sets:
    """The set to report on, and the one on which several candidates are chosen between."""

    report: Heldout
    choose: Heldout


@dataclass(frozen=True, slots=True)
class Own:
    """A run's rows: keys of the prompts it learnt from, held-out rows that chose, and the rest."""

    learnt: frozenset[str]
    choosing: Rows
    reporting: Rows


def key(prompt: Text) -> str:
    """One name for a prompt, however it is written down."""
    return prompt_key(Example(prompt, "", Origin("", 0)))


def held_out(
    candidates: Sequence[Contestant], options: EvaluateOptions, kept: Kept | None, listen: Listener
) -> Sets:
    """Raises UsageError if there is nothing to measure on, DataError for a file with problems."""
    rows = {each.name: _own(each, listen) for each in candidates}
    first = rows[candidates[0].name]
    pairs, source = _pairs(options, kept, first)
    prompts = _prompts(options, pairs, first)
    if options.prompts is not None:
        source = options.prompts if not pairs else f"{options.prompts}; pairs: {source}"
    learnt = frozenset().union(*(each.learnt for each in rows.values() if each))
    report = _without(Heldout(prompts, pairs, source, _tags(pairs, kept)), learnt, listen)
    if len(candidates) == 1:
        return Sets(report, report)
    return _divided(report, first, options)


def _pairs(
    options: EvaluateOptions, kept: Kept | None, own: Own | None
) -> tuple[tuple[Pair, ...], str]:
    if options.pairs is not None:
        return tuple(read(options.pairs, kind="pairs").rows), options.pairs
    if kept is not None:
        return kept.pairs, f"held-out verdicts of {kept.path}"
    if own is None:
        return (), ""
    found = tuple(row for row in own.reporting or own.choosing if isinstance(row, Pair))
    return found, _own_source(own)


def _own_source(own: Own) -> str:
    if own.reporting:
        return "the run's own held-out rows, the half that chose nothing"
    return f"the run's own held-out rows, {CHOSE}"


def _prompts(options: EvaluateOptions, pairs: Sequence[Pair], own: Own | None) -> tuple[Text, ...]:
    """Of a file, else of the pairs, else of the run's own rows; each once."""
    if options.prompts is not None:
        rows: Sequence[Any] = read_prompts(options.prompts).rows
    else:
        rows = pairs or (() if own is None else own.reporting or own.choosing)
    found = {key(row.prompt): row.prompt for row in reversed(rows) if row.prompt is not None}
    if not found:
        raise UsageError(
            "There are no held-out prompts to measure on: "
            + ("the run held none out." if own is not None else "the run's data is gone."),
            hint="Name some that it did not learn from: --prompts FILE, or --pairs FILE.",
        )
    return tuple(reversed(found.values()))


def _tags(pairs: Sequence[Pair], kept: Kept | None) -> dict[str, tuple[str, ...]]:
    """The user's reasons by prompt: of the pairs, and of the store."""
    found: dict[str, tuple[str, ...]] = {} if kept is None else dict(kept.tags)
    for pair in pairs:
        if pair.tag is not None:
            name = prompt_key(pair)
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), pair.tag)))
    return found


def _without(found: Heldout, learnt: frozenset[str], listen: Listener) -> Heldout:
    """The same without what was trained on.  Raises UsageError if nothing is left."""
    prompts = tuple(each for each in found.prompts if key(each) not in learnt)
    pairs = tuple(each for each in found.pairs if prompt_key(each) not in learnt)
    gone = len(found.prompts) - len(prompts), len(found.pairs) - len(pairs)
    if not prompts:
        raise UsageError(
            f"Every one of the {gone[0]} prompts was trained on: there is nothing held out.",
            hint="Name prompts that the run did not learn from: --prompts FILE.",
        )
    if any(gone):
        what = f"{gone[0]} prompts and {gone[1]} pairs were trained on, and are left out"
        listen(Note(what, warning=True))
    return Heldout(prompts, pairs, found.source, found.tags)


def _divided(report: Heldout, own: Own | None, options: EvaluateOptions) -> Sets:
    """One half chooses between candidates, the other reports.  Raises UsageError if too small."""
    named = options.prompts is not None or options.pairs is not None or options.store is not None
    if not named and own is not None and own.reporting:
        texts = tuple({key(r.prompt): r.prompt for r in own.choosing if r.prompt}.values())
        pairs = tuple(row for row in own.choosing if isinstance(row, Pair))
        return Sets(report, Heldout(texts, pairs, report.source, report.tags))
    rows = [Example(each, "", Origin("", n)) for n, each in enumerate(report.prompts)]
    first, second = halves(rows, seed=options.seed)
    if not second:
        raise UsageError(
            f"{len(rows)} held-out prompts are too few to choose between runs on one half and to"
            " report on the other.",
            hint="Evaluate one run, or name more prompts: --prompts FILE.",
        )
    return Sets(_part(report, second, "the half that chose nothing"), _part(report, first, ""))


def _part(found: Heldout, rows: Sequence[Example], which: str) -> Heldout:
    names = {prompt_key(row) for row in rows}
    pairs = tuple(each for each in found.pairs if prompt_key(each) in names)
    prompts = tuple(row.prompt for row in rows if row.prompt is not None)
    return Heldout(prompts, pairs, f"{found.source}, {which}", found.tags)


# -- a run's own rows


def _own(run: Contestant, listen: Listener) -> Own | None:
    """What a run learnt from and held out; None, with a note, where its data is gone or changed."""
    try:
        return own_rows(run)
    except PalateError as error:
        told = f"{run.name}: what it learnt from cannot be read ({error.message})"
        listen(Note(f"{told}: whether these prompts are held out is not known", warning=True))
        return None


def own_rows(run: Contestant) -> Own:
    """Raises PalateError; UsageError if the data has changed since."""
    from palate.train.prepare import divided
    from palate.train.stage import READ_AS

    assert run.record is not None
    config, objective = _config(run.record), _objective(run.record)
    if config is None or objective is None:
        return _prompts_alone(run.record)
    rows = divided(config, READ_AS[objective.items], silent)
    if rows.digest != run.record["frozen"]["data_digest"]:
        raise UsageError(f"{config.data} has changed since.", hint="Restore it.")
    choosing, reporting = halves(rows.heldout, seed=config.seed)
    return Own(frozenset(map(prompt_key, rows.train)), choosing, reporting)


def _config(record: Mapping[str, Any]) -> TrainConfig | None:
    """The options of a stage that learns from rows."""
    made = {"sft": SftConfig, "dpo": DpoConfig}.get(record["stage"])
    return None if made is None else made(**record["config"])


def _objective(record: Mapping[str, Any]) -> Any:
    from palate.objectives import build

    found = record.get("objective")
    return None if not found else build(found["name"], **found["options"])


def _prompts_alone(record: Mapping[str, Any]) -> Own:
    """Of a run that learnt from prompts and a reward, or from pairs in another way."""
    from palate.train.prepare import MIN_HELDOUT_PROMPTS

    config = record["config"]
    mapping, form = parse_map(tuple(config["map"])), config.get("format", "auto")
    rows = read_prompts(config["data"], mapping=mapping, format=form).rows
    rows = tuple(row for row in rows if row.prompt is not None)
    if config.get("heldout"):
        held: Rows = read_prompts(config["heldout"], mapping=mapping, format=form).rows
    elif len({prompt_key(row) for row in rows}) < MIN_HELDOUT_PROMPTS:
        held = ()
    else:
        rows, held = split(rows, share=HELDOUT_SHARE, seed=config["seed"])
    choosing, reporting = halves(held, seed=config["seed"])
    return Own(frozenset(map(prompt_key, rows)), choosing, reporting)


def examples_of(path: str) -> tuple[Example, ...]:
    """Examples of a file.  Raises DataError."""
    return tuple(read(path, kind="sft").rows)


def is_there(path: str | None) -> bool:
    """Whether a run's file is still where it was; a hub id is taken to be."""
    return path is not None and Path(path).exists()
