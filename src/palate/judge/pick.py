"""Which two answers to judge next: random, or those that say most to the policy as it is now.

The order of `active` is the acquisition of Muldrew et al. 2024 (arXiv:2402.08114), as their own
code computes it: prompts with the highest predictive entropy are shortlisted, and of these the
pairs come first whose implicit rewards lie furthest apart, because a verdict against a certain
policy teaches it most.  Where policy and reference are the same model, every certainty is 0 and
entropy alone decides.  A pair is chosen without a look at any verdict, and no prompt of the
held-out split is ever chosen by a figure: what is chosen so is a biased sample.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from palate.data.judged import Answer, AskedPrompt, Split
from palate.errors import StoreError
from palate.judge.store import Pick, Store

if TYPE_CHECKING:
    from palate.study.informative import Informed

SHORTLIST: Final = 4  # prompts kept by entropy for each one wanted
HELD_EVERY: Final = 5  # this place of five is a random held-out pair
Selection = Literal["active", "random"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two answers of one prompt.  `entropy` is the prompt's, in nats a text; `certainty` is the
    distance between the implicit rewards of the two, |beta * difference of log-ratios|."""

    prompt: str
    one: str
    other: str
    split: Split = "train"
    entropy: float = 0.0
    certainty: float = 0.0


def couples(prompt: str, answers: Iterable[str], split: Split = "train") -> Iterator[Candidate]:
    """Every two answers of a prompt once, without figures."""
    for one, other in itertools.combinations(sorted(set(answers)), 2):
        yield Candidate(prompt, one, other, split)


def informed(
    candidates: Iterable[Candidate], known: "Mapping[str, Informed]"
) -> Iterator[Candidate]:
    """Candidates with their figures; one that the model could not read is left out."""
    for each in candidates:
        found = known.get(each.prompt)
        if found is not None and found.rewards.keys() >= {each.one, each.other}:
            sure = found.certainty(each.one, each.other)
            yield replace(each, entropy=found.entropy, certainty=sure)


def plan(
    candidates: Sequence[Candidate],
    *,
    how: Selection,
    count: int,
    seed: int = 0,
    judged: Mapping[str, int] | None = None,
) -> list[Pick]:
    """The next `count` pairs in order, fewer if there are no more.

    Every fifth place is a random held-out pair as long as there are any.  A prompt of which
    `judged[prompt]` pairs were judged before comes after those of which fewer were.  A function of
    its arguments: neither their order nor which answer is `one` matters.
    """
    seen = judged or {}
    train = [each for each in candidates if each.split == "train"]
    held = [each for each in candidates if each.split == "heldout"]
    aside = iter(_randomly(held, seed, seen))
    wanted = count - min(count // HELD_EVERY, len(held))
    found = (
        _actively(train, wanted, seed, seen) if how == "active" else _randomly(train, seed, seen)
    )
    picks: list[Pick] = []
    main = iter(found)
    for place in range(1, count + 1):
        turn = (aside, main) if place % HELD_EVERY == 0 else (main, aside)
        pick = next(itertools.chain(*turn), None)
        if pick is None:
            break
        picks.append(pick)
    return picks


# ---- what a store holds


@dataclass(frozen=True, slots=True)
class Pool:
    """Prompts with the answers that can be compared, the pairs of them that nobody judged yet, and
    how many pairs of each prompt were."""

    asked: tuple[tuple[AskedPrompt, tuple[Answer, ...]], ...]
    candidates: tuple[Candidate, ...]
    judged: Mapping[str, int]


def pool(store: Store, judges: Sequence[str] = ()) -> Pool:
    """What can be judged next.  `judges`: whose verdicts count; all persons and files if empty.

    An edited answer was made to be better than its parent and is no rival; a skipped pair was not
    judged.  Raises StoreError if no prompt has two answers, or every pair was judged.
    """
    kinds = store.judges()
    counted = set(judges) or {name for name, kind in kinds.items() if kind in ("person", "file")}
    done = {
        each.of.couple: each.of.prompt.id
        for each in store.standing()
        if each.of.judge in counted and each.verdict != "skip"
    }
    asked = []
    candidates: list[Candidate] = []
    for prompt in store.prompts():
        answers = tuple(each for each in store.answers(prompt.id) if each.origin != "edit")
        if len(answers) > 1:
            every = couples(prompt.id, (each.id for each in answers), prompt.split)
            candidates += (e for e in every if frozenset((e.one, e.other)) not in done)
            asked.append((prompt, answers))
    if not asked:
        raise StoreError(
            f"{store.path}: no prompt has two answers, so there is nothing to compare.",
            hint="Draw some with `palate sample MODEL PROMPTS --n 4 --out samples.jsonl`, and add"
            f" them: `palate judge {store.path} --add samples.jsonl`.",
        )
    if not candidates:
        raise StoreError(
            f"{store.path}: every pair of answers was judged.",
            hint="Add more answers, drawn from the new policy.",
        )
    return Pool(tuple(asked), tuple(candidates), Counter(done.values()))


# ---- orders


def _randomly(
    candidates: Iterable[Candidate], seed: int, seen: Mapping[str, int]
) -> Iterator[Pick]:
    """One pair of each prompt, then a second of each, in an order that is a hash of the seed."""
    for _, tier in _tiers(candidates, seen, lambda each: (_drawn(seed, each.one, each.other),)):
        for each in sorted(tier, key=lambda each: _drawn(seed, each.prompt)):
            yield Pick(each.one, each.other, "random", None)


def _actively(
    candidates: Iterable[Candidate], wanted: int, seed: int, seen: Mapping[str, int]
) -> Iterator[Pick]:
    """The surest pair of each of the prompts with the highest entropy, surest first."""

    def surest(each: Candidate) -> tuple[float, float, str]:
        return -each.certainty, -each.entropy, _drawn(seed, each.one, each.other)

    def widest(each: Candidate) -> tuple[float, str]:
        return -each.entropy, _drawn(seed, each.prompt)

    for _, tier in _tiers(candidates, seen, surest):
        shortlist = sorted(tier, key=widest)[: SHORTLIST * wanted]
        for each in sorted(shortlist, key=surest)[:wanted]:
            yield Pick(each.one, each.other, "active", each.certainty)
            wanted -= 1


def _tiers(
    candidates: Iterable[Candidate],
    seen: Mapping[str, int],
    key: Callable[[Candidate], tuple[Any, ...]],
) -> Iterator[tuple[int, list[Candidate]]]:
    """Candidates by how many pairs of their prompt come before them, judged ones included.

    Within a prompt the pair with the least key comes first; a tier has at most one of each prompt.
    """
    prompts: dict[str, list[Candidate]] = {}
    for each in candidates:
        prompts.setdefault(each.prompt, []).append(each)
    tiers: dict[int, list[Candidate]] = {}
    for prompt, found in prompts.items():
        for rank, each in enumerate(sorted(found, key=key), start=seen.get(prompt, 0)):
            tiers.setdefault(rank, []).append(each)
    yield from sorted(tiers.items())


def _drawn(seed: int, *names: str) -> str:
    """A place in a shuffled order that depends on the seed and these names alone."""
    return hashlib.sha256("\0".join((str(seed), *sorted(names))).encode()).hexdigest()
