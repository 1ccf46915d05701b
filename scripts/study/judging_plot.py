"""docs/judging.svg: points over SFT against judgements, and active against random."""

from pathlib import Path
from typing import Any

from palate.stats import Interval
from study.judging_results import Results

COLOURS = {"active": "#2364aa", "random": "#7a7a75"}


def draw(results: Results, path: Path, title: str) -> None:
    """Two panels that share the axis of budgets; bands are 95% over seeds."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    style = {"font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "palate"}
    with matplotlib.rc_context(style | {"svg.fonttype": "none", "text.color": "#333330"}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9, 3.6), width_ratios=(3, 2), sharey=True, layout="constrained"
        )
        _gains(left, results)
        _gaps(right, results)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.savefig(path, metadata={"Date": None, "Creator": None}, transparent=False)
        plt.close(figure)


def _gains(axis: Any, results: Results) -> None:
    ends = {}
    for arm, colour in COLOURS.items():
        found = [results.gain(arm, size) for size in results.sizes]
        _band(axis, results.sizes, found, colour)
        ends[arm] = found[-1].value
    apart = max(0.0, 0.22 - abs(ends["active"] - ends["random"])) / 2
    upper = max(ends, key=ends.__getitem__)
    for arm, colour in COLOURS.items():
        place = ends[arm] + (apart if arm == upper else -apart)
        axis.text(results.sizes[-1] * 1.07, place, arm, color=colour, va="center")
    _axes(axis, results, "points over SFT, a text")
    axis.text(results.sizes[-1] * 1.07, 0, "SFT", color="#7a7a75", va="bottom")


def _gaps(axis: Any, results: Results) -> None:
    _band(axis, results.sizes, [results.gap(size) for size in results.sizes], COLOURS["active"])
    _axes(axis, results, "active minus random, points")


def _band(axis: Any, sizes: tuple[int, ...], found: list[Interval], colour: str) -> None:
    axis.fill_between(
        sizes, [e.low for e in found], [e.high for e in found], color=colour, alpha=0.16, lw=0
    )
    axis.plot(sizes, [e.value for e in found], color=colour, lw=1.6, marker="o", markersize=3.5)


def _axes(axis: Any, results: Results, label: str) -> None:
    axis.axhline(0, color="#b5b5b0", lw=0.7, zorder=0)
    axis.set_xscale("log")
    axis.set_xticks(results.sizes, [str(size) for size in results.sizes], minor=False)
    axis.set_xticks([], minor=True)
    axis.set_xlim(results.sizes[0] * 0.9, results.sizes[-1] * 1.75 if "SFT" in label else None)
    axis.set_xlabel("judgements", fontsize=9, color="#555550", loc="left")
    axis.set_title(label, loc="left", fontsize=9, color="#555550")
    axis.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axis.tick_params(length=0, colors="#777772", labelsize=8)
