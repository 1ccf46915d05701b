"""One frozen model per command: the flags, the TOML file, and what the run writes down.

The only place where a default is written.  `None` means "derived from model and data when the run
starts"; `train/defaults.py` derives it and says why.  Each field says what a resume may do with it:
`frozen` (a change is refused), `free` (a change is harmless).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

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
    final: Literal["best", "last"] = frozen(
        "best", "the weights that are kept: those of the best held-out loss, or of the last step"
    )
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
    temperatures: tuple[float, ...] = free(
        (), "several instead of one, in turn over a prompt's texts: 0.7,1.0,1.3"
    )
    top_ps: tuple[float, ...] = free((), "the same for the likeliest share: 0.9,1.0")
    endpoint: str | None = free(
        None,
        "ask an OpenAI-compatible server (Ollama, vLLM, llama.cpp ...) for the model of that name;"
        " its key is read from PALATE_API_KEY",
    )
    insecure: bool = free(False, "let prompts go to another machine over plain http")
    vllm: bool = free(False, "draw with vLLM instead of transformers (extra vllm)")

    _numbers = field_validator("temperatures", "top_ps", mode="before")(comma_separated)

    @field_validator("temperatures", "top_ps")
    @classmethod
    def _within(cls, given: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if info.field_name == "temperatures" and min(given, default=0) < 0:
            raise ValueError("each must be 0 or more")
        if info.field_name == "top_ps" and any(not 0 < value <= 1 for value in given):
            raise ValueError("each must be more than 0, and 1 at most")
        return given


class TeachOptions(PromptOptions):
    """`palate teach`: rounds of draw, judge, prefer, compare."""

    out: Path = free(..., "folder of the rounds; the same command on it continues")
    rounds: int = free(2, "rounds; more of them later go on from the last", ge=1)
    judgements: int = free(100, "judgements a round, a fifth of them on held-out prompts", ge=1)
    n: int = frozen(4, "texts drawn for each prompt in each round", ge=2)
    judge_with: str | None = free(
        None, "demo, or the URL of an OpenAI-compatible server (default: you, at the page)"
    )
    judge_model: str | None = free(None, "with --judge-with: which model of that server")
    pick: Literal["active", "random"] = frozen(
        "random", "what to judge after the first round: at random, or by palate pick's figures"
    )
    beta: float | None = frozen(None, "DPO's pull to the starting model (default: 0.1)", gt=0)
    lr: float | None = frozen(None, "DPO's peak learning rate", gt=0)
    epochs: float | None = frozen(None, "DPO's passes over the pairs", gt=0)
    temperature: float = frozen(1.0, "of the texts that are judged and compared", ge=0)
    max_new_tokens: int = frozen(256, "longest text in tokens", ge=1)
    seed: int = frozen(0, "texts, picks and training are functions of it", ge=0)


class PickOptions(Model):
    """`palate pick`.  Nothing here is resumed, so all of it is free."""

    model: str | None = free(None, "the policy: a run of palate, or any Hugging Face model")
    how: Literal["active", "random"] = free(
        "active", "most informative first (needs --model), or random as its control"
    )
    n: int = free(100, "pairs planned; every fifth is a random held-out one", ge=1)
    seed: int = free(0, "what is random is a function of (seed, content) alone", ge=0)


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


class JudgeOptions(Model):
    """`palate judge`.  Nothing here is resumed, so all of it is free."""

    mode: Literal["pair", "rank", "edit", "write", "audit", "resolve", "recheck"] = free(
        "pair",
        "two answers at a time; the winner of a prompt stays (rank); make answers better (edit);"
        " write both (write); look again at chosen answers (audit), contradictions (resolve),"
        " doubts (recheck)",
    )
    judge: str | None = free(
        None, "who judges; with --export, whose pairs (default: the last one here, or me)"
    )
    tags: tuple[str, ...] = free(
        (), "reasons on the number keys, kept in the store (default: eight of a listing's)"
    )
    why: bool = free(False, "a verdict needs a tag or a reason")
    goal: int | None = free(None, "say so after this many judgements", ge=1)
    model: str | None = free(None, "while you write a pair: how plausible is it to this model?")
    port: int | None = free(
        None, "port on this machine (default: last time's, or any free one)", ge=1024, le=65535
    )
    no_browser: bool = free(False, "print the link, and open no browser")
    split: Literal["train", "heldout", "all"] | None = free(
        None, "with --export: these pairs alone (default: both splits, a file each)"
    )
    include: tuple[str, ...] = free(
        (), "with --export: also reasks, inferred (from rankings), ties (in a file of their own)"
    )
    judge_with: str | None = free(
        None,
        "it judges instead, under its own name: the URL of an OpenAI-compatible server, or demo,"
        " the taste of `palate demo` as a program",
    )
    judge_model: str | None = free(None, "with --judge-with: which model of that server")
    rubric: Path | None = free(None, "with --judge-with: a text that it is told to judge by")
    n: int = free(100, "with --judge-with: pairs it is to compare in all", ge=1)
    insecure: bool = free(False, "with --judge-with: plain http to another machine")
    map: tuple[str, ...] = free((), "with --add: rename fields: prompt=mr,completion=human")
    format: str = free(
        "auto", "with --add: whose fields the data has, told by its first row if auto"
    )

    _words = field_validator("tags", "include", "map", mode="before")(comma_separated)

    @field_validator("include")
    @classmethod
    def _known(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(words) - {"reasks", "inferred", "ties"}:
            raise ValueError(f"'{min(unknown)}' is none of reasks, inferred, ties")
        return words
