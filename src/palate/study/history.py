"""What became of each pair of a run, from the margins and weights written down on the way.

A margin is the one that a step met, before it moved anything.  No model is loaded and no torch
imported.  Nothing is claimed of a pair that was met once: it was never looked at after its step.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from palate.data.sources import parse_map, read, records
from palate.errors import CheckpointError, PalateError, UsageError
from palate.runs.folder import Metrics, Run
from palate.train.history import HISTORY, ROWS

Class = Literal["at-once", "gained", "flipped", "never", "lost", "once"]
CLEAR = 0.1
RIGHT: tuple[Class, ...] = ("at-once", "gained", "flipped")
SURE = math.log(9)
KINDS: tuple[Literal["pairs", "labelled", "ranked"], ...] = ("pairs", "labelled", "ranked")
TAGS = ("tag", "tags", "category")
MEANING: dict[Class, str] = {
    "at-once": f"margin above {SURE:.1f} by the second meeting: too easy to teach much",
    "gained": f"margin above {CLEAR} at the last meeting, and never below −{CLEAR} before",
    "flipped": f"below −{CLEAR} at one meeting, above {CLEAR} at the last: wrong, then right",
    "never": f"not above {CLEAR} at the last meeting, nor at any before",
    "lost": f"above {CLEAR} at one meeting, no longer at the last: right, then lost",
    "once": "met once, before its own step: nothing can be said",
}


@dataclass(frozen=True, slots=True)
class PairHistory:
    """One row of the run.  `margins` is empty where the objective ranks no pairs."""

    line: int
    path: str
    group: str
    tag: str | None
    tokens: tuple[int, ...]
    steps: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def kind(self) -> Class:
        return classify(self.margins)

    @property
    def push(self) -> float:
        """Weights of all its meetings, summed: its share of what the run was driven by."""
        return sum(map(abs, self.weights))

    def as_json(self) -> dict[str, Any]:
        """The row's own columns in an export and in `--json`."""
        return {
            "line": self.line,
            "path": self.path,
            "class": self.kind,
            "steps": list(self.steps),
            "margins": list(self.margins),
            "weights": list(self.weights),
        }


@dataclass(frozen=True, slots=True)
class Spread:
    """How unevenly the push lies: the heaviest tenth's share; the share of pairs that got half."""

    top_tenth: float
    half: float
    gini: float


@dataclass(frozen=True, slots=True)
class RunHistory:
    """Every row of a run, in the order of its file."""

    path: Path
    record: dict[str, Any]
    steps: int
    rows: tuple[PairHistory, ...]

    @property
    def met(self) -> tuple[PairHistory, ...]:
        """Rows that some step has met."""
        return tuple(row for row in self.rows if row.steps)

    @property
    def ranks(self) -> bool:
        """Whether the objective gives margins."""
        return any(row.margins for row in self.rows)

    def of(self, kinds: Iterable[str]) -> tuple[PairHistory, ...]:
        """The rows of these classes."""
        wanted = set(kinds)
        return tuple(row for row in self.met if row.kind in wanted)

    def heaviest(self, count: int) -> tuple[PairHistory, ...]:
        """Rows by push, the heaviest first."""
        return tuple(sorted(self.met, key=lambda row: -row.push)[:count])

    def push_of(self, rows: Sequence[PairHistory]) -> float:
        """These rows' share of the push."""
        total = sum(row.push for row in self.met)
        return sum(row.push for row in rows) / total if total else 0.0

    def spread(self) -> Spread:
        return spread([row.push for row in self.met])

    def tags(self) -> dict[str, tuple[PairHistory, ...]]:
        """Tag -> its rows, the heaviest tag first; empty if no row has one."""
        found: dict[str, list[PairHistory]] = {}
        for row in self.met:
            if row.tag is not None:
                found.setdefault(row.tag, []).append(row)
        ranked = sorted(found.items(), key=lambda each: -sum(row.push for row in each[1]))
        return {tag: tuple(rows) for tag, rows in ranked}


def classify(margins: Sequence[float]) -> Class:
    """What became of a pair with these margins; `MEANING` says it in words."""
    if len(margins) < 2:
        return "once"
    was_right = any(margin > CLEAR for margin in margins[:-1])
    if margins[-1] > CLEAR:
        if max(margins[:2]) > SURE and min(margins) >= -CLEAR:
            return "at-once"
        return "flipped" if min(margins[:-1]) < -CLEAR else "gained"
    return "lost" if was_right else "never"


def spread(pushes: Sequence[float]) -> Spread:
    """Gini coefficient and two figures that need no explanation.  Even where there is no push."""
    ranked, total, count = sorted(pushes, reverse=True), sum(pushes), len(pushes)
    if not total:
        return Spread(0.1, 0.5, 0.0)
    tenth = sum(ranked[: max(1, round(count / 10))]) / total
    sofar, half = 0.0, count
    for place, push in enumerate(ranked, start=1):
        sofar += push
        if sofar >= total / 2:
            half = place
            break
    places = enumerate(reversed(ranked), start=1)
    gini = sum((2 * place - count - 1) * push for place, push in places) / (count * total)
    return Spread(tenth, half / count, gini)


# -- reading


def read_history(path: Path) -> RunHistory:
    """The history of the run at `path`.  Raises UsageError if it has none."""
    record = Run.read(path)
    if not (path / HISTORY).exists() or not (path / ROWS).exists():
        raise UsageError(
            f"{path} has no history: {_why_none(record)}.",
            hint="palate dpo writes one; so do its other objectives.",
        )
    rows, lines = _rows(path / ROWS), Metrics(path / HISTORY).rows()
    met: list[list[tuple[int, float | None, float]]] = [[] for _ in rows]
    try:
        for line in lines:
            margins = line["margin"] or [None] * len(line["items"])
            for item, margin, weight in zip(line["items"], margins, line["weight"], strict=True):
                met[item].append((line["step"], margin, float(weight)))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path / HISTORY} does not belong to {path / ROWS}: {error!r}.",
            hint="Copy the run again, or train it again with another --out.",
        ) from error
    found = tuple(_with(row, visits) for row, visits in zip(rows, met, strict=True))
    return RunHistory(path, record, max((line["step"] for line in lines), default=0), found)


def _why_none(record: Mapping[str, Any]) -> str:
    if record.get("stage") == "sft":
        return "SFT gives every row the same weight from first to last"
    if record.get("stage") == "ppo":
        return "its texts are new at every step; palate report draws its curves"
    return "it stopped before its first step, or an earlier palate made it"


def _rows(path: Path) -> list[PairHistory]:
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [
            PairHistory(row["line"], row["path"], row["group"], row["tag"], tuple(row["tokens"]))
            for row in found
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error!r}.", hint="The same palate dpo command writes it again."
        ) from error


def _with(row: PairHistory, visits: Sequence[tuple[int, float | None, float]]) -> PairHistory:
    return replace(
        row,
        steps=tuple(step for step, _, _ in visits),
        margins=tuple(float(margin) for _, margin, _ in visits if margin is not None),
        weights=tuple(weight for _, _, weight in visits),
    )


# -- the file that it was trained on


Records = dict[tuple[str, int], dict[str, Any]]


def original_rows(history: RunHistory) -> Records | str:
    """(path, line) -> the fields of the file, or why they cannot be had any more."""
    config = history.record["config"]
    data, mapping = config["data"], parse_map(config["map"])
    form = config.get("format", "auto")
    was, why, changed = str(history.record["frozen"]["data_digest"]), "", ""
    for kind in KINDS:
        try:
            digest = read(data, kind=kind, mapping=mapping, format=form).digest
        except PalateError as error:
            why = why or f"{data} cannot be read any more ({error.message})"
            continue
        if was.startswith(digest):
            return {(record.path, record.line): record.fields for record in records(data)}
        changed = f"{data} has changed since the run was made"
    return changed or why


def with_tags(history: RunHistory, fields: Records) -> RunHistory:
    """The same history with each row's tag, where its file has such a field."""
    return replace(
        history,
        rows=tuple(
            replace(row, tag=row.tag or _tag(fields.get((row.path, row.line), {})))
            for row in history.rows
        ),
    )


def export_rows(rows: Sequence[PairHistory], fields: Records | str) -> list[dict[str, Any]]:
    """One object per row: what became of it, then what the file says of it."""
    known = {} if isinstance(fields, str) else fields
    return [known.get((row.path, row.line), {}) | row.as_json() for row in rows]


def _tag(fields: Mapping[str, Any]) -> str | None:
    found = next((fields[name] for name in TAGS if name in fields), None)
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, str) else None


def last_margin(rows: Sequence[PairHistory]) -> float | None:
    """Median of the margins at the last meeting."""
    found = [row.margins[-1] for row in rows if row.margins]
    return median(found) if found else None
