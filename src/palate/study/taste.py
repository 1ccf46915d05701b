"""The taste so far, as one judge's verdicts show it: reasons, contradictions, and what wins beside.

Pure over the judgements that stand, and deterministic.  What is quoted is quoted as it was written;
who shows it escapes it.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from palate.data.judged import JudgeKind, Judgement
from palate.study import orders
from palate.study.beside import Beside, beside
from palate.study.checks.words import listed, normalised, plural
from palate.study.tally import SAYS, Tally, Who, agreed, reasks, settled, tally

EXAMPLES: Final = 2
NAMED: Final = 3
Clash = Literal["again", "opposite", "circle"]
PERSONS: Final[frozenset[JudgeKind]] = frozenset({"person", "file"})


@dataclass(frozen=True, slots=True)
class Reason:
    """A tag, how many pairs it decided, and those that show it best."""

    tag: str
    count: int
    examples: tuple[Judgement, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """A reason in the judge's own words, how often, and a pair that it was said of."""

    text: str
    count: int
    of: Judgement


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Verdicts that cannot all be true: judged again otherwise, turned round, or in a circle."""

    kind: Clash
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True, slots=True)
class Taste:
    """Everything on the page.  `pairs` are the verdicts that count; `silent` of them lack a why."""

    judge: str
    kind: JudgeKind
    tally: Tally
    pairs: tuple[Judgement, ...]
    reasons: tuple[Reason, ...]
    quotes: tuple[Quote, ...]
    silent: int
    contradictions: tuple[Contradiction, ...]
    beside: tuple[Beside, ...]

    @property
    def who(self) -> Who:
        """How the judge is spoken of."""
        return "you" if self.kind in PERSONS else "it"


def taste(judgements: Sequence[Judgement], judge: str, kind: JudgeKind) -> Taste:
    """The taste of one judge, from all its verdicts that stand."""
    pairs = [each for each in settled(judgements) if each.chosen is not None]
    counted = tally(judgements)
    return Taste(
        judge,
        kind,
        counted,
        tuple(pairs),
        tuple(_reasons(pairs, counted.reasons)),
        tuple(_quotes(judgements)),
        sum(not each.tags and not own_words(each) for each in pairs),
        (*_turned(judgements), *_opposite(pairs), *_circles(pairs)),
        tuple(beside(pairs)),
    )


# -- reasons


def _reasons(pairs: Sequence[Judgement], counts: Mapping[str, int]) -> Iterator[Reason]:
    """Each tag with its clearest pairs; a pair is an example once, unless there is no other."""
    used: set[str] = set()
    for tag, count in counts.items():
        tagged = sorted((each for each in pairs if tag in each.tags), key=_clearness)
        fresh = [each for each in tagged if each.id not in used]
        found = (fresh + [each for each in tagged if each.id in used])[:EXAMPLES]
        used |= {each.id for each in found}
        yield Reason(tag, count, tuple(found))


def _clearness(judgement: Judgement) -> tuple[int, bool, int, bool, int, str]:
    """Least first: much better, not hasty, for this reason alone, with words, short; then by id."""
    assert judgement.chosen is not None and judgement.rejected is not None
    size = len(judgement.chosen.text) + len(judgement.rejected.text)
    alone, wordless = len(judgement.tags), not own_words(judgement)
    return (-judgement.strength, judgement.fast, alone, wordless, size, judgement.id)


def own_words(judgement: Judgement) -> str:
    """The reason as it was written, without what palate itself noted down."""
    return orders.without_note(judgement.reason).strip()


def _quotes(judgements: Sequence[Judgement]) -> list[Quote]:
    """Every reason once, the most frequent first, then the strongest, then as they were given."""
    found: dict[str, list[Judgement]] = {}
    for each in judgements:
        if text := own_words(each):
            found.setdefault(normalised(text), []).append(each)
    quotes = [Quote(own_words(same[0]), len(same), same[0]) for same in found.values()]
    return sorted(quotes, key=lambda quote: (-quote.count, -quote.of.strength))


# -- contradictions


def _turned(judgements: Sequence[Judgement]) -> Iterator[Contradiction]:
    """Re-asks in which the other answer was chosen; the two orders of a model are none."""
    for each in reasks(judgements):
        if each.decided and not each.agrees and not orders.noted(each.first):
            yield Contradiction("again", (each.first, each.second))


def _opposite(pairs: Sequence[Judgement]) -> Iterator[Contradiction]:
    """A over B and B over A, both counted as pairs."""
    waiting: defaultdict[tuple[str, str], deque[Judgement]] = defaultdict(deque)
    for each in pairs:
        better, worse = _edge(each)
        if waiting[worse, better]:
            yield Contradiction("opposite", (waiting[worse, better].popleft(), each))
        else:
            waiting[better, worse].append(each)


def _circles(pairs: Sequence[Judgement]) -> Iterator[Contradiction]:
    """Shortest circles of three verdicts or more, each once, those of one prompt together."""
    said: dict[str, dict[tuple[str, str], Judgement]] = {}
    for each in pairs:
        said.setdefault(each.of.prompt.id, {})[_edge(each)] = each
    for edges in said.values():
        one_way = {edge: each for edge, each in edges.items() if edge[::-1] not in edges}
        for circle in circles(list(one_way)):
            steps = zip(circle, (*circle[1:], circle[0]))
            yield Contradiction("circle", tuple(one_way[step] for step in steps))


def circles(edges: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """For each edge (better, worse) on a circle the shortest one through it, each circle once.

    A circle starts with its least name; shorter ones come first.
    """
    beaten: defaultdict[str, list[str]] = defaultdict(list)
    for better, worse in sorted(set(edges)):
        beaten[better].append(worse)
    found = set()
    for better, worse in sorted(set(edges)):
        back = _shortest(beaten, worse, better)
        if back:
            least = back.index(min(back))
            found.add((*back[least:], *back[:least]))
    return sorted(found, key=lambda circle: (len(circle), circle))


def _shortest(beaten: Mapping[str, Sequence[str]], start: str, goal: str) -> tuple[str, ...]:
    """The first of the shortest ways from one name to another; empty if there is none."""
    seen = {start}
    ways: deque[tuple[str, ...]] = deque([(start,)])
    while ways:
        way = ways.popleft()
        if way[-1] == goal:
            return way
        for name in beaten.get(way[-1], ()):
            if name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return ()


def _edge(judgement: Judgement) -> tuple[str, str]:
    assert judgement.chosen is not None and judgement.rejected is not None
    return judgement.chosen.id, judgement.rejected.id


# -- in words


def headline(found: Taste) -> list[str]:
    """The taste in one or two sentences: plain and stressed parts in turn, a plain one first."""
    if not found.pairs:
        return ["Nothing is decided yet: there is no taste to tell."]
    told = [f"In {plural(len(found.pairs), 'pair')} no reason was given. "]
    if found.reasons:
        top = [f"{each.tag} ({each.count:,})" for each in found.reasons[:NAMED]]
        says = SAYS[found.who].lower()
        told = [f"In {plural(len(found.pairs), 'pair')} {says} ", listed(top), ". "]
    rate = found.tally.agreement
    if rate is None:
        told[-1] += agreed(found.tally, found.who)
        return told
    told[-1] += f"Asked again, {found.who} chose the same answer in "
    band = f"[{max(0.0, rate.low):.0%}, {min(rate.high, 1.0):.0%}]"
    return [*told, f"{rate.value:.0%} {band}", f" of {plural(rate.count, 're-ask')}."]


CLASHES: Final[Mapping[Clash, str]] = {
    "again": "asked again, the other answer was chosen",
    "opposite": "each of two answers was chosen over the other",
    "circle": "no order agrees with all of these",
}


def contradictions_in_words(found: Taste) -> str:
    """How many there are of each kind."""
    counts = {kind: sum(each.kind == kind for each in found.contradictions) for kind in CLASHES}
    names = {"again": "re-ask", "opposite": "opposite verdict", "circle": "circle"}
    parts = [plural(count, names[kind]) for kind, count in counts.items() if count]
    if not parts:
        return "No verdict contradicts another."
    return f"Not all can be true: {listed(parts)}. A second look decides them (palate judge)."
