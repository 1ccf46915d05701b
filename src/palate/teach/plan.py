"""Which pairs a round judges: every fifth on a held-out prompt, the others random or active.

Only answers that were drawn in this round are compared, and no pair that the judge has seen.
Random is the default: active picks were never ahead on the demo (docs/judging.md).  The first round
is random in any case: a policy that is its own reference is certain of nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from palate.data.judged import Answer, AskedPrompt
from palate.judge import pick
from palate.judge.pick import Candidate, couples
from palate.judge.store import Store
from palate.train.events import Listener

Drawn = Mapping[str, tuple[AskedPrompt, list[Answer]]]


def candidates(store: Store, judge: str, found: Drawn) -> Iterator[Candidate]:
    """Every two fresh answers of a prompt that this judge was not shown together."""
    for id, (asked, answers) in found.items():
        seen = store.seen(judge, id)
        for each in couples(id, [answer.id for answer in answers], asked.split):
            if frozenset((each.one, each.other)) not in seen:
                yield each


def informed(
    found: Drawn, these: Sequence[Candidate], model: str, listen: Listener
) -> list[Candidate]:
    """Train candidates with the policy's figures, without those that it cannot read whole; held-out
    ones as they are."""
    from palate.study.informative import inform

    asked = [entry for entry in found.values() if entry[0].split == "train"]
    train = (each for each in these if each.split == "train")
    held = (each for each in these if each.split == "heldout")
    return [*pick.informed(train, inform(model, asked, listen)), *held]


def judged_before(store: Store, judge: str) -> Counter[str]:
    """Prompt id -> how many verdicts this judge has given on pairs of it."""
    return Counter(each.of.prompt.id for each in store.standing(judge) if each.of.again is None)
