"""Does every pair survive the length limit, with its difference and both its ends?

palate cuts no answer: a pair that is too long stops a run, or is left out.  Other trainers cut the
end, and then a pair whose difference stands behind the limit is two copies of one text, which
teaches nothing (trl#2209, rlhf-book#503).
"""

from collections.abc import Iterable
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, Measured, Severity
from palate.study.checks.words import percent

NAME: Final = "truncation"
IDENTICAL, TOO_LONG, CUT = "identical after the cut", "too long", "cut"
NO_END, REFUSED = "no end", "refused"
WARN_CUT = 0.05
SOURCE: Final = "our default; trl#2209, rlhf-book#503"


def too_long(*, longest: int, limit: int, first: int, one_side: bool) -> str:
    """What a pair over the limit would become if its end were cut; `first` differing token."""
    if first >= limit:
        return f"{IDENTICAL}: the difference starts at token {first + 1:,}"
    lost = "one side would lose its end" if one_side else "both sides would lose their end"
    return f"{TOO_LONG}: {longest:,} tokens; cut at its end, {lost}"


def shortened(tokens: int) -> str:
    """A prompt that was cut from the left."""
    return f"{CUT}: {tokens:,} tokens of the prompt"


def no_end(one_side: bool) -> str:
    """The end-of-text token is missing."""
    return f"{NO_END}: the end token is on {'one side only' if one_side else 'neither side'}"


def refused(field: str, what: str) -> str:
    """A pair that the model's tokenizer or template does not take."""
    return f"{REFUSED}: {field} {what}".replace(":  ", ": ")


def run(case: Case) -> Iterable[Finding]:
    """One finding for each kind of harm; else how much room is left."""
    measured = case.measured
    if measured is None or not case.pairs:
        return
    found = [
        *_identical(measured, len(case.pairs)),
        *_cut(measured, len(case.pairs)),
        *_unended(measured, len(case.pairs)),
        *_refused(measured, len(case.pairs)),
    ]
    yield from found or [_fine(measured, len(case.pairs))]


def _lines(measured: Measured, *kinds: str) -> tuple[int, ...]:
    return tuple(line for line, what in measured.cut.items() if what.startswith(kinds))


def _identical(measured: Measured, count: int) -> Iterable[Finding]:
    lines = _lines(measured, IDENTICAL)
    if not lines:
        return
    rate = share(min(len(lines), count), count)
    where = measured.cut[lines[0]].partition(": ")[2]
    more = f" So are {len(lines) - 1} more." if len(lines) > 1 else ""
    yield Finding(
        NAME,
        "error",
        f"Line {lines[0]}: cut to {measured.limit:,} tokens, its two answers are identical "
        f"({where}).{more}",
        rate.value,
        rate,
        "error from one pair on",
        SOURCE,
        lines,
        "Raise --max-length, or shorten what stands before the difference.",
        "identical",
    )


def _cut(measured: Measured, count: int) -> Iterable[Finding]:
    lines = _lines(measured, TOO_LONG, CUT, IDENTICAL)
    mine = tuple(line for line in lines if not measured.cut[line].startswith(IDENTICAL))
    if not mine:
        return
    rate = share(min(len(lines), count), count)
    severity: Severity = "warning" if rate.value >= WARN_CUT else "info"
    over = len(_lines(measured, TOO_LONG, IDENTICAL))
    fate = f"{over} stop a run or are left out, {len(lines) - over} lose the start of their prompt"
    yield Finding(
        NAME,
        severity,
        f"{percent(rate.value)} of pairs are longer than {measured.limit:,} tokens: {fate}.",
        rate.value,
        rate,
        f"warning from {percent(WARN_CUT)} of pairs",
        SOURCE,
        mine,
        "Raise --max-length, or take --truncate prompt-left or --drop-long knowingly.",
        "cut",
    )


def _unended(measured: Measured, count: int) -> Iterable[Finding]:
    lines = _lines(measured, NO_END)
    if not lines:
        return
    rate = share(min(len(lines), count), count)
    one = sum("one side" in measured.cut[line] for line in lines)
    severity: Severity = "warning" if one else "info"
    yield Finding(
        NAME,
        severity,
        f"In {len(lines)} pairs an answer has no end token ({one} of them on one side only): the "
        "model would learn where to stop from the others alone.",
        rate.value,
        rate,
        "warning if it is on one side only",
        SOURCE,
        lines,
        "Check the chat template: it should write the end of turn after every answer.",
        "end",
    )


def _refused(measured: Measured, count: int) -> Iterable[Finding]:
    lines = _lines(measured, REFUSED)
    if not lines:
        return
    rate = share(min(len(lines), count), count)
    why = measured.cut[lines[0]].partition(": ")[2]
    yield Finding(
        NAME,
        "error",
        f"{len(lines)} of {count} pairs cannot be put to this model (line {lines[0]}: {why}).",
        rate.value,
        rate,
        "error from one pair on",
        SOURCE,
        lines,
        "Mend or remove them: a run does not start with them.",
        "refused",
    )


def _fine(measured: Measured, count: int) -> Finding:
    longest = int(measured.tokens_P2.max(initial=0))
    return Finding(
        NAME,
        "ok",
        f"All {count} pairs fit into {measured.limit:,} tokens with both ends; the longest answer "
        f"has {longest:,}.",
        0.0,
        share(0, count),
        f"warning from {percent(WARN_CUT)} of pairs cut, error if a difference is lost",
        SOURCE,
    )


CHECK = Check(
    NAME,
    1,
    "Does every pair survive the length limit, with its difference and its end?",
    "pairs that this model has room for and the one you train has not",
    run,
)
