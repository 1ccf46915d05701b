"""The model's own texts on some of a file's prompts, and the file's answers after no prompt at all.

What the cartoon check holds the pairs against.  Texts are drawn at temperature 1, or read from a
file that `palate sample --out` wrote; their log-probs come from the engine that scores the pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from palate.data.render import Renderer
from palate.data.rows import Example, Item, Origin, Pair
from palate.data.rows import Sequence as Tokens
from palate.data.sources import scan
from palate.data.split import prompt_key
from palate.data.tokens import RowFault
from palate.engine.policy import Policy
from palate.engine.sample import Ids, SampleSettings, sample
from palate.engine.scoring import score
from palate.errors import DataError, PalateError, UsageError
from palate.study.checks.base import Floats, Ints, Samples
from palate.study.source import Opened
from palate.study.tokens import PART
from palate.train.events import Listener, Note, Working

PROMPTS, EACH, SEED = 64, 4, 0
LONGEST = 512


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A model with the pairs it is asked about; item i is pair `kept_I[i]`."""

    opened: Opened
    policy: Policy
    pairs: Sequence[Pair]
    items: Sequence[Item]
    kept_I: Ints


@dataclass(frozen=True, slots=True)
class _Text:
    """One text: the pair whose prompt it answers, its tokens, and how it reads."""

    pair: int
    tokens: Tokens
    text: str


def own_texts(asked: Asked, samples: str | None, listen: Listener) -> Samples | None:
    """Texts of the model with their log-probs; None if none were wanted (`0`).

    `samples` is a number of prompts or a file.  Raises UsageError, DataError.
    """
    if samples is not None and not samples.isdigit():
        texts = _read(asked, samples, listen)
    else:
        texts = _drawn(asked, PROMPTS if samples is None else int(samples), listen)
    texts = [each for each in texts if each.tokens.scored]
    if not texts:
        return None
    items = [Item((each.tokens,), f"own {each.pair}", Origin("", 0)) for each in texts]
    logps_M = _scored(asked, items, "own texts", listen)[:, 0]
    tokens_M = np.array([each.tokens.scored for each in texts], np.int64)
    pair_M = np.array([each.pair for each in texts], np.int64)
    return Samples(pair_M, logps_M / tokens_M, tokens_M, tuple(each.text for each in texts))


def after_nothing(asked: Asked, first_logps_I2: Floats, listen: Listener) -> Floats | None:
    """Log-probs (P,2) of the very same answer tokens after an empty prompt.

    Plain text follows BOS alone.  Without a BOS nothing predicts the first token: it keeps its
    log-prob after the prompt (`first_logps_I2`), so that it adds 0 to the difference.  A chat
    template gets one empty user turn; None if it refuses that.
    """
    renderer = asked.opened.renderer
    opening: Ids = ()
    if any(renderer.turns(asked.pairs[place].prompt) for place in asked.kept_I):
        try:
            opening = renderer.prompt_ids("") if renderer.turns("") else _bare_turn(renderer)
        except PalateError:
            listen(Note("the chat template takes no empty turn: off-topic answers are not told"))
            return None
    items, unseen_I2 = [], np.zeros((len(asked.items), 2), bool)
    for place, (item, pair) in enumerate(zip(asked.items, asked.kept_I, strict=True)):
        before = opening if renderer.turns(asked.pairs[pair].prompt) else _bos(item, renderer)
        sides = tuple(_moved(sequence, before) for sequence in item.sequences)
        unseen_I2[place] = [a.scored < b.scored for a, b in zip(sides, item.sequences)]
        items.append(replace(item, sequences=sides, group=place))
    found_P2 = np.full((len(asked.pairs), 2), np.nan)
    logps_I2 = _scored(asked, items, "answers without their prompt", listen)
    found_P2[asked.kept_I] = logps_I2 + np.where(unseen_I2, first_logps_I2, 0.0)
    return found_P2


def _bare_turn(renderer: Renderer) -> Ids:
    """An empty user turn where the rows are conversations."""
    from palate.data.rows import Message

    return renderer.prompt_ids((Message("user", ""),))


def _bos(item: Item, renderer: Renderer) -> Ids:
    """The BOS that the row itself begins with, if its prompt has one."""
    sequence, bos = item.sequences[0], renderer.tokenizer.bos_token_id
    return (bos,) if sequence.prompt and sequence.ids[0] == bos else ()


def _moved(sequence: Tokens, before: Ids) -> Tokens:
    """The answer after another prompt; its first token is not scored if nothing is before it."""
    shift = len(before) - sequence.prompt
    spans = tuple((max(start + shift, 1), stop + shift) for start, stop in sequence.spans)
    return Tokens((*before, *sequence.ids[sequence.prompt :]), spans, len(before))


@torch.no_grad()
def _scored(asked: Asked, items: Sequence[Item], what: str, listen: Listener) -> Floats:
    """Log-probs (I,N) of items in slices, so that progress shows."""
    parts = []
    for start in range(0, len(items), PART):
        part = items[start : start + PART]
        parts.append(score(asked.policy, part, asked.opened.budget).double().cpu().numpy())
        listen(Working(what, min(start + PART, len(items)), len(items)))
    found: Floats = np.concatenate(parts)
    return found


# ------------------------------------------------------------------ where texts come from


def _drawn(asked: Asked, prompts: int, listen: Listener) -> list[_Text]:
    """`EACH` texts for some prompts, as long as the file's answers are."""
    chosen = _prompts(asked, prompts)
    if not chosen:
        return []
    renderer, loaded = asked.opened.renderer, asked.opened.loaded
    ids = [renderer.prompt_ids(asked.pairs[asked.kept_I[place]].prompt) for place in chosen]
    fits = [0 < len(each) < loaded.context for each in ids]
    chosen = [place for place, fit in zip(chosen, fits) if fit]
    ids = [each for each, fit in zip(ids, fits) if fit]
    lengths = [sequence.scored for item in asked.items for sequence in item.sequences]
    settings = SampleSettings(
        max_new_tokens=int(min(LONGEST, max(16, np.quantile(lengths, 0.95)))),
        completions=EACH,
        stop_ids=tuple(sorted(renderer.stop_ids)),
    )

    def progress(done: int, total: int) -> None:
        listen(Working("sampling", done, total))

    asked.policy.restore()
    texts = []
    for draw in sample(loaded, ids, settings, seed=SEED, progress=progress):
        item = asked.items[chosen[draw.prompt_index]]
        opening = ids[draw.prompt_index]
        end = item.sequences[0].ids[-1:] if draw.ended else ()
        whole = (*opening, *draw.ids, *end)
        tokens = Tokens(whole, ((len(opening), len(whole)),), len(opening))
        texts.append(_Text(int(asked.kept_I[chosen[draw.prompt_index]]), tokens, draw.text))
    return texts


def _prompts(asked: Asked, count: int) -> list[int]:
    """The first item of each of `count` prompts, chosen by seed."""
    first: dict[object, int] = {}
    for place, item in enumerate(asked.items):
        first.setdefault(item.group, place)
    order = np.random.default_rng(SEED).permutation(len(first))[:count]
    places = list(first.values())
    return sorted(places[n] for n in order)


def _read(asked: Asked, path: str, listen: Listener) -> list[_Text]:
    """Texts of a file whose prompts are prompts of the pairs; others are passed over and told."""
    if not Path(path).exists():
        what = f"--samples {path}: there is no such file."
        hint = "Give a number of prompts, or a file that `palate sample --out` wrote."
        raise UsageError(what, hint=hint)
    of_prompt: dict[str, int] = {}
    for place in asked.kept_I:
        of_prompt.setdefault(prompt_key(asked.pairs[place]), int(place))
    texts, others = [], 0
    for step in scan(path, kind="sft", format="palate").steps():
        fields = {} if step.record is None else step.record.fields
        for row in step.rows:
            pair = of_prompt.get(prompt_key(row)) if isinstance(row, Example) else None
            tokens = _rendered(asked.opened.renderer, row) if isinstance(row, Example) else None
            if pair is None or tokens is None:
                others += 1
            else:
                whole = tokens if fields.get("ended", True) else _open(tokens)
                texts.append(_Text(pair, whole, str(fields.get("completion", ""))))
    if not texts:
        what = f"{path} holds no text for any prompt of these pairs."
        raise DataError(what, hint="Draw them with `palate sample` from the prompts of this file.")
    listen(Note(f"{path}: {len(texts)} texts of the model, taken as drawn at temperature 1"))
    if others:
        listen(Note(f"{path}: {others} texts passed over: another prompt, or too long"))
    return texts


def _rendered(renderer: Renderer, row: Example) -> Tokens | None:
    try:
        item = renderer.fit(renderer.draft(row))
    except RowFault:
        return None
    return item.sequences[0] if isinstance(item, Item) else None


def _open(tokens: Tokens) -> Tokens:
    """Without the end, which the model did not write."""
    (*before, (start, stop)) = tokens.spans
    return Tokens(tokens.ids[:-1], (*before, (start, max(start, stop - 1))), tokens.prompt)
