"""What a small user should see first: examples in the context of the untuned model; and whether
texts are copied from training."""

from collections.abc import Mapping, Sequence
from typing import Any

from palate.config import RowOptions
from palate.data import sources
from palate.data.rewards import Answered
from palate.data.rows import Example
from palate.demo import figures, rows
from palate.engine.sample import SampleSettings, sample
from palate.study import copied, prompted
from palate.study.source import open_source
from palate.train.events import silent
from study.frontier_data import Place
from study.frontier_measure import distinct
from study.frontier_training import BASE_MODEL
from study.store import Record


def with_examples(place: Place, count: int) -> dict[str, Any]:
    """The base's texts about the unseen sheets, with `count` of the seed's examples before each."""
    base = open_source(str(BASE_MODEL), RowOptions(), silent)
    asked = [row["prompt"] for row in rows.prompts(place.unseen)]
    laid = prompted.lay_out(
        asked, _examples(place, "examples1"), count,
        renderer=base.renderer, seed=place.seed, longest=place.scale.tokens,
    )  # fmt: skip
    ids = [base.renderer.prompt_ids(prompt) for prompt in laid.prompts]
    stops = tuple(sorted(base.renderer.stop_ids))
    settings = SampleSettings(place.scale.tokens, 1, 1.0, stop_ids=stops)
    draws = sample(base.loaded, ids, settings, seed=place.seed)
    texts = [laid.cut(draw.text)[0] for draw in draws]
    judged = figures.read(place.unseen, texts)
    point = {
        "step": None,
        "rewards": [each.verdict.score for each in judged],
        "words": sum(len(text.split()) for text in texts) / len(texts),
        "distinct_2": round(distinct(texts), 4),
        "shown": sum(laid.shown) / len(laid.shown),
        "texts": texts,
    }
    return {"points": [point]}


def longest_runs(place: Place, records: Mapping[str, Record]) -> dict[str, Any]:
    """Words of the longest run shared with a training text, a mean for each who wrote.

    `people` are the analysts' texts about other sheets; training texts are the examples of SFT and
    both sides of the pairs.
    """
    training = copied.Training.of_rows(
        (*_examples(place, "examples1"), *sources.read(str(place.file("pairs")), kind="pairs").rows)
    )
    asked = [row["prompt"] for row in rows.prompts(place.unseen)]
    held = _examples(place, "examples-held")
    by: dict[str, Sequence[Answered]] = {
        "people": [Answered(each.prompt or "", str(each.completion)) for each in held]
    }
    for who, record in records.items():
        texts = record["points"][-1]["texts"]
        by[who] = [Answered(*both) for both in zip(asked, texts, strict=True)]
    found = {who: copied.of_texts(who, texts, training) for who, texts in by.items()}
    return {
        "words": {who: each.words.value for who, each in found.items()},
        "share": {who: each.share.value for who, each in found.items()},
    }


def _examples(place: Place, name: str) -> tuple[Example, ...]:
    return tuple(sources.read(str(place.file(name)), kind="sft").rows)
