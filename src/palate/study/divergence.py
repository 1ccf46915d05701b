"""KL of a policy from its reference on the policy's own texts: exact at each step, in nats.

How the figure lies.  *Direction*: KL(policy || reference) asks where the policy goes that the
reference would not; what the reference said and the policy no longer says costs nothing.
*Temperature*: it is the KL of two distributions only over texts drawn at temperature 1 with nothing
cut off (no top-p); colder texts lie where the policy is sure, and give another number.  *Length*:
per text it grows with the text, per token a short text counts little.  A text that was cut off
counts up to where it was cut.
"""

from collections.abc import Hashable, Sequence

import torch

from palate.config import RowOptions
from palate.data import plain
from palate.data.render import Renderer
from palate.data.rows import Example, Item, Origin, Text
from palate.data.rows import Sequence as Tokens
from palate.data.split import prompt_key
from palate.data.tokens import RowFault
from palate.engine.divergence import kl
from palate.engine.model import Loaded
from palate.engine.policy import Policy
from palate.stats import Interval, bootstrap_mean
from palate.study.drawn import Drawn
from palate.study.evaluated import Divergence
from palate.study.source import Opened, open_source
from palate.train.events import Listener, Note, Working

PART = 256


def of_samples(model: str, reference: str, drawn: Drawn, listen: Listener) -> Divergence | None:
    """KL(model || reference) on texts that `model` drew at temperature 1, intervals by prompt.

    None, with a note, where no KL exists: the two read other tokens, or no text can be laid out.
    Both models are in memory at once.  Raises ModelError, CheckpointError.
    """
    opened = open_source(model, RowOptions(), listen)
    other = open_source(reference, RowOptions(), listen)
    if not one_vocabulary(opened.loaded, other.loaded):
        listen(Note(f"no KL of {model} from {reference}: they read other tokens", warning=True))
        return None
    items = items_of(opened.renderer, drawn)
    left_out = sum(map(len, drawn.texts)) - len(items)
    if left_out:
        listen(Note(f"KL of {model}: {left_out} texts left out, that hold tokens which end a text"))
    if not items:
        return None
    nats, tokens = _measured(opened.policy(items), other.policy(items), items, opened, listen)
    groups = [item.group for item in items]
    return Divergence(
        model=model,
        reference=reference,
        per_text=bootstrap_mean(nats, groups),
        per_token=per_token(nats, tokens, groups),
        tokens=sum(tokens),
    )


def one_vocabulary(one: Loaded, other: Loaded) -> bool:
    """Whether the same ids mean the same tokens to both, and both give each a log-prob."""
    ours, theirs = one.tokenizer.get_vocab(), other.tokenizer.get_vocab()
    rows = {len(each.core.get_output_embeddings().weight) for each in (one, other)}
    return ours == theirs and len(rows) == 1


def per_token(nats: Sequence[float], tokens: Sequence[int], groups: Sequence[Hashable]) -> Interval:
    """All nats over all tokens, resampled by group; `count` is the number of tokens."""
    values = [n / t for n, t in zip(nats, tokens, strict=True) for _ in range(t)]
    owners = [group for group, t in zip(groups, tokens, strict=True) for _ in range(t)]
    return bootstrap_mean(values, owners)


def items_of(renderer: Renderer, drawn: Drawn) -> list[Item]:
    """An item per text, grouped by prompt; texts that cannot be laid out are left out.

    A text is tokenised again: where a model wrote a token in pieces it is scored as the tokenizer
    would have written it.
    """
    found = []
    ended = drawn.ended or tuple((True,) * len(texts) for texts in drawn.texts)
    for place, (prompt, texts) in enumerate(zip(drawn.prompts, drawn.texts, strict=True)):
        group = prompt_key(Example(prompt, "", Origin("prompts", place + 1)))
        for text, whole in zip(texts, ended[place], strict=True):
            tokens = said(renderer, prompt, text, ended=whole)
            if tokens is not None and tokens.scored:
                found.append(Item((tokens,), group, Origin("drawn", place + 1)))
    return found


def said(renderer: Renderer, prompt: Text, text: str, *, ended: bool) -> Tokens | None:
    """A drawn text after the prompt that it was drawn from; None if it cannot be laid out.

    The end is scored if the model wrote it.
    """
    try:
        tokens = _laid(renderer, prompt, text)
    except RowFault:
        return None
    if not ended and tokens.ids[-1] in renderer.stop_ids:
        (*before, (start, stop)) = tokens.spans
        spans = (*before, (start, min(stop, len(tokens.ids) - 1)))
        tokens = Tokens(tokens.ids[:-1], spans, tokens.prompt)
    return tokens if len(tokens.ids) <= renderer.limit else None


def _laid(renderer: Renderer, prompt: Text, text: str) -> Tokens:
    """As in training, but a prompt is joined as it was when nothing of the text was known."""
    if renderer.turns(prompt):
        return renderer.draft(Example(prompt, text, Origin("drawn", 1))).sequences[0]
    assert isinstance(prompt, str)
    opening = prompt + plain.seam(prompt, ("a",), renderer.options.join)
    (tokens,) = plain.sequences(renderer.tokenizer, opening, {"text": text})
    return tokens


@torch.no_grad()
def _measured(
    policy: Policy, reference: Policy, items: Sequence[Item], opened: Opened, listen: Listener
) -> tuple[list[float], list[int]]:
    """Nats and scored tokens of each item, in slices, so that progress shows."""
    nats: list[float] = []
    for start in range(0, len(items), PART):
        found = kl(policy, reference, items[start : start + PART], opened.budget)
        nats += found.nats_IN[:, 0].double().tolist()
        listen(Working("KL from the reference", min(start + PART, len(items)), len(items)))
    return nats, [item.sequences[0].scored for item in items]
