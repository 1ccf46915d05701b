"""The objectives against TRL's own loss code: value and gradient of every pair.

TRL's trainers are made without `__init__`, and their model hands out the log-probs of made rows; so
what is compared is the loss that the installed TRL computes, and nothing of it is copied.
"""

import importlib.metadata
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from naive_objectives import Line, Side
from objective_cases import lines_of, reader
from palate.objectives import OBJECTIVES, build, token_weights

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("trl", reason="needs TRL (the extra bench), which is not installed")
    if not importlib.metadata.version("trl").startswith("1.16."):
        pytest.skip("compares with TRL 1.16, and another is installed", allow_module_level=True)
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_trainer import KTOTrainer

EXACT, SINGLE = 1e-10, 2e-5  # TRL computes a few of them in float32


@dataclass(frozen=True)
class Same:
    """One objective of the table, and the settings under which TRL's trainer must agree."""

    name: str
    trl: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    trainer: str = "dpo"
    tolerance: float = EXACT
    lines: Callable[[list[Line]], list[Line]] = list


def plain_sft(lines: list[Line]) -> list[Line]:
    return [replace(line, sides=line.sides[:1]) for line in lines]


def unsure(lines: list[Line]) -> list[Line]:
    """Every token less likely than the policy's own draws: there WPO's weight is below 1."""
    return [
        replace(line, sides=tuple(replace(s, square=(0.97 + 0j,) * s.n) for s in line.sides))
        for line in lines
    ]


def centred(lines: list[Line]) -> list[Line]:
    """Log-ratios whose mean over the step is 0: there BCO's threshold is 0."""
    mean = sum(side.ratio for line in lines for side in line.sides) / (2 * len(lines))

    def moved(side: Side) -> Side:
        return replace(side, reference=(side.reference[0] + mean, *side.reference[1:]))

    return [replace(line, sides=tuple(map(moved, line.sides))) for line in lines]


def dpo_type(kind: str, **more: Any) -> dict[str, Any]:
    return {"loss_types": [kind], **more}


SAME = [
    Same("dpo", dpo_type("sigmoid")),
    # TRL's `sigmoid` never reads label_smoothing; its `aot` of a single pair is cDPO
    Same("dpo", dpo_type("aot", label_smoothing=0.2), {"label_smoothing": 0.2}),
    Same("dpo", {"loss_types": ["sigmoid", "sft"], "loss_weights": [1, 0.7]}, {"sft_weight": 0.7}),
    # TRL 1.16 does not hold WPO's weight at 1, as older versions did
    Same("dpo", dpo_type("sigmoid", use_weighting=True), {"wpo": True}, lines=unsure),
    Same("sft", dpo_type("sft"), {"mean": "sequence"}, lines=plain_sft),
    Same("robust", dpo_type("robust", label_smoothing=0.1)),
    Same("ipo", dpo_type("ipo"), {"mean": "token"}),
    Same("hinge", dpo_type("hinge")),
    Same("exo", dpo_type("exo_pair", label_smoothing=1e-3), tolerance=SINGLE),
    Same("nca", dpo_type("nca_pair")),
    # TRL 1.16 has no threshold (the paper's delta), so they agree where it is 0
    Same("bco", dpo_type("bco_pair"), lines=centred),
    Same("sppo", dpo_type("sppo_hard")),
    Same("apo_zero", dpo_type("apo_zero")),
    Same("apo_down", dpo_type("apo_down")),
    Same("aot", dpo_type("aot", label_smoothing=0.1), {"label_smoothing": 0.1}),
    Same("aot_unpaired", dpo_type("aot_unpaired", label_smoothing=0.1), {"label_smoothing": 0.1}),
    Same("discopop", dpo_type("discopop", beta=0.05)),
    Same("dpo_norm", dpo_type("sigmoid_norm", beta=5.0)),
    Same("ld_dpo", dpo_type("sigmoid", ld_alpha=0.3), {"alpha": 0.3}),
    Same("f_dpo", dpo_type("sigmoid", f_divergence_type="forward_kl"), {"beta": 0.1}),
    Same("f_dpo", dpo_type("sigmoid", f_divergence_type="js_divergence"), {"divergence": "js"}),
    # TRL's coefficient is 1 - alpha
    Same(
        "f_dpo",
        dpo_type("sigmoid", f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.7),
        {"divergence": "alpha", "alpha": 0.3},
        tolerance=SINGLE,
    ),
    Same(
        "simpo", {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0}, {}, "cpo"
    ),
    # TRL averages SFT over the tokens of the step; one pair at a time it is the pair's own
    Same("cpo", {"loss_type": "sigmoid", "cpo_alpha": 1.0}, {}, "cpo"),
    # TRL's SFT is over prompt and completion; here the prompt is one token, which has no log-prob
    Same("orpo", {}, {}, "orpo", SINGLE),
    Same("kto", {"desirable_weight": 2.0}, {"desirable": 2.0}, "kto"),
]
NOT_IN_TRL = {
    "weighted_sft": "no weight per row",
    "dpop": "not there",
    "r_dpo": "not there",
    "unlikelihood": "not there",
    "plackett_luce": "pairs and single verdicts only",
}


def test_every_objective_is_compared_or_said_to_be_missing() -> None:
    assert {case.name for case in SAME} | NOT_IN_TRL.keys() == OBJECTIVES.keys()
    assert not {case.name for case in SAME} & NOT_IN_TRL.keys()


def test_trl_ignores_label_smoothing_in_its_default_loss() -> None:
    lines = lines_of(build("dpo"))
    smoothed = Same("dpo", dpo_type("sigmoid", label_smoothing=0.3))
    torch.testing.assert_close(theirs(smoothed, lines)[0], theirs(SAME[0], lines)[0])


@pytest.mark.parametrize("case", SAME, ids=lambda case: f"{case.name}-{case.trl}")
def test_value_and_gradient_are_trls(case: Same) -> None:
    objective = build(case.name, **case.options)
    kind = build("dpo") if case.name == "sft" else objective
    lines = [line for seed in range(2) for line in lines_of(kind, seed=seed, rows=3)]
    if case.name != "sft":
        lines = case.lines(lines)
    own = case.lines(lines) if case.name == "sft" else lines
    logps_K, read = reader(objective, own)
    losses_I, pulls_K = theirs(case, lines)
    if case.name == "sft":  # the rejected sides are TRL's alone, and weigh nothing
        mine = [
            s == 0 for line in lines for s, side in enumerate(line.sides) for _ in range(side.n)
        ]
        assert not bool(pulls_K[~torch.tensor(mine)].any())
        pulls_K = pulls_K[torch.tensor(mine)]
    found_I = objective.loss(read(logps_K))
    if objective.coupled:  # TRL says a mean over the step
        found_I = found_I.mean(0, keepdim=True)
    close: dict[str, Any] = {"rtol": case.tolerance, "atol": case.tolerance, "check_dtype": False}
    torch.testing.assert_close(found_I, losses_I, **close)
    torch.testing.assert_close(token_weights(objective, read, logps_K), pulls_K, **close)


def theirs(case: Same, lines: Sequence[Line]) -> tuple[Tensor, Tensor]:
    """TRL's losses (per pair; the mean of a coupled step), and minus the gradient of their sum."""
    steps = [list(lines)] if OBJECTIVES[case.name].coupled else [[line] for line in lines]
    run = {"dpo": dpo_loss, "cpo": odds_loss, "orpo": odds_loss, "kto": kto_loss}[case.trainer]
    losses, pulls = [], []
    for step in steps:
        tokens = [x.real for line in step for side in line.sides for x in side.policy]
        leaf_K = torch.tensor(tokens, dtype=_dtype(case), requires_grad=True)
        loss = run(case, step, leaf_K)
        (gradient_K,) = torch.autograd.grad(loss, leaf_K)
        losses.append(loss.detach().reshape(1))
        pulls.append(-gradient_K * len(step))
    return torch.cat(losses), torch.cat(pulls)


def _dtype(case: Same) -> torch.dtype:
    """TRL's alpha divergence knows the half and single types only."""
    return torch.float32 if "f_alpha_divergence_coef" in case.trl else torch.float64


# ------------------------------------------------------------------ trainers without __init__

ACCELERATOR = SimpleNamespace(
    device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
)
DPO: dict[str, Any] = {
    "beta": 0.1,
    "label_smoothing": 0.0,
    "loss_weights": [1.0],
    "ld_alpha": None,
    "f_divergence_type": "reverse_kl",
    "f_alpha_divergence_coef": 0.5,
    "use_weighting": False,
    "precompute_ref_logps": False,
}
ODDS = {"alpha": 0.0, "beta": 0.1, "label_smoothing": 0.0, "loss_type": "sigmoid"}
KTO = {
    "beta": 0.1,
    "loss_type": "kto",
    "calculate_KL": True,
    "desirable_weight": 1.0,
    "undesirable_weight": 1.0,
    "precompute_ref_logps": False,
}


def bare(kind: Any, **attributes: Any) -> Any:
    """A trainer that has these attributes and was never set up."""

    trainer = object.__new__(kind)
    common = {
        "accelerator": ACCELERATOR,
        "args": SimpleNamespace(discopop_tau=0.05, gradient_checkpointing_kwargs=None),
        "aux_loss_enabled": False,
        "is_encoder_decoder": False,
        "pad_token_id": 0,
        "padding_value": 0,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    trainer.__dict__.update(common | attributes)
    return trainer


class Handing(nn.Module):
    """A model that says these log-probs (B, T-1), chosen by the first id of what it is asked."""

    is_gradient_checkpointing = False

    def __init__(self, *tables: Tensor, square: Tensor | None = None) -> None:
        super().__init__()
        self.tables, self.square = tables, square

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        table = self.tables[int(input_ids[0, 0])]
        nothing = torch.zeros_like(table)
        logs = None if self.square is None else self.square.log()
        return SimpleNamespace(
            log_probs=table,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
            log_sum_sq_probs=logs,
        )


class Spelling(nn.Module):
    """A model of two tokens whose logits make token 0 have these log-probs (B, T-1)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        other = torch.log(-torch.expm1(self.table.clamp(max=-1e-3)))
        logits = torch.stack([self.table, other], -1)
        return SimpleNamespace(logits=torch.cat([logits, logits[:, :1] * 0], 1))


def laid(values: Sequence[Tensor | Sequence[complex]], like: Tensor) -> Tensor:
    """Rows of token values, each after its prompt of one token, zeros at the end (B, T-1)."""
    rows = [
        v if isinstance(v, Tensor) else torch.tensor([x.real for x in v], dtype=like.dtype)
        for v in values
    ]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def columns(lines: Sequence[Line], leaf_K: Tensor) -> list[list[tuple[Side, Tensor]]]:
    """For each place in a row, all its sides with the policy's log-probs cut from the leaf."""
    sizes = [side.n for line in lines for side in line.sides]
    parts = iter(leaf_K.split(sizes))
    rows = [[(side, next(parts)) for side in line.sides] for line in lines]
    return [list(column) for column in zip(*rows)]


def inputs_of(sides: Sequence[tuple[Side, Tensor]], first: int = 0) -> dict[str, Tensor]:
    """Ids that begin with `first`, and the mask of the completions."""
    mask = torch.zeros(len(sides), 1 + max(side.n for side, _ in sides), dtype=torch.long)
    for row, (side, _) in enumerate(sides):
        mask[row, 1 : 1 + side.n] = 1
    ids = torch.zeros_like(mask)
    ids[:, 0] = first
    return {"input_ids": ids, "attention_mask": torch.ones_like(mask), "completion_mask": mask}


def dpo_loss(case: Same, lines: Sequence[Line], leaf_K: Tensor) -> Tensor:
    chosen, rejected = columns(lines, leaf_K)
    sides = [*chosen, *rejected]
    square = laid([side.square for side, _ in sides], leaf_K)
    square = torch.where(square == 0, torch.ones_like(square), square)
    model = Handing(laid([part for _, part in sides], leaf_K), square=square)
    reference = Handing(laid([side.reference for side, _ in sides], leaf_K))
    trainer = bare(DPOTrainer, model=model, ref_model=reference, **(DPO | case.trl))
    loss: Tensor = trainer._compute_loss(model, inputs_of(sides), False)
    return loss


def kto_loss(case: Same, lines: Sequence[Line], leaf_K: Tensor) -> Tensor:
    own, other = columns(lines, leaf_K)
    model = Handing(*(laid([part for _, part in sides], leaf_K) for sides in (own, other)))
    reference = Handing(
        *(laid([side.reference for side, _ in sides], leaf_K) for sides in (own, other))
    )
    batch = inputs_of(own) | {f"KL_{k}": v for k, v in inputs_of(other, first=1).items()}
    batch["label"] = torch.tensor([line.value > 0 for line in lines])
    trainer = bare(KTOTrainer, model=model, ref_model=reference, **(KTO | case.trl))
    loss: Tensor = trainer._compute_loss(model, batch, False)
    return loss


def odds_loss(case: Same, lines: Sequence[Line], leaf_K: Tensor) -> Tensor:
    """CPO, SimPO and ORPO, from logits on."""
    chosen, rejected = columns(lines, leaf_K)
    batch: dict[str, Tensor] = {}
    for name, sides in (("chosen", chosen), ("rejected", rejected)):
        found = inputs_of(sides)
        mask = found["completion_mask"]
        batch |= {
            f"{name}_input_ids": found["input_ids"],
            f"{name}_attention_mask": torch.cat([mask[:, 1:2], mask[:, 1:]], 1),
            f"{name}_labels": found["input_ids"].masked_fill(mask == 0, -100),
        }
    model = Spelling(laid([part for _, part in (*chosen, *rejected)], leaf_K))
    kind = CPOTrainer if case.trainer == "cpo" else ORPOTrainer
    trainer = bare(kind, **(ODDS | case.trl))
    loss: Tensor = trainer.get_batch_loss_metrics(model, batch)[0]
    return loss
