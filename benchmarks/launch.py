"""Starts one process for each task and reads its answer.  Both tools get the same environment."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "CUDA_VISIBLE_DEVICES": "",
}


class WorkerFailed(Exception):
    """A task ended without an answer; the message holds the last lines it wrote."""


class Launcher:
    """Runs tasks on the model in `folder`, one after another."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self.threads = threads
        threads_text = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        caches = {"HF_HOME": str(folder / "hub"), "TMPDIR": str(folder)}
        self.environment = os.environ | QUIET | threads_text | caches

    def do(self, name: str, *, say: str = "", **task: Any) -> Any:
        """The answer of one task.  Raises WorkerFailed.  `say` names it on the standard error."""
        question, answer = self.folder / "task.json", self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        fixed = {"do": name, "folder": str(self.folder / "model"), "threads": self.threads}
        question.write_text(json.dumps(task | fixed))
        start = time.monotonic()
        command = [sys.executable, str(WORKER), str(question), str(answer)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode or not answer.exists():
            last = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            raise WorkerFailed(f"{say or name} ended with {done.returncode}:\n{last}")
        if say:
            print(f"  {say}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        return json.loads(answer.read_text())
