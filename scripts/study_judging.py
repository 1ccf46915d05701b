"""`make study-judging`: true taste after DPO against the number of judgements, active and random.

    python scripts/study_judging.py                        every seed, then docs/judging.md
    python scripts/study_judging.py --write-only           the page, from what was measured

Results are JSON lines under --out (runs/study-judging), one line per (seed, arm, budget): the same
call goes on where the last one stopped.
"""

import argparse
import json
import logging
import time
from pathlib import Path

from study.judging import TINY, Bench, Scale
from study.judging_expected import EXPECTED
from study.store import Store

log = logging.getLogger("study_judging")
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SEEDS = 5


def imitated(folder: Path) -> Path:
    """The SFT model of the demo in a folder; made there, as the demo makes it, if it is not."""
    from palate.demo import command, rows

    run = folder.resolve() / "sft"
    if not (run / "final").exists():
        demo = command.Demo(folder.resolve(), 0, command.Sizes(), log.info)
        data = demo.write("examples.jsonl", rows.examples(demo.sizes.examples, demo.seed))
        demo.palate("sft", "--model", command.BASE, "--data", data, "--out", run, "--seed", "0")
    return run


def declared(out: Path) -> None:
    """Write down what is expected, once, before the first run."""
    path = out / "expected.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        said = [each.says for each in EXPECTED]
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        path.write_text(json.dumps({"declared": when, "says": said}, indent=1), encoding="utf-8")


def main() -> None:
    """Seeds one after the other, then the page."""
    parser = argparse.ArgumentParser(description="How many judgements does one need?")
    parser.add_argument(
        "--demo", type=Path, default=ROOT / "runs" / "demo", help="for its SFT model"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "study-judging")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--tiny", action="store_true", help="a run of seconds, and no page")
    parser.add_argument("--write-only", action="store_true", help="the page, and no runs")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    store = Store(given.out / "results.jsonl")
    if not given.write_only:
        import torch

        torch.set_num_threads(1)
        declared(given.out)
        scale = TINY if given.tiny else Scale()
        bench = Bench(imitated(given.demo), store, given.out / "work", scale)
        for seed in range(given.seeds):
            bench.seed(seed)
    if not given.tiny:
        from study import judging_page

        judging_page.write(store, DOCS)


if __name__ == "__main__":
    main()
