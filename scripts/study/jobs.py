"""Jobs that need each other's results, each in a process of its own, a few at a time.

A child is forked from a parent that has imported what they all need and computed nothing: so starts
are cheap, the peak of a child's memory is its own, and a crash stops at its job.  A job that fails
is reported and left out with all that needs it; the same call tries it again.
"""

import logging
import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from study.store import Store

log = logging.getLogger("study")
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Job:
    """`make` gives the record that is stored under `key`, once the keys in `needs` are there."""

    key: str
    make: Callable[[], Mapping[str, Any]]
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class _Crew:
    """Who works on what, and what was given up."""

    store: Store
    running: dict[Connection, tuple[Job, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def start(self, job: Job) -> None:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(job.make, theirs), name=job.key)
        process.start()
        theirs.close()
        self.running[ours] = job, process

    def collect(self) -> None:
        """Wait for one that ends, and keep what it says."""
        for pipe in wait(list(self.running)):
            assert isinstance(pipe, Connection)
            job, process = self.running.pop(pipe)
            try:
                found = pipe.recv()
            except EOFError:
                found = f"the process of {job.key} died"
            process.join()
            if isinstance(found, str):
                self.failed[job.key] = found
                log.error("%s failed\n%s", job.key, found)
            else:
                self.store.get(job.key, lambda: found)  # noqa: B023 (called at once)
                log.info("%s, %.0f s", job.key, found["seconds"])


def run(jobs: Sequence[Job], store: Store, workers: int) -> dict[str, str]:
    """Every job that is not stored yet, in this order as far as needs allow.

    Gives what failed, by key.
    """
    crew = _Crew(store)
    waiting = [job for job in jobs if job.key not in store.records]
    while waiting or crew.running:
        lost = [job for job in waiting if any(need in crew.failed for need in job.needs)]
        for job in lost:
            crew.failed[job.key] = "what it needs failed"
        waiting = [job for job in waiting if job not in lost]
        ready = [job for job in waiting if all(need in store.records for need in job.needs)]
        for job in ready[: workers - len(crew.running)]:
            crew.start(job)
            waiting.remove(job)
        if crew.running:
            crew.collect()
        elif waiting:
            names = ", ".join(job.key for job in waiting)
            raise ValueError(f"nothing gives what these need: {names}")
    return crew.failed


def _work(make: Callable[[], Mapping[str, Any]], pipe: Connection) -> None:
    """In the child: the record with its seconds, or the traceback as text."""
    start = time.monotonic()
    try:
        found: dict[str, Any] | str = dict(make())
        assert isinstance(found, dict)
        found["seconds"] = round(time.monotonic() - start, 1)
    except Exception:  # whatever it was, the parent goes on with the other jobs
        found = traceback.format_exc()
    pipe.send(found)
    pipe.close()


class Usage:
    """What a piece of work takes: seconds of the processor, and the most memory above the start.

    Memory is 0 where the system does not say.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            _RESET.write_text("5", encoding="ascii")  # the high-water mark starts again from here
        self._before = _held("VmRSS")
        self._start = time.process_time()

    def told(self) -> dict[str, float]:
        """`cpu` in seconds, `memory` in MB."""
        cpu = time.process_time() - self._start
        peak = max(0, _held("VmHWM") - self._before) / 1e3
        return {"cpu": round(cpu, 1), "memory": round(peak, 1)}


def _held(name: str) -> int:
    """A line of the process's status, in kB."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
