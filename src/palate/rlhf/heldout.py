"""A text for every held-out prompt, scored: how good the weights are, by what is maximised.

The same seed each time, so that two evaluations differ by the weights alone.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from palate.rlhf.rollout import Prompt, Scale, draw_texts, read, score_texts, seed_of
from palate.stats import bootstrap_mean
from palate.train.events import Evaluation

if TYPE_CHECKING:
    from palate.rlhf.loop import Task


@dataclass(frozen=True, slots=True)
class Heldout:
    """Held-out prompts, and the places of those by whose texts weights are chosen."""

    prompts: tuple[Prompt, ...] = ()
    choosing: tuple[int, ...] = ()


def evaluation(task: "Task", step: int, scale: Scale, best_loss: float) -> Evaluation:
    """The weights as they are.  The loss is minus the score in spreads, less the KL's price.

    Where the coefficient follows a target, or the method has none, KL has no price here.
    """
    heldout, budget = task.heldout, task.settings.token_budget
    price = 0.0 if task.config.kl_target is not None else task.knobs.get("kl", 0.0)
    settings = replace(task.sampling, completions=1)
    task.policy.restore()
    seed = seed_of(task.config.seed, "held out")
    texts = draw_texts(task.loaded, heldout.prompts, settings, seed=seed)
    scores_S = score_texts(task.reward, texts)
    old, reference = (
        read(model, texts, budget, entropy=False) for model in (task.policy, task.reference)
    )
    kl_S = (old.logps_SL - reference.logps_SL).sum(-1).double().cpu()
    losses_S = price * kl_S - scale.paid(scores_S, texts.ended)
    choosing_loss = float(losses_S[list(heldout.choosing)].mean())
    return Evaluation(
        step,
        loss=float(losses_S.mean()),
        items=len(heldout.prompts),
        best=choosing_loss < best_loss,
        choosing_loss=choosing_loss,
        score=bootstrap_mean(scores_S.tolist(), [prompt.group for prompt in heldout.prompts]),
        kl=float(kl_S.mean()),
    )
