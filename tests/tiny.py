"""Random tiny models of many architectures, for tests: nothing is downloaded.

A freshly initialised model says nearly the same for every token, so it agrees with a wrong
computation too.  Here every parameter is drawn wide: norms and biases are not 1 and 0, windows are
shorter than a row, soft-caps and scales bite, and logits spread by several nats.

    KINDS            families that the packed path must get exactly right
    FALLBACK_KINDS   families that must be noticed: state-space, hybrid, row-length rotary
"""

from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

VOCAB = 304  # rows of the embedding; a few more than the tokenizer's ids
TOKENS = 300
WINDOW = 8
SPREAD = 2.5  # standard deviation of the logits over the vocabulary, in nats

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_HEADS8 = {"head_dim": 8}
_FULL, _NEAR = "full_attention", "sliding_attention"
_GPT2 = {
    "vocab_size": VOCAB,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
}
_MAMBA_PART = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2}

_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _SHAPE | {"tie_word_embeddings": False}),
    "qwen2": ("qwen2", _SHAPE | {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", _SHAPE | _HEADS8 | {"tie_word_embeddings": False}),
    "mistral": ("mistral", _SHAPE | {"sliding_window": WINDOW}),
    "gemma2": (
        "gemma2",
        _SHAPE
        | _HEADS8
        | {
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 6.0,
            "query_pre_attn_scalar": 12,
        },
    ),
    "gemma3": (
        "gemma3_text",
        _SHAPE
        | _HEADS8
        | {
            "sliding_window": WINDOW,
            "layer_types": [_NEAR, _FULL, _NEAR],
            "query_pre_attn_scalar": 12,
        },
    ),
    "phi3": ("phi3", _SHAPE | {"sliding_window": None, "resid_pdrop": 0.0}),
    "gpt2": ("gpt2", _GPT2),
    "gpt_neox": (
        "gpt_neox",
        {k: v for k, v in _SHAPE.items() if k != "num_key_value_heads"}
        | {"hidden_dropout": 0.0, "attention_dropout": 0.0},
    ),
    "granite": (
        "granite",
        _SHAPE
        | {
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.7,
            "embedding_multiplier": 3.0,
            "logits_scaling": 1.7,
        },
    ),
    "cohere2": (
        "cohere2",
        _SHAPE
        | {
            "sliding_window": WINDOW,
            "layer_types": [_NEAR, _FULL, _NEAR],
            "logit_scale": 0.4,
        },
    ),
    "mixtral": (
        "mixtral",
        _SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "mamba": (
        "mamba",
        {"vocab_size": VOCAB, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 3}
        | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2},
    ),
    "jamba": (
        "jamba",
        _SHAPE
        | _MAMBA_PART
        | {
            "mamba_dt_rank": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 1,
            "num_experts_per_tok": 1,
        },
    ),
    "lfm2": ("lfm2", _SHAPE | {"layer_types": ["conv", _FULL, "conv"], "conv_L_cache": 3}),
    "phi3_longrope": (
        "phi3",
        _SHAPE
        | {
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 16,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0, 3.0, 4.0, 5.0],
            },
            "resid_pdrop": 0.0,
        },
    ),
    "llama_dynamic": (
        "llama",
        _SHAPE
        | {
            "max_position_embeddings": 16,
            "rope_parameters": _ROPE | {"rope_type": "dynamic", "factor": 4.0},
        },
    ),
}

FALLBACK_KINDS = ("mamba", "jamba", "lfm2", "phi3_longrope", "llama_dynamic")
KINDS = tuple(kind for kind in _CONFIGS if kind not in FALLBACK_KINDS)


def config(kind: str, **changes: Any) -> PretrainedConfig:
    """The configuration of `kind`; `changes` replace single fields."""
    family, fields = _CONFIGS[kind]
    return AutoConfig.for_model(family, **(fields | changes))


def model(
    kind: str, *, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any
) -> PreTrainedModel:
    """A tiny model in eval mode, a function of (kind, seed, changes) alone but for rounding."""
    factory: Any = AutoModelForCausalLM
    made: Any = factory.from_config(config(kind, **changes))
    if kind == "mixtral":
        made.set_experts_implementation("eager")  # the grouped product has no float64
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(_drawn(name, parameter, generator))
        made = made.to(dtype).eval()
        _spread(made, generator)
    return cast(PreTrainedModel, made)


def folder(
    path: Path, kind: str = "llama", *, chat_template: str | None = None, **options: Any
) -> Path:
    """Save `model(kind, **options)`, in fp32 unless asked, and a tokenizer, as a folder."""
    made = model(kind, **({"dtype": torch.float32} | options))
    made.save_pretrained(path)
    tokens = tokenizer()
    tokens.chat_template = chat_template
    tokens.save_pretrained(path)
    return path


def tokenizer(*, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE with 300 tokens: <s> 0, </s> 1, <pad> 2."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([_TEXT], trainer)
    if adds_bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    factory: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = factory(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    return made


_TEXT = (
    "the flat is near the station and the other one is by the river; this one has two baths "
    "and that one has a garden in the back, there is a covered space and a fee for the lift"
)


def _drawn(name: str, parameter: Any, generator: torch.Generator) -> Any:
    """Wide random values: matrices keep their input's variance, the rest moves off its start."""
    noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    if parameter.dim() < 2 or "A_log" in name:
        return parameter.double() + 0.2 * noise
    if "embed" in name or "wte" in name or "wpe" in name:
        return noise * parameter.shape[-1] ** -0.5
    if parameter.dim() == 3 and "conv" in name:
        return parameter.double() + 0.2 * noise
    return noise * 1.5 * parameter.shape[-1] ** -0.5


def _spread(made: Any, generator: torch.Generator) -> None:
    """Scale the head (with its tied embedding) until logits spread by about SPREAD nats."""
    weight = made.get_output_embeddings().weight
    ids = torch.randint(3, TOKENS, (2, 12), generator=generator)
    for _ in range(4):
        spread = float(made(input_ids=ids, use_cache=False).logits.double().std(-1).mean())
        weight.mul_(min(4.0, max(0.25, SPREAD / spread)))
