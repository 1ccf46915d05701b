"""Are these answers the model's own kind of text, or another writer's?

AUC by which log-prob per token tells the file's answers from texts of the model itself: 0.5 as if
it had written them, 1 every answer less likely than every own text.  Pairs near the model are worth
more to DPO than pairs from elsewhere (arXiv 2404.14367, 2405.08448).

Shape suffixes: P pairs; G prompts; B bootstrap draws.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from palate.stats import Interval
from palate.study.checks.base import (
    ENOUGH,
    Case,
    Check,
    Finding,
    Floats,
    Ints,
    Measured,
    Samples,
    Severity,
    too_few,
)
from palate.study.checks.plausible import per_token
from palate.study.checks.words import normalised

NAME: Final = "off-policy"
WARN = 0.90
SOURCE: Final = "our default; why it matters: arXiv 2404.14367, 2405.08448"
DRAWS = 400


def run(case: Case) -> Iterable[Finding]:
    """One finding: both sides together, and the chosen alone."""
    measured = case.measured
    if measured is None or measured.samples is None or not case.pairs:
        return
    count = int(np.isfinite(measured.logps_P2).all(1).sum())
    if count < ENOUGH:
        yield too_few(NAME, count)
        return
    prompt_P = _numbered([normalised(pair.prompt) for pair in case.pairs])
    both = auc(measured, measured.samples, prompt_P, sides=(0, 1))
    chosen = auc(measured, measured.samples, prompt_P, sides=(0,))
    yield _finding(both, chosen, _least_likely(case, measured))


def _finding(both: Interval, chosen: Interval, rows: tuple[int, ...]) -> Finding:
    severity: Severity = "warning" if both.value >= WARN else "ok"
    told = f"AUC {both.value:.2f} [{both.low:.2f}, {both.high:.2f}], {chosen.value:.2f} for chosen"
    message = f"These answers are close to what this model writes itself ({told})."
    todo = ""
    if severity == "warning":
        message = (
            f"These pairs come from another writer than this model ({told}): expect less of DPO "
            "than from pairs of the model's own texts."
        )
        todo = "Draw answers with `palate sample` and judge those, or run SFT on the chosen first."
    elif both.value >= 0.75:
        severity = "info"
        message = f"These answers are not quite what this model writes itself ({told})."
    return Finding(
        NAME,
        severity,
        message,
        both.value,
        both,
        f"AUC, 0.5 is the model's own; warning from {WARN:.2f}",
        SOURCE,
        rows if severity == "warning" else (),
        todo,
    )


def auc(
    measured: Measured, samples: Samples, prompt_P: Ints, *, sides: tuple[int, ...]
) -> Interval:
    """AUC of own texts over these sides, with a bootstrap that draws whole prompts.

    Texts of a prompt, own or not, are drawn together.
    """
    level_P2 = per_token(measured)
    values = np.concatenate([level_P2[:, side] for side in sides])
    prompts = np.tile(prompt_P, len(sides))
    known = np.isfinite(values)
    values, prompts = values[known], prompts[known]
    owner_M = prompt_P[samples.pair_M]
    wins_GH, answers_G, texts_H, picked_H = _wins(values, prompts, samples.logps_M, owner_M)
    value = float(wins_GH.sum() / (answers_G.sum() * texts_H.sum()))
    weight_BG = np.random.default_rng(0).poisson(1.0, (DRAWS, len(answers_G))).astype(np.float64)
    weight_BH = weight_BG[:, picked_H]
    total_B = (weight_BG @ answers_G) * (weight_BH @ texts_H)
    draws_B = ((weight_BG @ wins_GH) * weight_BH).sum(1) / np.maximum(total_B, 1.0)
    low, high = np.quantile(draws_B[total_B > 0], [0.025, 0.975])
    return Interval(value, float(low), float(high), len(values))


def _wins(
    values: Floats, prompts: Ints, own_M: Floats, owner_M: Ints
) -> tuple[Floats, Floats, Floats, Ints]:
    """Couples in the right order by (prompt of the answer, prompt of the own text), and counts."""
    groups = int(max(prompts.max(initial=0), owner_M.max(initial=0))) + 1
    picked_H, place_M = np.unique(owner_M, return_inverse=True)
    wins_GH = np.zeros((groups, len(picked_H)))
    for h in range(len(picked_H)):
        ranked = np.sort(own_M[place_M == h])
        above = 2 * len(ranked) - np.searchsorted(ranked, values, "left")
        above -= np.searchsorted(ranked, values, "right")
        np.add.at(wins_GH[:, h], prompts, above / 2)
    answers_G = np.bincount(prompts, minlength=groups).astype(np.float64)
    texts_H = np.bincount(place_M).astype(np.float64)
    return wins_GH, answers_G, texts_H, picked_H


def _numbered(keys: list[str]) -> Ints:
    numbers = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def _least_likely(case: Case, measured: Measured) -> tuple[int, ...]:
    """Lines by the mean of both sides' log-probs per token, lowest first."""
    level_P = per_token(measured).mean(1)
    order = [n for n in np.argsort(level_P, kind="stable") if np.isfinite(level_P[n])]
    return tuple(case.pairs[n].line for n in order)


CHECK = Check(
    NAME,
    1,
    "Did this model, or one like it, write these answers?",
    "whether the other writer is better; with few own texts the interval is wide",
    run,
)
