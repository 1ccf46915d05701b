"""A process that imports palate once and forks a child for each trial, so that kills are cheap.

One JSON object per line: a `Trial` comes in, an `Outcome` goes out.  A child counts points, which
are its events and its disk operations; it can be killed at a point, or after a time.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from typing import Any, Self

CHUNK_ITEMS = 4  # a reference pass of several chunks, though the data is tiny
OPERATIONS = {"open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir"}


@dataclass(frozen=True)
class Trial:
    """One start of a command, killed at its `kill_at`-th point (of the name `kill_on`, if given).

    `sabotage` names a bug that the child plants in itself.
    """

    stage: str
    config: dict[str, Any]
    cache: str
    kill_at: int = 0
    kill_on: str = ""
    kill_after: float = 0.0
    sabotage: str = ""


@dataclass(frozen=True)
class Outcome:
    """How it ended; `log` has the name of every point, `error` what was raised."""

    killed: bool
    exit_code: int
    seconds: float
    log: list[str] = field(default_factory=list)
    error: str = ""


class Server:
    """The other side of the pipe: `with Server() as server: server.run(trial)`."""

    script = __file__

    def __enter__(self) -> Self:
        env = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, self.script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)

    def run(self, trial: Trial) -> Outcome:
        """Start the command once; returns when it has ended or was killed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(trial)) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))


class Points:
    """Stands in for `os` and for the listener; at the trial's point the process kills itself."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.log: list[str] = []

    def pass_by(self, name: str) -> None:
        self.log.append(name)
        wanted = self.trial.kill_on
        count = self.log.count(wanted) if wanted else len(self.log)
        if wanted in ("", name) and count == self.trial.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, event: Any) -> None:
        self.pass_by(type(event).__name__)

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in OPERATIONS:
            return found

        def operation(*words: Any, **options: Any) -> Any:
            self.pass_by(name)
            # A kill loses nothing that was written, so there is no need to wait for the disk.
            return None if name == "fsync" else found(*words, **options)

        return operation


def serve() -> None:
    """Answer trials until the input ends."""
    import torch

    torch.set_num_threads(1)
    from palate import api  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(asdict(_fork(Trial(**json.loads(line))))), flush=True)


def _fork(trial: Trial) -> Outcome:
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(trial, writing)
    os.close(writing)
    status = _await(child, started + trial.kill_after if trial.kill_after else None)
    with os.fdopen(reading) as pipe:
        said = json.loads(pipe.read() or "{}")
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    return Outcome(killed, code, time.monotonic() - started, **({} if killed else said))


def _await(child: int, deadline: float | None) -> int:
    """The wait status of the child, killed at the deadline if it lives that long."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.001)


def _live(trial: Trial, writing: int) -> None:
    """The child: one command from start to end.  Never returns."""
    from palate.errors import PalateError

    points, code, error = Points(trial), 0, ""
    try:
        _command(trial, points)
    except PalateError as known:
        code, error = known.exit_code, str(known)
    except BaseException:
        code, error = 1, traceback.format_exc()[-3000:]
    os.write(writing, json.dumps({"log": points.log, "error": error}).encode())
    os._exit(code)


def _command(trial: Trial, points: Points) -> None:
    from palate import api
    from palate.config import DpoConfig, RewardConfig, SftConfig
    from palate.engine import reference
    from palate.rlhf.reward_stage import train_reward
    from palate.runs import atomic, folder

    os.environ["PALATE_CACHE"] = trial.cache
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    for module in (atomic, folder):
        module.os = points  # type: ignore[attr-defined]
    reference.CHUNK_ITEMS = CHUNK_ITEMS
    if trial.sabotage:
        SABOTAGE[trial.sabotage]()
    if trial.stage == "sft":
        api.sft(SftConfig(**trial.config), points)
    elif trial.stage == "reward":
        train_reward(RewardConfig(**trial.config), points)
    else:
        api.dpo(DpoConfig(**trial.config), points)


# ---- bugs that a test must notice


def _fresh_moments() -> None:
    from palate.train.optimise import Optimiser

    def load(self: Any, weights: Any, state: Any) -> None:
        self.load_weights(weights)

    Optimiser.load = load  # type: ignore[method-assign]


def _metrics_kept() -> None:
    from palate.runs.folder import Metrics

    def rewind(self: Any, step: float) -> tuple[str, ...]:
        self._last = -1.0
        return ()

    Metrics.rewind = rewind  # type: ignore[method-assign]


def _order_from_the_start() -> None:
    from palate.train.order import Order

    batch, seen = Order.batch, [0]

    def shifted(self: Any, step: int, size: int, total: int) -> list[int]:
        seen[0] += 1
        return batch(self, seen[0] - 1, size, total)

    Order.batch = shifted  # type: ignore[method-assign]


def _reference_of_other_rows() -> None:
    from palate.train import loop, stage

    found = loop.stored_references
    stage.stored_references = lambda run: {  # type: ignore[attr-defined]
        name: values.flip(0) for name, values in (found(run) or {}).items()
    }


def _fresh_head() -> None:
    from palate.train.optimise import Optimiser

    load = Optimiser.load

    def without(self: Any, weights: Any, state: Any) -> None:
        head = {"head.weight": self.parameters["head.weight"].detach().clone()}
        load(self, {**weights, **head}, state)

    Optimiser.load = without  # type: ignore[method-assign]


def _no_random_state() -> None:
    from palate.train.loop import Loop

    Loop._set_random = lambda self, state: None  # type: ignore[method-assign]


SABOTAGE = {
    "moments": _fresh_moments,
    "metrics": _metrics_kept,
    "order": _order_from_the_start,
    "reference": _reference_of_other_rows,
    "random": _no_random_state,
    "head": _fresh_head,
}


if __name__ == "__main__":
    serve()
