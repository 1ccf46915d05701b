"""`palate explain`: what each pair teaches: a table, one pair token by token, a page, or JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from math import exp
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from palate.config import ExplainOptions
from palate.errors import UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from palate.study.seen import Row, Seen, Side, Token

TOP = 12
PUSHED = 8
LEGEND = (
    "blue, up: made likelier · orange, down: made less likely · stronger colour, harder push\n"
    "struck out: shared by both sides, no push as a target, still trained as context, through the "
    "keys and values that later tokens read\n"
    "underlined: the first difference; there the two pushes add up to one token up, one down"
)


def explain(
    model: str,
    file: str | None = None,
    /,
    *,
    options: Annotated[ExplainOptions, Parameter(name="*")] = ExplainOptions(),  # noqa: B008 (frozen)
    over_time: bool = False,
    html: Path | None = None,
    json: bool = False,
) -> None:
    """What a file, or one pair typed in, teaches a model: weights, and the push on every token.

    Parameters
    ----------
    model:
        a run of palate, or any Hugging Face folder
    file:
        pairs or examples: JSONL, JSON, CSV, Parquet (default: the run's own data)
    over_time:
        replay the heaviest pairs at the checkpoints that the run kept (--keep 12 keeps a dozen)
    html:
        write one self-contained page
    json:
        one JSON object per row on stdout
    """
    from palate import api
    from palate.cli.show import console, shown

    typed = _typed(options)
    if typed and file is not None:
        raise UsageError("a file and a pair typed in: give one of them.")
    if html is not None:
        from palate.report.page import check_place

        check_place(html)
    with shown(stderr=True) as listen:
        seen = api.explain(model, typed or file, options, listen, over_time=over_time)
        if html is not None:
            api.write_page(seen, html)
    if json:
        for row in seen.rows:
            print(_json(row.as_json()))
        return
    screen = console()
    alone = seen.rows[0] if len(seen.rows) == 1 else None
    for line in _one(alone) if alone else _table(seen):
        screen.print(line)
    if html is not None:
        screen.print(f"page: {html}")
    elif alone is None:
        _say_next(screen.print, model, file, seen)


def _json(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False, allow_nan=False)


def _typed(options: ExplainOptions) -> tuple[str, str, str] | None:
    """The pair that was typed in."""
    if options.prompt is None or options.chosen is None or options.rejected is None:
        return None
    return options.prompt, options.chosen, options.rejected


def _say_next(say: Any, model: str, file: str | None, seen: "Seen") -> None:
    command = f"palate explain {quote(model)}" + (f" {quote(file)}" if file else "")
    heaviest = max(seen.rows, key=lambda row: row.mass, default=None)
    if heaviest is not None:
        say(f"next: {command} --pair {heaviest.number}")
        say(f"      {command} --html explain.html")


# ------------------------------------------------------------------ many rows


def _table(seen: "Seen") -> "Iterator[Text | str]":
    """The verdict, then the heaviest rows."""
    from palate.cli.words import figure, safe, signed
    from palate.study.sentences import verdict

    yield verdict(seen)
    yield ""
    ranked = sorted(seen.rows, key=lambda row: -row.mass)[:TOP]
    head = ["row", "line", "margin", "loss", "weight", "mass", "tokens", "prompt"]
    cells = [head]
    for row in ranked:
        cells.append(
            [
                str(row.number),
                str(row.line),
                "" if row.margin is None else signed(row.margin),
                figure(row.loss),
                figure(abs(row.sides[0].weight)),
                figure(row.mass),
                "/".join(str(side.count) for side in row.sides),
                safe(" ".join(row.prompt.split()))[:44],
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        parts = [cell.rjust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        yield "  ".join([*parts, line[-1]])
    if len(seen.rows) > TOP:
        yield f"the {TOP} of {len(seen.rows)} rows with the largest gradient mass"


# ------------------------------------------------------------------ one row, token by token


def _one(row: "Row") -> "Iterator[Text | str]":
    """The sentence, both sides with heat, then the tokens that are pushed hardest."""
    from palate.cli.words import safe

    yield safe(row.words)
    yield ""
    yield safe(row.prompt)
    scale = max((t.logit_grad_norm for t in _details(row)), default=0.0)
    for side in row.sides:
        yield ""
        yield _side_line(side)
        yield _heat(side, scale)
    yield ""
    yield from _pushed(row.sides)
    yield ""
    yield from LEGEND.splitlines() if len(row.sides) == 2 else LEGEND.splitlines()[:1]


def _details(row: "Row") -> "Iterable[Token]":
    return (token for side in row.sides for token in side.detail or ())


def _side_line(side: "Side") -> str:
    from palate.cli.words import figure, signed

    parts = [f"{side.name}: {side.count} tokens", f"log-prob {figure(side.logp)}"]
    if side.ref_logp is not None:
        parts.append(f"reference {figure(side.ref_logp)}")
    parts += [f"weight {signed(side.weight)}", f"gradient mass {figure(side.mass or 0.0)}"]
    return "  ".join(parts)


def _heat(side: "Side", scale: float) -> "Text":
    """The tokens; background linear in the push, on a terminal that has colour."""
    from rich.style import Style
    from rich.text import Text

    from palate.cli.words import safe

    colour = (47, 127, 214) if side.weight >= 0 else (217, 130, 43)
    line = Text()
    for token in side.detail or ():
        if token.kind == "shared":
            line.append(safe(token.text), Style(strike=True, dim=True))
            continue
        share = token.logit_grad_norm / scale if scale else 0.0
        shade = ",".join(str(round(40 + (level - 40) * share)) for level in colour)
        style = Style.parse(f"on rgb({shade})") if share > 0.03 else Style()
        line.append(safe(token.text), style + Style(underline=token.kind == "first"))
    return line


def _pushed(sides: "Sequence[Side]") -> Iterator[str]:
    """The hardest pushed tokens of each side, and what the model would rather have said."""
    from palate.cli.words import figure

    for side in sides:
        tokens = sorted(side.detail or (), key=lambda t: -t.logit_grad_norm)[:PUSHED]
        arrow = "up" if side.weight >= 0 else "down"
        for token in tokens:
            if token.logit_grad_norm == 0:
                continue
            other = next((a for a in token.alternatives if a.text != token.text), None)
            rather = "" if other is None else f"  else {_shown(other.text)} p {figure(other.p)}"
            yield (
                f"{side.name} {arrow:4} {figure(token.logit_grad_norm):>9}  "
                f"{_shown(token.text)} p {figure(exp(token.logp))}{rather}"
            )


def _shown(text: str) -> str:
    from palate.cli.words import safe

    return repr(safe(text))
