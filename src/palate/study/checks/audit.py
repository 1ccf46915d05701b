"""Is the chosen answer better than what the model writes already?  A blind audit by a person.

Reads the field `audit` of a record: "chosen", "sample" or "tie".
"""

from collections.abc import Iterable
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, graded, too_few
from palate.study.checks.words import percent

NAME: Final = "audit"
WARN, FEWEST = 0.20, 20
VERDICTS: Final = ("chosen", "sample", "tie")


def run(case: Case) -> Iterable[Finding]:
    """The share of audits in which a fresh sample beat the chosen answer; ties do not count."""
    verdicts = [(pair.line, pair.extra.get("audit")) for pair in case.pairs]
    told = [(line, verdict) for line, verdict in verdicts if verdict in VERDICTS]
    if not told:
        return
    if len(told) < FEWEST:
        yield too_few(NAME, len(told), "audits", enough=FEWEST)
        return
    rows = tuple(line for line, verdict in told if verdict == "sample")
    rate = share(len(rows), len(told))
    message = (
        f"In {len(rows)} of {len(told)} audits ({rate.percent()}) you preferred the model's fresh "
        "answer to your chosen one."
    )
    severity = graded(rate.value, warn=WARN)
    if severity != "ok":
        message += " What DPO aims at is the chosen side; mend it first."
    yield Finding(
        NAME,
        severity,
        message,
        rate.value,
        rate,
        f"warning from {percent(WARN)}",
        "arXiv 2508.18312 (the chosen side counts most); the limit is our default",
        rows,
        ""
        if severity == "ok"
        else "Rewrite these chosen answers, or put the sample in their place.",
    )


CHECK = Check(
    NAME,
    2,
    "Is the chosen answer better than a fresh one of the model?",
    "rows without the field `audit`; an audit that was not blind",
    run,
)
