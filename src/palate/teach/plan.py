"""Which pairs a round judges: every fifth on a held-out prompt, the others random or active.

Only answers that were drawn in this round are compared, and no pair that the judge has seen.
Random is the default: active picks were never ahead on the demo (docs/judging.md).  The first round
is random in any case: a policy that is its own reference is certain of nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from palate.data.judged import Answer, AskedPrompt
from palate.judge.pick import Candidate, Selection, couples, plan
from palate.judge.store import Pick, Store
from palate.train.events import Listener

Drawn = Mapping[str, tuple[AskedPrompt, list[Answer]]]


def candidates(store: Store, judge: str, found: Drawn) -> Iterator[Candidate]:
    """Every two fresh answers of a prompt that this judge was not shown together."""
    for id, (asked, answers) in found.items():
        seen = store.seen(judge, id)
        for each in couples(id, [answer.id for answer in answers], asked.split):
            if frozenset((each.one, each.other)) not in seen:
                yield each


def informed(found: Drawn, these: Iterable[Candidate], model: str, listen: Listener) -> list[Any]:
    """The candidates with the policy's figures; without those that it cannot read whole."""
    from palate.study.informative import inform

    asked = [entry for entry in found.values() if entry[0].split == "train"]
    figures = inform(model, asked, listen)
    known: list[Candidate] = []
    for each in these:
        figure = figures.get(each.prompt)
        if each.split == "heldout":
            known.append(each)
        elif figure and {each.one, each.other} <= figure.rewards.keys():
            certainty = figure.certainty(each.one, each.other)
            known.append(replace(each, entropy=figure.entropy, certainty=certainty))
    return known


def choose(
    these: Iterable[Candidate], before: Mapping[str, int], *, how: Selection, count: int, seed: int
) -> list[Pick]:
    """The round's pairs, in the order in which they are judged."""
    picks = plan(list(these), how=how, count=count, seed=seed, judged=before)
    return [
        Pick(each.one, each.other, "active" if each.selector == "active" else "random", each.score)
        for each in picks
    ]


def judged_before(store: Store, judge: str) -> Counter[str]:
    """Prompt id -> how many verdicts this judge has given on pairs of it."""
    return Counter(each.of.prompt.id for each in store.standing(judge) if each.of.again is None)
