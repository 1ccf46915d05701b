"""What a finished run made of the pairs: which moved the right way, and where its push went.

Reads the run's own history (margins and weights as each step met them); nothing is measured again.
A margin is a move against the reference, so "never" means "no closer than at the start".  Nothing
is said of a pair that was met once.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, Finding, too_few
from palate.study.checks.words import percent
from palate.study.history import RIGHT, PairHistory, RunHistory

NAME: Final = "dynamics"
UNEVEN, NEVER, EASY, TAGGED = 0.50, 0.10, 0.50, 2.0
FEWEST = 20


def run(case: Case) -> Iterable[Finding]:
    """What became of the pairs, where half of the push went, and the tag that took most of it."""
    history = case.history
    if history is None or not history.met:
        return
    if len(history.met) < FEWEST:
        yield too_few(NAME, len(history.met), enough=FEWEST)
        return
    found = [*_classes(history), *_push(history), *_tags(history, case)]
    yield from found or [_fine(history)]


def _lines(rows: Iterable[PairHistory]) -> tuple[int, ...]:
    return tuple(row.line for row in sorted(rows, key=lambda row: -row.push))


def _twice(history: RunHistory) -> tuple[PairHistory, ...]:
    """Rows of which something can be said."""
    return tuple(row for row in history.met if row.kind != "once")


def _classes(history: RunHistory) -> Iterable[Finding]:
    twice = len(_twice(history))
    if not history.ranks or twice < FEWEST:
        return
    never, easy = history.of(("never",)), history.of(("at-once",))
    if len(never) >= NEVER * twice:
        rate = share(len(never), twice)
        yield Finding(
            NAME,
            "info",
            f"{percent(rate.value)} of pairs that the run met again never moved towards their "
            "chosen answer.",
            rate.value,
            rate,
            f"shown from {percent(NEVER)}",
            rows=_lines(never),
            todo="Read them: wrong labels, hard pairs, or too short a run.",
            key="never",
        )
    if len(easy) >= EASY * twice:
        rate = share(len(easy), twice)
        yield Finding(
            NAME,
            "info",
            f"{percent(rate.value)} of pairs were learnt at once, by their second meeting: they "
            "are too easy to teach much.",
            rate.value,
            rate,
            f"shown from {percent(EASY)}",
            rows=_lines(easy),
            todo="Spend your next hour on nearer misses than these.",
            key="at once",
        )


def _push(history: RunHistory) -> Iterable[Finding]:
    spread = history.spread()
    if spread.top_tenth < UNEVEN:
        return
    heavy = history.heaviest(max(1, round(spread.half * len(history.met))))
    tags = {row.tag for row in heavy}
    tagged = f", all tagged “{heavy[0].tag}”" if len(tags) == 1 and heavy[0].tag else ""
    yield Finding(
        NAME,
        "info",
        f"{percent(history.push_of(heavy))} of the gradient came from "
        f"{percent(len(heavy) / len(history.met))} of the pairs{tagged}.",
        spread.top_tenth,
        threshold=f"shown if a tenth of the pairs has {percent(UNEVEN)}",
        rows=_lines(heavy),
        todo="See whether these few are what you want to be taught.",
        key="push",
    )


def _tags(history: RunHistory, case: Case) -> Iterable[Finding]:
    """The tag with the largest push, if that is twice its share of the pairs or more."""
    groups = {tag: rows for tag, rows in _by_tag(history, case).items() if len(rows) > 1}
    if not groups:
        return
    tag, rows = max(groups.items(), key=lambda each: sum(row.push for row in each[1]))
    mass, part = history.push_of(rows), len(rows) / len(history.met)
    if mass < TAGGED * part:
        return
    yield Finding(
        NAME,
        "info",
        f"{percent(mass)} of the gradient came from {percent(part)} of the pairs, all tagged "
        f"“{tag}”.",
        mass,
        threshold=f"shown if a tag has {TAGGED:g} times its share of the pairs",
        rows=_lines(rows),
        todo="See whether this tag is what you want to be taught most.",
        key=f"tag {tag}",
    )


def _by_tag(history: RunHistory, case: Case) -> dict[str, Sequence[PairHistory]]:
    """Rows by tag; the run's own tags first, then those of the file's records."""
    told = {pair.line: pair.tag for pair in case.pairs if pair.tag}
    found: dict[str, list[PairHistory]] = {}
    for row in history.met:
        tag = row.tag or told.get(row.line)
        if tag:
            found.setdefault(tag, []).append(row)
    return dict(found)


def _fine(history: RunHistory) -> Finding:
    spread = history.spread()
    twice = _twice(history)
    if twice:
        right, never = (len(history.of(kinds)) / len(twice) for kinds in (RIGHT, ("never",)))
        told = f"{percent(right)} of pairs met again moved the right way, {percent(never)} never; "
    else:
        told = "No pair was met twice, so nothing is said of learning; "
    return Finding(
        NAME,
        "ok",
        f"{told}half of the push came from {percent(spread.half)} of the pairs.",
        spread.half,
        threshold=f"shown if a tenth of the pairs has {percent(UNEVEN)} of the push",
    )


CHECK = Check(
    NAME,
    2,
    "What did the finished run make of the pairs?",
    "a pair that was met once; what held-out text became",
    run,
)
