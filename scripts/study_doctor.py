"""`make study-doctor`: what the doctor sees of defects planted on purpose, and what they do.

    python scripts/study_doctor.py --demo runs/demo              everything, then docs/doctor.md
    python scripts/study_doctor.py --part claim --part dose      some parts alone
    python scripts/study_doctor.py --write-only                  the page, from what was measured

Results are JSON lines under --out (runs/study-doctor), one line per measurement: the same call goes
on where the last one stopped.  To measure a part again, delete its file.
"""

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study import arms, page, planting, plots
from study.predictions import PREDICTIONS
from study.store import Store
from study.training import QUICK, Demo, Row, Sizes

log = logging.getLogger("study_doctor")
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
DOCS = ROOT / "docs"
PARTS = ("text", "model", "claim", "dose", "drop")
TEXT_SEEDS, MODEL_SEEDS = 20, 5
MOST = 0.25


@dataclass(frozen=True)
class Study:
    """Where everything is, and how much of it."""

    demo: Demo
    shared: Path
    out: Path
    quick: bool = False
    seeds: int = arms.SEEDS

    def store(self, name: str) -> Store:
        return Store(self.out / f"{name}.jsonl")

    @property
    def bench(self) -> arms.Bench:
        sizes = QUICK if self.quick else Sizes()
        return arms.Bench(self.demo, self.store("runs"), sizes, self.out / "work")

    def run(self, part: str) -> None:
        """One part, as far as it is not there yet."""
        seeds = 2 if self.quick else self.seeds
        if part == "text":
            found = planting.corpora(self.demo, self.shared)
            planting.text(self.store("text"), list(found), 2 if self.quick else TEXT_SEEDS)
        elif part == "model":
            count = 1 if self.quick else MODEL_SEEDS
            planting.model(self.store("model"), self.demo, self.out / "work", count)
        elif part == "claim":
            arms.claim(self.bench, seeds)
        elif part == "dose":
            arms.doses(self.bench, seeds)
        else:
            arms.drops(self.bench, seeds, self.named)

    def named(self, pairs: Sequence[Row]) -> list[int]:
        """Lines in warnings and errors of the whole doctor, the SFT model's tier too.

        A finding about the file as a whole, which names more than a quarter of it, drops nothing.
        """
        from palate.config import DoctorOptions
        from palate.study.doctor import doctor

        work = self.out / "work"
        work.mkdir(parents=True, exist_ok=True)
        path = work / "named.jsonl"
        kept = ({side: row[side] for side in ("prompt", "chosen", "rejected")} for row in pairs)
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        report = doctor(str(path), DoctorOptions(model=str(self.demo.sft)))
        found = report.of(*planting.LOUD)
        log.info("named by %s", ", ".join(f"{e.check} ({len(e.rows)})" for e in found) or "none")
        drop = [each for each in found if len(each.rows) <= MOST * len(pairs)]
        return sorted({line for each in drop for line in each.rows})

    def write(self) -> None:
        """docs/doctor.md and its pictures, from what there is."""
        text, model, runs = (self.store(name) for name in ("text", "model", "runs"))
        path = DOCS / "doctor.md"
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(page.page(text, model, runs, self.out, old), encoding="utf-8")
        plots.draw(text, runs, DOCS)
        log.info("wrote %s", path)


def declared(out: Path) -> None:
    """Write down what is expected, once, before the first run."""
    path = out / "predictions.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        said = [each.says for each in PREDICTIONS]
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        path.write_text(json.dumps({"declared": when, "says": said}, indent=1), encoding="utf-8")


def finished(folder: Path) -> Demo:
    """The demo in a folder; it is made there if it is not."""
    if not (folder / "demo.json").exists():
        words = ["-c", "from palate.cli import main; main()", "demo", "--out", str(folder)]
        subprocess.run([sys.executable, *words], check=True)
    return Demo(folder.resolve())


def main() -> None:
    """The parts asked for, in their order, then the page."""
    parser = argparse.ArgumentParser(description="Validate the doctor.")
    parser.add_argument("--demo", type=Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "study-doctor")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of real pairs")
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=arms.SEEDS, help="of the training runs")
    parser.add_argument("--quick", action="store_true", help="tiny runs, and no page")
    parser.add_argument("--write-only", action="store_true", help="the page, and no runs")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if given.write_only:
        Study(Demo(given.demo), given.shared, given.out).write()
        return
    import torch

    torch.set_num_threads(1)
    declared(given.out)
    study = Study(finished(given.demo), given.shared, given.out, given.quick, given.seeds)
    for part in given.part or PARTS:
        study.run(part)
    if not given.quick:
        study.write()


if __name__ == "__main__":
    main()
