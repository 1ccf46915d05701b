"""What a verdict on two answers could teach a policy: entropy of prompts, rewards of answers.

Both figures are those of Muldrew et al. 2024 (arXiv:2402.08114), from the log-probs of the engine.
The entropy of a prompt is the mean of -log p over its answers, summed over tokens as theirs is.
They draw the answers from the policy as it is; here they are those of the store, so that after
training it is the cross-entropy of the policy against the model that wrote them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from palate.config import PromptOptions
from palate.data.judged import Answer, AskedPrompt
from palate.data.limits import TooLong
from palate.data.render import Renderer
from palate.data.rows import Example, Item, Origin
from palate.data.tokens import RowFault
from palate.engine.identity import cache_folder
from palate.engine.model import load
from palate.engine.policy import Plan, Policy
from palate.engine.reference import Reference, reference_logps
from palate.engine.scoring import score
from palate.study.source import Opened, check_reference, open_source
from palate.train.events import Listener, Note, Working

BETA = 0.1  # DPO's own default, for an objective without one; no order depends on it
PART = 256
Asked = tuple[AskedPrompt, Sequence[Answer]]


@dataclass(frozen=True, slots=True)
class Informed:
    """Of one prompt: nats a text, and answer -> implicit reward, 0 where nothing was learnt."""

    entropy: float
    rewards: Mapping[str, float]

    def certainty(self, one: str, other: str) -> float:
        """How far apart the policy holds two answers.  Raises KeyError for one without a reward."""
        return abs(self.rewards[one] - self.rewards[other])


@torch.no_grad()
def inform(model: str, asked: Sequence[Asked], listen: Listener) -> dict[str, Informed]:
    """Prompt -> its figures, under a DPO run and the reference it recorded, or any one model.

    Answers that cannot be rendered are left out and counted in a note; so is a prompt without any.
    Raises ModelError; CheckpointError if the reference is no longer what it was.
    """
    opened = open_source(model, PromptOptions(), listen)
    answers, items = _items(opened.renderer, asked, listen)
    if not items:
        return {}
    with torch.enable_grad():
        policy = opened.policy(items)
    listen(Note(f"fast path: {policy.plan}", warning=bool(policy.plan.reasons)))
    logps = _scored(policy, items, opened.budget, listen)
    reference = _reference(opened, items, policy.plan, listen) or logps
    beta = float(opened.objective_options.get("beta") or BETA)
    found: dict[str, list[tuple[Answer, float, float]]] = {}
    for answer, logp, before in zip(answers, logps, reference, strict=True):
        found.setdefault(answer.prompt_id, []).append((answer, logp, beta * (logp - before)))
    return {prompt: _informed(each) for prompt, each in found.items()}


def _informed(found: Sequence[tuple[Answer, float, float]]) -> Informed:
    """Entropy over what a model wrote; over all answers if it wrote none."""
    own = [logp for answer, logp, _ in found if answer.origin == "sample"]
    logps = own or [logp for _, logp, _ in found]
    return Informed(-sum(logps) / len(logps), {answer.id: reward for answer, _, reward in found})


def _items(
    renderer: Renderer, asked: Sequence[Asked], listen: Listener
) -> tuple[list[Answer], list[Item]]:
    """Every answer that fits, and its item; those of one prompt share it in the engine."""
    kept: list[Answer] = []
    items: list[Item] = []
    left_out = 0
    for prompt, answers in asked:
        for answer in answers:
            row = Example(prompt.turns or prompt.text, answer.text, Origin(prompt.id, 1))
            try:
                item = renderer.fit(renderer.draft(row))
            except RowFault:
                left_out += 1
                continue
            if isinstance(item, TooLong):
                left_out += 1
            else:
                kept.append(answer)
                items.append(item)
    if left_out:
        listen(Note(f"{left_out} answers left out: the model cannot take them whole", warning=True))
    return kept, items


def _scored(policy: Policy, items: Sequence[Item], budget: int, listen: Listener) -> list[float]:
    """Log-probs in slices, so that progress shows and memory stays flat."""
    found: list[float] = []
    for start in range(0, len(items), PART):
        found += score(policy, items[start : start + PART], budget)[:, 0].double().tolist()
        listen(Working("scoring", min(start + PART, len(items)), len(items)))
    return found


def _reference(
    opened: Opened, items: Sequence[Item], plan: Plan, listen: Listener
) -> list[float] | None:
    """Cached log-probs of what the run was trained against; None for a model that is no DPO run."""
    record: dict[str, Any] | None = opened.record
    if opened.reference is None or record is None:
        return None
    loaded = load(opened.reference)
    check_reference(opened.reference, loaded.identity, record)
    loaded.model.eval()
    about = Reference(loaded.identity, opened.budget, cache_folder() / "reference")

    def progress(done: int, total: int) -> None:
        listen(Working("reference log-probs", done, total))

    found = reference_logps(Policy(loaded.model, plan), items, about, progress)
    values: list[float] = found.logps_IN[:, 0].double().tolist()
    return values
