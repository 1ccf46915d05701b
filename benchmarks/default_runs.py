"""The default run, no flag but model, data and out, on three data sets with 40, 400 and all rows.

    python benchmarks/default_runs.py --shared ../shared/data --demo runs/demo

Writes `docs/defaults.md` and `docs/defaults.svg`: does the default diverge, overfit, or leave the
margin flat?  `final/` holds the best held-out step, so what counts is that step against step 0.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

SIZES = (40, 400, None)
DOCS = Path(__file__).resolve().parents[1] / "docs"
BLUE, GREY = "#2a6fb0", "#8a8a8a"


@dataclass(frozen=True, slots=True)
class Setting:
    """One stage on one data set."""

    name: str
    stage: str
    model: Path
    data: Path
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """Held-out loss and, for pairs, margin, by step."""

    setting: Setting
    rows: int
    steps: list[int]
    losses: list[float]
    margins: list[float | None]
    lr: float

    @property
    def best(self) -> int:
        return min(range(len(self.losses)), key=self.losses.__getitem__)


def settings(shared: Path, demo: Path, work: Path) -> Iterator[Setting]:
    story, named = shared / "stories260K", ("--map", "prompt=mr,completion=human")
    hotels = shared / "rnnlg" / "hotel.train.jsonl"
    yield Setting("rnnlg", "sft", story, hotels, named)
    yield Setting(
        "human-ratings", "dpo", work / "rnnlg-sft-all", shared / "human-ratings/pairs.jsonl"
    )
    packaged = Path(__file__).resolve().parents[1] / "src/palate/demo/base"
    yield Setting("demo", "sft", packaged, demo / "data" / "examples.jsonl")
    yield Setting("demo", "dpo", demo / "sft", demo / "data" / "pairs.jsonl")


def run(setting: Setting, count: int | None, work: Path) -> Curve:
    """One default run as a user would type it."""
    lines = setting.data.read_text(encoding="utf-8").splitlines(keepends=True)
    chosen = lines if count is None else random.Random(0).sample(lines, min(count, len(lines)))
    name = f"{setting.name}-{setting.stage}-{count or 'all'}"
    data, out = work / f"{name}.jsonl", work / name
    data.write_text("".join(chosen), encoding="utf-8")
    words = [sys.executable, "-m", "palate", setting.stage, "--model", str(setting.model)]
    words += ["--data", str(data), "--out", str(out), *setting.flags]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    held = [row for row in found if "heldout" in row]
    return Curve(
        setting,
        len(chosen),
        [row["step"] for row in held],
        [row["heldout"]["loss"] for row in held],
        [row["heldout"]["margin"] for row in held],
        max(row.get("lr", 0.0) for row in found),
    )


def draw(curves: Sequence[Curve]) -> None:
    """Small multiples: held-out loss by step, one row per setting, one column per size."""
    matplotlib.rcParams.update(
        {"font.family": "sans-serif", "font.size": 8, "svg.hashsalt": "palate"}
    )
    columns = len(SIZES)
    height = len(curves) // columns
    figure, axes = plt.subplots(height, columns, figsize=(8, 1.6 * height), squeeze=False)
    for axis, curve in zip(axes.flat, curves, strict=True):
        axis.plot(curve.steps, curve.losses, color=BLUE, linewidth=1.4)
        axis.plot(curve.steps[curve.best], curve.losses[curve.best], "o", color=BLUE, markersize=4)
        axis.axhline(curve.losses[0], color=GREY, linewidth=0.6, linestyle=":")
        axis.set_title(
            f"{curve.setting.name}, {curve.setting.stage}, {curve.rows} rows", loc="left"
        )
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("optimiser step; the dot is what final/ holds, the dotted line is step 0")
    figure.supylabel("held-out loss")
    figure.tight_layout()
    figure.savefig(DOCS / "defaults.svg", metadata={"Date": None})


def table(curves: Sequence[Curve]) -> str:
    head = "data | stage | rows | steps | peak lr | loss at 0 | best (step) | last | margin at best"
    lines = [f"| {head} |", "|---|---|---|---|---|---|---|---|---|"]
    for curve in curves:
        margin = curve.margins[curve.best]
        lines.append(
            f"| {curve.setting.name} | {curve.setting.stage} | {curve.rows} | {curve.steps[-1]} "
            f"| {curve.lr:.1e} | {curve.losses[0]:.3f} "
            f"| {curve.losses[curve.best]:.3f} ({curve.steps[curve.best]}) "
            f"| {curve.losses[-1]:.3f} "
            f"| {'' if margin is None else f'{margin:.2f}'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--demo", type=Path, required=True, help="folder that palate demo wrote")
    options = parser.parse_args()
    curves = []
    with tempfile.TemporaryDirectory() as folder:
        for setting in settings(options.shared, options.demo, Path(folder)):
            curves += [run(setting, count, Path(folder)) for count in SIZES]
            print(table(curves[-len(SIZES) :]), flush=True)
    draw(curves)
    page = (DOCS / "defaults.md").read_text(encoding="utf-8")
    before, mark, _ = page.partition("<!-- table -->\n")
    (DOCS / "defaults.md").write_text(f"{before}{mark}{table(curves)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
