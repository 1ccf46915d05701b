"""palate against TRL on one machine: first that both compute the same, then how fast and how small.

    python benchmarks/against_trl.py [--profile hh] [--steps 1] [--pairs 16] [--quick] [--json OUT]

Every measurement is a process of its own with the same number of threads; palate and TRL
take turns.  Ends with exit code 1 when they do not compute the same thing: then nothing is timed.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import report
from launch import Launcher, WorkerFailed
from workload import PROFILES, Workload

MICRO_BATCHES = (1, 2, 4)
PLAIN = 4  # the micro-batch of TRL that is shown beside its best
PACKAGES = ("palate", "trl", "torch", "transformers", "accelerate", "datasets")


def main() -> int:
    """Run the benchmark; gives the exit code."""
    options = _options()
    if importlib.util.find_spec("trl") is None:
        print("TRL is not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="palate-bench-") as temp:
        try:
            found = _benchmark(options, Launcher(Path(temp), options.threads))
        except WorkerFailed as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0 if found["agree"] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", action="append", choices=PROFILES, help="default: all")
    parser.add_argument("--steps", type=int, default=1, help="timed optimiser steps (default 1)")
    parser.add_argument("--pairs", type=int, help="pairs of a step (default: the profile's)")
    parser.add_argument("--threads", type=int, default=2, help="of each process (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of model, lengths and ids")
    parser.add_argument("--quick", action="store_true", help="a tiny model: does it all work?")
    parser.add_argument("--parity", action="store_true", help="only compare what is computed")
    parser.add_argument(
        "--thorough", action="store_true", help="sweep and plain TRL at full size for every profile"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure there")
    options = parser.parse_args()
    options.shape = "tiny" if options.quick else "135m"
    options.profile = options.profile or (["hh"] if options.quick else list(PROFILES))
    if options.steps < 1 or (options.pairs or PLAIN) < 1 or (options.pairs or PLAIN) % PLAIN:
        parser.error(f"--steps from 1, --pairs a multiple of {PLAIN}: TRL's largest micro-batch")
    return options


def _benchmark(options: argparse.Namespace, launcher: Launcher) -> dict[str, Any]:
    """Parity, then each profile.  Prints as it goes; gives all figures."""
    machine = launcher.do("model", shape=options.shape, seed=options.seed)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    print(report.heading(machine, versions, options), flush=True)
    parity = _parity(options, launcher)
    agree = all(check["holds"] for row in parity for check in row["checks"])
    print(report.parity(parity), flush=True)
    found: dict[str, Any] = {
        "machine": machine,
        "versions": versions,
        "parity": parity,
        "agree": agree,
        "profiles": {},
    }
    if not agree:
        print("They do not compute the same thing, so nothing is timed.", file=sys.stderr)
    elif not options.parity:
        for name in options.profile:
            measured = _profile(name, options, launcher)
            found["profiles"][name] = measured
            print(report.profile(name, measured), flush=True)
    return found


def _work(name: str, options: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    batch = options.pairs or PROFILES[name].batch
    scale = 0.25 if options.quick else 1.0
    work = Workload(name, options.shape, batch, options.steps, options.seed, scale)
    return asdict(work) | changes


def _parity(options: argparse.Namespace, launcher: Launcher) -> list[dict[str, Any]]:
    """Short records of each kind that the chosen profiles have."""
    kinds = {(PROFILES[n].kind, PROFILES[n].ranked): n for n in reversed(options.profile)}
    scale = 0.25 if options.quick else 0.15
    works = [_work(name, options, scale=scale) for name in reversed(kinds.values())]
    rows: list[dict[str, Any]] = launcher.do("parity", works=works, say="parity")
    return rows


def _profile(name: str, options: argparse.Namespace, launcher: Launcher) -> dict[str, Any]:
    """Sweep TRL, then let palate and TRL at its best take turns."""
    work = _work(name, options)
    rate = launcher.do("rate", shape=options.shape, say=f"{name}: matrix rate")
    best, sweeps = _best(name, options, launcher)
    palate = [launcher.do("palate", work=work, say=f"{name}: palate")]
    trl = [_trl(launcher, work, best[False], compact=False)]
    palate.append(launcher.do("palate", work=work, say=f"{name}: palate again"))
    trl.append(_trl(launcher, work, best[True], compact=True))
    if best[False] != PLAIN and (name == "hh" or options.thorough):
        trl.append(_trl(launcher, work, PLAIN, compact=False))
    digests = {run["digest"] for run in (*palate, *trl)}
    assert len(digests) == 1, "the tools were given different token ids"
    return {"work": work, "matrix_rate": rate, "sweeps": sweeps, "palate": palate, "trl": trl}


def _trl(
    launcher: Launcher, work: dict[str, Any], micro_batch: int, *, compact: bool
) -> dict[str, Any]:
    how = "compact" if compact else "as shipped"
    found: dict[str, Any] = launcher.do(
        "trl",
        work=work,
        micro_batch=micro_batch,
        compact=compact,
        say=f"{work['profile']}: TRL {how}, micro-batch {micro_batch}",
    )
    return found | {"micro_batch": micro_batch, "compact": compact}


def _best(
    name: str, options: argparse.Namespace, launcher: Launcher
) -> tuple[dict[bool, int], list[dict[str, Any]]]:
    """TRL's best micro-batch as shipped and compact, by a few records of the profile."""
    sweeps = []
    for compact in (False, True):
        how = "compact" if compact else "as shipped"
        sweep = launcher.do(
            "sweep",
            work=_work(name, options),
            compact=compact,
            whole=options.thorough,
            micro_batches=MICRO_BATCHES,
            say=f"{name}: TRL {how}, sweep over micro-batches",
        )
        seconds = sweep["seconds"]
        best_one = min(MICRO_BATCHES, key=lambda size: seconds[str(size)])
        sweeps.append(sweep | {"compact": compact, "best": best_one})
    return {sweep["compact"]: sweep["best"] for sweep in sweeps}, sweeps


if __name__ == "__main__":
    sys.exit(main())
