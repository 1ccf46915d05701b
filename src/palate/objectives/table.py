"""The table of objectives.  Adding one: a pure function, and its row here.

Tests, `palate objectives`, the microscope and `docs/objectives.md` read this table.

In the formulas: ℓ a completion's log-prob, r its reference's, Δ = ℓ − r, n its scored tokens; w
chosen, l rejected; m = β (Δ_w − Δ_l); σ the logistic function.
"""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from palate.errors import UsageError
from palate.objectives import derived, pairwise, reference_free, supervised, unpaired
from palate.objectives.base import (
    Count,
    NotNegative,
    Objective,
    Scored,
    Spec,
    checked_option,
    made,
)


def _by_mean(options: Mapping[str, Any]) -> Count:
    """Summed log-probs are divided by the step's tokens, means by its rows."""
    return "tokens" if options["mean"] == "token" else "items"


def _always(options: Mapping[str, Any]) -> bool:
    return True


OBJECTIVES: dict[str, Spec] = {
    "sft": Spec(
        supervised.sft,
        "row",
        "−ℓ over the step's tokens   (mean=sequence: −ℓ / n over its rows)",
        "Ouyang et al. 2022, arXiv:2203.02155",
        "First of all: imitate good answers.",
        count=_by_mean,
    ),
    "weighted_sft": Spec(
        supervised.weighted_sft,
        "weighted",
        "−v ℓ over the step's tokens   (mean=sequence: −v ℓ / n over its rows), v the row's weight",
        "Williams 1992, doi:10.1007/BF00992696",
        "Rows have weights: rejection sampling (0 or 1), offline policy gradient (advantages).",
        count=_by_mean,
    ),
    "dpo": Spec(
        pairwise.dpo,
        "pair",
        "−(1 − ε) log σ(m) − ε log σ(−m), ε = label_smoothing",
        "Rafailov et al. 2023, arXiv:2305.18290, eq. 7; smoothed: Mitchell 2023, eq. 3",
        "The default for pairs. With label_smoothing (cDPO) when some verdicts are wrong.",
    ),
    "robust": Spec(
        pairwise.robust,
        "pair",
        "[−(1 − ε) log σ(m) + ε log σ(−m)] / (1 − 2ε), ε = label_smoothing",
        "Chowdhury, Kini and Natarajan 2024, arXiv:2403.00409",
        "The share of wrong verdicts is known; unlike cDPO it is unbiased, at more variance.",
    ),
    "ipo": Spec(
        pairwise.ipo,
        "pair",
        "(Δ_w − Δ_l − 1/(2β))²   (mean=token: Δ / n for Δ)",
        "Azar et al. 2023, arXiv:2310.12036, eq. 17",
        "Verdicts are nearly certain: the gap stops growing at 1/(2 beta) nats.",
        per_token=lambda options: bool(options["mean"] == "token"),
    ),
    "hinge": Spec(
        pairwise.hinge,
        "pair",
        "max(0, 1 − m)",
        "Zhao et al. 2023, arXiv:2305.10425; Liu et al. 2023, arXiv:2309.06657",
        "A pair that is ranked right by a margin of 1 gets no push at all.",
    ),
    "exo": Spec(
        pairwise.exo,
        "pair",
        "σ(m) [log σ(m) − log(1 − ε)] + σ(−m) [log σ(−m) − log ε], ε = label_smoothing",
        "Ji et al. 2024, arXiv:2402.00856, eq. 16",
        "Mode-seeking: hopelessly wrong pairs are given up.",
    ),
    "nca": Spec(
        pairwise.nca,
        "pair",
        "−log σ(βΔ_w) − ½ log σ(−βΔ_w) − ½ log σ(−βΔ_l)",
        "Chen et al. 2024, arXiv:2402.05369",
        "Chosen must not become less likely.",
    ),
    "bco": Spec(
        pairwise.bco,
        "pair",
        "−log σ(βΔ_w − δ) − log σ(δ − βΔ_l), δ the step's mean of βΔ, without gradient",
        "Jung et al. 2024, arXiv:2404.04656",
        "Chosen and rejected are good and bad in themselves, not only against each other.",
        coupled=True,
    ),
    "sppo": Spec(
        pairwise.sppo,
        "pair",
        "(Δ_w − 1/(2β))² + (Δ_l + 1/(2β))²",
        "Wu et al. 2024, arXiv:2405.00675, eq. 4.7",
        "Pairs drawn from the policy itself, in rounds.",
    ),
    "apo_zero": Spec(
        pairwise.apo_zero,
        "pair",
        "1 − σ(βΔ_w) + σ(βΔ_l)",
        "D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7",
        "Chosen answers are better than what the model writes: up with them.",
    ),
    "apo_down": Spec(
        pairwise.apo_down,
        "pair",
        "σ(βΔ_w) + 1 − σ(m)",
        "D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8",
        "Chosen answers are worse than what the model writes: both go down, rejected more.",
    ),
    "aot": Spec(
        pairwise.aot,
        "pair",
        "DPO of m = β (g − h), g = ℓ_w − ℓ_l and h = r_w − r_l, each sorted within the step",
        "Melnyk et al. 2024, arXiv:2406.05882",
        "The whole distribution of margins should move, not each pair.",
        coupled=True,
    ),
    "aot_unpaired": Spec(
        pairwise.aot_unpaired,
        "pair",
        "DPO of m = β (a − b), a = Δ_w and b = Δ_l, each sorted within the step",
        "Melnyk et al. 2024, arXiv:2406.05882",
        "As aot, where chosen and rejected do not belong together.",
        coupled=True,
    ),
    "discopop": Spec(
        pairwise.discopop,
        "pair",
        "−(1 − σ(m/τ)) log σ(m) + σ(m/τ) exp(−m)",
        "Lu et al. 2024, arXiv:2406.08414, eq. 5",
        "A loss found by search, not convex: around margin 0 its push turns round.",
    ),
    "dpop": Spec(
        pairwise.dpop,
        "pair",
        "−log σ(m − βλ max(0, −Δ_w)), λ = penalty",
        "Pal et al. 2024, arXiv:2402.13228",
        "Hairline pairs, where DPO would make chosen less likely too.",
    ),
    "dpo_norm": Spec(
        pairwise.dpo_norm,
        "pair",
        "−log σ(β (Δ_w / n_w − Δ_l / n_l))",
        "Lambert et al. 2024, arXiv:2411.15124",
        "Long and short answers should weigh the same.",
        per_token=_always,
    ),
    "r_dpo": Spec(
        pairwise.r_dpo,
        "pair",
        "−log σ(m + α (n_w − n_l))",
        "Park et al. 2024, arXiv:2403.19159",
        "Chosen is often longer, and length must not be what is learnt.",
    ),
    "ld_dpo": Spec(
        pairwise.ld_dpo,
        "pair",
        "DPO of αΔ + (1 − α)Δ', Δ' that of the first min(n_w, n_l) tokens",
        "Liu et al. 2024, arXiv:2409.06411",
        "Answers grow with training: what lies beyond the shorter side's length counts less.",
        prepare=derived.heads,
    ),
    "f_dpo": Spec(
        pairwise.f_dpo,
        "pair",
        "−log σ(β (f(Δ_w) − f(Δ_l))), f = Δ (reverse_kl), −exp(−Δ) (forward_kl), "
        "log σ(Δ) (js), −exp(−αΔ) / α (alpha)",
        "Wang et al. 2023, arXiv:2309.16240",
        "Hold the policy by another divergence, for more diverse answers.",
    ),
    "simpo": Spec(
        reference_free.simpo,
        "pair",
        "−log σ(β (ℓ_w / n_w − ℓ_l / n_l) − γ)",
        "Meng, Xia and Chen 2024, arXiv:2405.14734, eq. 6",
        "No reference, length-normalised; needs its learning rate tuned.",
        per_token=_always,
    ),
    "orpo": Spec(
        reference_free.orpo,
        "pair",
        "−ℓ_w / n_w − β log σ(logit p_w − logit p_l), log p = ℓ / n",
        "Hong, Lee and Thorne 2024, arXiv:2403.07691, eq. 4 and 7",
        "SFT and preference in one stage, from a base model.",
        per_token=_always,
    ),
    "cpo": Spec(
        reference_free.cpo,
        "pair",
        "−log σ(β (ℓ_w − ℓ_l)) − αℓ_w / n_w   (mean=sum: − αℓ_w)",
        "Xu et al. 2024, arXiv:2401.08417, eq. 3 and SFT",
        "No reference, SFT on chosen holds the model.",
    ),
    "unlikelihood": Spec(
        reference_free.unlikelihood,
        "pair",
        "−ℓ_w / n_w − (α / n_l) Σ log(1 − p_t) over the tokens t of rejected",
        "Welleck et al. 2019, arXiv:1908.04319",
        "Rejected holds tokens that must not be said (repetition, a banned phrase).",
        per_token=_always,
    ),
    "kto": Spec(
        unpaired.kto,
        "labelled",
        "λ [1 − σ(±β (Δ − z))], z = max(0, mean Δ of the step's mismatched completions)",
        "Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7",
        "Thumbs up and down on single answers, no pairs.",
        coupled=True,
        prepare=derived.mismatched,
    ),
    "plackett_luce": Spec(
        unpaired.plackett_luce,
        "ranked",
        "−Σ_k log[exp(βΔ_k) / Σ_{j ≥ k} exp(βΔ_j)], best first",
        "Rafailov et al. 2023, arXiv:2305.18290, appendix A.3",
        "Rankings of three or more answers, taken as a whole.",
    ),
}


def spec_of(name: str) -> Spec:
    """The row of that name.  Raises UsageError naming those there are."""
    if name not in OBJECTIVES:
        near = get_close_matches(name, OBJECTIVES, 1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"there is no objective '{name}'.",
            hint=f"{meant}Choose one of: {', '.join(OBJECTIVES)}.",
        )
    return OBJECTIVES[name]


def build(
    name: str, *, sft_weight: NotNegative = 0.0, wpo: bool = False, **options: Any
) -> Objective:
    """The objective of that name.  Raises UsageError for an unknown name or option.

    For pairs: `sft_weight` adds that much SFT on chosen, per token (RPO, Pang et al. 2024,
    arXiv:2404.19733); `wpo` weighs each pair by how likely the policy is to write both sides (WPO,
    Zhou et al. 2024, arXiv:2406.11827, eq. 2), held at 1 as older TRL does; TRL 1.16 does not.
    """
    spec = spec_of(name)
    used = _used(name, spec, {"sft_weight": (NotNegative, sft_weight), "wpo": (bool, wpo)})
    objective = made(name, spec, options)
    if used.get("wpo"):
        objective = _by_sureness(objective)
    if used.get("sft_weight"):
        objective = _with_sft(objective, used["sft_weight"])
    return replace(objective, options={**objective.options, **used})


def _used(name: str, spec: Spec, given: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The options for pairs that do something.  Raises UsageError where the rows are no pairs."""
    found = {option: checked_option(name, option, *each) for option, each in given.items()}
    used = {option: value for option, value in found.items() if value}
    if used and spec.items != "pair":
        (option, *_) = used
        raise UsageError(
            f"{option} has no effect on the objective {name}: its rows are no pairs.",
            hint=f"Leave {option} out.",
        )
    return used


def _with_sft(objective: Objective, weight: float) -> Objective:
    def loss(scored: Scored) -> Tensor:
        imitate_I = -scored.logps_IN[:, 0] / scored.tokens_IN[:, 0]
        return objective.loss(scored) + weight * imitate_I

    return replace(objective, loss=loss)


def _by_sureness(objective: Objective) -> Objective:
    def loss(scored: Scored) -> Tensor:
        per_token_I2 = (scored.sums["sureness"] / scored.tokens_IN)[:, :2]
        return per_token_I2.sum(-1).exp().clamp(max=1).detach() * objective.loss(scored)

    return replace(objective, loss=loss, needs=objective.needs | {"sureness"})
