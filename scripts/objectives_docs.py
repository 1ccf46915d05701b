"""Writes `docs/objectives.md` and `docs/objectives.svg` from the table of objectives.

    python scripts/objectives_docs.py            # both; the picture needs matplotlib (extra bench)
    python scripts/objectives_docs.py --check    # fails where the page is not what the table says

The page is a function of the table alone, and a test holds it to that.  The curves are the
library's own weights; no formula is written here.
"""

import sys
import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palate.objectives import OBJECTIVES, Objective, Scored, build, token_weights
from palate.objectives.describe import LEGEND, OF_PAIRS, Described, described
from palate.objectives.tokens import SUMS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "objectives.md", DOCS / "objectives.svg"
BLUE, ORANGE, GREY = "#2364aa", "#c8590a", "#8a8a86"
TOKENS, LEVEL = 20, -2.0  # tokens of every completion in the pictures, nats of each at gap 0
REACH = 60.0  # nats, but
NEAR = {"discopop": 15.0, "f_dpo": 6.0}
POINTS = 241
COLUMNS = 4

HEAD = f"""# Objectives

Every objective of `palate sft` and `palate dpo` is one pure function of log-probs, and training on
it is SFT with a weight on each sequence: `weight = −d loss / d log-prob`. The pictures show that
weight, which is all that an objective decides.

{LEGEND}

`palate dpo --objective NAME`; options by their flag or `--option gamma=0.5,mean=token`;
`palate objectives NAME` prints what stands here. Each formula is checked, in value and gradient,
against an independent naive version (`tests/naive_objectives.py`), and against TRL's own where TRL
1.16 has it (`tests/test_objectives_trl.py`).

![weight of chosen and of rejected against the gap](objectives.svg)

The weight of chosen (blue) and of rejected (orange) against the gap `Δ_w − Δ_l` in nats (without
a reference: `ℓ_w − ℓ_l`), at default options. Both completions have {TOKENS} tokens, all alike, and
half of the gap is chosen's gain, half rejected's loss. Above the line a completion is made
likelier, below it less likely. Every picture has its own scale. Where rows of a step influence
each other, the picture is of a step of one; a ranking is of two.

**Every objective over pairs** also takes {{pairs}}. `sft_weight` adds that much SFT on chosen, per
token (RPO, Pang et al. 2024, arXiv:2404.19733). `wpo` multiplies a pair's loss by how likely the
policy is to write both sides (WPO, Zhou et al. 2024, arXiv:2406.11827, eq. 2): exp of the mean of
log p − log Σp² over tokens, both sides added, held at 1 and without gradient.
"""


def text() -> str:
    """The page."""
    pairs = " and ".join(f"`{option}`" for option in OF_PAIRS)
    found = [described(name) for name in OBJECTIVES]
    head = "\n\n".join(_filled(part) for part in HEAD.format(pairs=pairs).split("\n\n"))
    parts = [head + "\n", table(found), *map(section, found), not_here()]
    return "\n".join(parts)


def _filled(text: str, indent: str = "") -> str:
    """A paragraph at the page's width."""
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def table(found: list[Described]) -> str:
    """One line each."""
    lines = ["| objective | rows | reference | lengths | when to use it |", "|---|---|---|---|---|"]
    for each in found:
        reads = ["yes" if flag else "" for flag in (each.reference, each.lengths)]
        link = f"[{each.name}](#{each.name})"
        lines.append(f"| {link} | {each.rows} | {reads[0]} | {reads[1]} | {each.when} |")
    return "\n".join(lines) + "\n"


def section(each: Described) -> str:
    """All about one."""
    options = "; ".join(f"`{option}`" for option in each.options) or "none"
    lines = [f"## {each.name}", "", each.when, "", f"    {each.formula}", ""]
    lines += [f"- paper: {each.paper}", f"- options: {options}"]
    if each.coupled:
        lines.append("- the rows of a step influence each other: mind the batch size")
    if each.notes:
        lines.append(_filled(f"- {each.notes}", "  "))
    return "\n".join(lines) + "\n"


def not_here() -> str:
    return (
        "## Definitions that differ between tools\n\n"
        "- **IPO**: `mean=sum` is the paper's; TRL and LLaMA-Factory divide by the tokens "
        "(`mean=token`).\n"
        "- **LD-DPO**: TRL treats the reference alike (`on_reference=true`), LLaMA-Factory and "
        "ms-swift do not.\n"
        "- **cDPO**: TRL 1.16's `sigmoid` ignores `label_smoothing`; here `dpo` reads it.\n"
        "- **BCO**: the paper's threshold is a mean over steps; here the step's own; TRL 1.16 has "
        "none.\n"
        "- **WPO**: older TRL holds a pair's weight at 1, as here; TRL 1.16 does not.\n"
        "- **CPO**: the paper's SFT term is summed (`mean=sum`); TRL takes a mean over tokens.\n"
        "- **ORPO**: TRL's SFT term is over prompt and completion; here over the completion.\n"
        "- **f-DPO**: `alpha` is the paper's; TRL's coefficient is 1 − alpha.\n"
    )


# ------------------------------------------------------------------ the picture


def curve(objective: Objective) -> tuple[Tensor, Tensor]:
    """The gap in nats (P,), and the weights of chosen and rejected (P,2), each point by itself."""
    reach = NEAR.get(objective.name, REACH)
    gap_P = torch.linspace(-reach, reach, POINTS, dtype=torch.float64)
    return gap_P, torch.stack([_pulls(objective, float(gap)) for gap in gap_P])


def _pulls(objective: Objective, gap: float) -> Tensor:
    """Weights of both sides (2,), from the log-prob that each of their tokens has."""
    sides = torch.tensor([[gap / 2, -gap / 2]], dtype=torch.float64) / TOKENS
    columns = 2 if objective.prepare else 1  # heads: here as long as the whole

    def read(token_12: Tensor) -> Scored:
        logps_IN = (token_12 * TOKENS).repeat(1, columns)
        sums = {name: SUMS[name](token_12, None) * TOKENS for name in objective.sums}
        tokens, level = torch.full_like(logps_IN, TOKENS), torch.full_like(logps_IN, LEVEL * TOKENS)
        return Scored(logps_IN, tokens, level, None, sums)

    return token_weights(objective, read, LEVEL + sides)[0] / TOKENS


def drawn() -> list[str]:
    """Names with a picture: pairs, and rankings (of two)."""
    return [name for name, spec in OBJECTIVES.items() if spec.items in ("pair", "ranked")]


def draw(path: Path) -> None:
    """Small multiples."""
    import matplotlib
    from matplotlib import pyplot as plt

    matplotlib.use("svg")
    style = {"font.family": "sans-serif", "font.size": 8, "svg.hashsalt": "palate"}
    with matplotlib.rc_context(style | {"svg.fonttype": "none", "text.color": "#555550"}):
        names = drawn()
        rows = -(-len(names) // COLUMNS)
        figure, axes = plt.subplots(rows, COLUMNS, figsize=(9, 1.45 * rows), squeeze=False)
        for axis, name in zip(axes.flat, names):
            _panel(axis, name, first=name == names[0])
        for axis in list(axes.flat)[len(names) :]:
            axis.remove()
        figure.supxlabel("gap in nats", fontsize=8)
        figure.tight_layout(h_pad=1.4, w_pad=1.2)
        figure.savefig(path, metadata={"Date": None, "Creator": None}, transparent=False)
        plt.close(figure)


def _panel(plot: Any, name: str, *, first: bool) -> None:
    gap_P, weights_P2 = curve(build(name))
    plot.axhline(0, color=GREY, linewidth=0.5)
    plot.axvline(0, color=GREY, linewidth=0.5, linestyle=(0, (1, 3)))
    for side, colour in ((1, ORANGE), (0, BLUE)):
        plot.plot(gap_P, weights_P2[:, side], color=colour, linewidth=1.3)
    top, floor = float(weights_P2.max()), float(weights_P2.min())
    apart = 0.05 * (top - floor)  # labels nearer than this to 0 would lie on it
    ticks = sorted({0.0, *(x for x in (floor, top) if abs(x) > apart)})
    plot.set_yticks(ticks, map(_label, ticks))
    reach = float(gap_P[-1])
    plot.set_xticks([-reach, 0, reach], [f"\N{MINUS SIGN}{reach:.0f}", "0", f"{reach:.0f}"])
    plot.set_title(name, loc="left", fontsize=8.5, color="#222220")
    plot.spines[:].set_visible(False)
    plot.tick_params(length=0, colors="#777772", labelsize=7)
    if first:
        plot.text(-REACH, 0.82 * top, "chosen", color=BLUE, va="top")
        plot.text(-REACH, 0.82 * floor, "rejected", color=ORANGE, va="bottom")


def _label(value: float) -> str:
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
    return text.replace("-", "\N{MINUS SIGN}")


def main(words: list[str]) -> int:
    if words == ["--check"]:
        fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text()
        sys.stdout.write("" if fresh else f"{PAGE} is stale: run scripts/objectives_docs.py\n")
        return 0 if fresh else 1
    PAGE.write_text(text(), encoding="utf-8")
    draw(PICTURE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
