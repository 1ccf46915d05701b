"""What is trained: every weight, a new LoRA adapter, or the one that came with the model.

DPO on an SFT adapter goes on training that adapter: the reference is computed and stored before the
first step, so one adapter is all there ever is, and `final/` holds it on the base that it names.
Each way ends in a check of the exact trainable set.  Refused: targets that match nothing, the head.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from palate.engine.model import Loaded, core_of, embedding_rows, quiet
from palate.errors import ModelError

ADAPTER = "default"  # peft's name for the one adapter
_DROPOUT = re.compile(r"drop|jitter")
_FUSED = ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h")
_BYPASSED = ("out_proj", "dt_proj")  # state-space code reads their weights, past any adapter


@dataclass(frozen=True, slots=True)
class Lora:
    """The shape of a new adapter.  No targets: every linear layer but the head."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ()
    dropout: float = 0.0


def start_lora(loaded: Loaded, lora: Lora, *, seed: int) -> Loaded:
    """A new adapter, the only thing that trains.  It changes nothing yet: its B is 0.

    Its A is a function of (seed, model, lora).  Raises ModelError for targets that are not linear.
    """
    assert loaded.adapter is None, "an adapter that came with the model is continued"
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=cast(int, lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=_targets(loaded.core, lora.targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in loaded.core.modules()),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        tuned = get_peft_model(cast(Any, loaded.core), config)
    tuned.peft_config[ADAPTER].base_model_name_or_path = loaded.base
    set_dropout(tuned, lora=lora.dropout)
    _require_trainable(tuned, _of_adapter)
    return replace(loaded, model=tuned, notes=loaded.notes + _left_out(loaded.core))


def continue_adapter(loaded: Loaded) -> Loaded:
    """Train the adapter that came with the model; everything else stays frozen."""
    assert isinstance(loaded.model, PeftModel), "there is no adapter to continue"
    tuned = loaded.model
    tuned.requires_grad_(False)
    tuned.set_adapter(ADAPTER)
    tuned.peft_config[ADAPTER].inference_mode = False
    set_dropout(tuned)
    _require_trainable(tuned, _of_adapter)
    return loaded


def start_full(loaded: Loaded) -> Loaded:
    """Train every weight.  An adapter that came with the model is merged first, in memory."""
    model = merged(loaded.model)
    model.requires_grad_(True)
    set_dropout(model)
    _require_trainable(model, lambda name: True)
    return replace(loaded, model=model, adapter=None)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """What the optimiser may move, by name; a tied weight occurs once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def merged(model: nn.Module) -> PreTrainedModel:
    """The adapter folded into its base, in fp32 or wider, rounded once.  Consumes `model`."""
    if not isinstance(model, PeftModel):
        return core_of(model)
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    bases: list[nn.Parameter] = [cast(Any, layer).get_base_layer().weight for layer in layers]
    dtypes = [weight.dtype for weight in bases]
    for weight in bases:
        weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))
    try:
        whole = cast(PreTrainedModel, model.merge_and_unload(safe_merge=True))
    except ValueError as error:
        raise ModelError(
            f"The adapter cannot be merged: {error}", hint="Its weights are damaged."
        ) from error
    for weight, dtype in zip(bases, dtypes, strict=True):
        weight.data = weight.data.to(dtype)
    return whole


def set_dropout(model: nn.Module, *, lora: float = 0.0) -> None:
    """No dropout anywhere but in the adapter, if asked; so the model can stay in train mode.

    In eval mode transformers would switch gradient checkpointing off.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = lora if ".lora_dropout." in name else 0.0
        for holder in (module, getattr(module, "config", None)):
            for key, value in list(vars(holder).items()) if holder is not None else []:
                if _DROPOUT.search(key) and isinstance(value, float) and value > 0:
                    setattr(holder, key, 0.0)


def add_tokens(loaded: Loaded, tokens: Sequence[str], *, full: bool) -> Loaded:
    """Special tokens that a chat template needs, with a row each, the mean of the rows there are.

    Raises ModelError for LoRA: an adapter leaves the rows of the vocabulary as they are.
    """
    known = loaded.tokenizer.get_vocab()
    new = [token for token in dict.fromkeys(tokens) if token not in known]
    if not new:
        return loaded
    if not full:
        raise ModelError(
            f"The chat template needs tokens that this model does not have: {', '.join(new)}."
            " An adapter does not train their rows.",
            hint="Train every weight with --full, or choose a template made of plain text.",
        )
    assert loaded.adapter is None
    cast(Any, loaded.tokenizer).add_special_tokens(
        {"additional_special_tokens": new}, replace_extra_special_tokens=False
    )
    _grow(loaded.core, len(loaded.tokenizer), [loaded.tokenizer.get_vocab()[t] for t in new])
    return replace(loaded, notes=(*loaded.notes, f"New tokens: {', '.join(new)}."))


def add_stop(loaded: Loaded, token: int) -> None:
    """Let a text end at this token too, here and wherever `final/` is loaded."""
    if token not in loaded.stop_ids:
        loaded.core.generation_config.eos_token_id = [*loaded.stop_ids, token]


def save_final(loaded: Loaded, folder: Path) -> None:
    """Write the adapter (on the base it names), or the whole model, and the tokenizer.

    `folder` exists and is empty; the caller commits it.
    """
    with quiet():
        if isinstance(loaded.model, PeftModel):
            _save_adapter(loaded.model, folder)
            _save_generation(loaded.core, folder)
        else:
            _save_model(loaded.core, folder)
        loaded.tokenizer.save_pretrained(folder)


def _targets(core: PreTrainedModel, asked: tuple[str, ...]) -> list[str]:
    """Module names for peft.  Raises ModelError if one matches no linear layer, or the head."""
    linear = _linear_names(core)
    if not asked:
        return _short(core, linear)
    for target in asked:
        if _matches(target, _head_names(core)):
            raise ModelError(
                f"The target '{target}' is the vocabulary head, which an adapter leaves alone.",
                hint="Train every weight with --full to change it.",
            )
        if not _matches(target, linear):
            raise ModelError(
                f"The target '{target}' matches no linear layer of this model.",
                hint=f"There are: {', '.join(_last_names(linear))}.",
            )
    return sorted(set(asked))


def _linear_names(core: PreTrainedModel) -> list[str]:
    """Every linear layer that an adapter can reach, without the head."""
    left = set(_head_names(core))
    inside = "." if core.config.model_type in _FUSED else ".mamba."
    fused = tuple(inside + name for name in _BYPASSED)
    return [
        name
        for name, module in core.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name not in left and not name.endswith(fused)
    ]


def _left_out(core: PreTrainedModel) -> tuple[str, ...]:
    """Experts are often one tensor, no linear layers: say that an adapter passes them by."""
    experts = sum(p.numel() for p in core.parameters() if p.dim() == 3 and not p.requires_grad)
    share = experts / sum(p.numel() for p in core.parameters())
    return (
        (f"{share:.0%} of the weights are experts, which have no adapter.",) if share > 0.1 else ()
    )


def _head_names(core: PreTrainedModel) -> list[str]:
    head = cast(Any, core).get_output_embeddings()
    return [name for name, module in core.named_modules() if module is head]


def _matches(target: str, names: Iterable[str]) -> bool:
    """As peft matches: the whole name, or its end after a dot."""
    return any(name == target or name.endswith(f".{target}") for name in names)


def _last_names(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})


def _short(core: PreTrainedModel, linear: list[str]) -> list[str]:
    """Last names (q_proj ...) where they mean the linear layers alone, else the full names."""
    short, wanted = _last_names(linear), set(linear)
    others = [name for name, _ in core.named_modules() if name not in wanted]
    return sorted(linear) if any(_matches(name, others) for name in short) else short


def _of_adapter(name: str) -> bool:
    return f".{ADAPTER}." in name or name.endswith(f".{ADAPTER}")


def _require_trainable(model: nn.Module, expected: Callable[[str], bool]) -> None:
    """An invariant of peft that has broken before: exactly these train, and there are some."""
    found = set(trainable(model))
    wanted = {name for name, _ in model.named_parameters() if expected(name)}
    assert found == wanted and found, f"trainable set differs: {sorted(found ^ wanted)[:5]}"


def _grow(core: PreTrainedModel, rows: int, new: list[int]) -> None:
    """Make room for `rows` token ids and start the new ones at the mean: no random draw."""
    tables = [cast(Any, core).get_input_embeddings().weight]
    head = cast(Any, core).get_output_embeddings().weight
    tables += [] if head is tables[0] else [head]
    old = [table.shape[0] for table in tables]
    means = [table.detach().double().mean(0) for table in tables]
    if rows > old[0]:
        with quiet():
            core.resize_token_embeddings(rows, mean_resizing=False)
    tables = [cast(Any, core).get_input_embeddings().weight]
    tables += [cast(Any, core).get_output_embeddings().weight]
    with torch.no_grad():
        for table, mean in zip(tables, [means[0], means[-1]], strict=True):
            table[new] = mean.to(table)
    assert embedding_rows(core) >= rows


def _save_adapter(tuned: PeftModel, folder: Path) -> None:
    """As peft lays it out, without its model card, and the same bytes for the same adapter."""
    state: dict[str, Tensor] = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    save_file(whole, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = tuned.peft_config[ADAPTER]
    training, config.inference_mode = config.inference_mode, True
    config.save_pretrained(str(folder))
    config.inference_mode = training
    path = folder / "adapter_config.json"
    fields = json.loads(path.read_text())
    if isinstance(fields["target_modules"], list):
        fields["target_modules"].sort()  # peft holds a set, whose order differs by process
    path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _save_model(core: PreTrainedModel, folder: Path) -> None:
    """A Hugging Face folder; an invalid generation config is left out rather than the weights."""
    generation = core.generation_config
    try:
        core.generation_config = GenerationConfig()
        core.save_pretrained(folder)
    finally:
        core.generation_config = generation
    _save_generation(core, folder)


def _save_generation(core: PreTrainedModel, folder: Path) -> None:
    """The generation config; if transformers would refuse it, what a text ends with."""
    config: Any = core.generation_config
    plain = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    for candidate in (config, plain):
        with suppress(ValueError):
            candidate.save_pretrained(folder)
            return
