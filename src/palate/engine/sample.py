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

from palate.config import DrawOptions
from palate.engine.model import Loaded, quiet
from palate.errors import UsageError

Ids = tuple[int, ...]
Progress = Callable[[int, int], None]

_ROW_LENGTH_ROTARY = ("dynamic", "longrope")  # angles depend on the longest text of the batch
_GOLDEN = -7046029254386353131  # splitmix64's step: 2**64 over the golden ratio
_MIX = ((30, -4658895280553007687), (27, -7723592293110705685), (31, 1))
_USUAL = DrawOptions()


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """How to draw.  `temperature` 0 is greedy; `batch_size` changes speed, not texts."""

    max_new_tokens: int
    completions: int = 1
    temperature: float = _USUAL.temperature
    top_p: float = _USUAL.top_p
    min_p: float = 0.0
    stop_ids: Ids = ()
    batch_size: int = 64


@dataclass(frozen=True, slots=True)
class Job:
    """One text to draw: after which ids, its number among the texts of that prompt, and how warm.

    `prompt_index` is only told back.
    """

    prompt: Ids
    index: int
    temperature: float
    top_p: float
    prompt_index: int = 0


@dataclass(frozen=True, slots=True)
class Draw:
    """One completion.  `ids` are without `end`, the token that ended it, if one did."""

    prompt_index: int
    index: int
    ids: Ids
    text: str
    end: int | None

    @property
    def ended(self) -> bool:
        return self.end is not None

    @property
    def said(self) -> Ids:
        """Every token that was drawn, the end too."""
        return self.ids if self.end is None else (*self.ids, self.end)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A job with its place among the others and the most tokens it may get."""

    job: Job
    place: int
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
    jobs = [
        Job(prompt, index, settings.temperature, settings.top_p, place)
        for place, prompt in enumerate(prompts)
        for index in range(settings.completions)
    ]
    return draw(loaded, jobs, settings, seed=seed, progress=progress)


def draw(
    loaded: Loaded,
    jobs: Sequence[Job],
    settings: SampleSettings,
    *,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> tuple[Draw, ...]:
    """The texts of `jobs` in their order; each job says itself how many and how warm.

    Raises UsageError for an empty prompt or one that leaves no room.
    """
    placed = _placed(loaded, jobs, settings)
    stops = tuple(dict.fromkeys((*settings.stop_ids, *loaded.stop_ids)))
    draws: dict[int, Draw] = {}
    with _ready(loaded.core):
        for batch in _batches(placed, settings.batch_size, _may_pad(loaded.core)):
            rows = _generate(loaded, batch, settings, stops=stops, seed=seed)
            for each, row in zip(batch, rows, strict=True):
                draws[each.place] = _draw(loaded, each.job, row, stops)
            progress(len(draws), len(jobs))
    return tuple(draws[place] for place in range(len(jobs)))


def _placed(loaded: Loaded, jobs: Sequence[Job], settings: SampleSettings) -> list[_Placed]:
    for job in jobs:
        if not 0 < len(job.prompt) < loaded.context:
            raise UsageError(
                f"Prompt {job.prompt_index + 1} has {len(job.prompt)} tokens; the model takes"
                f" 1 to {loaded.context - 1} and needs room for an answer.",
                hint="Shorten it." if job.prompt else "Give it at least one token.",
            )
    room = (loaded.context - len(job.prompt) for job in jobs)
    return [
        _Placed(job, place, min(settings.max_new_tokens, left))
        for place, (job, left) in enumerate(zip(jobs, room, strict=True))
    ]


def _batches(jobs: Sequence[_Placed], size: int, may_pad: bool) -> Iterator[list[_Placed]]:
    """Longest first, by content; one warmth and one limit per batch, and one length where padding
    would show."""

    def together(each: _Placed) -> tuple[float, ...]:
        length = 0 if may_pad else len(each.job.prompt)
        return each.limit, length, each.job.temperature, each.job.top_p

    def order(each: _Placed) -> tuple[Any, ...]:
        return *together(each), -len(each.job.prompt), each.job.prompt, each.job.index

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
    loaded: Loaded, batch: Sequence[_Placed], settings: SampleSettings, *, stops: Ids, seed: int
) -> list[Ids]:
    """The new tokens of each row, with whatever follows its end."""
    prompts = [each.job.prompt for each in batch]
    width = max(map(len, prompts))
    fill = stops[0] if stops else 0
    ids = [(fill,) * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [(0,) * (width - len(prompt)) + (1,) * len(prompt) for prompt in prompts]
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
        logits_processor=_processors(
            [each.job for each in batch], settings.min_p, width=width, seed=seed
        ),
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
    batch: Sequence[Job], min_p: float, *, width: int, seed: int
) -> LogitsProcessorList:
    """What is done to the scores of one batch, whose jobs are equally warm."""
    steps, first = LogitsProcessorList(), batch[0]
    if first.temperature > 0:
        steps.append(_Cooled(first.temperature))
        if first.top_p < 1:
            steps.append(TopPLogitsWarper(first.top_p))
        if min_p > 0:
            steps.append(MinPLogitsWarper(min_p))
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


def _key(seed: int, job: Job) -> int:
    """64 bits from (seed, prompt ids, index)."""
    text = f"{seed} {job.index} {' '.join(map(str, job.prompt))}"
    value: int = struct.unpack("<q", hashlib.sha256(text.encode()).digest()[:8])[0]
    return value


def _draw(loaded: Loaded, job: Job, row: Ids, stops: Ids) -> Draw:
    ids, end = cut(row, stops)
    text = added_text(loaded.tokenizer, job.prompt, ids)
    return Draw(job.prompt_index, job.index, ids, text, end)


def cut(row: Ids, stops: Ids) -> tuple[Ids, int | None]:
    """What was drawn before the first token that ends a text, and that token."""
    at = next((at for at, token in enumerate(row) if token in stops), None)
    return (row, None) if at is None else (row[:at], row[at])


def added_text(tokenizer: Any, prompt: Ids, ids: Ids) -> str:
    """What `ids` add to the prompt's text: alone, some tokenizers drop their leading space."""
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    before = tokenizer.decode(list(prompt), **options)
    both = tokenizer.decode([*prompt, *ids], **options)
    if both.startswith(before):
        return str(both[len(before) :])
    return str(tokenizer.decode(list(ids), **options))
