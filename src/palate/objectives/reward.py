"""Bradley-Terry: what a reward model learns from pairs.  Pure, over rewards and not log-probs.

It has a row as the objectives over log-probs have (`SPEC`), but stands outside their table: `palate
dpo` trains a policy, which gives no rewards.

Shape suffixes: P pairs, 2 chosen then rejected.
"""

import torch.nn.functional as F
from torch import Tensor

from palate.objectives.base import Flips, NotNegative, Objective, Spec, made


def bradley_terry(
    rewards_P2: Tensor,
    value_P: Tensor,
    *,
    margin: NotNegative = 0.0,
    label_smoothing: Flips = 0.0,
    centring: NotNegative = 0.0,
) -> Tensor:
    """Loss per pair (P,): -log sigma(r_w - r_l).  Ouyang et al. 2022, arXiv:2203.02155, eq. 1.

    `margin` times the pair's strength `value_P` is asked of the gap (Touvron et al. 2023,
    arXiv:2307.09288, eq. 2).  `label_smoothing` is the share of verdicts assumed wrong.
    `centring` times (r_w + r_l)^2 holds rewards around 0 (Eisenstein et al. 2023,
    arXiv:2312.09244): a constant for a prompt is otherwise free.
    """
    chosen_P, rejected_P = rewards_P2.unbind(-1)
    gap_P = chosen_P - rejected_P - margin * value_P
    right_P, wrong_P = F.logsigmoid(gap_P), F.logsigmoid(-gap_P)
    losses_P = -(1 - label_smoothing) * right_P - label_smoothing * wrong_P
    return losses_P + centring * (chosen_P + rejected_P) ** 2


SPEC = Spec(
    bradley_terry,
    "pair",
    "−(1 − ε) log σ(g) − ε log σ(−g) + c (r_w + r_l)², g = r_w − r_l − margin · strength",
    "Bradley and Terry 1952, doi:10.2307/2334029; Ouyang et al. 2022, arXiv:2203.02155, eq. 1",
    "A reward model, for PPO and best-of-n.",
)


def reward_objective(
    *, margin: float = 0.0, label_smoothing: float = 0.0, centring: float = 0.0
) -> Objective:
    """Bradley-Terry with its options set.  Raises UsageError for a value out of its limits."""
    given = {"margin": margin, "label_smoothing": label_smoothing, "centring": centring}
    return made("bradley_terry", SPEC, given)
