"""docs/frontier.svg: gain against KL for every arm, and what the learning rate does to two of them.

Blue is DPO, orange is reinforcement, grey is everything else; a name stands at each line's end.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.frontier import BEST_OF
from study.frontier_results import DPO, Moment, Results, bound, rates_of

BLUES = ("#9dc0e6", "#6fa3d8", "#2364aa", "#1a4a80", "#102e50")  # beta from small to large
ORANGE, PALE, GREY, INK = "#c8590a", "#e39a63", "#7a7a75", "#333330"
LINES: Mapping[str, tuple[str, str, str]] = {
    **{name: (colour, name.replace("dpo", "DPO β"), "-") for name, colour in zip(DPO, BLUES)},
    "ppo": (ORANGE, "PPO, true reward", "-"),
    "ppo learnt": (PALE, "PPO, learnt reward", "-"),
    "rloo": (ORANGE, "RLOO, true reward", "--"),
    "preferred-ft": (GREY, "SFT on chosen", "-"),
}
BANDS = ("dpo 0.1", "ppo", "ppo learnt", "preferred-ft")  # the others have a bar at the end
ENDS: Mapping[str, str] = {
    "sft x2": "SFT, 2× examples",
    "sft x4": "SFT, 4× examples",
    "base to dpo": "base → DPO",
    "jointly": "SFT + DPO jointly",
    "unlikelihood": "unlikelihood",
    "random labels": "random labels",
    "base": "base",
}
Label = tuple[float, float, str, str]  # KL, gain, name, colour
HIGH = 0.036  # of a line of text, as a share of the panel
FAR = (12.0, -2.5)  # more KL or less gain is left out of the picture, and named
TICKS = (0.1, 0.5, 1, 2, 5, 10, 20, 50)


def draw(results: Results, path: Path, title: str) -> None:
    """Two panels; bands and bars reach from the lowest to the highest seed."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    style = {"font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "palate"}
    with matplotlib.rc_context(style | {"svg.fonttype": "none", "text.color": INK}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11, 5.2), width_ratios=(5, 2), layout="constrained"
        )
        _frontier(left, results)
        _rates(right, results)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5)
        figure.savefig(path, metadata={"Date": None, "Creator": None}, transparent=False)
        plt.close(figure)


def _frontier(axis: Any, results: Results) -> None:
    labels: list[Label] = []
    for arm, (colour, name, dash) in LINES.items():
        if found := results.moments(arm):
            _line(axis, found, colour, dash, band=arm in BANDS)
            labels.append((found[-1].kl.value, found[-1].gain.value, name, colour))
    outside = []
    for arm, name in ENDS.items():
        if not (found := results.moments(arm)):
            continue
        end = found[-1]
        if end.kl.value > FAR[0] or end.gain.value < FAR[1]:
            gain = f"{end.gain.value:.1f}".replace("-", "−")
            outside.append(f"{name} (KL {end.kl.value:.0f}, {gain} points)")
            continue
        _cross(axis, end)
        labels.append((end.kl.value, end.gain.value, name, GREY))
    labels += _best_of(axis, results)
    axis.plot([0], [0], marker="o", color=INK, markersize=5, zorder=4)
    axis.annotate("SFT", (0, 0), xytext=(3, -10), textcoords="offset points", color=INK, fontsize=8)
    axis.axhline(0, color="#b5b5b0", lw=0.7, zorder=0)
    axis.set_xscale("function", functions=(_root, _square))
    most = max((place for place, *_ in labels), default=1.0)
    axis.set_xlim(0, most * 1.5)
    axis.set_xticks([0, *(t for t in TICKS if t <= most * 1.5)])
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _plain(axis, "points a text over SFT", "KL from the SFT model, nats a text (root scale)")
    _name(axis, labels)
    if outside:
        said = f"far outside: {', '.join(outside)}"
        axis.text(0.99, 0.01, said, transform=axis.transAxes, ha="right", color=GREY, fontsize=8)


def _root(values: Any) -> Any:
    import numpy as np

    return np.sqrt(np.maximum(values, 0))


def _square(values: Any) -> Any:
    import numpy as np

    return np.square(values)


def _line(axis: Any, found: list[Moment], colour: str, dash: str, *, band: bool) -> None:
    """The means; from the lowest to the highest seed a band, or a bar at the end."""
    kl = [0.0, *(each.kl.value for each in found)]
    gain = [0.0, *(each.gain.value for each in found)]
    low, high = ([0.0, *(getattr(e, side) for e in found)] for side in ("lowest", "highest"))
    if band:
        axis.fill([*kl, *kl[::-1]], [*low, *high[::-1]], color=colour, alpha=0.10, lw=0)
    else:
        axis.plot([kl[-1]] * 2, [low[-1], high[-1]], color=colour, lw=0.9, alpha=0.7)
    axis.plot(kl, gain, color=colour, lw=1.6, ls=dash, marker="o", markersize=3.2, zorder=3)


def _cross(axis: Any, end: Moment) -> None:
    reach = [[end.gain.value - end.lowest], [end.highest - end.gain.value]]
    axis.errorbar(
        [end.kl.value], [end.gain.value], yerr=reach, fmt="s", color=GREY, ms=4, lw=0.9, zorder=3
    )


def _best_of(axis: Any, results: Results) -> list[Label]:
    found = [(bound(n), gain) for n in (1, *BEST_OF) if (gain := results.best_of(n))]
    if not found:
        return []
    places, gains = [kl for kl, _ in found], [gain.value for _, gain in found]
    axis.plot(places, gains, color=INK, lw=1.1, ls=":", marker="D", markersize=3.2, zorder=3)
    return [(places[-1], gains[-1], f"best of {BEST_OF[-1]}", INK)]


def _name(axis: Any, labels: list[Label]) -> None:
    """Each name beside its point, or as near as no other name or point is in its way."""
    (low, high), far = axis.get_ylim(), float(_root(axis.get_xlim()[1]))
    spots = {
        label: (float(_root(label[0])) / far, (label[1] - low) / (high - low)) for label in labels
    }
    taken = [(x - 0.006, x + 0.006, y) for x, y in spots.values()]
    for label in sorted(labels, key=lambda each: -each[1]):
        _, _, name, colour = label
        x, y = spots[label]
        wide = 0.0105 * len(name) + 0.01
        free = (
            (x + side, y + up * HIGH / 2)
            for side in (0.011, -0.011 - wide)
            for up in sorted(range(-16, 17), key=abs)
            if not any(
                left < x + side + wide
                and x + side < right
                and abs(y + up * HIGH / 2 - other) < HIGH
                for left, right, other in taken
                if (left + right) / 2 != x or other != y
            )
        )
        left, up = next(free, (x + 0.011, y))
        taken.append((left, left + wide, up))
        axis.annotate(
            name,
            (x, y),
            xytext=(left, up),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.4, "alpha": 0.6}
            if abs(up - y) > HIGH / 4
            else None,
        )


def _rates(axis: Any, results: Results) -> None:
    """Every run of the grids: gain against the learning rate, as a multiple of the usual one."""
    for method, colour, name in (("dpo", BLUES[2], "DPO β 0.1"), ("ppo", ORANGE, "PPO")):
        cells = results.grid(method)
        if not cells:
            continue
        usual = next(rate for rate, arm in rates_of(method) if arm in ("dpo 0.1", "ppo"))
        shift = 0.94 if method == "dpo" else 1.06
        places = [cell.rate / usual * shift for cell in cells]
        axis.plot(places, [cell.gain for cell in cells], "o", color=colour, ms=4, alpha=0.75)
        rates = sorted({cell.rate for cell in cells})
        middle = [_mean([c.gain for c in cells if c.rate == rate]) for rate in rates]
        axis.plot([r / usual * shift for r in rates], middle, color=colour, lw=1.2)
        top = max(range(len(rates)), key=middle.__getitem__)
        axis.annotate(
            name, (rates[top] / usual * shift, middle[top]), xytext=(0, 8),
            textcoords="offset points", color=colour, ha="center", fontsize=8.5,
        )  # fmt: skip
    axis.axhline(0, color="#b5b5b0", lw=0.7, zorder=0)
    axis.set_xscale("log", base=4)
    axis.set_xticks([0.25, 1, 4], ["¼", "1", "4"])
    axis.set_xticks([], minor=True)
    _plain(axis, "the same, a dot a seed", "learning rate, times the usual one")


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _plain(axis: Any, title: str, below: str) -> None:
    axis.set_title(title, loc="left", fontsize=9, color="#555550")
    axis.set_xlabel(below, fontsize=9, color="#555550", loc="left")
    axis.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axis.tick_params(length=0, colors="#777772", labelsize=8)
