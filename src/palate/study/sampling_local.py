"""Texts from transformers, their log-probs from the engine.

A log-prob is computed per prompt and turn, all its texts as one prefix tree, whatever else is drawn
beside it: so its bits, rounded to `DIGITS`, do not depend on where a command was stopped.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import torch

from palate.config import SampleConfig
from palate.data.render import Renderer, check_effects
from palate.data.rows import Example, Item, Origin
from palate.data.rows import Sequence as Tokens
from palate.engine.sample import Draw, Ids, Job, SampleSettings
from palate.engine.sample import draw as draw_texts
from palate.engine.scoring import score
from palate.errors import NumericsError, UsageError
from palate.study.sampling import Ask, Made
from palate.study.source import open_source
from palate.train.events import Listener, Note

DIGITS: Final = 4


class Local:
    """A run, a Hugging Face folder or an adapter, in this process.  Raises PalateError."""

    def __init__(
        self, model: str, config: SampleConfig, rows: Sequence[Example], listen: Listener
    ) -> None:
        self._opened = open_source(model, config, listen)
        loaded, renderer = self._opened.loaded, self._opened.renderer
        self._ids = prompt_ids(renderer, config, rows, context=loaded.context)
        self._seed = config.seed
        self._settings = SampleSettings(
            max_new_tokens=config.max_new_tokens, stop_ids=tuple(sorted(renderer.stop_ids))
        )
        warm = max(1, len(config.temperatures)) * max(1, len(config.top_ps))
        self.size = self._settings.batch_size * warm
        self.about: Mapping[str, Any] = {
            "model": model,
            "identity": loaded.identity,
            **laid_out(renderer),
        }
        with torch.enable_grad():
            self._policy = self._opened.policy(self._prompts_doubled())
        plan = self._policy.plan
        listen(Note(f"fast path: {plan}", warning=bool(plan.reasons)))

    def close(self) -> None:
        """The model goes with its last name."""

    def draw(self, asks: Sequence[Ask]) -> list[Made]:
        """The texts, and their log-probs at temperature 1."""
        jobs = [Job(self._ids[id(ask.row)], ask.draw, ask.temperature, ask.top_p) for ask in asks]
        self._policy.restore()
        draws = draw_texts(self._opened.loaded, jobs, self._settings, seed=self._seed)
        found: list[Made] = []
        paired = zip(asks, jobs, draws, strict=True)
        for _, group in groupby(paired, lambda each: id(each[0].row)):
            same = list(group)
            found += self._scored(same[0][1].prompt, [each for _, _, each in same])
        return found

    @torch.no_grad()
    def _scored(self, prompt: Ids, draws: Sequence[Draw]) -> list[Made]:
        """Texts of one prompt with their log-probs; an empty text that has no end has 0."""
        items = [
            Item(
                (
                    Tokens(
                        (*prompt, *each.said),
                        ((len(prompt), len(prompt) + len(each.said)),),
                        len(prompt),
                    ),
                ),
                "",
                Origin("", 0),
            )
            for each in draws
        ]
        told = [place for place, each in enumerate(draws) if each.said]
        logps = [0.0] * len(draws)
        if told:
            scored = score(self._policy, [items[place] for place in told], self._opened.budget)
            for place, value in zip(told, scored[:, 0].double().tolist(), strict=True):
                logps[place] = value
        if not all(map(math.isfinite, logps)):
            raise NumericsError(
                "the log-prob of a text is not a number.", hint="Are the model's weights sound?"
            )
        return [
            Made(each.text, each.ended, len(each.said), round(logp, DIGITS))
            for each, logp in zip(draws, logps, strict=True)
        ]

    def _prompts_doubled(self) -> list[Item]:
        """What the fast path is checked on: each prompt after itself.  The same at every start."""
        context = self._opened.loaded.context
        found: list[Item] = []
        for ids in self._ids.values():
            twice = (ids + ids)[:context]
            tokens = Tokens(twice, ((len(ids), len(twice)),), len(ids))
            found.append(Item((tokens,), len(found), Origin("", 0)))
        return found


def prompt_ids(
    renderer: Renderer, config: SampleConfig, rows: Sequence[Example], *, context: int
) -> dict[int, Ids]:
    """id(row) -> the ids that its texts go on from.  Raises UsageError, DataError."""
    if config.plain or config.join is not None:
        check_effects(rows, renderer)
    found = {}
    for row in rows:
        assert row.prompt is not None
        ids = renderer.prompt_ids(row.prompt)
        if not 0 < len(ids) < context:
            what = f"{row.origin}: the prompt has {len(ids)} tokens; the model takes 1 to"
            raise UsageError(
                f"{what} {context - 1} and needs room for an answer.", hint="Shorten it."
            )
        found[id(row)] = ids
    return found


def laid_out(renderer: Renderer) -> dict[str, Any]:
    """What was decided on the layout of prompts, where it is not the usual."""
    options = renderer.options
    given = {
        "plain": options.plain,
        "join": options.join,
        "chat_template": options.chat_template,
    }
    return {name: value for name, value in given.items() if value not in (None, False)}
