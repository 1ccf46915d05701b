"""A reward model as the folder that AutoModelForSequenceClassification loads, written and read.

That class pools at the last token that is not padding, so a padding token that is also the end of a
text would move every reward one token to the left: another one is written down.  Refused: a family
without such a class, a head that is more than one linear layer, more than one label.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from palate.config import Dtype
from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Tokens
from palate.engine.adapters import merged
from palate.engine.identity import model_identity
from palate.engine.locate import locate
from palate.engine.model import (
    Loaded,
    context_of,
    decide_dtype,
    embedding_rows,
    quiet,
    read_tokenizer,
    read_weights,
)
from palate.engine.policy import Plan, Policy
from palate.engine.selfcheck import VALUE_FLOOR, structure_fault
from palate.engine.value import RewardModel, reward_items
from palate.errors import ModelError, NumericsError

PADDING = "<|padding|>"  # for a tokenizer that has no special token to spare
CHECKED = 4  # sequences on which what is written, or was read, is compared with the class itself
_FACTORY: Any = AutoModelForSequenceClassification


@dataclass(frozen=True, slots=True)
class Classifier:
    """A reward model that was read.  `pad` is what its class leaves out at the end of a text."""

    model: RewardModel
    tokenizer: PreTrainedTokenizerBase
    identity: str
    context: int
    pad: int | None
    notes: tuple[str, ...]


def require_class(core: PreTrainedModel) -> int:
    """The width of the head that this family's class has.  Raises ModelError if there is none."""
    return _head(_empty(core))[1].in_features


# -- writing


def save_classifier(
    loaded: Loaded, model: RewardModel, folder: Path, samples: Sequence[Tokens]
) -> None:
    """Write trunk, adapter merged, head and tokenizer.  Consumes `loaded.model`.

    The class itself must give `samples`, padded in one batch, the model's own rewards: else
    NumericsError.  `folder` exists and is empty; the caller commits it.
    """
    few = sorted(samples, key=lambda each: len(each.ids))[:: max(1, len(samples) // CHECKED)]
    wanted = _rewards(model, few[:CHECKED]) if few else torch.zeros(0)
    model.policy.restore()
    whole = merged(loaded.model)
    found = _empty(whole)
    setattr(found, found.base_model_prefix, whole.base_model)
    setattr(found, _head(found)[0], model.head)
    tokenizer = copy.deepcopy(loaded.tokenizer)
    found.config.pad_token_id = _padding(found, tokenizer, loaded.stop_ids)
    found.config.architectures = [type(found).__name__]
    found.eval()
    if few:
        _refuse_other(_padded(found, few[:CHECKED]), wanted)
    with quiet():
        found.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _empty(core: PreTrainedModel) -> Any:
    """This family's class with no weights in memory.  Raises ModelError."""
    config = copy.deepcopy(core.config)
    config.num_labels = 1
    family = config.model_type
    try:
        with torch.device("meta"), quiet():
            found = _FACTORY.from_config(config)
    except ValueError:
        raise _no_class(family, "transformers has no sequence classification for it") from None
    _head(found)
    if type(found.base_model) is not type(core.base_model):
        raise _no_class(family, "its sequence classification has another trunk")
    return found


def _head(found: Any) -> tuple[str, nn.Linear]:
    """The name and the layer of the class's head.  Raises ModelError if it is no single layer."""
    beside = [(n, m) for n, m in found.named_children() if n != found.base_model_prefix]
    if [type(module) for _, module in beside] != [nn.Linear]:
        raise _no_class(found.config.model_type, "the head of its class is not one linear layer")
    return beside[0]


def _no_class(family: str, why: str) -> ModelError:
    return ModelError(
        f"A model of the family '{family}' cannot become a reward model: {why}.",
        hint="Train the reward model on another base (llama, qwen, gemma, mistral, gpt2 ...).",
    )


def _padding(found: Any, tokenizer: Any, stop_ids: Sequence[int]) -> int:
    """A token that never ends a text; a new one, with the mean row, if there is none to spare."""
    spare = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id)
    pad = next((i for i in spare if i is not None and i not in stop_ids), None)
    if pad is not None and pad < embedding_rows(found):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
        return int(pad)
    tokenizer.add_special_tokens({"pad_token": PADDING})
    rows = embedding_rows(found)
    if tokenizer.pad_token_id >= rows:
        mean = found.get_input_embeddings().weight.detach().double().mean(0)
        with quiet(), torch.random.fork_rng():
            found.resize_token_embeddings(tokenizer.pad_token_id + 1, mean_resizing=False)
        with torch.no_grad():
            table = found.get_input_embeddings().weight
            table[rows:] = mean.to(table)
    return int(tokenizer.pad_token_id)


# -- reading


def read_classifier(source: str, *, dtype: Dtype | None = None) -> Classifier:
    """A folder or hub id with one label.  Raises ModelError."""
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen, _ = decide_dtype(dtype, where)
    place = locate(source)
    if place.adapter is not None:
        raise ModelError(
            f"{source} is an adapter, and a reward model is read whole.",
            hint="Merge it into its base with the tool that made it.",
        )
    with quiet():
        found, notes = read_weights(place, source, chosen, factory=_FACTORY, check=_one_label)
        tokenizer = read_tokenizer(place, source)
    found = cast(Any, found).to(where).eval()
    found.requires_grad_(False)
    try:
        head = _head(found)[1]
    except ModelError as error:
        raise ModelError(f"{source}: {error.message}", hint="Use a causal reward model.") from None
    pad = found.config.get_text_config().pad_token_id
    context = context_of(found.config, tokenizer)
    model, reasons = _checked(found, head, source, _made_up(found, pad, context))
    identity = model_identity(place.base)
    return Classifier(model, tokenizer, identity, context, pad, notes + reasons)


def _one_label(config: Any, source: str) -> None:
    names = config.architectures or []
    if not any(name.endswith("ForSequenceClassification") for name in names):
        raise ModelError(
            f"{source} is no reward model: its config.json says {', '.join(names) or 'nothing'}.",
            hint="Name a run of `palate reward`, or a sequence classification folder.",
        )
    if config.num_labels != 1:
        raise ModelError(
            f"{source} gives {config.num_labels} labels; a reward is one number.",
            hint="Use a model with num_labels 1.",
        )


def _checked(
    found: Any, head: nn.Linear, source: str, items: Sequence[Item]
) -> tuple[RewardModel, tuple[str, ...]]:
    """The fastest plan that says what the class says, and why a faster one is not used."""
    alone = torch.stack([_alone(found, item.sequences) for item in items])
    reasons: tuple[str, ...] = ()
    for plan in (Plan(), Plan(shared=False)):
        model = RewardModel(Policy(found, plan).eval(), head)
        fault = structure_fault(found.config, plan) if plan.shared else None
        got = reward_items(model, items, 256)
        model.policy.restore()
        if fault is None and not _differ(got, alone):
            return model, reasons
        reasons = (f"sharing and packing: {fault or 'differs from the class itself'}",)
    raise ModelError(
        f"{source}: its rewards are not one linear layer over the last token.",
        hint="Use a causal reward model with a plain linear head.",
    )


def _made_up(found: Any, pad: int | None, context: int) -> list[Item]:
    """Pairs of ordinary ids that share a start, none of which is padding."""
    rows, longest = embedding_rows(found), min(24, context)
    generator = torch.Generator().manual_seed(0)
    items = []
    for group in range(CHECKED):
        drawn = torch.randint(0, rows, (2, longest), generator=generator)
        drawn[drawn == pad] = (pad + 1) % rows if pad is not None else 0
        drawn[1, : longest // 2] = drawn[0, : longest // 2]
        ids = [tuple(drawn[0].tolist()), tuple(drawn[1, : longest - group].tolist())]
        sides = tuple(Tokens(one, ((1, len(one)),), 1) for one in ids)
        items.append(Item(sides, group, Origin("made up", group)))
    return items


# -- comparing with the class itself


@torch.no_grad()
def _alone(found: Any, sequences: Sequence[Tokens]) -> Tensor:
    """What the class says of each sequence by itself (S,)."""
    ids = [torch.tensor(one.ids, device=found.device) for one in sequences]
    return torch.stack([found(one[None], use_cache=False).logits[0, 0] for one in ids])


@torch.no_grad()
def _padded(found: Any, sequences: Sequence[Tokens]) -> Tensor:
    """What the class says of them in one batch, padded on the right (S,)."""
    longest = max(len(one.ids) for one in sequences)
    pad = found.config.pad_token_id
    ids = torch.tensor([(*one.ids, *[pad] * (longest - len(one.ids))) for one in sequences])
    mask = torch.tensor([[n < len(one.ids) for n in range(longest)] for one in sequences])
    said = found(ids.to(found.device), attention_mask=mask.long().to(found.device), use_cache=False)
    return cast(Tensor, said.logits[:, 0])


def _rewards(model: RewardModel, sequences: Sequence[Tokens]) -> Tensor:
    items = [Item((one,), place, Origin("", 0)) for place, one in enumerate(sequences)]
    return reward_items(model, items, 256)[:, 0]


def _refuse_other(got: Tensor, wanted: Tensor) -> None:
    if _differ(got, wanted):
        worst = float((got.double() - wanted.double()).abs().max())
        raise NumericsError(
            f"What would be written is not what was trained: rewards differ by up to {worst:.2g}.",
            hint="Nothing was written. Try --dtype float32.",
        )


def _differ(got: Tensor, wanted: Tensor) -> bool:
    allowed = 10 * VALUE_FLOOR[got.dtype]
    return not bool(((got.double() - wanted.double()).abs() <= allowed * (1 + wanted.abs())).all())
