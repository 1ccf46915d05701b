"""Does the better answer state what the prompt does not hold?

A chosen answer with more such facts than the rejected one pays for inventing them.  Where prompts
are questions of general knowledge, facts from memory are the point; the check cannot tell.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, too_few
from palate.study.checks.facts import small_words, ungrounded
from palate.study.checks.words import percent

NAME: Final = "grounding"
WARN: Final = 0.20
ENOUGH_PAIRS: Final = 10
THRESHOLD: Final = "warning from 20% of pairs"


def run(case: Case) -> Iterable[Finding]:
    """Pairs: a warning or ok.  Examples: information.  Nothing where no prompt is given."""
    if case.pairs:
        yield _pairs(case)
    elif any(row.prompt.strip() for row in case.examples):
        yield _examples(case)


def _pairs(case: Case) -> Finding:
    pairs = case.pairs
    if len(pairs) < ENOUGH_PAIRS:
        return too_few(NAME, len(pairs), enough=ENOUGH_PAIRS)
    ordinary = small_words(chain.from_iterable((each.chosen, each.rejected) for each in pairs))
    more: list[tuple[int, int, tuple[str, ...]]] = []
    less = 0
    for pair in pairs:
        chosen = ungrounded(pair.chosen, pair.prompt, ordinary)
        rejected = ungrounded(pair.rejected, pair.prompt, ordinary)
        less += len(chosen) < len(rejected)
        if len(chosen) > len(rejected):
            new = tuple(fact for fact in chosen if fact not in rejected)
            more.append((len(chosen) - len(rejected), pair.line, new))
    more.sort(key=lambda each: -each[0])
    rate = share(len(more), len(pairs))
    rows = tuple(line for _, line, _ in more)
    if rate.value < WARN:
        message = (
            f"In {len(more)} of {len(pairs)} pairs the better answer states more facts that the "
            f"prompt does not hold than the worse one; in {less} it is the other way round."
        )
        return Finding(NAME, "ok", message, rate.value, rate, THRESHOLD, rows=rows)
    _, line, new = more[0]
    return Finding(
        NAME,
        "warning",
        f"In {len(more)} of {len(pairs)} pairs your better answer states more facts that the "
        f"prompt does not hold (line {line}: {_named(new)}) than the worse one, in {less} fewer: "
        "unless they are common knowledge, DPO will teach inventing them.",
        rate.value,
        rate,
        THRESHOLD,
        rows=rows,
        todo="Put the facts in the prompt, or choose answers that keep to it; where prompts are "
        "general questions and the facts are true, this may stay.",
    )


def _examples(case: Case) -> Finding:
    rows = [row for row in case.examples if row.prompt.strip()]
    ordinary = small_words(row.completion for row in rows)
    found = [(row.line, ungrounded(row.completion, row.prompt, ordinary)) for row in rows]
    found = sorted((each for each in found if each[1]), key=lambda each: -len(each[1]))
    rate = share(len(found), len(rows))
    where = f" (line {found[0][0]}: {_named(found[0][1])})" if found else ""
    return Finding(
        NAME,
        "info",
        f"{len(found)} of {len(rows)} completions ({percent(rate.value)}) state facts that their "
        f"prompt does not hold{where}.",
        rate.value,
        rate,
        "shown only",
        rows=tuple(line for line, _ in found),
        todo="If the model is to keep to the prompt, put these facts in it.",
    )


def _named(found: tuple[str, ...]) -> str:
    return ", ".join(f"“{each}”" for each in found[:3]) + (", …" if len(found) > 3 else "")


CHECK = Check(
    NAME,
    0,
    "Does the better answer state facts that the prompt does not hold?",
    "features without a number or a capital letter; whether a fact is true",
    run,
)
