"""`palate sample`: completions for a file of prompts, into a file that goes on where it ended.

Without `--out` the texts are the result and stand on stdout; progress and the closing lines go to
stderr.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from palate.cli.read import json_lines, print_lines
from palate.config import SampleConfig

if TYPE_CHECKING:
    from palate.study.sampling import Tally

Row = Mapping[str, Any]


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
        a run of palate, or any Hugging Face folder; with --endpoint, its name there
    prompts:
        a file whose rows have a prompt: JSONL, JSON, CSV, Parquet
    out:
        append JSON lines to this file as they come; the same command continues it
    json:
        one JSON object per completion on stdout
    """
    from palate import api
    from palate.cli.show import shown
    from palate.cli.words import safe

    start = time.monotonic()
    with shown(stderr=True) as listen:
        rows = api.sample(model, prompts, config, listen, out=out)
    if json:
        print_lines(json_lines(rows))
    elif out is None:
        print_lines(map(safe, _texts(rows)))
    for line in _closing(rows, out, time.monotonic() - start):
        print(line, file=sys.stderr if json or out is None else sys.stdout)


def _closing(rows: Sequence[Row], out: Path | None, seconds: float) -> list[str]:
    """The verdict, a warning if there is one, and what to do next."""
    from palate.cli.words import duration
    from palate.study.sampling import tally

    found = tally(rows)
    lines = [f"{_verdict(found, out)}, {duration(seconds)}"]
    if found.short:
        has = "prompt has" if found.short == 1 else "prompts have"
        lines.append(
            f"warning: {found.short} {has} fewer than {rows[0]['n']} different texts;"
            " what was nearly the same, or empty, is left out"
        )
    if out is not None and found.texts > found.prompts:
        lines.append(f"next: palate judge taste.db --add {out}")
    return lines


def _verdict(found: "Tally", out: Path | None) -> str:
    where = "" if out is None else f" in {out}"
    parts = [
        f"{found.texts:,} completions of {found.prompts:,} prompts{where}",
        f"{found.length:.1f} {found.unit} each",
    ]
    if found.redrawn:
        parts.append(f"{found.redrawn} near-identical or empty drawn again")
    return ", ".join(parts)


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
