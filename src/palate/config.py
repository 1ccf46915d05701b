"""One frozen model per command: the flags, the TOML file, and what the run writes down.

The only place where a default is written.  `None` means "derived from model and data when the run
starts"; `train/defaults.py` derives it and says why.  Each field says what a resume may do with it:
`frozen` (a change is refused), `free` (a change is harmless).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NAMED_OPTIONS = ("beta", "label_smoothing", "sft_weight")
Schedule = Literal["cosine", "linear", "constant"]
Dtype = Literal["float32", "bfloat16", "float64"]


def frozen(default: Any, text: str, **limits: Any) -> Any:
    """A field that a resumed run must not change."""
    return Field(default, description=text, json_schema_extra={"resume": "frozen"}, **limits)


def free(default: Any, text: str, **limits: Any) -> Any:
    """A field that a resumed run may change: it cannot touch the result."""
    return Field(default, description=text, json_schema_extra={"resume": "free"}, **limits)


class Model(BaseModel):
    """Base of every config: immutable, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


def comma_separated(value: Any) -> Any:
    """`a,b` or `(a, b,c)` -> `(a, b, c)`; anything else is left for pydantic to refuse."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return value
    return tuple(word.strip() for part in parts for word in part.split(",") if word.strip())


def named_once(words: tuple[str, ...]) -> tuple[str, ...]:
    """`NAME=VALUE` each, no name twice, none that has a flag of its own."""
    names = [word.partition("=")[0].strip() for word in words]
    for place, (name, word) in enumerate(zip(names, words, strict=True)):
        if not name or "=" not in word:
            raise ValueError(f"'{word}' is not NAME=VALUE")
        if name in (*NAMED_OPTIONS, *names[:place]):
            raise ValueError(f"{name} is given twice, or has a flag of its own")
    return words


def parted(words: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping."""
    parts = (word.partition("=") for word in words)
    return {name.strip(): value.strip() for name, _, value in parts}


class PromptOptions(Model):
    """How a prompt is read and written out; `model_fields_set` tells what the user asked for."""

    map: tuple[str, ...] = frozen((), "rename fields: prompt=mr,completion=human")
    format: str = free(
        "auto",
        "whose fields the data has, told by its first row if auto: palate, sharegpt,"
        " llamafactory, alpaca, alpaca-pairs, alpaca-kto, hh, openai, openai-pairs,"
        " ultrafeedback-binarized, ultrafeedback, scored, stack-exchange, kto",
    )
    join: str | None = frozen(
        None,
        "between a plain prompt and completion (default: a newline if the seam has no white space)",
    )
    plain: bool = frozen(False, "treat strings as plain text even if the model has a chat template")
    chat_template: str | None = frozen(
        None, "a template by name (chatml) or a Jinja file, for a model without one"
    )

    _words = field_validator("map", mode="before")(comma_separated)


class RowOptions(PromptOptions):
    """How a row becomes token ids."""

    max_length: int | None = frozen(
        None, "longest sequence in tokens (default: the model's context)", ge=2
    )
    truncate: Literal["prompt-left"] | None = frozen(
        None, "cut over-long prompts from the left instead of stopping"
    )
    drop_long: bool = frozen(False, "leave over-long rows out, and name them, instead of stopping")


class TrainConfig(RowOptions):
    """What `sft` and `dpo` share."""

    model: str = frozen(
        ..., "a run of palate, a Hugging Face folder or hub id, or a PEFT adapter folder"
    )
    data: str = frozen(..., "JSONL, JSON, CSV, Parquet, or a hub data set id")
    out: Path = free(..., "folder of the run; the same command on it continues")
    heldout: str | None = frozen(
        None, "file to evaluate on (default: a tenth of the prompts, by seed)"
    )
    epochs: float | None = frozen(None, "passes over the data", gt=0)
    max_steps: int | None = frozen(None, "stop after this many optimiser steps", ge=1)
    batch_size: int | None = frozen(None, "items per optimiser step, whatever the packing", ge=1)
    lr: float | None = frozen(None, "peak learning rate", gt=0)
    schedule: Schedule = frozen("cosine", "shape of the learning rate after warm-up")
    warmup: float = frozen(0.1, "share of the steps spent warming up", ge=0, le=1)
    weight_decay: float = frozen(0.0, "AdamW weight decay on matrices", ge=0)
    clip: float = frozen(1.0, "largest gradient norm", gt=0)
    seed: int = frozen(0, "order, split, adapter initialisation", ge=0)
    full: bool = frozen(False, "train every weight (otherwise LoRA)")
    rank: int | None = frozen(None, "LoRA rank", ge=1)
    alpha: float | None = frozen(None, "LoRA alpha (default: twice the rank)", gt=0)
    targets: tuple[str, ...] = frozen(
        (), "LoRA target modules (default: every linear layer but the head)"
    )
    lora_dropout: float = frozen(
        0.0, "LoRA dropout; above 0, sharing and packing are off", ge=0, lt=1
    )
    dtype: Dtype | None = frozen(
        None, "weights and arithmetic (default: CUDA bfloat16, CPU float32)"
    )
    token_budget: int | None = frozen(None, "tokens per packed row: memory against speed", ge=16)
    grad_checkpoint: bool = frozen(
        False, "recompute activations in the backward pass: less memory, more time"
    )
    threads: int | None = frozen(None, "CPU threads", ge=1)
    eval_every: int | None = frozen(None, "optimiser steps between held-out evaluations", ge=1)
    save_every: int | None = free(None, "optimiser steps between checkpoints", ge=1)
    keep: int = free(2, "checkpoints kept", ge=2)

    _modules = field_validator("targets", mode="before")(comma_separated)


class SftConfig(TrainConfig):
    """`palate sft`: imitate the completions."""

    objective: Literal["sft", "weighted_sft"] = frozen("sft", "what is learnt")
    mean: Literal["token", "sequence"] = frozen(
        "token", "every completion token weighs the same, or every completion"
    )

    @property
    def objective_options(self) -> dict[str, Any]:
        return {"mean": self.mean}


class DpoConfig(TrainConfig):
    """`palate dpo`: prefer chosen over rejected, against a locked reference."""

    objective: str = frozen("dpo", "what is learnt: see palate objectives")
    beta: float | None = frozen(
        None, "strength of the pull to the reference (default: the objective's own; dpo: 0.1)", gt=0
    )
    label_smoothing: float | None = frozen(
        None, "share of the verdicts assumed wrong (cDPO)", ge=0, lt=0.5
    )
    sft_weight: float | None = frozen(
        None, "this much SFT on chosen, per token, beside the objective (RPO)", ge=0
    )
    option: tuple[str, ...] = frozen(
        (), "other options of the objective: gamma=0.5,mean=token (see palate objectives NAME)"
    )

    _options = field_validator("option", mode="before")(comma_separated)
    _named = field_validator("option")(named_once)

    @property
    def objective_options(self) -> dict[str, Any]:
        """What was asked of the objective; what was left out is its own default."""
        named = {name: getattr(self, name) for name in NAMED_OPTIONS}
        return {name: value for name, value in named.items() if value is not None} | parted(
            self.option
        )


class ExplainOptions(RowOptions):
    """`palate explain`.  Nothing here is resumed, so all of it is free."""

    objective: str | None = free(None, "explain under this objective (default: the run's, or dpo)")
    beta: float | None = free(None, "its beta (default: the run's, or the objective's own)", gt=0)
    option: tuple[str, ...] = free((), "its other options: gamma=0.5,mean=token")
    reference: str | None = free(None, "the model to measure against, if palate did not train this")
    pair: int | None = free(None, "this row alone, 1 for the first", ge=1)
    detail: int = free(500, "rows shown token by token, the heaviest first", ge=1)
    prompt: str | None = free(None, "a pair typed in instead of a file: its prompt")
    chosen: str | None = free(None, "its better answer")
    rejected: str | None = free(None, "its near-miss")

    _options = field_validator("option", mode="before")(comma_separated)
    _named = field_validator("option")(named_once)

    @property
    def objective_options(self) -> dict[str, Any]:
        """What was asked of the objective."""
        beta = {} if self.beta is None else {"beta": self.beta}
        return beta | parted(self.option)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = (self.prompt, self.chosen, self.rejected)
        if None in given and any(given):
            raise ValueError("a pair typed in needs --prompt, --chosen and --rejected")
        return self


class DoctorOptions(RowOptions):
    """`palate doctor`.  Nothing here is resumed, so all of it is free."""

    model: str | None = free(None, "also ask this model: a run of palate, or any Hugging Face one")
    heldout: str | None = free(None, "file that will be evaluated on: is any of it in here too?")
    samples: str | None = free(
        None, "prompts that the model writes texts for (default: 64; 0: none), or a file of them"
    )
    beta: float | None = free(None, "the beta you will train with (default: 0.1)", gt=0)


class DrawOptions(Model):
    """How a text is drawn (`palate chat`).  Nothing here is resumed, so all of it is free."""

    temperature: float = free(1.0, "0 takes the likeliest token each time", ge=0)
    top_p: float = free(1.0, "draw from the likeliest tokens that hold this share", gt=0, le=1)
    max_new_tokens: int = free(256, "longest completion in tokens", ge=1)
    seed: int = free(0, "each text is a function of (seed, prompt, index) alone", ge=0)


class SampleConfig(DrawOptions, PromptOptions):
    """`palate sample`: completions for a file of prompts."""

    n: int = free(1, "completions per prompt", ge=1)


def complaint(error: Any, name: Callable[[str], str]) -> str:
    """One entry of pydantic's `errors()` as a sentence; `name` says what the user calls a field."""
    field = name(str(error["loc"][0])) if error["loc"] else "this"
    if error["type"] == "missing":
        return f"{field} is needed."
    what = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not error["loc"]:
        return f"{what}."
    given = error["input"]
    shown = ",".join(map(str, given)) if isinstance(given, list | tuple) else str(given)
    return f"{field} {shown[:60]}: {what}."


def resume_rule(model: type[Model], field: str) -> str:
    """`frozen` or `free`, as the field says."""
    extra = model.model_fields[field].json_schema_extra
    assert isinstance(extra, dict), (
        f"{model.__name__}.{field} does not say what a resume may do with it"
    )
    return str(extra["resume"])
