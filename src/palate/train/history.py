"""What every row was worth each time it was seen: `rows.jsonl` once, `history.jsonl` step by step.

Beside the metrics and with the same promise: each step once, the same bytes after any kill.  Rows
that are imitated have none: their weight never changes.  No torch here, since who reads a history
needs none.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.runs import atomic
from palate.runs.folder import Metrics

if TYPE_CHECKING:
    from palate.data.rows import Item
    from palate.objectives import Objective
    from palate.train.step import Batch, Result

ROWS, HISTORY = "rows.jsonl", "history.jsonl"
KEPT = frozenset({"pair", "labelled", "ranked"})


class History:
    """Margin and weight of a run's rows, a line for each optimiser step."""

    def __init__(self, run: Path, train: "Batch", objective: "Objective") -> None:
        self._rows = run / ROWS
        self._lines = Metrics(run / HISTORY)
        self._train = train
        self._objective = objective

    @property
    def is_kept(self) -> bool:
        """Whether this objective's rows have one."""
        return self._objective.items in KEPT

    def begin(self, step: float) -> None:
        """Drop what was written after `step`, and write down which rows there are."""
        if not self.is_kept:
            return
        with atomic.disk_errors(self._rows):
            atomic.tidy(self._rows)
            atomic.tidy(self._lines.path)
        self._lines.rewind(step)
        body = b"".join(map(_line, self._train.items))
        if not self._rows.exists() or self._rows.read_bytes() != body:
            atomic.write_file(self._rows, body)

    def append(self, step: int, index: Sequence[int], result: "Result") -> None:
        """The rows at `index`, as they stood just before `step` moved the weights."""
        if not self.is_kept:
            return
        objective, margins = self._objective, None
        if objective.items == "pair":
            margins = _short(objective.margin(result.scored).tolist())
        weights = _short(result.weights_IN[:, 0].tolist())
        row = {"step": step, "items": list(index), "margin": margins, "weight": weights}
        self._lines.append(row)


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _line(item: "Item") -> bytes:
    row: dict[str, Any] = {
        "line": item.origin.line,
        "path": item.origin.path,
        "group": hashlib.sha256(str(item.group).encode()).hexdigest()[:12],
        "tag": None,
        "tokens": [sequence.scored for sequence in item.sequences],
    }
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
