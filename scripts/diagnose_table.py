"""docs/diagnose.md: six situations made on purpose, and what `palate diagnose` calls them.

    python scripts/diagnose_table.py --seeds 0-4

Every run starts from the packaged base of the demo and trains on pairs made here.  The diagnosis
is told nothing but the run's folder.  What was measured stays in --work: the same call goes on.
"""

import argparse
import json
import logging
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from palate.demo import base
from palate.demo.prose import Style, describe, prompt
from palate.demo.sheets import Sheet, sheets

log = logging.getLogger("diagnose_table")
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "diagnose.md"
BASE = Path(base.__file__).with_name("base")
MARK = ("<!-- table -->", "<!-- end of table -->")
TRAINED, HELD = 192, 64
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Situation:
    """How its pairs are made, and what of the training differs.

    Its seeds are counted from `first`: those before were looked at while its rule was made.
    """

    is_called: str
    pair: Callable[[Sheet, random.Random], tuple[str, str]]
    about: str
    lr: float = 1e-3
    epochs: float = 3
    trained: int = TRAINED
    first: int = 0


def near_miss(sheet: Sheet, rng: random.Random) -> tuple[str, str]:
    """A sound text against one with wrong facts or vague words; one verdict in ten is turned."""
    bad = Style(keep=0.85, wrong=2) if rng.random() < 0.8 else Style(keep=0.9, wrong=1, vague=1)
    sides = describe(sheet, Style(keep=0.9), rng), describe(sheet, bad, rng)
    return sides if rng.random() < 0.9 else (sides[1], sides[0])


def hairline(sheet: Sheet, rng: random.Random) -> tuple[str, str]:
    """The same text twice, with one word of the second exchanged for another of the text."""
    words = describe(sheet, Style(keep=0.9), rng).split()
    place = rng.randrange(1, len(words) - 1)
    other = rng.choice([word for word in words if word != words[place]])
    return " ".join(words), " ".join([*words[:place], other, *words[place + 1 :]])


def shuffled(sheet: Sheet, rng: random.Random) -> tuple[str, str]:
    """A text against its own words in no order."""
    text = describe(sheet, Style(keep=0.9), rng)
    words = text.split()
    return text, " ".join(rng.sample(words, len(words)))


def coin(sheet: Sheet, rng: random.Random) -> tuple[str, str]:
    """Two texts of one kind; which is chosen is drawn."""
    style = Style(keep=0.85)
    return describe(sheet, style, rng), describe(sheet, style, rng)


def longer(sheet: Sheet, rng: random.Random) -> tuple[str, str]:
    """Two texts of one kind; the longer one is chosen, whatever it says."""
    texts = {describe(sheet, Style(keep=rng.uniform(0.5, 1.0)), rng) for _ in range(4)}
    ranked = sorted(texts, key=lambda text: (len(text.split()), text))
    return ranked[-1], ranked[0]


SITUATIONS = {
    "healthy": Situation("healthy", near_miss, "near misses at a rate that suits them"),
    "displaced": Situation(
        "displaced", hairline, "hairline pairs at a high rate: one word differs", lr=5e-3
    ),
    "too easy": Situation("too easy", shuffled, "rejected is chosen's words in no order"),
    "random labels": Situation(
        "random labels", coin, "the verdict is a coin; six epochs", lr=2e-3, epochs=6, trained=96
    ),
    "rate too low": Situation(
        "no learning", near_miss, "near misses, a hundredth of the rate", 1e-5
    ),
    "length-biased": Situation("length-biased", longer, "the longer text is chosen", first=5),
}


def rows(situation: Situation, name: str, seed: int, part: str, count: int) -> list[Row]:
    """`count` pairs, a function of the names and the seed."""
    rng = random.Random(f"{name} {part} {seed}")
    found = []
    for sheet in sheets(3 * count, f"{name} {part} {seed}"):
        chosen, rejected = situation.pair(sheet, rng)
        if chosen != rejected and len(found) < count:
            found.append({"prompt": prompt(sheet), "chosen": chosen, "rejected": rejected})
    return found


def made(name: str, seed: int, work: Path) -> dict[str, Any]:
    """Train, diagnose, forget the run; what was measured stays in `work`."""
    kept = work / f"{name.replace(' ', '-')}-{seed}.json"
    if kept.exists():
        return _called(json.loads(kept.read_text(encoding="utf-8")))
    import torch

    from palate import api
    from palate.config import DpoConfig
    from palate.study.diagnose import diagnose
    from palate.train.events import silent

    torch.set_num_threads(1)
    situation, run = SITUATIONS[name], work / f"run-{name.replace(' ', '-')}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    paths = {}
    for part, count in (("train", situation.trained), ("held", HELD)):
        paths[part] = run / f"{part}.jsonl"
        lines = (json.dumps(row) + "\n" for row in rows(situation, name, seed, part, count))
        paths[part].write_text("".join(lines), encoding="utf-8")
    config = DpoConfig(
        model=str(BASE),
        data=str(paths["train"]),
        heldout=str(paths["held"]),
        out=run / "out",
        lr=situation.lr,
        epochs=situation.epochs,
        batch_size=16,
        eval_every=12,
        save_every=10_000,
        seed=seed,
    )
    api.dpo(config)
    seen = diagnose(run / "out", 24, silent)
    found = {"situation": name, "seed": seed, "measures": seen.measures()}
    kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
    shutil.rmtree(run)
    return _called(found)


def _called(found: dict[str, Any]) -> dict[str, Any]:
    """What the rules, as they are now, call what was measured."""
    from palate.study.findings import Curves, Live, as_json, findings, verdict

    curves = TypeAdapter(Curves).validate_python(found["measures"]["curves"])
    live = TypeAdapter(Live | None).validate_python(found["measures"]["live"])
    told = findings(curves, live)
    return {**found, "verdict": verdict(told), "findings": as_json(told)}


def table(found: list[dict[str, Any]]) -> str:
    """Made as against called, and the figures that decided."""
    calls = [*dict.fromkeys(s.is_called for s in SITUATIONS.values())]
    extra = sorted({each["verdict"] for each in found} - set(calls))
    columns = [*calls, *extra]
    lines = [f"| made as | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    right = 0
    for name, situation in SITUATIONS.items():
        count = Counter(each["verdict"] for each in found if each["situation"] == name)
        right += count[situation.is_called]
        cells = [
            f"**{count[c]}**" if c == situation.is_called else str(count[c] or "") for c in columns
        ]
        lines.append(f"| {name}: {situation.about} | {' | '.join(cells)} |")
    said = f"{right} of {len(found)} runs were called what they were made as."
    return "\n".join([said, "", *lines, "", *_figures(found)])


def _figures(found: list[dict[str, Any]]) -> list[str]:
    head = ("made as", "first twentieth", "met last", "held out", "margin", "chosen", "rejected")
    head = (*head, "stranger", "repetition", "texts ×")
    lines = ["Means over the seeds:", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in SITUATIONS:
        mine = [each["measures"] for each in found if each["situation"] == name]
        if not mine:
            continue

        def mean(*path: str, mine: list[dict[str, Any]] = mine) -> float:
            return sum(_at(each, path) for each in mine) / len(mine)

        cells = [
            f"{mean('curves', 'first', 'value'):.0%}",
            f"{mean('curves', 'last', 'value'):.0%}",
            f"{mean('live', 'accuracy', 'value'):.0%}",
            f"{mean('live', 'margin', 'value'):.2f}",
            f"{mean('live', 'chosen', 'value'):+.2f}",
            f"{mean('live', 'rejected', 'value'):+.2f}",
            f"{mean('live', 'stranger', 'value'):+.2f}",
            f"{mean('live', 'final_texts', 'repetition', 'value'):.0%}",
            f"{mean('live', 'longer', 'value'):.2f}",
        ]
        shown = " | ".join(cells).replace("-", "\N{MINUS SIGN}")
        lines.append(f"| {name} | {shown} |")
    return lines


def _at(values: Any, path: tuple[str, ...]) -> float:
    for name in path:
        values = values[name]
    return float(values)


def write(page: Path, text: str) -> None:
    """Put the table between its marks; the rest of the page is written by hand."""
    start, stop = MARK
    before, after = re.split(f"(?s){start}.*{stop}", page.read_text(encoding="utf-8"), maxsplit=1)
    page.write_text(f"{before}{start}\n{text}\n{stop}{after}", encoding="utf-8")


def main() -> None:
    """Every situation under every seed, two runs at a time."""
    parser = argparse.ArgumentParser(description="Make the table of docs/diagnose.md.")
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "diagnose")
    parser.add_argument("--only", nargs="*", choices=list(SITUATIONS), default=list(SITUATIONS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--dry", action="store_true", help="leave the page as it is")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    first, _, last = given.seeds.partition("-")
    given.work.mkdir(parents=True, exist_ok=True)
    found = []
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        todo = [
            pool.submit(made, name, seed + SITUATIONS[name].first, given.work)
            for seed in range(int(first), int(last or first) + 1)
            for name in given.only
        ]
        for done in as_completed(todo):
            each = done.result()
            found.append(each)
            log.info("%s, seed %d: %s", each["situation"], each["seed"], each["verdict"])
    text = table(found)
    log.info(text)
    if not given.dry:
        write(PAGE, text)


if __name__ == "__main__":
    main()
