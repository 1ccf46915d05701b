"""What can go wrong, and how the process ends when it does.

    PalateError            a mistake or a limit that a user can act on; never a bug in palate
    ├── UsageError         2  an option or an argument
    ├── DataError          2  a file of examples; holds every problem found, not the first
    ├── ModelError         2  a model, tokenizer or adapter that cannot be used
    ├── CheckpointError    3  a run that cannot be continued
    ├── StoreError         3  a store of judgements that cannot be used: locked, damaged, newer
    ├── NumericsError      4  a loss, gradient or reference that cannot be right
    ├── DiskError          5  no room, or a write that failed
    ├── MemoryLimitError   6  no memory left
    └── Interrupted        130 or 143: asked to stop; everything is saved

`hint` says what to do next.  Only `cli` turns one into a line and an exit code.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class PalateError(Exception):
    """Base of every error that is shown to a user as one message, without a traceback."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(PalateError):
    """An option or argument that is wrong, missing, or without effect here."""


class ModelError(PalateError):
    """A model, tokenizer, template or adapter that cannot be used as asked."""


class CheckpointError(PalateError):
    """A run that cannot be continued: damaged, locked, or asked for with other options."""

    exit_code = 3


class StoreError(PalateError):
    """A store of judgements that cannot be used: locked, damaged, or made by a newer palate."""

    exit_code = 3


class NumericsError(PalateError):
    """A loss, gradient, weight or reference that cannot be right."""

    exit_code = 4


class DiskError(PalateError):
    """A write that failed; what was there before is still there."""

    exit_code = 5


class MemoryLimitError(PalateError):
    """Out of memory, with what would need less."""

    exit_code = 6


class Interrupted(PalateError):
    """The process was asked to stop and did, with everything saved."""

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one row: where, which field, what, and what to do."""

    path: str
    line: int
    field: str
    what: str
    todo: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        field = f" field '{self.field}'" if self.field else ""
        return f"{where}{field} {self.what}. {self.todo}".strip()


class DataError(PalateError):
    """Everything wrong with a file of examples, 20 of a kind at most, and the counts."""

    shown_per_kind = 20

    def __init__(self, problems: Sequence[Problem] | str, *, hint: str = "") -> None:
        self.problems = () if isinstance(problems, str) else tuple(problems)
        super().__init__(problems if isinstance(problems, str) else self._text(), hint=hint)

    def _text(self) -> str:
        kinds: dict[tuple[str, str], list[Problem]] = {}
        for problem in self.problems:
            kinds.setdefault((problem.field, problem.todo), []).append(problem)
        lines: list[str] = []
        for same in kinds.values():
            lines += [str(problem) for problem in same[: self.shown_per_kind]]
            hidden = len(same) - self.shown_per_kind
            if hidden > 0:
                lines.append(f"... and {hidden} more of this kind")
        if len(self.problems) > 1:
            lines.append(f"{len(self.problems)} problems; nothing was started.")
        return "\n".join(lines)
