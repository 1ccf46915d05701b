"""Pairs whose one side is the other and something more, or the other cut off.

What such a pair teaches is the added sentence, or to stop late; not a better answer.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from rapidfuzz.distance import LCSseq

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, PairText, Severity, graded
from palate.study.checks.words import normalised, percent, words

NAME: Final = "appended"
WARN, ERROR = 0.02, 0.10
CONTAINED, RATIO, LEAST_WORDS, LEAST_ADDED, LEAST_PAIRS = 0.95, 1.2, 5, 3, 3
THRESHOLD: Final = "warning from 2%, error from 10%, of at least three pairs"
_ENDS: Final = ".!?…。！？)]}\"'”’»`*|>:;"
Form = Literal["chosen adds", "rejected adds", "rejected is cut", "chosen is cut"]
SENTENCES: Final[dict[Form, tuple[str, str]]] = {
    "chosen adds": (
        "the chosen is the rejected and something more: that teaches the addition",
        "Write a chosen answer that is better all through, or see that the addition is the taste.",
    ),
    "rejected adds": (
        "the rejected is the chosen and something more: that teaches to stop early",
        "Reject another answer, or see that the addition is what you mean to reject.",
    ),
    "rejected is cut": (
        "the rejected is the chosen cut off: that teaches to end, and nothing of what to say",
        "Reject a whole answer; raise the token limit with which it was drawn.",
    ),
    "chosen is cut": (
        "the chosen is the rejected cut off: that teaches to stop in mid-sentence",
        "Choose a whole answer; raise the token limit with which it was drawn.",
    ),
}


def form(pair: PairText) -> Form | None:
    """Which side is the other and more, if one is; cut off if the shorter one has no end."""
    chosen, rejected = words(pair.chosen), words(pair.rejected)
    longer = len(chosen) > len(rejected) or (
        len(chosen) == len(rejected) and len(pair.chosen) > len(pair.rejected)
    )
    long, short = (pair.chosen, pair.rejected) if longer else (pair.rejected, pair.chosen)
    start = _is_start(short, long)
    if not (start or _contained(words(short), words(long))):
        return None
    if start and _open_ended(short) and not _open_ended(long):
        return "rejected is cut" if longer else "chosen is cut"
    return "chosen adds" if longer else "rejected adds"


def _is_start(short: str, long: str) -> bool:
    """Is the short text, but for closing points, the beginning of the long one?"""
    left, right = normalised(short), normalised(long)
    if not left or not words(short):
        return False
    stem = left.rstrip("….! ")
    if not stem or not right.startswith(stem):
        return words(long)[: len(words(short))] == words(short) and len(words(long)) > len(
            words(short)
        )
    return len(right.rstrip("….! ")) > len(stem)


def _contained(short: Sequence[str], long: Sequence[str]) -> bool:
    """Are 95% of the short side's words in the long one, in order, and is it 1.2 times as long?

    What was added must be in one place for the most part: words strewn in are a rewriting.
    """
    if len(short) < LEAST_WORDS or len(long) < RATIO * len(short):
        return False
    least = math.ceil(CONTAINED * len(short))
    if LCSseq.similarity(short, long, score_cutoff=least) < least:
        return False
    added = [
        op.dest_end - op.dest_start for op in LCSseq.opcodes(short, long) if op.tag == "insert"
    ]
    return 2 * max(added) >= sum(added) and max(added) >= LEAST_ADDED


def _open_ended(text: str) -> bool:
    return not text.rstrip().endswith(tuple(_ENDS)) or text.rstrip().endswith(("...", "…"))


def run(case: Case) -> Iterable[Finding]:
    """One finding per form that there is: by its share error, warning or info; else one ok."""
    if not case.pairs:
        return
    rows: dict[Form, list[int]] = {}
    for pair in case.pairs:
        found = form(pair)
        if found:
            rows.setdefault(found, []).append(pair.line)
    count = len(case.pairs)
    for kind in sorted(rows, key=lambda each: -len(rows[each])):
        yield _finding(kind, rows[kind], count)
    if not rows:
        message = f"In none of the {count} pairs is one side the other and something more."
        yield Finding(NAME, "ok", message, 0.0, share(0, count), THRESHOLD)


def _finding(kind: Form, lines: list[int], count: int) -> Finding:
    rate = share(len(lines), count)
    severity: Severity = graded(rate.value, warn=WARN, error=ERROR)
    if severity == "ok" or len(lines) < LEAST_PAIRS:
        severity = "info"
    sentence, todo = SENTENCES[kind]
    where = f"In line {lines[0]}" if len(lines) == 1 else f"In {len(lines)} of {count} pairs"
    return Finding(
        NAME,
        severity,
        f"{where} ({percent(rate.value)}) {sentence}.",
        rate.value,
        rate,
        THRESHOLD,
        rows=tuple(lines),
        todo=todo,
        key=kind,
    )


CHECK = Check(
    NAME,
    0,
    "Is one answer only the other with something added or cut off?",
    "an addition that also rewrites more than one word in twenty",
    run,
)
