"""A model asked about single pairs while they are written: log-probs, and texts of its own.

Everything goes through the engine; one thread at a time may use a view.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from palate.config import PromptOptions
from palate.data.rows import Item, Origin, Pair
from palate.data.rows import Sequence as Tokens
from palate.engine.policy import Policy
from palate.engine.sample import Draw, Ids, SampleSettings, sample
from palate.engine.scoring import score
from palate.study.checks.base import Floats
from palate.study.own_texts import Asked, after_nothing
from palate.study.plausible import Own, Told
from palate.study.source import Opened, open_source, own_prompts
from palate.train.events import silent

LONGEST = 128  # new tokens of a text of its own
_PROBE = ("Say something.", "One.", "Two.")


@dataclass(slots=True, eq=False)
class View:
    """A loaded model.  `policy` is made with the first pair, by which its fast path is checked."""

    opened: Opened
    prompts: tuple[str, ...]
    policy: Policy | None = None

    @classmethod
    def open(cls, model: str, prompts: Sequence[str], count: int) -> "View":
        """Load it.  Without prompts, a run's own are taken.  Raises ModelError, CheckpointError."""
        opened = open_source(model, PromptOptions(), silent)
        return cls(opened, tuple(prompts[:count]) or own_prompts(model, count))

    def told(self, prompt: str, chosen: str, rejected: str) -> Told:
        """What it says of one pair.  Raises DataError for a pair that it cannot be given."""
        pair = Pair(prompt, chosen, rejected, Origin("", 1))
        item = self.opened.renderer.item(pair)
        self._policy(item)
        logps_12, empty_12 = self._with_and_without([pair], [item])
        tokens = tuple(sequence.scored for sequence in item.sequences)
        empty = None if empty_12 is None else tuple(map(float, empty_12[0]))
        return Told(tuple(map(float, logps_12[0])), tokens, empty)

    def texts(self, prompts: Sequence[str], each: int, seed: int) -> dict[str, list[Own]]:
        """`each` texts of its own per prompt, with their log-probs.

        A prompt that leaves no room is passed over.  Raises DataError for one it cannot be given.
        """
        renderer, loaded = self.opened.renderer, self.opened.loaded
        ids = {prompt: renderer.prompt_ids(prompt) for prompt in prompts}
        ids = {prompt: opening for prompt, opening in ids.items() if _fits(opening, loaded.context)}
        if not ids:
            return {}
        settings = SampleSettings(LONGEST, each, stop_ids=tuple(sorted(renderer.stop_ids)))
        if self.policy is not None:
            self.policy.restore()
        draws = sample(loaded, list(ids.values()), settings, seed=seed)
        names, openings, end = list(ids), list(ids.values()), self._end()
        kept = [draw for draw in draws if draw.ids or draw.ended]
        items = [_item(openings[draw.prompt_index], draw, end) for draw in kept]
        if not items:
            return {}
        self._policy(items[0])
        pairs = [Pair(names[draw.prompt_index], *_PROBE[1:], Origin("", 1)) for draw in kept]
        logps_M1, empty_M2 = self._with_and_without(pairs, items)
        found: dict[str, list[Own]] = {name: [] for name in names}
        for place, (draw, item) in enumerate(zip(kept, items, strict=True)):
            count, logp = item.sequences[0].scored, float(logps_M1[place, 0])
            gain = None if empty_M2 is None else (logp - float(empty_M2[place, 0])) / count
            found[names[draw.prompt_index]].append(Own(logp / count, count, gain))
        return found

    def _with_and_without(
        self, pairs: Sequence[Pair], items: Sequence[Item]
    ) -> tuple[Floats, Floats | None]:
        """Log-probs (I,N) of answers after their prompt, and after an empty one."""
        firsts = [replace(item, sequences=_firsts(item)) for item in items]
        logps_2IN = self._score([*items, *firsts]).reshape(2, len(items), -1)
        places_I = np.arange(len(items))
        asked = Asked(self.opened, self._policy(items[0]), pairs, items, places_I)
        return logps_2IN[0], after_nothing(asked, logps_2IN[1], silent)

    def _score(self, items: Sequence[Item]) -> Floats:
        assert self.policy is not None, "a policy is made before anything is scored"
        found: Floats = score(self.policy, items, self.opened.budget).double().cpu().numpy()
        return found

    def _policy(self, item: Item) -> Policy:
        if self.policy is None:
            self.policy = self.opened.policy([item])
        return self.policy

    def _end(self) -> Ids:
        """What ends an answer as it is rendered for training."""
        prompt, one, other = _PROBE
        item = self.opened.renderer.item(Pair(prompt, one, other, Origin("", 1)))
        last = item.sequences[0].ids[-1:]
        return last if last[0] in self.opened.renderer.stop_ids else ()


def _fits(opening: Ids, context: int) -> bool:
    return 0 < len(opening) < context


def _item(opening: Ids, draw: Draw, end: Ids) -> Item:
    whole = (*opening, *draw.ids, *(end if draw.ended else ()))
    tokens = Tokens(whole, ((len(opening), len(whole)),), len(opening))
    return Item((tokens,), "own", Origin("", 0))


def _firsts(item: Item) -> tuple[Tokens, ...]:
    """The same sequences with only their first scored token scored."""
    return tuple(
        replace(each, spans=((each.spans[0][0], each.spans[0][0] + 1),)) for each in item.sequences
    )
