"""The pictures of docs/doctor.md: small SVG files, a function of the results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from planters import RATES

from study import tables
from study.arms import DOSES, HARMFUL, KINDS
from study.results import Results
from study.store import Store

COLOURS = {"demo": "#2364aa", "human ratings": "#c8590a", "llamafactory": "#8a8a86"}
COLUMNS = 5


def draw(text: Store, runs: Store, docs: Path) -> None:
    """Whatever the results are there for."""
    import matplotlib

    matplotlib.use("svg")
    style = {"font.family": "sans-serif", "font.size": 8, "svg.hashsalt": "palate"}
    results = Results(runs)
    with matplotlib.rc_context(style | {"svg.fonttype": "none", "text.color": "#555550"}):
        if any(text.where(tier="text")):
            _seen(text, docs / "doctor-seen.svg")
        if any(results.gap(f"dose/{f}/{r:g}", "clean") for f in HARMFUL for r in DOSES):
            _dose(results, docs / "doctor-dose.svg")
        if any(results.gap(f"claim/{kind}", "sft") for kind in KINDS):
            _claim(results, docs / "doctor-claim.svg")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout(h_pad=1.2, w_pad=1.0)
    figure.savefig(path, metadata={"Date": None, "Creator": None}, transparent=False)
    plt.close(figure)


def _bare(plot: Any) -> None:
    plot.spines[["top", "right"]].set_visible(False)
    plot.tick_params(length=2, colors="#777772", labelsize=7)


def _seen(store: Store, path: Path) -> None:
    """Recall against rate, a panel a family, a line a corpus."""
    from matplotlib import pyplot as plt

    found = {name: {s.family: s for s in tables.sights(store, name)} for name in COLOURS}
    families = list(found["demo"])
    count = -(-len(families) // COLUMNS)
    figure, axes = plt.subplots(count, COLUMNS, figsize=(9, 1.4 * count), squeeze=False)
    for axis, family in zip(axes.flat, families):
        for corpus, colour in COLOURS.items():
            if family not in found[corpus]:
                continue
            known = [(r, found[corpus][family].recall(r)) for r in RATES]
            points = [(rate, each.value) for rate, each in known if each is not None]
            axis.plot(*zip(*points), color=colour, linewidth=1.3)
        axis.set_xscale("log")
        axis.set_xticks([0.005, 0.02, 0.05, 0.2], ["0.5", "2", "5", "20"], minor=False)
        axis.set_xticks([], minor=True)
        axis.set_ylim(-0.05, 1.05)
        axis.set_yticks([0, 0.8, 1], ["0", ".8", "1"])
        axis.set_title(family.replace("_", " "), loc="left", fontsize=8.5, color="#222220")
        _bare(axis)
    for axis in list(axes.flat)[len(families) :]:
        axis.remove()
    figure.supxlabel("planted, % of the pairs", fontsize=8)
    labels = [plt.Line2D([], [], color=c, label=name) for name, c in COLOURS.items()]
    figure.legend(handles=labels, loc="lower right", frameon=False, fontsize=8)
    _save(figure, path)


def _dose(results: Results, path: Path) -> None:
    """Points against clean, by rate."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(HARMFUL), figsize=(9, 1.9), sharey=True)
    for axis, family in zip(axes, HARMFUL):
        axis.axhline(0, color="#8a8a86", linewidth=0.6)
        rates = [r for r in sorted(DOSES) if results.gap(f"dose/{family}/{r:g}", "clean")]
        for how, colour, shift in (("drawn", "#2364aa", -0.6), ("greedy", "#c8590a", 0.6)):
            gaps = [results.gap(f"dose/{family}/{r:g}", "clean", how=how) for r in rates]
            _bars(axis, [100 * r + shift for r in rates], gaps, colour)
        axis.set_xticks([0, 5, 20, 40])
        axis.set_title(family.replace("_", " "), loc="left", fontsize=8.5, color="#222220")
        _bare(axis)
    axes[0].set_ylabel("points against clean", fontsize=8)
    figure.supxlabel("planted, % of the pairs (blue: drawn texts, orange: greedy)", fontsize=8)
    _save(figure, path)


def _claim(results: Results, path: Path) -> None:
    """Gain over SFT by the kind of rejected answer."""
    from matplotlib import pyplot as plt

    names = {"near miss": "clean", **{kind: f"claim/{kind}" for kind in KINDS}}
    figure, axis = plt.subplots(figsize=(4.6, 2.0))
    axis.axhline(0, color="#8a8a86", linewidth=0.6)
    for how, colour, shift in (("drawn", "#2364aa", -0.08), ("greedy", "#c8590a", 0.08)):
        gaps = [results.gap(arm, "sft", how=how) for arm in names.values()]
        _bars(axis, [n + shift for n in range(len(names))], gaps, colour)
    axis.set_xticks(range(len(names)), list(names))
    axis.set_ylabel("points over SFT", fontsize=8)
    axis.set_title("blue: drawn texts, orange: greedy", loc="left", fontsize=8)
    _bare(axis)
    _save(figure, path)


def _bars(axis: Any, places: Sequence[float], gaps: Sequence[Any], colour: str) -> None:
    """Means with their intervals; what is missing is left out."""
    kept = [(x, gap) for x, gap in zip(places, gaps) if gap is not None]
    if not kept:
        return
    means = [gap.value for _, gap in kept]
    errors = [[g.value - g.low for _, g in kept], [g.high - g.value for _, g in kept]]
    places = [x for x, _ in kept]
    axis.errorbar(places, means, errors, fmt=".", color=colour, linewidth=1.0, markersize=5)
