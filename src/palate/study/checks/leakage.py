"""Held-out prompts that training has seen: what is measured on them is partly memory."""

from collections.abc import Iterable, Sequence
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, ExampleText, Finding, PairText
from palate.study.checks.near import LONG, echoes, features
from palate.study.checks.words import normalised, words

NAME: Final = "leakage"
THRESHOLD: Final = "error from one held-out prompt on"
NAMED: Final = 5
Row = PairText | ExampleText


def run(case: Case) -> Iterable[Finding]:
    """One error that names training lines (`rows`) and held-out lines, or one ok."""
    rows: Sequence[Row] = case.pairs or case.examples
    if not rows or not case.heldout:
        return
    known = leaks(rows, case.heldout)
    if known:
        yield _leak(case, rows, known)
        return
    count = len(case.heldout)
    message = f"None of the {count} held-out prompts is in the training file, exactly or nearly."
    yield Finding(NAME, "ok", message, 0.0, share(0, count), THRESHOLD)


def key(row: Row) -> str:
    """What must not be on both sides: the prompt, or the text of an example without one."""
    if isinstance(row, ExampleText) and not row.prompt.strip():
        return normalised(row.completion)
    return normalised(row.prompt)


def leaks(train: Sequence[Row], heldout: Sequence[Row]) -> dict[int, tuple[int, ...]]:
    """Place of each leaked held-out row to the training places of its prompt, best first."""
    places: dict[tuple[str, ...], list[int]] = {}
    shown: dict[tuple[str, ...], str] = {}
    for place, row in enumerate(train):
        places.setdefault(_asked(row), []).append(place)
        shown.setdefault(_asked(row), key(row))
    new = {_asked(row): key(row) for row in heldout if key(row) and _asked(row) not in places}
    texts, others = list(shown), list(new)
    near: dict[tuple[str, ...], list[int]] = {}
    found_near = echoes(list(shown.values()), list(new.values()))
    for echo in sorted(found_near, key=lambda each: -each.alike):
        near.setdefault(others[echo.right], []).extend(places[texts[echo.left]])
    found = {}
    for place, row in enumerate(heldout):
        if not key(row):
            continue
        hits = places.get(_asked(row), [])
        hits = hits or [hit for hit in near.get(_asked(row), []) if not _template(train[hit], row)]
        if hits:
            found[place] = tuple(hits)
    return found


def _asked(row: Row) -> tuple[str, ...]:
    """The words of the key, whatever stands between them; the key itself if it has none."""
    return words(key(row)) or (key(row),)


def _template(one: Row, two: Row) -> bool:
    """Is one short template filled in with words that the answers are about?

    A long prompt of the same words and numbers is no accident.
    """
    (prompt, *answers), (other, *said) = map(_texts, (one, two))
    if min(len(words(key(one))), len(words(key(two)))) >= LONG:
        return False
    left, right = prompt - other, other - prompt
    return any(left & each for each in answers) and any(right & each for each in said)


def _texts(row: Row) -> list[frozenset[str]]:
    if isinstance(row, PairText):
        return [features(row.prompt), features(row.chosen), features(row.rejected)]
    return [features(row.prompt), features(row.completion)]


def _leak(case: Case, rows: Sequence[Row], known: dict[int, tuple[int, ...]]) -> Finding:
    lines = [case.heldout[place].line for place in known]
    first, hits = next(iter(known.items()))
    named = ", ".join(map(str, lines[:NAMED])) + (", …" if len(lines) > NAMED else "")
    rate = share(len(known), len(case.heldout))
    many = "prompt is" if len(known) == 1 else "prompts are"
    return Finding(
        NAME,
        "error",
        f"{len(known)} of {len(case.heldout)} held-out {many} also in training, exactly or nearly "
        f"(held-out line {case.heldout[first].line} is training line {rows[hits[0]].line}): the "
        "accuracy you would report is partly memory.",
        rate.value,
        rate,
        THRESHOLD,
        rows=tuple(dict.fromkeys(rows[hit].line for hits in known.values() for hit in hits)),
        todo=f"Take these rows out of training, or lines {named} out of the held-out file.",
    )


CHECK = Check(
    NAME,
    0,
    "Does a held-out prompt stand in the training file too?",
    "a prompt that shares few words with its source; where prompts are all alike (slot lists), one "
    "that is not the same word for word; what the model read before",
    run,
)
