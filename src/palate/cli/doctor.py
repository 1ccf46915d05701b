"""`palate doctor`: a verdict, then each finding with its figure, its threshold and its rows.

With `--json` stdout holds one JSON object per finding and nothing else; notes go to stderr.
"""

import json as as_text
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from palate.config import DoctorOptions

if TYPE_CHECKING:
    from palate.study.baseline import Known
    from palate.study.checks.base import Finding
    from palate.study.doctor import Report

WIDTH = 100
NAMES = 14
CHECKS = 18
ROWS = 8


def doctor(
    file: str,
    /,
    *,
    options: Annotated[DoctorOptions, Parameter(name="*")] = DoctorOptions(),  # noqa: B008 (frozen)
    html: Path | None = None,
    json: bool = False,
    baseline: Path | None = None,
) -> int:
    """Is this preference data worth training on?

    Parameters
    ----------
    file:
        pairs or examples: JSONL, JSON, CSV, Parquet, or a hub data set id
    html:
        write one self-contained page with the near-miss map
    json:
        one JSON object per finding on stdout
    baseline:
        an earlier --json: only what is worse than in it counts for the exit code
    """
    from palate.cli.show import shown
    from palate.study.baseline import read_baseline, worse
    from palate.study.doctor import doctor as examined
    from palate.study.doctor import exit_code

    known = None if baseline is None else read_baseline(baseline)
    if html is not None:
        from palate.report.page import check_place

        check_place(html)
    with shown(stderr=True) as listen:
        found = examined(file, options, listen)
    counted = found.findings if known is None else worse(found.findings, known)
    if html is not None:
        from palate.report.doctor import page
        from palate.report.page import save

        save(page(found), html)
    if json:
        _print_json(found.findings)
        return exit_code(counted)
    for line in _page(found, counted, known):
        print(line)
    print()
    for place, said in enumerate(_next(file, options, found, html)):
        print("next: " if place == 0 else "      ", said, sep="")
    return exit_code(counted)


def _print_json(findings: "Sequence[Finding]") -> None:
    from palate.study.doctor import as_json

    for finding in findings:
        print(as_text.dumps(as_json(finding), ensure_ascii=False, allow_nan=False))


def _page(found: "Report", counted: "Sequence[Finding]", known: "Known | None") -> Iterator[str]:
    from palate.study.baseline import gone_since
    from palate.study.doctor import summary_line

    against = known is not None
    gone = gone_since(found.findings, known) if known is not None else 0
    yield from textwrap.wrap("".join(found.verdict), WIDTH)
    if against:
        yield _regressions(found, counted, gone)
    yield from textwrap.wrap(summary_line(found.case), WIDTH)
    yield ""
    for finding in found.of("error", "warning", "info"):
        before = against and finding.severity != "info" and finding not in counted
        yield from _finding(finding, known=before)
    if any(len(set(finding.rows)) > ROWS for finding in found.findings):
        yield from ["every line of every finding: --json, or --html for a page", ""]
    yield from _zones(found)
    for title, severity in (("too few to tell", "too few"), ("looked at, and fine", "ok")):
        if block := found.of(severity):
            yield title
            for finding in block:
                yield from _beside(finding.check, finding.message, CHECKS)
            yield ""
    yield _time(found)


def _regressions(found: "Report", counted: "Sequence[Finding]", gone: int) -> str:
    from palate.study.checks.words import plural

    bad = len(found.of("error", "warning"))
    new = sum(each.severity in ("error", "warning") for each in counted)
    told = f"{plural(new, 'finding')} new or worse" if new else "nothing is worse"
    return f"against the baseline: {told}, {bad - new} known, {gone} gone"


def _finding(finding: "Finding", *, known: bool) -> Iterator[str]:
    from palate.study.doctor import measured

    yield f"{finding.severity} · {finding.check}{' (known)' if known else ''}"
    yield from textwrap.wrap(
        _safe(finding.message), WIDTH, initial_indent="  ", subsequent_indent="  "
    )
    if figure := measured(finding):
        yield from _beside("measured", figure)
    if finding.threshold:
        yield from _beside("threshold", f"{finding.threshold} ({finding.source})")
    if finding.rows:
        yield from _beside("lines", _lines(finding.rows))
    if finding.todo:
        yield from _beside("do", finding.todo)
    yield ""


def _lines(rows: "Sequence[int]", shown: int = ROWS) -> str:
    once = list(dict.fromkeys(rows))
    more = f" and {len(once) - shown:,} more" if len(once) > shown else ""
    return ", ".join(map(str, once[:shown])) + more


def _zones(found: "Report") -> Iterator[str]:
    """The near-miss map as a table."""
    from palate.study.near_miss import MEANING

    if not found.places:
        return
    yield "the near-miss map: how plausible the rejected answer is, and how far apart the two are"
    yield "  " + "zone".ljust(11) + "pairs".rjust(6) + "share".rjust(7) + "  lines"
    for zone, means in MEANING.items():
        lines = [place.line for place in found.places if place.zone == zone]
        share = f"{len(lines) / len(found.places):.0%}"
        named = _lines(lines, 6) if lines else "–"
        yield "  " + zone.ljust(11) + f"{len(lines):,}".rjust(6) + share.rjust(7) + f"  {named}"
        yield from textwrap.wrap(means, WIDTH, initial_indent=" " * 28, subsequent_indent=" " * 28)
    for basis in dict.fromkeys(place.basis for place in found.places):
        yield from _beside("plausible", basis)
    yield ""


def _time(found: "Report") -> str:
    from palate.cli.words import duration, figure

    text = f"text {duration(found.seconds.get(0, 0.0))}"
    if found.case.measured is None:
        return f"took: {text}"
    cost = f" ({figure(found.cost)} times the scoring pass)" if found.cost else ""
    return f"took: {text}; model {duration(found.seconds.get(1, 0.0))}{cost}"


def _next(file: str, options: DoctorOptions, found: "Report", html: Path | None) -> Iterator[str]:
    """The commands that come after this one."""
    data, model = quote(file), options.model and quote(options.model)
    asked = f" --model {model}" if model else ""
    if html is not None:
        yield f"open {html}"
    elif found.places:
        yield f"palate doctor {data}{asked} --html doctor.html"
    if not model and found.case.pairs:
        yield f"palate doctor {data} --model runs/sft"
    elif model and not found.exit_code and found.case.measured:
        start = quote(found.case.measured.model)
        yield f"palate dpo --model {start} --data {data} --out runs/dpo"


def _beside(name: str, text: str, column: int = NAMES) -> list[str]:
    """A name, and its text wrapped in a column of its own."""
    first, other = f"  {name}".ljust(column), " " * column
    above = [first] if len(first) > column else []
    return above + textwrap.wrap(
        _safe(text), WIDTH, initial_indent=other if above else first, subsequent_indent=other
    )


def _safe(text: str) -> str:
    from palate.cli.words import safe

    return safe(text)
