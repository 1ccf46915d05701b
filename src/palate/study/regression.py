"""What the preference cost: loss on examples of the earlier stage that no stage trained on.

How the figure lies: a policy that was asked to write shorter or calmer text than the examples pays
here for having learnt it; and a small loss says nothing of what a model writes by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from palate.config import RowOptions
from palate.data.render import Renderer
from palate.data.rows import Example, Item
from palate.data.tokens import RowFault
from palate.engine.scoring import score
from palate.errors import DataError
from palate.stats import Interval, Verdict
from palate.study.divergence import PART, per_token
from palate.study.evaluated import Regression
from palate.study.source import laid_out, open_source
from palate.train.events import Listener, Note, Working


@dataclass(frozen=True, slots=True)
class _Losses:
    """One model's loss on each example that it takes, in nats, by the example's place."""

    model: str
    items: Mapping[int, Item]
    nats: Mapping[int, float]

    def mean(self, less: "_Losses | None" = None) -> Interval:
        """Nats per token over the examples, intervals by prompt; `less`: minus another model's."""
        places = [n for n in self.items if less is None or n in less.items]
        tokens = [self.items[n].sequences[0].scored for n in places]
        nats = [self.nats[n] - (less.nats[n] if less else 0.0) for n in places]
        return per_token(nats, tokens, [self.items[n].group for n in places])

    def reads_as(self, other: "_Losses") -> bool:
        """Whether both read the examples as the same tokens."""
        common = self.items.keys() & other.items.keys()
        return bool(common) and all(
            self.items[n].sequences == other.items[n].sequences for n in common
        )


def compare(
    models: Sequence[str], examples: Sequence[Example], listen: Listener
) -> tuple[Regression, ...]:
    """Loss on `examples` under each model; the change is against the first, paired by example.

    Examples are laid out as the first run among the models was trained.  A model that reads them as
    other tokens than the first has a loss but no change, and a note.  Raises DataError, ModelError.
    """
    assert models and examples, "nothing to compare"
    layout = next((model for model in models if (Path(model) / "run.json").exists()), models[0])
    _, options = laid_out(layout, RowOptions())
    found = [_losses(model, options, examples, listen) for model in models]
    return tuple(_regression(each, found[0], listen) for each in found)


def _regression(mine: _Losses, first: _Losses, listen: Listener) -> Regression:
    """The record of one model."""
    if mine is first:
        return Regression(model=mine.model, loss=mine.mean(), change=None, verdict=None)
    if not mine.reads_as(first):
        what = f"{mine.model} reads the examples as other tokens than {first.model}"
        listen(Note(f"{what}: their losses cannot be compared", warning=True))
        return Regression(model=mine.model, loss=mine.mean(), change=None, verdict=None)
    change = mine.mean(first)
    return Regression(model=mine.model, loss=mine.mean(), change=change, verdict=_verdict(change))


def _verdict(change: Interval) -> Verdict:
    """A smaller loss is better."""
    if change.low > 0:
        return "worse"
    return "better" if change.high < 0 else "indistinguishable"


@torch.no_grad()
def _losses(
    model: str, options: RowOptions, examples: Sequence[Example], listen: Listener
) -> _Losses:
    opened = open_source(model, options, listen)
    items = _items(opened.renderer, examples)
    if not items:
        what = f"{model} can be given none of the {len(examples)} examples"
        raise DataError(f"{what}: they are too long, or its template refuses them.")
    if len(items) < len(examples):
        listen(Note(f"{model}: {len(examples) - len(items)} examples that it cannot be given"))
    with torch.enable_grad():
        policy = opened.policy(list(items.values()))
    places, nats = list(items), list[float]()
    for start in range(0, len(places), PART):
        part = [items[place] for place in places[start : start + PART]]
        nats += (-score(policy, part, opened.budget)[:, 0]).double().tolist()
        listen(Working(f"loss of {model}", len(nats), len(places)))
    return _Losses(model, items, dict(zip(places, nats, strict=True)))


def _items(renderer: Renderer, examples: Sequence[Example]) -> dict[int, Item]:
    """Place -> the example's tokens, of those that the model can be given."""
    found = {}
    for place, example in enumerate(examples):
        try:
            item = renderer.fit(renderer.draft(example))
        except RowFault:
            continue
        if isinstance(item, Item) and item.sequences[0].scored:
            found[place] = item
    return found
