"""One look at the model that a run started from and at its final weights, through the engine.

Both score the same held-out pairs and write one seeded text for each of the same prompts.  The
texts are also scored under the start: a text that the start would not have said is a stranger.

Shape suffixes: I items, N sequences of an item.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palate.config import DpoConfig, RowOptions
from palate.data.render import render
from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Tokens
from palate.engine.model import Loaded, load
from palate.engine.pack import pack
from palate.engine.policy import Policy
from palate.engine.sample import Draw, SampleSettings, sample
from palate.errors import PalateError
from palate.objectives import Objective, build
from palate.stats import Interval, bootstrap_mean, share
from palate.study.findings import Live, Mass, Texts
from palate.study.source import Opened, open_source
from palate.train.events import Listener, Working, silent
from palate.train.prepare import read_rows
from palate.train.stage import READ_AS
from palate.train.step import Batch

PAIRS = 256
PART = 64
LONGEST = 512
RUN_OF = 4  # tokens; seq-rep-4 of Welleck et al. 2020
SEED = 0


class Gone(Exception):
    """The start or the data of a run are not there any more, or have changed."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a model says of one sequence: sums over its scored tokens; `end_p` of its last token."""

    logp: float
    entropy: float
    top: float
    end_p: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Subject:
    """The pairs and prompts that are looked at, and how texts are drawn."""

    objective: Objective
    items: list[Item]
    prompts: list[tuple[int, ...]]
    settings: SampleSettings
    held_out: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """One model: what it says of every sequence of every item, and what it writes."""

    told: list[list[Told]]
    draws: tuple[Draw, ...]


@torch.no_grad()
def look(run: Path, record: dict[str, Any], prompts: int, listen: Listener) -> Live:
    """Start and final weights side by side.  Raises Gone where either cannot be had."""
    try:
        opened = open_source(str(run), RowOptions(), silent)
        subject = _subject(opened, record, prompts)
        start = load(record["config"]["model"])
    except PalateError as error:
        raise Gone(error.message) from error
    if start.identity != record["base_identity"]:
        raise Gone(f"{record['config']['model']} has changed since the run started from it")
    with torch.enable_grad():
        policy = opened.policy(subject.items)
    after = _looked(policy, opened.loaded, subject, opened.budget, ("the final weights", listen))
    final_own = _texts_told(policy, subject, after.draws, opened.budget)
    start.model.eval()
    origin = Policy(start.model, policy.plan)
    before = _looked(origin, start, subject, opened.budget, ("the start", listen))
    told = {
        "start": _texts_told(origin, subject, before.draws, opened.budget),
        "final": _texts_told(origin, subject, after.draws, opened.budget),
        "own": final_own,
    }
    ends = frozenset((*opened.loaded.stop_ids, *opened.renderer.stop_ids))
    return _live(subject, before, after, told, ends)


# -- what is looked at


def _subject(opened: Opened, record: dict[str, Any], prompts: int) -> Subject:
    """The held-out pairs as the run had them.  Raises Gone if the data has changed."""
    config = DpoConfig(**record["config"])
    objective = build(record["objective"]["name"], **record["objective"]["options"])
    rows = read_rows(config, READ_AS[objective.items], silent)
    if rows.digest != record["frozen"]["data_digest"]:
        raise Gone(f"{config.data} has changed since the run was made")
    held_out = bool(rows.heldout)
    items = list(render((rows.heldout or rows.train)[:PAIRS], opened.renderer, config).items)
    firsts = {item.group: item.sequences[0] for item in reversed(items)}
    starts = [
        firsts[group].ids[: firsts[group].prompt]
        for group in dict.fromkeys(item.group for item in items)
    ][:prompts]
    usual = sorted(s.scored for item in items for s in item.sequences)
    most = min(LONGEST, max(32, 2 * usual[int(0.95 * (len(usual) - 1))]))
    stops = tuple(sorted(opened.renderer.stop_ids))
    return Subject(objective, items, starts, SampleSettings(most, stop_ids=stops), held_out)


# -- one model


def _looked(
    policy: Policy, loaded: Loaded, subject: Subject, budget: int, heard: tuple[str, Listener]
) -> Looked:
    name, listen = heard

    def progress(what: str) -> Callable[[int, int], None]:
        return lambda done, total: listen(Working(f"{name}: {what}", done, total))

    told = tell(policy, subject.items, budget, progress("pairs"))
    policy.restore()
    draws = sample(loaded, subject.prompts, subject.settings, seed=SEED, progress=progress("texts"))
    return Looked(told, draws)


@torch.no_grad()
def tell(
    policy: Policy,
    items: Sequence[Item],
    budget: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[Told]]:
    """What the model says of every sequence of every item, in their order."""
    found: list[list[Told]] = [[] for _ in items]
    for start in range(0, len(items), PART):
        part = items[start : start + PART]
        for row in pack(part, budget):
            output = policy(row, with_statistics=True)
            statistics = output.statistics
            assert statistics is not None
            columns = torch.stack(
                [output.logps_K, statistics.entropy_K, statistics.top_logps_K5[:, 0].exp()]
            )
            values = columns.double().cpu().numpy()
            owners = np.repeat(row.items, row.sizes)
            for place, owner in enumerate(owners):
                mine = output.row.token_E[output.row.seq_E == place]
                logp, entropy, top = values[:, mine].sum(1)
                end_p = math.exp(values[0, mine[-1]])
                found[start + owner].append(Told(logp, entropy, top, end_p, len(mine)))
        progress(min(start + PART, len(items)), len(items))
    return found


def _texts_told(
    policy: Policy, subject: Subject, draws: Sequence[Draw], budget: int
) -> list[Told | None]:
    """What the model says of texts; None of an empty one."""
    items = []
    for place, draw in enumerate(draws):
        prompt = subject.prompts[draw.prompt_index]
        ids = (*prompt, *draw.ids)
        tokens = Tokens(ids, ((len(prompt), len(ids)),), len(prompt))
        items.append(Item((tokens,), place, Origin("drawn", place)))
    filled = [place for place, draw in enumerate(draws) if draw.ids]
    told = tell(policy, [items[place] for place in filled], budget)
    found: list[Told | None] = [None] * len(draws)
    for place, (one,) in zip(filled, told, strict=True):
        found[place] = one
    return found


# -- both together


def _live(
    subject: Subject,
    before: Looked,
    after: Looked,
    told: dict[str, list[Told | None]],
    ends: frozenset[int],
) -> Live:
    groups = [item.group for item in subject.items]
    changes = [_changes(after, before, side) for side in (0, 1)]
    margins = _margins(subject, before, after)
    strange = _paired(_surprises(told["final"]), _surprises(told["start"]))
    drift = [
        (own.logp - theirs.logp) / own.tokens
        for own, theirs in zip(told["own"], told["final"], strict=True)
        if own is not None and theirs is not None
    ]
    gaps = [float(i.sequences[0].scored - i.sequences[1].scored) for i in subject.items]
    return Live(
        pairs=len(subject.items),
        prompts=len(subject.prompts),
        held_out=subject.held_out,
        chosen=bootstrap_mean(changes[0], groups),
        rejected=bootstrap_mean(changes[1], groups),
        accuracy=share(sum((m > 0) + 0.5 * (m == 0) for m in margins), len(margins)),
        margin=bootstrap_mean(margins, groups),
        alike=float(np.median([alike(*item.sequences[:2]) for item in subject.items])),
        follows_length=follows(margins, gaps),
        start=_mass(subject, before, ends),
        final=_mass(subject, after, ends),
        start_texts=_texts(before.draws, told["start"]),
        final_texts=_texts(after.draws, told["final"]),
        stranger=bootstrap_mean(strange or [0.0]),
        longer=_longer(before.draws, after.draws),
        drift=bootstrap_mean(drift or [0.0]),
        fell_most=_fell_most(subject, changes[0]),
    )


def _changes(after: Looked, before: Looked, side: int) -> list[float]:
    """Nats per token that this side moved."""
    return [
        (new[side].logp - old[side].logp) / new[side].tokens
        for new, old in zip(after.told, before.told, strict=True)
    ]


def _fell_most(subject: Subject, changes: Sequence[float]) -> tuple[tuple[str, float], ...]:
    """Where to look first."""
    ranked = sorted(zip(changes, subject.items, strict=True), key=lambda each: each[0])
    return tuple((str(item.origin), change) for change, item in ranked[:3] if change < 0)


def _margins(subject: Subject, before: Looked, after: Looked) -> list[float]:
    """As the objective defines them."""
    after_IN, before_IN = (
        torch.tensor([[side.logp for side in sides] for sides in looked.told], dtype=torch.float64)
        for looked in (after, before)
    )
    scored = Batch(subject.items, before_IN).scored(after_IN)
    found: list[float] = subject.objective.margin(scored).tolist()
    return found


def _mass(subject: Subject, looked: Looked, ends: frozenset[int]) -> Mass:
    """Where the probability lies at chosen's tokens."""
    chosen = [sides[0] for sides in looked.told]
    tokens = sum(told.tokens for told in chosen)
    ended = [
        told.end_p
        for told, item in zip(chosen, subject.items, strict=True)
        if item.sequences[0].ids[item.sequences[0].spans[-1][1] - 1] in ends
    ]
    return Mass(
        sum(told.entropy for told in chosen) / tokens,
        sum(told.top for told in chosen) / tokens,
        float(np.mean(ended)) if ended else None,
    )


def _texts(draws: Sequence[Draw], told: Sequence[Told | None]) -> Texts:
    surprises = [s for s in _surprises(told) if s is not None]
    return Texts(
        length=bootstrap_mean([float(len(draw.ids)) for draw in draws]),
        ended=share(sum(draw.ended for draw in draws), len(draws)),
        repetition=bootstrap_mean([repetition(draw.ids) for draw in draws]),
        surprise=bootstrap_mean(surprises or [0.0]),
    )


def _surprises(told: Sequence[Told | None]) -> list[float | None]:
    return [None if one is None else -one.logp / one.tokens for one in told]


def _paired(after: Sequence[float | None], before: Sequence[float | None]) -> list[float]:
    return [a - b for a, b in zip(after, before, strict=True) if a is not None and b is not None]


def _longer(before: Sequence[Draw], after: Sequence[Draw]) -> Interval:
    """Final texts' length as a multiple of the start's, prompt by prompt."""
    usual = max(1.0, float(np.mean([len(draw.ids) for draw in before])))
    grown = [1 + (len(a.ids) - len(b.ids)) / usual for a, b in zip(after, before, strict=True)]
    return bootstrap_mean(grown)


def repetition(ids: Sequence[int]) -> float:
    """Share of a text's runs of four tokens that it has said before.  Welleck et al. 2020."""
    runs = Counter(tuple(ids[at : at + RUN_OF]) for at in range(len(ids) - RUN_OF + 1))
    total = sum(runs.values())
    return 1 - len(runs) / total if total else 0.0


def alike(one: Tokens, other: Tokens) -> float:
    """Share of the longer completion that both sides have in common at start and end."""
    a, b = one.ids[one.prompt :], other.ids[other.prompt :]
    least = min(len(a), len(b))
    start = next((n for n in range(least) if a[n] != b[n]), least)
    stop = next((n for n in range(least - start) if a[-1 - n] != b[-1 - n]), least - start)
    return (start + stop) / max(len(a), len(b), 1)


def follows(xs: Sequence[float], ys: Sequence[float]) -> Interval | None:
    """How closely two differences of a pair's sides go together, from -1 to 1; None of zeros.

    Pearson's r with every pair counted both ways round, since which side comes first is arbitrary:
    so the means are 0 by construction.  Fisher's interval (1921) of the pairs themselves.
    """
    size = math.sqrt(float(np.square(xs).sum()) * float(np.square(ys).sum()))
    if len(xs) < 8 or size < 1e-12:
        return None
    r = float(np.clip(np.dot(xs, ys) / size, -0.999999, 0.999999))
    half = 1.959963984540054 / math.sqrt(len(xs) - 2)
    low, high = (math.tanh(math.atanh(r) + side * half) for side in (-1, 1))
    return Interval(r, low, high, len(xs))
