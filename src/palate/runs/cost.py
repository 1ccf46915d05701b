"""What a run has cost so far: seconds over all its parts, peak memory, models held.  No torch here.

The seconds of a part that was killed count up to its last checkpoint.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from palate.runs.folder import Run

_STATUS = Path("/proc/self/status")


class Meter:
    """Runs from when it is made; `write` puts the figures so far into run.json."""

    def __init__(
        self, run: Run, *, models: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        before = run.record.get("cost") or {}
        self._run = run
        self._models = models
        self._clock = clock
        self._start = clock() - float(before.get("seconds", 0.0))
        self._peak = int(before.get("peak_bytes", 0))

    def write(self) -> None:
        """`cost` of run.json: seconds, peak_bytes of one process, models held at once."""
        peak = max(self._peak, peak_bytes())
        spent = round(self._clock() - self._start, 1)
        self._run.update(cost={"seconds": spent, "peak_bytes": peak, "models": self._models})


def peak_bytes() -> int:
    """The most memory that this process has held: of the GPU where it uses one, else of the system.

    0 where the system does not say.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return _of_usage()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _of_usage() -> int:
    """As the system accounts for it, which may include what a parent held before the start."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
