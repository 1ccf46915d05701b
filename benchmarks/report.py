"""Figures to aligned text: parity, the sweep, one table for each profile, the ratios."""

import argparse
from collections.abc import Sequence
from typing import Any

from workload import PROFILES, SHAPES

Cells = Sequence[str]


def heading(machine: dict[str, str], versions: dict[str, str], options: argparse.Namespace) -> str:
    """What is compared, and on what."""
    shape = SHAPES[options.shape]
    size = (shape.layer_parameters + shape.vocab * shape.hidden) / 1e6
    return "\n".join(
        [
            "palate against TRL: fp32, full fine-tuning, AdamW, no gradient checkpointing",
            ", ".join(f"{name} {version}" for name, version in versions.items()),
            f"{machine['cpu']} ({machine['capability']}), {machine['cores']} cores, "
            f"{machine['memory']}; {options.threads} threads for each process",
            f"Llama shape, {size:.3g} M parameters, {shape.layers} layers, "
            f"vocabulary {shape.vocab}, seed {options.seed}",
        ]
    )


def parity(found: list[dict[str, Any]]) -> str:
    """One line for each check; `bound` is at most, or at least where marked."""
    rows = []
    for row in found:
        for check in row["checks"]:
            sign = ">=" if check["least"] else "<="
            value = f"{check['value']:.8f}" if check["least"] else f"{check['value']:.1e}"
            verdict = "ok" if check["holds"] else "FAILED"
            cells = (row["profile"], f"TRL {row['against']}", check["name"], value)
            rows.append((*cells, f"{sign} {check['bound']:g}", verdict))
    scored = [
        f"Positions scored by TRL {row['against']} ({row['profile']}): {row['positions']}"
        for row in found
    ]
    table = aligned(("profile", "against", "check", "found", "wanted", ""), rows, left=3)
    return "\n".join(["", "Do both compute the same?", table, *scored])


def profile(name: str, found: dict[str, Any]) -> str:
    """The sweep, the table and what part of the machine palate reaches."""
    about, work = PROFILES[name], found["work"]
    title = (
        f"{name}: {about.about}; prompt {about.prompt * work['scale']:.0f}, completion "
        f"{about.completion * work['scale']:.0f} tokens "
        f"(median); {work['steps']} x {work['batch']} {_unit(name)}"
    )
    lines = ["", title, *_sweep(name, found["sweeps"]), _table(name, found)]
    return "\n".join([*lines, *_reached(found)])


def _sweep(name: str, sweeps: list[dict[str, Any]]) -> list[str]:
    """Items a second in TRL's sweep, forward and backward alone."""
    lines = []
    for sweep in sweeps:
        rates = [
            f"{size}: {sweep['records'] / seconds:.3f}"
            for size, seconds in sweep["seconds"].items()
        ]
        how = "compact" if sweep["compact"] else "as shipped"
        lines.append(f"TRL {how}, {_unit(name)}/s at micro-batch {', '.join(rates)}")
    return lines


def _table(name: str, found: dict[str, Any]) -> str:
    """palate above, TRL's variants below, each with palate's advantage over it."""
    work = found["work"]
    palate = summary(found["palate"], work["batch"])
    headers = (
        "",
        f"{_unit(name)}/s",
        "with reference",
        "s/step",
        "CPU s/step",
        "peak GB",
        "palate: speed",
        "with reference",
        "memory",
    )
    rows: list[Cells] = [("palate", *_figures(palate), "", "", "")]
    for run in found["trl"]:
        trl = summary([run], work["batch"])
        how = "compact" if run["compact"] else "as shipped"
        ratios = (
            f"{palate['rate'] / trl['rate']:.2f}",
            _ratio(palate["rate_with_reference"], trl["rate_with_reference"]),
            f"{palate['peak_bytes'] / trl['peak_bytes']:.2f}",
        )
        rows.append((f"TRL {how}, micro-batch {run['micro_batch']}", *_figures(trl), *ratios))
    return aligned(headers, rows, left=1)


def summary(runs: list[dict[str, Any]], batch: int) -> dict[str, Any]:
    """Rates over all steps of the runs; the largest memory; seconds a step of each run."""
    steps = sum(len(run["seconds"]) for run in runs)
    seconds = sum(sum(run["seconds"]) for run in runs)
    known = [run["reference_seconds"] for run in runs if run["reference_seconds"] is not None]
    return {
        "rate": steps * batch / seconds,
        "rate_with_reference": steps * batch / (seconds + sum(known)) if known else None,
        "step": seconds / steps,
        "cpu": sum(sum(run["cpu_seconds"]) for run in runs) / steps,
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "each": [sum(run["seconds"]) / len(run["seconds"]) for run in runs],
    }


def _figures(found: dict[str, Any]) -> Cells:
    with_reference = found["rate_with_reference"]
    return (
        f"{found['rate']:.3f}",
        "-" if with_reference is None else f"{with_reference:.3f}",
        f"{found['step']:.2f}",
        f"{found['cpu']:.2f}",
        f"{found['peak_bytes'] / 1e9:.2f}",
    )


def _reached(found: dict[str, Any]) -> list[str]:
    """palate's share of the matrix rate, and how far its runs are apart."""
    palate = summary(found["palate"], found["work"]["batch"])
    useful = found["palate"][0]["useful_flop"] / found["work"]["steps"]
    rate = found["matrix_rate"]
    apart = ", ".join(f"{seconds:.2f}" for seconds in palate["each"])
    reached = useful / palate["step"]
    return [
        f"palate's useful work: {useful / 1e9:,.0f} GFLOP a step, {reached / 1e9:.1f} GFLOP/s, "
        f"{reached / rate:.0%} of the machine's {rate / 1e9:.1f} GFLOP/s",
        f"palate's runs, s/step: {apart}",
        _history(found["palate"], palate["step"]),
    ]


def _history(runs: list[dict[str, Any]], step: float) -> str:
    """What writing each pair's margin and weight costs, which the step's time includes."""
    written = [seconds for run in runs for seconds in run["history_seconds"]]
    mean = sum(written) / len(written)
    return f"history: {mean * 1e3:.1f} ms a step; a step with it to one without: " + (
        f"{step / (step - mean):.4f}"
    )


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "-" if ours is None or theirs is None else f"{ours / theirs:.2f}"


def _unit(name: str) -> str:
    return "rows" if PROFILES[name].kind == "sft" else "pairs"


def aligned(headers: Cells, rows: Sequence[Cells], *, left: int) -> str:
    """Plain columns; the first `left` are text and start at the left."""
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]

    def pad(line: Cells) -> str:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([pad(headers), "  ".join("-" * width for width in widths), *map(pad, rows)])
