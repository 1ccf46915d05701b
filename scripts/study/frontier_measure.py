"""What a policy is worth and how far it has gone: texts about unseen sheets, reward, exact KL.

Every policy of a seed describes the same sheets with the same noise, at temperature 1.  KL is taken
from the seed's SFT model, whatever an arm started from, so that all stand on one axis.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palate.config import RowOptions
from palate.data import sources
from palate.data.render import render
from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Ids
from palate.demo import figures, rows
from palate.demo.sheets import Sheet
from palate.engine.divergence import kl
from palate.engine.policy import Policy
from palate.engine.sample import Draw, SampleSettings, sample
from palate.engine.scoring import score
from palate.runs import checkpoint
from palate.study.source import Opened, open_source
from palate.train.events import silent
from study.frontier_data import Place


@dataclass(frozen=True)
class Bench:
    """What all points of an arm are measured with: sheets, held-out pairs, the two references."""

    place: Place
    sft: Opened
    start: Opened

    def texts(self, model: Opened, count: int = 1) -> tuple[Draw, ...]:
        """`count` texts about every unseen sheet."""
        return _texts(self.place, model, self.place.unseen, count)

    def items(self, model: Opened, draws: Sequence[Draw]) -> list[Item]:
        """The texts as sequences, with the token that ended each."""
        prompts = [row["prompt"] for row in rows.prompts(self.place.unseen)]
        found = []
        for draw in draws:
            before = model.renderer.prompt_ids(prompts[draw.prompt_index])
            ids, start = (*before, *draw.said), len(before)
            text = Ids(ids, ((start, len(ids)),), start)
            found.append(Item((text,), draw.prompt_index, Origin("drawn", draw.prompt_index + 1)))
        return found

    def held(self, model: Opened) -> tuple[Item, ...]:
        """The held-out pairs."""
        found: Any = sources.read(str(self.place.file("held")), kind="pairs")
        return render(found.rows, model.renderer, RowOptions()).items


def measured(place: Place, model: Path, start: Path, *, moments: bool) -> dict[str, Any]:
    """A point for each checkpoint that was kept after the first step, or for `model` as it is."""
    sft = open_source(str(place.sft), RowOptions(), silent)
    other = sft if start == place.sft else open_source(str(start), RowOptions(), silent)
    bench, opened = Bench(place, sft, other), open_source(str(model), RowOptions(), silent)
    held = bench.held(opened)
    own_I2 = _scored(bench.start, held)
    points: list[dict[str, Any]] = []
    for step in _moments(opened, model) if moments else iter([None]):
        points.append({"step": step, **_point(bench, opened, held, own_I2)})
    for point in points[:-1]:
        del point["texts"]
    return {"points": points}


def drawn(place: Place) -> list[list[str]]:
    """The SFT model's texts about every sheet that it is asked about."""
    sft = open_source(str(place.sft), RowOptions(), silent)
    found: list[list[str]] = [[] for _ in place.asked]
    for draw in _texts(place, sft, place.asked, place.scale.answers):
        found[draw.prompt_index].append(draw.text)
    return found


def best_of(place: Place, count: int) -> dict[str, Any]:
    """The SFT model's rewards and words for `count` texts about every unseen sheet."""
    sft = open_source(str(place.sft), RowOptions(), silent)
    draws = Bench(place, sft, sft).texts(sft, count)
    about = [sheet for sheet in place.unseen for _ in range(count)]
    judged = figures.read(about, [draw.text for draw in draws])
    worth = [each.verdict.score for each in judged]
    words = [len(draw.text.split()) for draw in draws]
    parts = range(0, len(draws), count)
    return {
        "rewards": [worth[at : at + count] for at in parts],
        "words": [words[at : at + count] for at in parts],
    }


def _texts(place: Place, model: Opened, about: Sequence[Sheet], count: int) -> tuple[Draw, ...]:
    ids = [model.renderer.prompt_ids(row["prompt"]) for row in rows.prompts(about)]
    stops = tuple(sorted(model.renderer.stop_ids))
    settings = SampleSettings(place.scale.tokens, count, 1.0, stop_ids=stops)
    return sample(model.loaded, ids, settings, seed=place.seed)


def _moments(opened: Opened, run: Path) -> Iterator[int]:
    """Steps of the kept checkpoints, each with its weights in the model.

    A checkpoint may hold more than the model, such as a value head.
    """
    parameters = dict(opened.loaded.model.named_parameters())
    for step, weights in checkpoint.kept_weights(run):
        if step == 0:
            continue
        taken = [name for name in weights if name in parameters]
        assert taken, f"nothing in the checkpoint of step {step} is of the model"
        with torch.no_grad():
            for name in taken:
                parameters[name].copy_(weights[name])
        yield step


def _point(bench: Bench, opened: Opened, held: Sequence[Item], own_I2: Tensor) -> Mapping[str, Any]:
    draws = bench.texts(opened)
    texts = [draw.text for draw in draws]
    judged = figures.read(bench.place.unseen, texts)
    means = {name: round(each.value, 4) for name, each in figures.figures(judged).items()}
    items = bench.items(opened, draws)
    policy = _policy(opened)
    moved = kl(policy, _policy(bench.sft), items, opened.budget)
    policy.restore()
    nats = moved.nats_IN[:, 0].double().tolist()
    return {
        "rewards": [each.verdict.score for each in judged],
        "kl": round(sum(nats) / len(nats), 5),
        "kl_tokens": round(sum(nats) / float(moved.tokens_IN.sum()), 6),
        "words": sum(len(text.split()) for text in texts) / len(texts),
        "distinct_2": round(distinct(texts), 4),
        "ended": sum(draw.ended for draw in draws) / len(draws),
        "figures": means,
        "texts": texts,
        **_ranking(_scored(opened, held) - own_I2),
    }


def _ranking(change_I2: Tensor) -> dict[str, float]:
    """What became of held-out pairs, in nats against the model that the arm started from."""
    chosen_I, rejected_I = change_I2.unbind(-1)
    gap_I = chosen_I - rejected_I
    hits = float((gap_I > 0).sum() + 0.5 * (gap_I == 0).sum())
    return {
        "accuracy": round(hits / len(gap_I), 4),
        "chosen": round(float(chosen_I.mean()), 4),
        "rejected": round(float(rejected_I.mean()), 4),
    }


def _scored(opened: Opened, items: Sequence[Item]) -> Tensor:
    """Log-probs of pairs (I,2)."""
    policy = _policy(opened)
    found = score(policy, items, opened.budget).double()
    policy.restore()
    return found


def _policy(opened: Opened) -> Policy:
    """The model as it stands, under the fast plan, which the demo's architecture earns."""
    opened.loaded.model.eval()
    return Policy(opened.loaded.model)


def distinct(texts: Sequence[str]) -> float:
    """Share of different word pairs among all word pairs of the texts (Li et al. 2016)."""
    pairs = Counter(
        pair for text in texts for pair in zip(text.split(), text.split()[1:], strict=False)
    )
    return len(pairs) / max(1, sum(pairs.values()))
