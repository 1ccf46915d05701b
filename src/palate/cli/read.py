"""`palate score`: a model, a file, and one result per row on stdout.

With `--json` stdout holds JSON lines and nothing else; progress and notes go to stderr.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from palate.config import RowOptions

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
    print_lines(json_lines(rows) if json else _table(rows))


def json_lines(rows: Iterable[Row]) -> list[str]:
    return [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


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
