"""`palate history`: which pairs ended ranked right, which did not, and where the push went.

No model is loaded.  With `--json` stdout holds one JSON object per row and nothing else.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palate.study.history import PairHistory, Records, RunHistory

Cells = Sequence[str]
LEFT = {"class", "tag", "row", "margins"}


def history(
    run: Path,
    /,
    *,
    json: bool = False,
    export: Path | None = None,
    only: str = "never,lost",
    top: int = 5,
) -> None:
    """What became of each pair of a run.

    Parameters
    ----------
    run:
        a run of palate dpo
    json:
        one JSON object per pair on stdout
    export:
        write the pairs of --only to this file, as the original has them, to mend and judge again
    only:
        classes to export: at-once, gained, flipped, never, lost, once (palate words class)
    top:
        how many of the heaviest pairs are shown
    """
    from palate.study.history import original_rows, read_history, with_tags

    kinds = _kinds(only)
    found = read_history(run)
    fields = original_rows(found)
    if not isinstance(fields, str):
        found = with_tags(found, fields)
    if json:
        _print_json(found)
        return
    for line in _page(found, top):
        print(line)
    if isinstance(fields, str) and export is None:
        print(f"without tags: {fields}")
    if export is not None:
        _export(export, found, kinds, fields)
    for place, command in enumerate(_next(found, run, export)):
        print("next: " if place == 0 else "      ", command, sep="")


def _kinds(only: str) -> tuple[str, ...]:
    from palate.errors import UsageError
    from palate.study.history import MEANING

    names = tuple(name.strip() for name in only.split(",") if name.strip())
    for name in names:
        if name not in MEANING:
            raise UsageError(f"--only {name}: no such class.", hint=f"One of {', '.join(MEANING)}.")
    return names


def _print_json(found: "RunHistory") -> None:
    import json

    for row in found.rows:
        tag = {} if row.tag is None else {"tag": row.tag}
        print(json.dumps(row.as_json() | tag | {"push": found.push_of([row])}, ensure_ascii=False))


# -- the page


def _page(found: "RunHistory", top: int) -> Iterator[str]:
    yield _verdict(found)
    yield ""
    if found.ranks:
        yield from _table(
            ("class", "pairs", "share", "push", "last margin", "tokens"), _kinds_of(found)
        )
        yield ""
    yield _spread_line(found)
    tags = found.tags()
    if tags:
        yield ""
        cells = [_cells(tag, found, rows) for tag, rows in list(tags.items())[:12]]
        yield from _table(("tag", "pairs", "share", "push", "last margin", "tokens"), cells)
    if top > 0 and found.met:
        yield ""
        yield f"heaviest {min(top, len(found.met))}, by their share of the push"
        yield from _table(("row", "class", "push", "margins"), _heavy(found, top))
    yield ""
    yield from _legend(found)


def _verdict(found: "RunHistory") -> str:
    """One sentence that holds it all."""
    from palate import stats
    from palate.study.history import RIGHT

    met = found.met
    if not found.ranks:
        name = found.record["objective"]["name"]
        return f"{len(met)} rows: {name} gives no margins, so only the push is told"
    judged = [row for row in met if row.kind != "once"]
    if not judged:
        right = sum((row.margins[-1] > 0) + 0.5 * (row.margins[-1] == 0) for row in met)
        return (
            f"each of {len(met)} pairs was met once: the margin favoured chosen in "
            f"{stats.share(right, len(met)).percent()} of them when they were met"
        )
    good = sum(row.kind in RIGHT for row in judged)
    told = f"{stats.share(good, len(judged)).percent()} of {len(judged)} pairs ended ranked right"
    ended, missed = _counts(judged, RIGHT), _counts(judged, ("never", "lost"))
    return told + (f" ({ended})" if ended else "") + (f"; {missed}" if missed else "")


def _counts(rows: "Sequence[PairHistory]", kinds: Sequence[str]) -> str:
    """`30 at once, 12 flipped`: those classes that any row is in."""
    found = {kind: sum(row.kind == kind for row in rows) for kind in kinds}
    return ", ".join(f"{count} {kind.replace('-', ' ')}" for kind, count in found.items() if count)


def _kinds_of(found: "RunHistory") -> list[Cells]:
    from palate.study.history import MEANING

    rows = [(kind, found.of([kind])) for kind in MEANING]
    return [_cells(name, found, members) for name, members in rows if members]


def _cells(name: str, found: "RunHistory", rows: "Sequence[PairHistory]") -> Cells:
    from statistics import median

    from palate.cli.words import safe, signed
    from palate.study.history import last_margin

    last = last_margin(rows)
    sides = list(zip(*(row.tokens for row in rows), strict=False))
    return (
        safe(name)[:40],
        str(len(rows)),
        f"{len(rows) / len(found.met):.0%}",
        f"{found.push_of(rows):.0%}",
        "" if last is None else signed(last),
        " / ".join(f"{median(side):.0f}" for side in sides),
    )


def _spread_line(found: "RunHistory") -> str:
    spread = found.spread()
    how = "evenly" if spread.gini < 0.15 else "unevenly" if spread.gini < 0.4 else "very unevenly"
    return (
        f"the push is spread {how}: half of it came from {spread.half:.0%} of the pairs, "
        f"{spread.top_tenth:.0%} of it from the heaviest tenth"
    )


def _heavy(found: "RunHistory", top: int) -> list[Cells]:
    from palate.cli.words import safe, signed

    cells: list[Cells] = []
    for row in found.heaviest(top):
        margins = " → ".join(map(signed, row.margins)) if row.margins else ""
        where = f"{safe(Path(row.path).name)}:{row.line}"
        cells.append((where, row.kind, f"{found.push_of([row]):.2%}", margins))
    return cells


def _legend(found: "RunHistory") -> Iterator[str]:
    from palate.study.history import MEANING

    yield "push: the pair's weights summed over the steps that met it, as a share of all of them"
    if not found.ranks:
        return
    yield "margin: beta times nats, as the step met the pair; the bounds are our default"
    for kind, meaning in MEANING.items():
        if found.of([kind]):
            yield f"  {kind.ljust(9)} {meaning}"


def _table(head: Cells, rows: Iterable[Cells]) -> Iterator[str]:
    """Aligned: names to the left, figures to the right."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        first, *rest = (
            cell.ljust(width) if title in LEFT else cell.rjust(width)
            for title, cell, width in zip(head, line, widths)
        )
        yield "  ".join([first, *rest]).rstrip()


# -- what comes next


def _export(out: Path, found: "RunHistory", kinds: Sequence[str], fields: "Records | str") -> None:
    """The whole file or none of it."""
    import json

    from palate.runs import atomic
    from palate.study.history import export_rows

    rows = export_rows(found.of(kinds), fields)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_file(out, "".join(lines).encode())
    print(f"\n{len(rows)} pairs ({', '.join(kinds)}) in {out}")
    if isinstance(fields, str):
        print(f"warning: without their texts, since {fields}")


def _next(found: "RunHistory", run: Path, export: Path | None) -> Iterator[str]:
    data = found.record["config"]["data"]
    if export is None and found.of(["never", "lost"]):
        yield f"palate history {quote(str(run))} --export repair.jsonl"
    yield f"palate diagnose {quote(str(run))}"
    if found.record.get("stage") != "reward":  # which gives no log-probs
        yield f"palate score {quote(str(run))} {quote(data)}"
