"""The runs of the frontier study: which arms there are, and what each learns from.

A seed has its own fact sheets, analysts' examples, SFT model, drawn texts, pairs and noise.  Every
arm of a seed starts from that SFT model (or the base), sees the same prompts, and is measured at a
few moments on the same sheets that no arm has seen.  Last weights count, nothing is selected.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RATE = 8e-4  # the demo's rate of DPO
ONLINE_RATE = 1e-3  # of PPO and RLOO
GRID = (0.25, 1.0, 4.0)  # times the usual rate
FAR = 16 * RATE  # of DPO alone: how far can it go?
BETAS = (0.05, 0.1, 0.5, 1.0, 5.0)
BEST_OF = (2, 4, 8, 16)
REWARD = "reward"  # the learnt reward model
Stage = Literal["sft", "dpo", "reward", "ppo"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything, for each seed."""

    examples: int = 300  # of analysts; two and four times as many for the ceiling
    imitated: float = 2.0  # epochs of SFT
    prompts: int = 240  # texts are drawn for them, judged, and made into pairs
    answers: int = 4
    held: int = 50  # prompts of held-out pairs
    epochs: float | None = None  # of everything that learns from pairs: palate's own rule
    batch: int | None = None
    unseen: int = 120  # sheets that measure
    moments: int = 3  # of a run, evenly spaced; the last is its end
    tokens: int = 128
    online_steps: int = 30  # of PPO and RLOO
    online_batch: int = 32  # texts of a step: in all as many as for the pairs


TINY = Scale(
    examples=8,
    imitated=1.0,
    prompts=12,
    held=6,
    epochs=1.0,
    batch=4,
    unseen=3,
    moments=2,
    tokens=24,
    online_steps=2,
    online_batch=4,
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train: the stage, where it starts, the file it learns from, its options.

    `along`: measured at all moments, not at the end alone.  `grid`: run for the grid of learning
    rates, after all seeds.
    """

    name: str
    stage: Stage
    data: str
    options: Mapping[str, Any] = field(default_factory=dict)
    start: Literal["sft", "base"] = "sft"
    paid_by: str = ""  # of an online stage: "demo", or the arm that trained a reward model
    along: bool = False
    grid: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what must have been trained or drawn before."""
        if self.start == "base" and self.data.startswith("examples"):
            return ()
        return ("pool", *((self.paid_by,) if self.paid_by not in ("", "demo") else ()))


def arms() -> tuple[Arm, ...]:
    """Every arm, in the order of the runs: what the question is about comes first."""
    return (*_main(), *_others(), *_grid())


def _main() -> Iterator[Arm]:
    yield Arm("sft", "sft", "examples1", start="base")
    yield Arm("dpo 0.1", "dpo", "pairs", {"beta": 0.1}, along=True)
    yield Arm("ppo", "ppo", "prompts", paid_by="demo", along=True)
    yield Arm(REWARD, "reward", "pairs")
    yield Arm("ppo learnt", "ppo", "prompts", paid_by=REWARD, along=True)
    yield Arm("preferred-ft", "sft", "chosen", along=True)
    yield Arm("random labels", "dpo", "random", {"beta": 0.1})
    for beta in BETAS:
        if beta != 0.1:
            yield Arm(f"dpo {beta:g}", "dpo", "pairs", {"beta": beta}, along=True)


def _others() -> Iterator[Arm]:
    yield Arm("base to dpo", "dpo", "pairs", {"beta": 0.1}, start="base")
    yield Arm("rloo", "ppo", "prompts", {"method": "rloo", "n": 4}, paid_by="demo", along=True)
    yield Arm("jointly", "dpo", "pairs", {"beta": 0.1, "sft_weight": 1.0}, start="base")
    yield Arm("unlikelihood", "dpo", "pairs", {"objective": "unlikelihood"})
    yield Arm("longer", "dpo", "longer", {"beta": 0.1})
    for times in (2, 4):
        yield Arm(f"sft x{times}", "sft", f"examples{times}", start="base")


def _grid() -> Iterator[Arm]:
    """Learning rates but the usual one, which is there already."""
    for rate in (*(RATE * times for times in GRID if times != 1), FAR):
        options = {"beta": 0.1, "lr": rate}
        yield Arm(f"dpo 0.1 at {rate:g}", "dpo", "pairs", options, grid=True)
    for times in GRID:
        if times != 1:
            rate = ONLINE_RATE * times
            options = {"lr": rate}
            yield Arm(f"ppo at {rate:g}", "ppo", "prompts", options, paid_by="demo", grid=True)
