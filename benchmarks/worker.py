"""One task of the benchmark in a process of its own: JSON in (first argument), JSON out (second).

The tool under test is imported here and nowhere else, so that memory and warm-up are its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import machine
from workload import BETA, SHAPES, Workload


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    machine.use_threads(task["threads"])
    Path(sys.argv[2]).write_text(json.dumps(TASKS[task["do"]](task)))


def _model(task: dict[str, Any]) -> Any:
    machine.make_model(SHAPES[task["shape"]], Path(task["folder"]), task["seed"])
    return machine.describe()


def _rate(task: dict[str, Any]) -> Any:
    return machine.matrix_rate(SHAPES[task["shape"]])


def _parity(task: dict[str, Any]) -> Any:
    import parity

    return [
        row
        for trl_beta in task.get("trl_betas", [BETA])
        for work in task["works"]
        for row in parity.run(Workload(**work), Path(task["folder"]), trl_beta=trl_beta)
    ]


def _sweep(task: dict[str, Any]) -> Any:
    import trl_side

    work = _work(task)
    records = work.batch if task["whole"] else max(task["micro_batches"])
    sizes, folder = task["micro_batches"], Path(task["folder"])
    return trl_side.sweep(work, folder, sizes, compact=task["compact"], records=records)


def _trl(task: dict[str, Any]) -> Any:
    import trl_side

    return trl_side.run(
        _work(task),
        Path(task["folder"]),
        micro_batch=task["micro_batch"],
        compact=task["compact"],
    )


def _palate(task: dict[str, Any]) -> Any:
    import palate_side

    return palate_side.run(_work(task), Path(task["folder"]))


def _work(task: dict[str, Any]) -> Workload:
    return Workload(**task["work"])


TASKS = {
    "model": _model,
    "rate": _rate,
    "parity": _parity,
    "sweep": _sweep,
    "trl": _trl,
    "palate": _palate,
}


if __name__ == "__main__":
    main()
