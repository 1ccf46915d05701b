"""palate's side: the model folder, the engine and the optimiser step that its users get."""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import StepClock
from workload import BETA, CLIP, LR, SHAPES, Record, Workload, digest, timed, warm_up

from palate import objectives
from palate.data.rows import Item, Origin, Sequence
from palate.engine.pack import pack
from palate.engine.policy import Policy
from palate.engine.scoring import score
from palate.objectives import Objective
from palate.train.defaults import TOKEN_BUDGET
from palate.train.history import History
from palate.train.optimise import Optimiser
from palate.train.step import Batch, accumulate

BUDGET = TOKEN_BUDGET["cpu"]


def load(folder: Path) -> Policy:
    """The model in fp32, train mode; it has no dropout."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Policy(model.train())


def objective(work: Workload) -> Objective:
    return (
        objectives.build("sft", mean="token")
        if work.kind == "sft"
        else objectives.build("dpo", beta=BETA)
    )


def items(records: list[Record]) -> list[Item]:
    """Records as palate's renderer would hand them on."""
    made = []
    for line, record in enumerate(records):
        start = len(record.prompt)
        sequences = tuple(
            Sequence((*record.prompt, *ids), ((start, start + len(ids)),), start)
            for ids in record.completions
        )
        made.append(Item(sequences, record.group, Origin("synthetic", line + 1)))
    return made


def reference(policy: Policy, found: list[Item], work: Workload) -> torch.Tensor | None:
    """Log-probs of the policy as it stands, for an objective that needs them."""
    return None if work.kind == "sft" else score(policy, found, BUDGET)


def run(work: Workload, folder: Path) -> dict[str, Any]:
    """Time the optimiser steps of `work`, the run's history written beside them.

    The first, short one is not counted.
    """
    policy, aim = load(folder), objective(work)
    made = items(warm_up(work) + timed(work))
    short = reference(policy, made[: work.batch], work)
    began = time.perf_counter()
    long = reference(policy, made[work.batch :], work)
    reference_seconds = time.perf_counter() - began
    known = None if short is None or long is None else torch.cat([short, long])
    optimiser = Optimiser(dict(policy.named_parameters()), weight_decay=0.0, clip=CLIP)
    with tempfile.TemporaryDirectory() as run_folder:
        history = History(Path(run_folder), Batch(made, known), aim)
        history.begin(-1)
        clock, writing = StepClock(), []
        for first in range(0, len(made), work.batch):
            index = range(first, min(first + work.batch, len(made)))
            batch = Batch(made, known).subset(index)
            result = accumulate(policy, batch, aim, BUDGET)
            optimiser.step(LR)
            began = time.perf_counter()
            history.append(first // work.batch + 1, index, result)
            writing.append(time.perf_counter() - began)
            clock.tick()
    return clock.measured() | {
        "history_seconds": writing[1:],
        "reference_seconds": None if known is None else reference_seconds,
        "useful_flop": useful_flop(work),
        "digest": digest(timed(work)),
    }


def useful_flop(work: Workload) -> float:
    """Floating-point operations that the timed steps cannot do without, forward and backward.

    6 x layers' weights x tree tokens + 6 x V x D x scored tokens + 12 x layers x D x visible pairs.
    Every distinct token path counts once: with no budget a prompt's completions are one tree.
    """
    shape, found = SHAPES[work.shape], items(timed(work))
    total = 0
    for first in range(0, len(found), work.batch):
        for row in pack(found[first : first + work.batch], 1 << 40):
            visible = int((row.pos_T + 1).sum())
            total += 6 * shape.layer_parameters * len(row.ids_T)
            total += 6 * shape.vocab * shape.hidden * len(row.target_K)
            total += 12 * shape.layers * shape.hidden * visible
    return float(total)
