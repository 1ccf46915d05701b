"""Verdicts on one prompt that cannot all be true: A over B and B over A, or a longer cycle.

The same answer pushed up in one pair and down in another cancels, and both end lower (Razin et al.,
arXiv 2410.08847, section 4.2.3).  A cycle of verdicts has no order that agrees with it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from rapidfuzz.distance import Levenshtein

from palate.stats import share
from palate.study.checks import repeats
from palate.study.checks.base import OURS, Case, Check, Finding, Ints, PairText, Severity
from palate.study.checks.words import normalised, percent, words

NAME: Final = "contradictions"
RAZIN: Final = "arXiv 2410.08847, section 4.2.3"
THRESHOLD: Final = "error from one A over B with B over A on; warning from one longer cycle on"
COUPLES = 10  # named in the sentence
OUT_OF: Final = 2


def run(case: Case) -> Iterable[Finding]:
    """Errors for opposite verdicts, warnings for cycles and nearly opposite ones."""
    pairs = case.pairs
    if not pairs:
        return
    edge_P2 = edges(pairs)
    opposite, cyclic = cycles(edge_P2)
    near = [
        place for place in nearly_opposite(case) if place not in opposite and place not in cyclic
    ]
    found = [
        *_opposite(pairs, opposite),
        *_cyclic(pairs, cyclic),
        *_near(pairs, near),
        *_often_rejected(pairs, edge_P2, {*opposite, *cyclic}),
    ]
    yield from found or [_fine(len(pairs))]


def edges(pairs: Sequence[PairText]) -> Ints:
    """(P, 2) numbers of the chosen and rejected answer; an answer is one only within its prompt."""
    nodes: dict[tuple[str, str], int] = {}

    def node(prompt: str, answer: str) -> int:
        return nodes.setdefault((prompt, normalised(answer)), len(nodes))

    rows = []
    for pair in pairs:
        prompt = normalised(pair.prompt)
        rows.append((node(prompt, pair.chosen), node(prompt, pair.rejected)))
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def cycles(edge_P2: Ints) -> tuple[list[int], list[int]]:
    """Places of pairs in a cycle of two, and of the others inside a longer one.

    An edge lies on a cycle if and only if both its ends are in one strongly connected component.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(edge_P2.max(initial=-1)) + 1
    ones = np.ones(len(edge_P2))
    graph = coo_array((ones, (edge_P2[:, 0], edge_P2[:, 1])), shape=(size, size))
    part = connected_components(graph, connection="strong")[1]
    judged = {(int(left), int(right)) for left, right in edge_P2}
    inside = [
        place
        for place, (left, right) in enumerate(edge_P2.tolist())
        if left != right and part[left] == part[right]
    ]
    two = [place for place in inside if (int(edge_P2[place, 1]), int(edge_P2[place, 0])) in judged]
    return two, sorted(set(inside) - set(two))


def nearly_opposite(case: Case) -> list[int]:
    """Places of pairs whose verdict another pair turns round, but for a few words.

    Turned round, the pairs must be the same but for a few words, and what is left different less
    than half of what tells the pair's own two answers apart.
    """
    found: set[int] = set()
    for left, right in repeats.similar(case):
        one, two = case.pairs[left], case.pairs[right]
        if _turned(one, two):
            found |= {left, right}
    return sorted(found)


def _turned(one: PairText, two: PairText) -> bool:
    a, b = words(one.chosen), words(one.rejected)
    c, d = words(two.chosen), words(two.rejected)
    own = min(Levenshtein.distance(a, b), Levenshtein.distance(c, d))
    if own == 0 or 2 * max(Levenshtein.distance(a, d), Levenshtein.distance(b, c)) >= own:
        return False
    left = (one.prompt, one.chosen, one.rejected)
    return repeats.same(left, (two.prompt, two.rejected, two.chosen))


def _opposite(pairs: Sequence[PairText], places: Sequence[int]) -> Iterable[Finding]:
    if not places:
        return
    against = list(_couples(pairs, places))
    named = ", ".join(f"{one} and {other}" for one, other in against[:COUPLES])
    more = f", and {len(against) - COUPLES} more" if len(against) > COUPLES else ""
    yield _finding(
        "opposite",
        "error",
        f"{len(places)} pairs say A over B and B over A of the same two answers to one prompt, "
        f"first lines {against[0][0]} and {against[0][1]}: they cancel, and both answers lose.",
        pairs,
        places,
        f"Decide once for each two lines, and take the other out: {named}{more}.",
    )


def _couples(pairs: Sequence[PairText], places: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Lines of pairs that say the opposite of each other, each line in one couple at most."""
    waiting: dict[tuple[str, str, str], list[int]] = {}
    for place in places:
        pair = pairs[place]
        prompt, chosen, rejected = map(normalised, (pair.prompt, pair.chosen, pair.rejected))
        if opposite := waiting.get((prompt, rejected, chosen)):
            yield opposite.pop(0), pair.line
        else:
            waiting.setdefault((prompt, chosen, rejected), []).append(pair.line)


def _cyclic(pairs: Sequence[PairText], places: Sequence[int]) -> Iterable[Finding]:
    if places:
        yield _finding(
            "cycle",
            "warning",
            f"{len(places)} pairs stand in circles of verdicts (A over B, B over C, C over A), the "
            f"first is line {pairs[places[0]].line}: no order agrees with all of them.",
            pairs,
            places,
            "Rank the answers of such a prompt in one sitting.",
        )


def _near(pairs: Sequence[PairText], places: Sequence[int]) -> Iterable[Finding]:
    if places:
        yield _finding(
            "nearly opposite",
            "warning",
            f"{len(places)} pairs turn round the verdict of a pair that is the same but for a few "
            f"words, the first is line {pairs[places[0]].line}.",
            pairs,
            places,
            "Read both: if the few words do not decide it, keep one of them.",
        )


def _often_rejected(pairs: Sequence[PairText], edge_P2: Ints, known: set[int]) -> Iterable[Finding]:
    """Chosen once, rejected twice or more: fine in a ranking, telling where it is not meant."""
    won, lost = Counter(edge_P2[:, 0].tolist()), Counter(edge_P2[:, 1].tolist())
    odd = {node for node, times in won.items() if times == 1 and lost[node] >= OUT_OF}
    places = [
        place
        for place, (left, right) in enumerate(edge_P2.tolist())
        if (left in odd or right in odd) and place not in known
    ]
    if places:
        yield _finding(
            "often rejected",
            "info",
            f"{len(odd)} answers are chosen in one pair and rejected in at least two others of the "
            f"same prompt, the first in line {pairs[places[0]].line}: right if you ranked them.",
            pairs,
            places,
            "If these pairs do not come from a ranking, look at the one in which it wins.",
        )


def _finding(
    key: str,
    severity: Severity,
    message: str,
    pairs: Sequence[PairText],
    places: Sequence[int],
    todo: str,
) -> Finding:
    rate = share(len(places), len(pairs))
    rows = tuple(pairs[place].line for place in places)
    source = RAZIN if key == "opposite" else OURS
    return Finding(NAME, severity, message, rate.value, rate, THRESHOLD, source, rows, todo, key)


def _fine(count: int) -> Finding:
    message = f"No verdict of the {count} pairs contradicts another ({percent(0)})."
    return Finding(NAME, "ok", message, 0.0, share(0, count), THRESHOLD, RAZIN)


CHECK = Check(
    NAME,
    0,
    "Can all verdicts on a prompt be true at once?",
    "a wrong verdict that stands alone; answers that say the same in other words",
    run,
)
