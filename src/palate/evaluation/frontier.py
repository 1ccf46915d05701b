"""Points against KL: where a policy stands, and where its kept checkpoints stood on the way.

One text per prompt at temperature 1 at every checkpoint, the same seed each time, so that two
points differ by the weights alone.  KL is from the model that the run started from.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from palate.config import RowOptions
from palate.data.rewards import Answered, Reward
from palate.data.rows import Item, Origin, Text
from palate.data.rows import Sequence as Tokens
from palate.engine.divergence import kl
from palate.engine.policy import Policy
from palate.engine.sample import Draw, SampleSettings, sample
from palate.evaluation.contestants import Contestant
from palate.runs import checkpoint
from palate.stats import bootstrap_mean
from palate.study.divergence import one_vocabulary
from palate.study.evaluated import FrontierPoint
from palate.study.replay import take
from palate.study.source import Opened, open_source
from palate.train.events import Listener, Note, Working

PART = 128


def checkpoints(
    run: Contestant, prompts: Sequence[Text], reward: Reward, longest: int, listen: Listener
) -> tuple[FrontierPoint, ...]:
    """A point per checkpoint that the run kept, oldest first; empty where there is no KL."""
    assert run.start is not None, "a run"
    opened = open_source(run.path, RowOptions(), listen)
    start = open_source(run.start, RowOptions(), listen)
    if not one_vocabulary(opened.loaded, start.loaded):
        listen(Note(f"{run.name} reads other tokens than its start: no frontier", warning=True))
        return ()
    ids = [opened.renderer.prompt_ids(prompt) for prompt in prompts]
    settings = SampleSettings(longest, stop_ids=tuple(sorted(opened.renderer.stop_ids)))
    found: list[FrontierPoint] = []
    policies: tuple[Policy, Policy] | None = None
    for step, weights in checkpoint.kept_weights(Path(run.path)):
        if policies is None:
            policies = _policies(opened, start, ids)
        take(policies[0], weights, Path(run.path))
        draws = sample(opened.loaded, ids, settings, seed=0)
        listen(Working("checkpoints on the frontier", len(found) + 1, len(found) + 1))
        answered = [Answered(prompts[d.prompt_index], d.text, d.ended) for d in draws]
        nats = list(_nats(policies, _items(ids, draws), opened.budget))
        found.append(
            FrontierPoint(
                model=run.name,
                step=step,
                kl=bootstrap_mean(nats),
                points=bootstrap_mean(reward.score(answered)),
            )
        )
    return tuple(found)


def _policies(opened: Opened, start: Opened, ids: Sequence[Sequence[int]]) -> tuple[Policy, Policy]:
    """Both under the plan that the run's model earns; checked on the prompts, doubled."""
    items = [
        Item((Tokens((*each, *each), ((len(each), 2 * len(each)),), len(each)),), n, Origin("", 0))
        for n, each in enumerate(ids[:16])
    ]
    with torch.enable_grad():
        policy = opened.policy(items)
    start.loaded.model.eval()
    return policy, Policy(start.loaded.model, policy.plan)


def _items(ids: Sequence[Sequence[int]], draws: Sequence[Draw]) -> list[Item]:
    """The texts as they were drawn, token by token, the end among them."""
    found = []
    for draw in draws:
        before = tuple(ids[draw.prompt_index])
        whole = (*before, *draw.said)
        tokens = Tokens(whole, ((len(before), len(whole)),), len(before))
        found.append(Item((tokens,), draw.prompt_index, Origin("drawn", draw.prompt_index + 1)))
    return found


@torch.no_grad()
def _nats(policies: tuple[Policy, Policy], items: Sequence[Item], budget: int) -> Iterator[float]:
    """KL of each text; a text without a token has moved nowhere."""
    told = [item for item in items if item.sequences[0].scored]
    yield from [0.0] * (len(items) - len(told))
    for at in range(0, len(told), PART):
        yield from kl(*policies, told[at : at + PART], budget).nats_IN[:, 0].double().tolist()
