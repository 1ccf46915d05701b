"""The flags of what trains: `sft`, `dpo`, `reward`, `ppo`."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from palate.config.base import NAMED_OPTIONS, comma_separated, free, frozen, named_once, parted
from palate.config.rows import RowOptions

Schedule = Literal["cosine", "linear", "constant"]
Dtype = Literal["float32", "bfloat16", "float64"]


class TrainConfig(RowOptions):
    """What every stage that trains shares."""

    stage: ClassVar[str]

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

    stage = "sft"
    objective: Literal["sft", "weighted_sft"] = frozen("sft", "what is learnt")
    mean: Literal["token", "sequence"] = frozen(
        "token", "every completion token weighs the same, or every completion"
    )

    @property
    def objective_options(self) -> dict[str, Any]:
        return {"mean": self.mean}


class DpoConfig(TrainConfig):
    """`palate dpo`: prefer chosen over rejected, against a locked reference."""

    stage = "dpo"
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
    random_labels: bool = frozen(
        False, "the negative control: which answer counts as chosen is a coin's, by seed"
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


class RewardConfig(TrainConfig):
    """`palate reward`: a number for every answer, larger for chosen than for rejected."""

    stage = "reward"
    margin: float = frozen(
        0.0, "gap in nats asked of a pair, times its strength (2 if much better, else 1)", ge=0
    )
    label_smoothing: float = frozen(0.0, "share of the verdicts assumed wrong", ge=0, lt=0.5)
    centring: float = frozen(0.0, "hold rewards around 0 with this weight (say 0.01)", ge=0)


class PpoConfig(TrainConfig):
    """`palate ppo`: draw texts, have them scored, reinforce."""

    stage = "ppo"
    data: str = frozen(..., "prompts: JSONL, JSON, CSV, Parquet, or a hub data set id")
    reward: str | None = frozen(
        None, "what scores a text: demo, a rubric in TOML, or a reward model"
    )
    judge_with: str | None = frozen(
        None,
        "online_dpo: who compares the two texts instead, demo or the URL of an OpenAI-compatible"
        " server",
    )
    judge_model: str | None = frozen(None, "with --judge-with: which model of that server")
    insecure: bool = free(False, "with --judge-with: plain http to another machine")
    method: Literal["ppo", "rloo", "grpo", "online_dpo"] = frozen(
        "ppo",
        "how texts are learnt from: ppo (with a value head), rloo and grpo (against the prompt's"
        " other texts), online_dpo (the better of two)",
    )
    n: int | None = frozen(None, "texts per prompt (default: the method's own)", ge=1)
    kl: float | None = frozen(
        None, "price of a nat from the reference, in spreads of the starting model's scores", ge=0
    )
    kl_target: float | None = frozen(
        None, "let the price follow, so that a text stays about this many nats away", gt=0
    )
    beta: float | None = frozen(None, "online_dpo: the pull to the reference", gt=0)
    passes: int | None = frozen(
        None, "updates over each step's texts (default: the method's own)", ge=1
    )
    max_new_tokens: int = frozen(256, "longest text in tokens", ge=1)
    batch_size: int | None = frozen(None, "prompts per step", ge=1)
    epochs: float | None = frozen(None, "passes over the prompts, new texts each time", gt=0)
