"""The section of a model card that says whose taste a model was taught, and how sure it is.

Markdown that holds no markup of anybody else: what a person wrote is escaped.
"""

import re
from typing import Final

from palate.report.taste import visible
from palate.study.beside import in_words
from palate.study.checks.words import listed, plural
from palate.study.tally import Who, agreed
from palate.study.taste import Taste

REASONS: Final = 8
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#|~&$])")
KINDS: Final = {
    "person": "a person",
    "file": "a file of judgements made elsewhere",
    "program": "a program, not a person",
    "model": "a model, not a person",
}


def section(found: Taste) -> str:
    """Markdown, from a heading of the second level on."""
    tally, who = found.tally, _who(found)
    train = len(found.pairs) - tally.heldout
    lines = [
        "## Preference data",
        "",
        f"{plural(len(found.pairs), 'pair')} ({train} to train on, {tally.heldout} held out by"
        f" prompt), judged by {escaped(found.judge)}: {KINDS[found.kind]}. Sides were"
        " drawn at random, and no model, score or length was shown.",
    ]
    if found.kind == "file":
        lines[-1] = lines[-1].partition(" Sides were")[0]
    lines += ["", f"- {agreed(tally, who).strip()}"]
    if tally.noise is not None:
        lines.append(f"- Implied label noise: {tally.noise.percent()}.")
    if tally.left is not None:
        lines.append(
            f"- The answer on the left won {tally.left.percent()} of {tally.left.count}"
            " (99% interval)."
        )
    apart = {"tie": tally.ties, "both bad": tally.both_bad, "skipped": tally.skipped}
    lines.append(f"- No pairs: {listed([f'{name} {n}' for name, n in apart.items()])}.")
    lines += ["", *_why(found), "", *_limits(found)]
    return "\n".join(lines) + "\n"


def _who(found: Taste) -> Who:
    """A card speaks to others."""
    return "they" if found.who == "you" else found.who


def _why(found: Taste) -> list[str]:
    if not found.reasons:
        return ["No reasons were given."]
    table = ["| reason | times |", "|---|---:|"]
    table += [f"| {escaped(each.tag)} | {each.count} |" for each in found.reasons[:REASONS]]
    told = [
        in_words(each, _who(found)) for each in found.beside if each.outcome in ("more", "less")
    ]
    also = [f"- {each}" for each in told]
    return [*table, "", "What won, whatever the reason:", "", *also] if also else table


def _limits(found: Taste) -> list[str]:
    """What such data cannot say."""
    told = ["Limits: one judge's taste; agreement with oneself is not agreement with others."]
    if found.contradictions:
        told.append(f"{plural(len(found.contradictions), 'contradiction')} not settled.")
    if found.tally.ceiling is None:
        told.append("How noisy the labels are is not known.")
    return [" ".join(told)]


def escaped(text: str) -> str:
    """On one line, with every sign of Markdown and HTML made literal."""
    return _MARKUP.sub(r"\\\1", " ".join(visible(text).split()))
