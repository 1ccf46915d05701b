"""`make study-frontier`: reward against exact KL for every way from pairs to a policy.

    python scripts/study_frontier.py                       every run, then docs/dpo-or-rlhf.md
    python scripts/study_frontier.py --write-only          the page, from what was measured
    python scripts/study_frontier.py --tiny --out FOLDER   the whole path in a minute, and no page

Results are JSON lines under --out (runs/study-frontier), a line per finished job: the same call
goes on where the last one stopped.  What was expected is written there before the first run.
"""

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from study.frontier import TINY, Scale
from study.frontier_expected import EXPECTED
from study.store import Store

log = logging.getLogger("study")
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def declared(out: Path, scale: Scale) -> None:
    """Write down what is expected and how much is run, once, before the first run."""
    path = out / "expected.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        said = {"declared": when, "scale": asdict(scale), "says": [e.says for e in EXPECTED]}
        path.write_text(json.dumps(said, indent=1), encoding="utf-8")


def measure(out: Path, scale: Scale, *, seeds: int, workers: int, only: str) -> dict[str, str]:
    """Every job that is not done; gives what failed."""
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("PALATE_CACHE", str(out.resolve() / "cache"))
    from study import frontier_jobs, frontier_measure, jobs  # noqa: F401 (likewise)

    import palate.api  # noqa: F401 (before the forks: imported once)

    store = Store(out / "results.jsonl")
    listed = frontier_jobs.jobs(out.resolve(), range(seeds), scale)
    wanted = [job for job in listed if not only or _is_of(job.key, only.split(","))]
    return jobs.run(wanted, store, workers)


def _is_of(key: str, names: list[str]) -> bool:
    return any(key.rpartition("/")[0].removesuffix(" measured") == name for name in names)


def main() -> None:
    """The runs, then the page."""
    parser = argparse.ArgumentParser(description="DPO or RLHF?")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "study-frontier")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--only", default="", help="these arms alone, by name, with commas")
    parser.add_argument("--tiny", action="store_true", help="runs of seconds, and no page")
    parser.add_argument("--write-only", action="store_true", help="the page, and no runs")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    failed: dict[str, str] = {}
    if not given.write_only:
        scale = TINY if given.tiny else Scale()
        declared(given.out, scale)
        failed = measure(
            given.out, scale, seeds=given.seeds, workers=given.workers, only=given.only
        )
    if not given.tiny:
        from study import frontier_page

        frontier_page.write(Store(given.out / "results.jsonl"), DOCS)
    if failed:
        sys.exit(f"{len(failed)} jobs failed: {', '.join(failed)}; the same call tries them again")


if __name__ == "__main__":
    main()
