"""`palate score` and `palate sample`: a model, a file, and one result per row on stdout.

With `--json` stdout holds JSON lines and nothing else; progress and notes go to stderr.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from palate.config import RowOptions, SampleConfig

Row = Mapping[str, Any]


def score(
    model: str,
    data: str,
    /,
    *,
    options: Annotated[RowOptions, Parameter(name="*")] = RowOptions(),  # noqa: B008 (frozen)
    json: bool = False,
) -> None:
    """Log-probs of every row of a file, in nats, and the margin of every pair.

    Parameters
    ----------
    model:
        a run of palate, or any Hugging Face folder
    data:
        examples or pairs: JSONL, JSON, CSV, Parquet
    json:
        one JSON object per row on stdout
    """
    from palate import api
    from palate.cli.show import shown

    with shown(stderr=True) as listen:
        rows = [row.as_json() for row in api.score(model, data, options, listen)]
    _print_lines(_json_lines(rows) if json else _table(rows))


def sample(
    model: str,
    prompts: str,
    /,
    *,
    config: Annotated[SampleConfig, Parameter(name="*")] = SampleConfig(),  # noqa: B008 (frozen)
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Draw completions for every prompt of a file.

    Parameters
    ----------
    model:
        a run of palate, or any Hugging Face folder
    prompts:
        a file whose rows have a prompt: JSONL, JSON, CSV, Parquet
    out:
        write JSON lines to this file instead of stdout
    json:
        one JSON object per completion on stdout
    """
    from palate import api
    from palate.cli.show import shown
    from palate.cli.words import safe

    with shown(stderr=True) as listen:
        rows = api.sample(model, prompts, config, listen)
    if out is not None:
        _write(out, rows)
    elif json:
        _print_lines(_json_lines(rows))
    else:
        _print_lines(map(safe, _texts(rows)))


def _json_lines(rows: Iterable[Row]) -> list[str]:
    return [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _write(out: Path, rows: Sequence[Row]) -> None:
    """The whole file or none of it."""
    from palate.runs import atomic

    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_file(out, "".join(f"{line}\n" for line in _json_lines(rows)).encode())
    print(f"{len(rows)} completions in {out}")


def _texts(rows: Sequence[Row]) -> list[str]:
    """Each prompt once, its completions below it."""
    lines: list[str] = []
    before: object = None
    for row in rows:
        if row["prompt"] != before:
            before = row["prompt"]
            lines += ["", f"prompt: {_text(before)}"] if lines else [f"prompt: {_text(before)}"]
        lines.append(f"  {row['index'] + 1}. {row['completion']}")
    return lines


def _text(prompt: object) -> str:
    """A plain prompt as it is; a conversation as its turns."""
    if isinstance(prompt, str):
        return prompt
    turns: Any = prompt
    return " / ".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _table(rows: Sequence[Row]) -> list[str]:
    """The verdict in one sentence, then one aligned line per row."""
    if not rows:
        return ["no rows"]
    names = [name for name in _COLUMNS if name in rows[0]]
    cells = [[_COLUMNS[name] for name in names]]
    cells += [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    aligned = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells]
    return [_verdict(rows), "", *aligned]


_COLUMNS = {
    "line": "line",
    "chosen_logp": "chosen",
    "rejected_logp": "rejected",
    "ref_chosen_logp": "ref chosen",
    "ref_rejected_logp": "ref rejected",
    "margin": "margin",
    "chosen_tokens": "tokens",
    "rejected_tokens": "tokens",
    "logp": "log-prob",
    "tokens": "tokens",
}


def _cell(value: object) -> str:
    from palate.cli.words import figure

    return figure(value) if isinstance(value, float) else str(value)


def _verdict(rows: Sequence[Row]) -> str:
    from palate import stats
    from palate.cli.words import figure

    if "logp" in rows[0]:
        tokens = sum(row["tokens"] for row in rows)
        mean = sum(row["logp"] for row in rows) / tokens
        return f"{len(rows)} rows: {figure(mean)} nats per token over {tokens} tokens"
    if "margin" in rows[0]:
        gaps, claim = [row["margin"] for row in rows], "the margin favours the chosen answer"
    else:
        gaps = [row["chosen_logp"] - row["rejected_logp"] for row in rows]
        claim = "the chosen answer is the likelier one"
    rate = stats.share(sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps), len(gaps))
    ties = ", ties counted half" if 0 in gaps else ""
    return f"{claim} in {rate.percent()} of {len(rows)} pairs{ties}"
