"""`palate pick`: what to judge next, written into the store; `palate judge` goes through it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from palate.config import PickOptions

if TYPE_CHECKING:
    from palate.judge.pick import Candidate, Pool
    from palate.judge.store import Pick, Store
    from palate.train.events import Listener


def pick(
    store: Path,
    /,
    *,
    options: Annotated[PickOptions, Parameter(name="*")] = PickOptions(),  # noqa: B008 (frozen)
) -> None:
    """What to judge next: the pairs that say most to the policy as it is now.

    Parameters
    ----------
    store:
        a store of judgements
    """
    from palate.cli.show import shown
    from palate.errors import StoreError, UsageError
    from palate.judge import pick as choice
    from palate.judge.store import Store

    if options.how == "active" and options.model is None:
        raise UsageError(
            "the most informative pairs are those of a policy, and none is named.",
            hint="Pass --model runs/dpo (or runs/sft before there is one), or --how random.",
        )
    if not store.exists():
        raise StoreError(
            f"{store}: there is no such store.",
            hint=f"`palate judge {store} --add samples.jsonl` makes one.",
        )
    with Store.open(store) as opened, shown(stderr=True) as listen:
        pool = choice.pool(opened)
        candidates = _candidates(pool, options, listen)
        picks = choice.plan(
            candidates, how=options.how, count=options.n, seed=options.seed, judged=pool.judged
        )
        opened.set_plan(picks)
        lines = list(_page(opened, picks, candidates))
    for line in lines:
        print(line)


def _candidates(pool: "Pool", options: PickOptions, listen: "Listener") -> "Sequence[Candidate]":
    """The pairs that nobody judged; with figures if they are to be chosen by any."""
    from palate.judge.pick import informed

    if options.how == "random" or options.model is None:
        return pool.candidates
    from palate.study.informative import inform

    open_prompts = {each.prompt for each in pool.candidates if each.split == "train"}
    asked = [each for each in pool.asked if each[0].id in open_prompts]
    held = [each for each in pool.candidates if each.split == "heldout"]
    train = [each for each in pool.candidates if each.split == "train"]
    return [*informed(train, inform(options.model, asked, listen)), *held]


def _page(
    store: "Store",
    picks: "Sequence[Pick]",
    candidates: "Sequence[Candidate]",
) -> Iterator[str]:
    """The verdict, one line per kind, and what comes next."""
    known = {frozenset((each.one, each.other)): each for each in candidates}
    kinds: dict[str, list[Candidate]] = {"active": [], "random": [], "held out": []}
    for pick in picks:
        couple = known[frozenset((pick.one, pick.other))]
        kinds["held out" if couple.split == "heldout" else pick.selector].append(couple)
    counts = {name: len(found) for name, found in kinds.items()}
    yield _verdict(counts)
    if active := kinds["active"]:
        learnt = any(each.certainty for each in active)
        yield _LEARNT if learnt else _UNLEARNT
    yield ""
    columns = f"   {'certainty':17}entropy, nats a text" if active else ""
    yield f"{'':13}{'pairs':>7}{'prompts':>9}{columns}"
    for name, found in kinds.items():
        if found:
            line = f"  {name:11}{len(found):>7,}{len({each.prompt for each in found}):>9,}"
            yield line + (_figures(found) if name == "active" else "")
    yield f"  {'not planned':11}{len(candidates) - len(picks):>7,}"
    yield ""
    yield f"next: palate judge {quote(str(store.path))}"


_LEARNT = "informative: of prompts with a high entropy, the pairs that the policy is surest about"
_UNLEARNT = (
    "informative: the highest entropy; nothing was preferred yet that could be sure or wrong"
)


def _verdict(counts: Mapping[str, int]) -> str:
    """How many of which kind."""
    names = {"active": "most informative", "random": "at random", "held out": "held out, at random"}
    says = ", ".join(f"{counts[name]:,} {means}" for name, means in names.items() if counts[name])
    return f"{sum(counts.values()):,} pairs to judge next: {says}"


def _figures(found: "Sequence[Candidate]") -> str:
    return f"   {_range(found, 'certainty'):17}{_range(found, 'entropy')}"


def _range(found: "Sequence[Candidate]", name: str) -> str:
    from palate.cli.words import figure

    values = sorted(getattr(each, name) for each in found)
    low, high = ("0" if value == 0 else figure(value) for value in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"
