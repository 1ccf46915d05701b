"""Where probability went: log-probs of chosen, rejected and the start's own text, over a run.

Three curves against the model that the run started from.  How they lie: chosen may fall while the
policy learns, which is partly expected (Rafailov et al. 2024, arXiv:2406.02900); and log-probs are
of whole texts, so a long text moves further than a short one.

Shape suffixes: I items, N sequences of an item: chosen, rejected, the start's likeliest text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from palate.config import RowOptions
from palate.data.render import Renderer
from palate.data.rows import Item, Pair
from palate.data.rows import Sequence as Tokens
from palate.data.tokens import RowFault
from palate.engine.model import Loaded, load
from palate.engine.policy import Policy
from palate.engine.sample import SampleSettings, sample
from palate.engine.scoring import score
from palate.errors import CheckpointError, DataError
from palate.runs import checkpoint
from palate.runs.folder import Run
from palate.stats import Interval, bootstrap_mean
from palate.study.divergence import PART, one_vocabulary
from palate.study.evaluated import Displacement
from palate.study.replay import take
from palate.study.source import Opened, open_source
from palate.train.events import Listener, Note, Working

LONGEST = 512  # tokens of the start's own text


@torch.no_grad()
def curves(run: str, pairs: Sequence[Pair], listen: Listener) -> tuple[Displacement, ...]:
    """Mean changes at every checkpoint that `run` kept, oldest first; empty if it kept none.

    `pairs` should be held out.  The start is the model that the run was made from; its likeliest
    text of each prompt is drawn greedily.  Empty, with a note, if the run added tokens that the
    start has not.  Raises CheckpointError if the start has changed, DataError without a sound pair.
    """
    opened = open_source(run, RowOptions(), listen)
    start = _start(run)
    if not one_vocabulary(opened.loaded, start):
        listen(Note(f"{run} added tokens that its start has not: no displacement", warning=True))
        return ()
    items = _items(opened.renderer, pairs, listen)
    items = _with_own(items, start, opened.renderer, listen)
    with torch.enable_grad():
        policy = opened.policy(items)
    before = Policy(start.model, policy.plan)
    before_IN = _scored(before, items, opened, ("the start", listen))
    return tuple(
        _displacement(run, step, items, after_IN - before_IN)
        for step, after_IN in _checkpoints(run, policy, items, opened, listen)
    )


def _start(run: str) -> Loaded:
    """The model that the run was made from, unchanged since."""
    record = Run.read(Path(run))
    name = str(record["config"]["model"])
    start = load(name)
    if start.identity != record["base_identity"]:
        raise CheckpointError(
            f"{name} has changed since {run} started from it.",
            hint="Restore it; a change against another model means nothing.",
        )
    return start


def _items(renderer: Renderer, pairs: Sequence[Pair], listen: Listener) -> list[Item]:
    """The pairs that can be laid out."""
    found = []
    for pair in pairs:
        try:
            item = renderer.fit(renderer.draft(pair))
        except RowFault:
            continue
        if isinstance(item, Item):
            found.append(item)
    if not found:
        raise DataError(f"none of the {len(pairs)} pairs can be laid out for this model.")
    if len(found) < len(pairs):
        listen(Note(f"{len(pairs) - len(found)} pairs left out: too long, or refused"))
    return found


def _with_own(
    items: Sequence[Item], start: Loaded, renderer: Renderer, listen: Listener
) -> list[Item]:
    """A third sequence for each item: what the start says itself after the prompt, greedily."""
    firsts = {item.group: item.sequences[0] for item in reversed(items)}
    prompts = {group: first.ids[: first.prompt] for group, first in firsts.items() if first.prompt}
    usual = sorted(sequence.scored for item in items for sequence in item.sequences)
    most = min(LONGEST, max(32, 2 * usual[int(0.95 * (len(usual) - 1))]))
    stops = tuple(sorted(renderer.stop_ids))
    settings = SampleSettings(most, temperature=0.0, stop_ids=stops)

    def progress(done: int, total: int) -> None:
        listen(Working("the start's own texts", done, total))

    draws = sample(start, list(prompts.values()), settings, seed=0, progress=progress)
    own = {}
    for (group, prompt), draw in zip(prompts.items(), draws, strict=True):
        ids = (*prompt, *draw.said)
        own[group] = Tokens(ids, ((len(prompt), len(ids)),), len(prompt))
    return [
        replace(item, sequences=(*item.sequences, own[item.group]))
        for item in items
        if item.group in own
    ]


def _checkpoints(
    run: str, policy: Policy, items: Sequence[Item], opened: Opened, listen: Listener
) -> Iterator[tuple[int, Tensor]]:
    """(step, log-probs of all items) under the weights of each checkpoint."""
    for step, weights in checkpoint.kept_weights(Path(run)):
        take(policy, weights, Path(run))
        yield step, _scored(policy, items, opened, (f"checkpoint {step}", listen))


def _scored(
    policy: Policy, items: Sequence[Item], opened: Opened, heard: tuple[str, Listener]
) -> Tensor:
    """Log-probs (I,3) in float64, in slices, so that progress shows."""
    (name, listen), parts = heard, []
    for at in range(0, len(items), PART):
        part = items[at : at + PART]
        parts.append(score(policy, part, opened.budget).double().cpu())
        listen(Working(f"displacement: {name}", at + len(part), len(items)))
    return torch.cat(parts)


def _displacement(run: str, step: int, items: Sequence[Item], changes_IN: Tensor) -> Displacement:
    """Means with intervals by prompt; the start's text counts once per prompt."""
    groups = [item.group for item in items]
    chosen, rejected, own = changes_IN.T.tolist()
    once = dict(zip(groups, own, strict=True))
    means = (
        bootstrap_mean(chosen, groups),
        bootstrap_mean(rejected, groups),
        bootstrap_mean(list(once.values())),
    )
    return Displacement(
        model=run,
        step=step,
        chosen=means[0],
        rejected=means[1],
        sample=means[2],
        mass=where(*means),
    )


def where(chosen: Interval, rejected: Interval, own: Interval) -> str:
    """Where probability went, in a sentence: what rose, what fell, and what that leaves."""
    of = {"chosen": chosen, "rejected": rejected, "the start's own likeliest text": own}
    rose = [name for name, change in of.items() if change.low > 0]
    fell = [name for name, change in of.items() if change.high < 0]
    if not rose and not fell:
        return "Nothing moved that this many pairs could show."
    told = "; ".join(f"{name} {_moved(change)}" for name, change in of.items())
    if not rose:
        end = "what they lost went to texts that are none of these"
    elif not fell:
        end = "what they gained came from texts that are none of these"
    else:
        end = f"probability left {' and '.join(fell)} and reached {' and '.join(rose)}"
    return f"{told[0].upper()}{told[1:]} (nats per text): {end}."


def _moved(change: Interval) -> str:
    if change.low > 0:
        return f"rose by {change.value:.2f}"
    return f"fell by {-change.value:.2f}" if change.high < 0 else "did not measurably move"
