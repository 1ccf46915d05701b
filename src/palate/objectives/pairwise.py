"""Objectives over pairs, measured against a reference: of two completions, prefer the first.

`delta_P2` holds log-ratios to the reference in nats, summed over a completion's tokens.

Shape suffixes: P pairs, 2 the sides, chosen first.
"""

from math import log
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from palate.objectives.base import Flips, NotNegative, Positive

Smoothed = Annotated[float, Field(gt=0, lt=0.5)]
Alpha = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def dpo(delta_P2: Tensor, *, beta: Positive = 0.1, label_smoothing: Flips = 0.0) -> Tensor:
    """Loss per pair (P,).  Rafailov et al. 2023, eq. 7.

    `label_smoothing` is the share of verdicts assumed to be wrong: conservative DPO, Mitchell 2023,
    "A note on DPO with noisy preferences", eq. 3.
    """
    margin = _gap(beta * delta_P2)
    right, wrong = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    return (1 - label_smoothing) * right + label_smoothing * wrong


def robust(delta_P2: Tensor, *, beta: Positive = 0.1, label_smoothing: Flips = 0.1) -> Tensor:
    """DPO made unbiased under a known share of flipped verdicts.  Chowdhury et al. 2024, rDPO."""
    margin, flips = _gap(beta * delta_P2), label_smoothing
    right, wrong = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    return ((1 - flips) * right - flips * wrong) / (1 - 2 * flips)


def ipo(
    delta_P2: Tensor,
    tokens_P2: Tensor,
    *,
    beta: Positive = 0.1,
    mean: Literal["sum", "token"] = "sum",
) -> Tensor:
    """Squared distance of the log-ratio gap to 1/(2 beta).  Azar et al. 2023, eq. 17.

    `mean="sum"` is the paper's; `"token"` takes log-ratios per token, as TRL and LLaMA-Factory do,
    which asks another beta.
    """
    gap = _gap(delta_P2 if mean == "sum" else delta_P2 / tokens_P2)
    return (gap - 1 / (2 * beta)).square()


def hinge(delta_P2: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """A hinge on the margin.  Zhao et al. 2023 (SLiC-HF); on log-ratios: Liu et al. 2023 (RSO)."""
    return F.relu(1 - _gap(beta * delta_P2))


def exo(delta_P2: Tensor, *, beta: Positive = 0.1, label_smoothing: Smoothed = 1e-3) -> Tensor:
    """Reverse KL from the model's verdict to the smoothed one.  Ji et al. 2024, eq. 16."""
    margin = _gap(beta * delta_P2)
    right, wrong = F.logsigmoid(margin), F.logsigmoid(-margin)
    target_right, target_wrong = log(1 - label_smoothing), log(label_smoothing)
    return right.exp() * (right - target_right) + wrong.exp() * (wrong - target_wrong)


def nca(delta_P2: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """Each side's reward against zero, so chosen cannot fall.  Chen et al. 2024, NCA for pairs."""
    chosen, rejected = (beta * delta_P2).unbind(-1)
    return -F.logsigmoid(chosen) - 0.5 * (F.logsigmoid(-chosen) + F.logsigmoid(-rejected))


def bco(delta_P2: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """A classifier of good and bad, its threshold the step's mean reward.  Jung et al. 2024.

    The paper averages the threshold over steps as well; the step's own keeps the loss a function of
    the step.  TRL 1.16 has no threshold.
    """
    rewards_P2 = beta * delta_P2
    chosen, rejected = (rewards_P2 - rewards_P2.mean().detach()).unbind(-1)
    return -F.logsigmoid(chosen) - F.logsigmoid(-rejected)


def sppo(delta_P2: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """Log-ratios pulled to +-1/(2 beta), verdicts taken as certain.  Wu et al. 2024, eq. 4.7."""
    chosen, rejected = delta_P2.unbind(-1)
    return (chosen - 0.5 / beta).square() + (rejected + 0.5 / beta).square()


def apo_zero(delta_P2: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """Chosen up, rejected down, each by itself.  D'Oosterlinck et al. 2024, eq. 7."""
    chosen, rejected = (beta * delta_P2).unbind(-1)
    return 1 - chosen.sigmoid() + rejected.sigmoid()


def apo_down(delta_P2: Tensor, *, beta: Positive = 0.1) -> Tensor:
    """Both down, rejected more.  D'Oosterlinck et al. 2024, eq. 8."""
    rewards_P2 = beta * delta_P2
    return rewards_P2[:, 0].sigmoid() + 1 - _gap(rewards_P2).sigmoid()


def discopop(delta_P2: Tensor, *, beta: Positive = 0.05, tau: Positive = 0.05) -> Tensor:
    """Logistic and exponential loss, blended by the margin.  Lu et al. 2024, eq. 5.

    The blend is not convex: around margin 0 chosen is pushed down, wherever `tau` is small.
    """
    margin = _gap(beta * delta_P2)
    share = (margin / tau).sigmoid()
    exponential = _exp(F.logsigmoid(margin / tau) - margin)  # in logarithms: no inf times 0
    return -F.logsigmoid(margin) * (1 - share) + exponential


def dpop(delta_P2: Tensor, *, beta: Positive = 0.1, penalty: NotNegative = 50.0) -> Tensor:
    """DPO, but chosen may not fall below the reference.  Pal et al. 2024, DPO-Positive (Smaug).

    `penalty` is the paper's lambda.
    """
    fallen = F.relu(-delta_P2[:, 0])
    return -F.logsigmoid(beta * (_gap(delta_P2) - penalty * fallen))


def dpo_norm(delta_P2: Tensor, tokens_P2: Tensor, *, beta: Positive = 5.0) -> Tensor:
    """DPO on log-ratios per token.  Lambert et al. 2024 (Tulu 3), length-normalised DPO."""
    return dpo(delta_P2 / tokens_P2, beta=beta)


def r_dpo(
    delta_P2: Tensor, tokens_P2: Tensor, *, beta: Positive = 0.1, alpha: NotNegative = 0.01
) -> Tensor:
    """DPO with a length penalty.  Park et al. 2024, R-DPO.

    Of a chosen that is longer by `n` tokens, `alpha * n` is taken to be length: it is pushed less.
    """
    return -F.logsigmoid(_gap(beta * delta_P2 + alpha * tokens_P2))


def ld_dpo(
    logps_P4: Tensor,
    reference_P4: Tensor,
    *,
    beta: Positive = 0.1,
    alpha: Share = 0.5,
    on_reference: bool = True,
) -> Tensor:
    """DPO in which tokens beyond the shorter side's length count `alpha`.  Liu et al. 2024, LD-DPO.

    `on_reference`: the reference's tokens too, as TRL does; without it the policy's alone, as
    LLaMA-Factory and ms-swift do.  Sequences three and four are chosen and rejected cut to the
    shorter side's length (`derived.heads`).
    """

    def counted(logps: Tensor) -> Tensor:
        whole_P2, head_P2 = logps.chunk(2, -1)
        return alpha * whole_P2 + (1 - alpha) * head_P2

    reference_P2 = counted(reference_P4) if on_reference else reference_P4[:, :2]
    return dpo(counted(logps_P4) - reference_P2, beta=beta)


def f_dpo(
    delta_P2: Tensor,
    *,
    beta: Positive = 0.1,
    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = "forward_kl",
    alpha: Alpha = 0.5,
) -> Tensor:
    """DPO held to the reference by another divergence.  Wang et al. 2023, theorem 1 and table 1.

    The reward is beta f'(ratio), a constant left out.  `reverse_kl` is DPO itself; only `"alpha"`
    reads `alpha` (1 - `alpha` is TRL's coefficient).  Exponents are held at 80: past it, no push.
    """
    rewards_P2 = {
        "reverse_kl": lambda: delta_P2,
        "forward_kl": lambda: -_exp(-delta_P2),
        "js": lambda: F.logsigmoid(delta_P2) + log(2),
        "alpha": lambda: -_exp(-alpha * delta_P2) / alpha,
    }[divergence]()
    return dpo(rewards_P2, beta=beta)


def aot_unpaired(delta_P2: Tensor, *, beta: Positive = 0.1, label_smoothing: Flips = 0.0) -> Tensor:
    """Unpaired AOT: the step's chosen log-ratios above its rejected ones, rank by rank.

    Melnyk et al. 2024: optimal transport in one dimension is sorting.  A pair's loss is that of its
    chosen's rank.
    """
    sorted_P2, order_P2 = delta_P2.sort(dim=0)
    losses_P = dpo(sorted_P2, beta=beta, label_smoothing=label_smoothing)
    return losses_P[order_P2[:, 0].argsort()]


def aot(
    logps_P2: Tensor, reference_P2: Tensor, *, beta: Positive = 0.1, label_smoothing: Flips = 0.0
) -> Tensor:
    """Paired AOT: the policy's log-prob gaps above the reference's, rank by rank.

    Melnyk et al. 2024.  A pair's loss is that of its rank under the policy.
    """
    ours_P, order_P = _gap(logps_P2).sort()
    theirs_P = _gap(reference_P2).sort().values
    gaps_P2 = (ours_P - theirs_P)[:, None] * ours_P.new_tensor([0.5, -0.5])
    losses_P = dpo(gaps_P2, beta=beta, label_smoothing=label_smoothing)
    return losses_P[order_P.argsort()]


def _gap(values_P2: Tensor) -> Tensor:
    """First column minus second (P,)."""
    return values_P2[:, 0] - values_P2[:, 1]


def _exp(value: Tensor) -> Tensor:
    """exp, with its exponent held at 80: finite in fp32, and so is its gradient."""
    return value.clamp(max=80).exp()
