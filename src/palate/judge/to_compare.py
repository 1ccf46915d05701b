"""Which pairs a judge that is no person is given: first those that tell how far to trust it.

Deterministic, and what it has compared before is not given again, so the same command goes on
where it stopped.
"""

import itertools
from collections.abc import Iterator
from typing import Final

from palate.judge import values
from palate.judge.store import Store
from palate.judge.verdicts import PERSONS, Couple
from palate.study.tally import settled

MEASURED: Final = 50  # pairs that a person has judged, asked of the judge before any other
Pair = frozenset[str]


def to_compare(store: Store, name: str, count: int) -> list[Couple]:
    """What is missing until the judge has compared `count` pairs; fewer if the store has no more.

    In order: begun and not finished; of the pairs that a person decided 50, or half of `count` if
    that is more, drawn by hash; the plan; new pairs at random; the rest of the person's.
    """
    own = [each.of for each in store.standing(name) if each.of.again is None]
    done: set[Pair] = {each.couple for each in own}
    begun = [each for each in store.pending(name, "pair") if each.again is None]
    wanted = count - len(done)
    if wanted <= 0:
        return []
    decided = _decided(store)
    known = done | {each.couple for each in begun}
    share = max(0, max(MEASURED, count // 2) - len(known & set(decided)))
    theirs = [Couple(min(each), max(each)) for each in decided if each not in known]
    source = itertools.chain(
        (Couple(each.left.id, each.right.id, each.selector) for each in begun),
        theirs[:share],
        (Couple(each.one, each.other, each.selector) for each in store.plan(name, count)),
        _random(store, name, count + len(decided)),
        theirs[share:],
    )
    return list(itertools.islice(_once(source, done), wanted))


def _once(couples: Iterator[Couple], done: set[Pair]) -> Iterator[Couple]:
    """Every two answers once."""
    given = set(done)
    for each in couples:
        pair = frozenset((each.one, each.other))
        if pair not in given:
            given.add(pair)
            yield each


def _decided(store: Store) -> list[Pair]:
    """What persons decided, in an order that has nothing to do with when or how."""
    found = {
        each.of.couple
        for name, kind in store.judges().items()
        if kind in PERSONS
        for each in settled(store.standing(name))
        if each.chosen is not None
    }
    return sorted(found, key=lambda pair: values.digest("measured", *sorted(pair)))


def _random(store: Store, name: str, prompts: int) -> Iterator[Couple]:
    """One pair of each prompt, then a second of each: as many prompts as could be needed."""
    lists = []
    for prompt in store.unjudged(name, limit=prompts):
        answers = sorted(each.id for each in store.answers(prompt.id) if each.origin != "edit")
        pairs = list(itertools.combinations(answers, 2))
        pairs.sort(key=lambda pair: values.digest("random", *pair))
        lists.append([Couple(one, other, "random") for one, other in pairs])
    for tier in itertools.zip_longest(*lists):
        yield from (each for each in tier if each is not None)
