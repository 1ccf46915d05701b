"""TRL's side: its own trainers, collators and reference pass, on the same token ids.

`DPOTrainer` takes text, so each id is written as one word of a word-level tokenizer; `SFTTrainer`
takes ids.  The ids that arrive are compared with the ones that were sent.  Nothing of TRL is
changed, but for the switch of `compact`, and clocks.
"""

import importlib
import time
from pathlib import Path
from typing import Any, Self

import torch
from datasets import Dataset
from machine import StepClock
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainingArguments,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
from workload import BETA, CLIP, EOS, LR, PAD, SHAPES, Ids, Record, Workload, digest, timed, warm_up

UTILS: Any = importlib.import_module("trl.trainer.utils")
_AS_SHIPPED = UTILS._use_triton


def score_completions_only(compact: bool) -> None:
    """Switch TRL's compact scoring on: as shipped it is used where there is Triton, not on a CPU.

    The fused head looks the name up in `trl.trainer.utils` when it runs; the tiles look theirs up
    elsewhere, so they stay the torch ones.
    """
    UTILS._use_triton = (lambda device: True) if compact else _AS_SHIPPED


def load(folder: Path) -> Any:
    """The model in fp32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def tokenizer(vocab: int) -> PreTrainedTokenizerFast:
    """One word for each id, split at white space, nothing added."""
    words = {_word(index): index for index in range(vocab)}
    raw = Tokenizer(models.WordLevel(words, unk_token=_word(PAD)))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=_word(EOS), pad_token=_word(PAD), unk_token=_word(PAD)
    )


def trainer(
    work: Workload, folder: Path, records: list[Record], *, micro_batch: int, beta: float = BETA
) -> Any:
    """A trainer with its reference pass done, taking the records in their order."""
    model, words = load(folder), tokenizer(SHAPES[work.shape].vocab)
    options = _options(work, folder, micro_batch)
    if work.kind == "sft":
        return SFTTrainer(
            model,
            args=SFTConfig(**options),
            train_dataset=_rows(records),
            processing_class=words,
        )
    made: Any = DPOTrainer(
        model,
        args=DPOConfig(**options, beta=beta, precompute_ref_log_probs=True),
        train_dataset=_comparisons(records),
        processing_class=words,
    )
    _check_ids(made.train_dataset, records)
    return made


def run(work: Workload, folder: Path, *, micro_batch: int, compact: bool) -> dict[str, Any]:
    """Time the optimiser steps of `work`; the first, short one is not counted."""
    score_completions_only(compact)
    with _ReferenceClock() as reference:
        made = trainer(work, folder, warm_up(work) + timed(work), micro_batch=micro_batch)
    clock = _Clock()
    made.add_callback(clock)
    made.train()
    assert made.state.global_step == work.steps + 1, "TRL took another number of steps"
    passed = reference.seconds[work.batch // micro_batch :]
    return clock.steps.measured() | {
        "reference_seconds": sum(passed) if passed else None,
        "digest": digest(timed(work)),
    }


def sweep(
    work: Workload, folder: Path, micro_batches: list[int], *, compact: bool, records: int
) -> dict[str, Any]:
    """Seconds for the first records of `work`, forward and backward, at each micro-batch."""
    score_completions_only(compact)
    largest = max(micro_batches)
    short, chosen = warm_up(work)[:largest], timed(work)[:records]
    made = trainer(work, folder, short + chosen, micro_batch=largest)
    found: dict[int, float] = {}
    for micro_batch in micro_batches:
        _pass(made, range(largest), micro_batch)
        start = time.perf_counter()
        _pass(made, range(largest, largest + records), micro_batch)
        found[micro_batch] = time.perf_counter() - start
    return {"seconds": found, "records": records}


def loss_of_step(made: Any, places: range, micro_batch: int) -> float:
    """Forward and backward of one optimiser step as TRL's trainer does it; gives its loss."""
    rows = [made.train_dataset[place] for place in places]
    parts = [rows[i : i + micro_batch] for i in range(0, len(rows), micro_batch)]
    batches = [made.data_collator(part) for part in parts]
    sft = isinstance(made, SFTTrainer)
    tokens = sum(int((batch["labels"] != -100).sum()) for batch in batches) if sft else None
    total = 0.0
    for batch in batches:
        loss = made.compute_loss(made.model, batch, num_items_in_batch=tokens)
        loss = loss if sft else loss / len(batches)
        loss.backward()
        total += loss.item()
    return total


def log_probs(made: Any, count: int) -> torch.Tensor:
    """Per-sequence log-probs (I,N) of the first records, as TRL's reference pass sees them."""
    batch = made.data_collator([made.train_dataset[place] for place in range(count)])
    with torch.no_grad():
        if "labels" in batch:
            found: torch.Tensor = made.model(**batch, fused_lm_head=True).log_probs
            return found.sum(1, keepdim=True)
        return torch.stack(made.compute_ref_log_probs(made.model, batch), 1)


def _pass(made: Any, places: range, micro_batch: int) -> None:
    made.model.train()
    loss_of_step(made, places, micro_batch)
    made.model.zero_grad(set_to_none=True)


def _options(work: Workload, folder: Path, micro_batch: int) -> dict[str, Any]:
    """What is asked of every TRL trainer: fp32, full, no checkpointing, AdamW, the same steps."""
    return {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": max(1, work.batch // micro_batch),
        "max_steps": work.steps + 1,
        "max_length": None,
        "train_sampling_strategy": "sequential",
        "optim": "adamw_torch_fused",
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": CLIP,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _comparisons(records: list[Record]) -> Dataset:
    return Dataset.from_dict(
        {
            "prompt": [_text(r.prompt) for r in records],
            "chosen": [" " + _text(r.completions[0]) for r in records],
            "rejected": [" " + _text(r.completions[1]) for r in records],
        }
    )


def _rows(records: list[Record]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [[*r.prompt, *r.completions[0]] for r in records],
            "labels": [[-100] * len(r.prompt) + list(r.completions[0]) for r in records],
        }
    )


def _check_ids(dataset: Dataset, records: list[Record]) -> None:
    """The ids that TRL trains on are the ones that were sent."""
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    for row, record in zip(dataset, records, strict=True):
        sent = (record.prompt, *record.completions)
        assert tuple(tuple(row[name]) for name in names) == sent, "TRL was given other token ids"


def _word(index: int) -> str:
    return {PAD: "<pad>", EOS: "<eos>"}.get(index, f"w{index}")


def _text(ids: Ids) -> str:
    return " ".join(_word(index) for index in ids)


class _Clock(TrainerCallback):
    """Ticks at the end of every optimiser step."""

    def __init__(self) -> None:
        self.steps = StepClock()

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        self.steps = StepClock()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        self.steps.tick()


class _ReferenceClock:
    """While open, notes the seconds of each batch of TRL's reference pass."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.trainer: Any = DPOTrainer
        self.plain: Any = self.trainer.compute_ref_log_probs

    def __enter__(self) -> Self:
        def clocked(trainer: Any, model: Any, inputs: Any) -> Any:
            start = time.perf_counter()
            found = self.plain(trainer, model, inputs)
            self.seconds.append(time.perf_counter() - start)
            return found

        self.trainer.compute_ref_log_probs = clocked
        return self

    def __exit__(self, *_: object) -> None:
        self.trainer.compute_ref_log_probs = self.plain
