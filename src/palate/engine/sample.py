"""Completions from a policy: seeded, batched, and each a function of (seed, prompt, index) alone.

transformers draws one multinomial for a whole batch: a text would depend on its neighbours.  Here
greedy decoding runs on scores plus Gumbel noise (the largest is then a draw from the softmax), and
the noise is a hash of (seed, prompt, index, step, token).  Batches are made by content.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedModel,
    TopPLogitsWarper,
)
from transformers.cache_utils import DynamicLayer

from palate.engine.model import Loaded, quiet
from palate.errors import UsageError

Ids = tuple[int, ...]
Progress = Callable[[int, int], None]

_ROW_LENGTH_ROTARY = ("dynamic", "longrope")  # angles depend on the longest text of the batch
_GOLDEN = -7046029254386353131  # splitmix64's step: 2**64 over the golden ratio
_MIX = ((30, -4658895280553007687), (27, -7723592293110705685), (31, 1))


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """How to draw.  `temperature` 0 is greedy; `batch_size` changes speed, not texts."""

    max_new_tokens: int = 128
    completions: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    stop_ids: Ids = ()
    batch_size: int = 64


@dataclass(frozen=True, slots=True)
class Draw:
    """One completion.  `ids` are without the token that ended it; `ended`: there was one."""

    prompt_index: int
    index: int
    ids: Ids
    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class _Job:
    prompt: Ids
    index: int
    prompt_index: int
    limit: int


def sample(
    loaded: Loaded,
    prompts: Sequence[Ids],
    settings: SampleSettings,
    *,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> tuple[Draw, ...]:
    """Draw `settings.completions` texts for each prompt, in the order of (prompt, index).

    A prompt that occurs twice gets the same texts twice.  Raises UsageError for an empty prompt or
    one that leaves no room.
    """
    jobs = _jobs(loaded, prompts, settings)
    stops = tuple(dict.fromkeys((*settings.stop_ids, *loaded.stop_ids)))
    draws: list[Draw] = []
    with _ready(loaded.core):
        for batch in _batches(jobs, settings.batch_size, _may_pad(loaded.core)):
            rows = _generate(loaded, batch, settings, stops=stops, seed=seed)
            draws += [_draw(loaded, job, row, stops) for job, row in zip(batch, rows, strict=True)]
            progress(len(draws), len(jobs))
    return tuple(sorted(draws, key=lambda draw: (draw.prompt_index, draw.index)))


def _jobs(loaded: Loaded, prompts: Sequence[Ids], settings: SampleSettings) -> list[_Job]:
    for place, prompt in enumerate(prompts):
        if not 0 < len(prompt) < loaded.context:
            raise UsageError(
                f"Prompt {place + 1} has {len(prompt)} tokens; the model takes"
                f" 1 to {loaded.context - 1} and needs room for an answer.",
                hint="Shorten it." if prompt else "Give it at least one token.",
            )
    return [
        _Job(prompt, index, place, min(settings.max_new_tokens, loaded.context - len(prompt)))
        for place, prompt in enumerate(prompts)
        for index in range(settings.completions)
    ]


def _batches(jobs: Sequence[_Job], size: int, may_pad: bool) -> Iterator[list[_Job]]:
    """Longest first, by content; one limit per batch, and one length where padding would show."""

    def together(job: _Job) -> tuple[int, int]:
        return job.limit, 0 if may_pad else len(job.prompt)

    def order(job: _Job) -> tuple[Any, ...]:
        return *together(job), -len(job.prompt), job.prompt, job.index

    for _, group in groupby(sorted(jobs, key=order), together):
        members = list(group)
        yield from (members[at : at + size] for at in range(0, len(members), size))


def _may_pad(core: PreTrainedModel) -> bool:
    """Whether a row's result is independent of the padding beside it."""
    config: Any = cast(Any, core.config).get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type")} | {
        part.get("rope_type") for part in rope.values() if isinstance(part, dict)
    }
    layers = set(getattr(config, "layer_types", None) or ())
    overflows = core.dtype == torch.float64 and not core._supports_sdpa  # its mask, in fp32
    attends = not core._is_stateful and all("attention" in layer for layer in layers)
    return attends and not overflows and not kinds & set(_ROW_LENGTH_ROTARY)


@contextmanager
def _ready(core: PreTrainedModel) -> Iterator[None]:
    """The model's own attention, eval mode and a neutral generation config; then all as before."""
    model: Any = core
    attention, generation = core.config._attn_implementation, core.generation_config
    training = [module for module in core.modules() if module.training]
    model.eval()
    core.generation_config = GenerationConfig()
    if attention == "palate":
        model.set_attn_implementation("sdpa" if core._supports_sdpa else "eager")
    try:
        with quiet(), torch.inference_mode():
            yield
    finally:
        core.generation_config = generation
        for module in training:
            module.training = True
        if attention == "palate":
            model.set_attn_implementation(attention)


def _generate(
    loaded: Loaded, batch: Sequence[_Job], settings: SampleSettings, *, stops: Ids, seed: int
) -> list[Ids]:
    """The new tokens of each row, with whatever follows its end."""
    width = max(len(job.prompt) for job in batch)
    fill = stops[0] if stops else 0
    ids = [(fill,) * (width - len(job.prompt)) + job.prompt for job in batch]
    mask = [(0,) * (width - len(job.prompt)) + (1,) * len(job.prompt) for job in batch]
    model: Any = loaded.core
    out = model.generate(
        input_ids=torch.tensor(ids, device=loaded.device),
        attention_mask=torch.tensor(mask, device=loaded.device),
        generation_config=GenerationConfig(
            max_new_tokens=batch[0].limit,
            do_sample=False,
            use_cache=True,
            eos_token_id=list(stops) or None,
            pad_token_id=fill,
        ),
        logits_processor=_processors(batch, settings, width=width, seed=seed),
        **_cache(loaded.core, width + batch[0].limit),
    )
    return [tuple(row) for row in out[:, width:].tolist()]


class _Roomy(DynamicLayer):
    """A layer of the cache that is laid out once: growing it by a copy per token costs more than
    the model's own products, for a small model on a CPU."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.length = room, 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        key, value = key_states, value_states
        if not self.is_initialized:
            self.lazy_initialization(key, value)
            self.all_keys = key.new_empty(*key.shape[:2], self.room, key.shape[3])
            self.all_values = value.new_empty(*value.shape[:2], self.room, value.shape[3])
        start, self.length = self.length, self.length + key.shape[2]
        self.all_keys[:, :, start : self.length] = key
        self.all_values[:, :, start : self.length] = value
        self.keys = self.all_keys[:, :, : self.length]
        self.values = self.all_values[:, :, : self.length]
        return self.keys, self.values


def _cache(core: PreTrainedModel, room: int) -> dict[str, Any]:
    """The usual cache with room made for its plain layers; a stateful model makes its own."""
    if core._is_stateful:
        return {}
    cache = DynamicCache(config=core.config)
    cache.layers = [
        _Roomy(room) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return {"past_key_values": cache}


def _processors(
    batch: Sequence[_Job], settings: SampleSettings, *, width: int, seed: int
) -> LogitsProcessorList:
    steps = LogitsProcessorList()
    if settings.temperature > 0:
        steps.append(_Cooled(settings.temperature))
        if settings.top_p < 1:
            steps.append(TopPLogitsWarper(settings.top_p))
        if settings.min_p > 0:
            steps.append(MinPLogitsWarper(settings.min_p))
        steps.append(_Gumbel([_key(seed, job) for job in batch], width))
    return steps


class _Cooled(LogitsProcessor):
    """Scores over the temperature."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores / self.temperature


class _Gumbel(LogitsProcessor):
    """Scores plus noise, so that the largest is a draw."""

    def __init__(self, keys: Sequence[int], width: int) -> None:
        self.keys = torch.tensor(keys)
        self.width = width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        keys = self.keys.to(scores.device)
        return scores + gumbel(keys, input_ids.shape[1] - self.width, scores.shape[1])


def gumbel(keys_B: Tensor, step: int, tokens: int) -> Tensor:
    """Gumbel noise (B, tokens) in fp32: entry (b, v) is a function of (keys_B[b], step, v) alone.

    splitmix64 (Steele, Lea, Flood 2014), seeded per row and step.  -log(-log(1 - w)) with w near 0
    for the large values, where fp32 is fine-grained.
    """
    start_B = _mixed(keys_B + _mixed(torch.tensor(step + 1, device=keys_B.device) * _GOLDEN))
    token_V = torch.arange(1, tokens + 1, device=keys_B.device) * _GOLDEN
    bits_BV = _shifted(_mixed(start_B[:, None] + token_V), 11)
    w_BV = (bits_BV.to(torch.float32) + 0.5).mul_(2.0**-53).clamp_(max=1 - 2.0**-24)
    return w_BV.neg_().log1p_().neg_().log_().neg_()


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of splitmix64; products wrap."""
    for shift, factor in _MIX:
        x = (x ^ _shifted(x, shift)) * factor
    return x


def _shifted(x: Tensor, by: int) -> Tensor:
    """Unsigned shift to the right."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _key(seed: int, job: _Job) -> int:
    """64 bits from (seed, prompt ids, index)."""
    text = f"{seed} {job.index} {' '.join(map(str, job.prompt))}"
    value: int = struct.unpack("<q", hashlib.sha256(text.encode()).digest()[:8])[0]
    return value


def _draw(loaded: Loaded, job: _Job, row: Ids, stops: Ids) -> Draw:
    end = next((at for at, token in enumerate(row) if token in stops), None)
    ids = row[:end]
    return Draw(job.prompt_index, job.index, ids, _text(loaded, job.prompt, ids), end is not None)


def _text(loaded: Loaded, prompt: Ids, ids: Ids) -> str:
    """What `ids` add to the prompt's text: alone, some tokenizers drop their leading space."""
    decode: Any = loaded.tokenizer.decode
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    before, both = decode(list(prompt), **options), decode([*prompt, *ids], **options)
    text: str = both[len(before) :] if both.startswith(before) else decode(list(ids), **options)
    return text
