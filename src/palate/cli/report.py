"""`palate report`: what became of a run, as one HTML file to send to somebody.

It measures nothing: it reads what `palate evaluate` found, and what the runs wrote down.
"""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from palate.config import ReportOptions

if TYPE_CHECKING:
    from palate.study.evaluated import Evaluated

PAGE = "report.html"


def report(
    run: Path,
    /,
    *,
    options: Annotated[ReportOptions, Parameter(name="*")] = ReportOptions(),  # noqa: B008 (frozen)
) -> None:
    """One page about a run: verdict, evidence, costs, texts, and how to do it again.

    Parameters
    ----------
    run:
        a run that palate evaluate has looked at
    """
    from palate.cli.words import safe
    from palate.report.lineage import lineage
    from palate.report.page import check_place, save
    from palate.report.proof import page, recorded

    out = options.out or run / PAGE
    check_place(out, "--out")
    found = lineage(run)
    record = recorded(run)
    save(page(record, found), out, "--out")
    print(safe(record.headline))
    print(f"page: {out}")
    if missing := _missing(record):
        print(f"next: palate evaluate {quote(str(run))} {missing}")


def _missing(record: "Evaluated") -> str:
    """What would make the next page say more."""
    if not record.wins:
        return "--judge-with URL --judge-model MODEL"
    return "" if record.control else "--control RUN"
