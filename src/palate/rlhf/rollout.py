"""One step's texts: drawn from the policy at temperature 1, scored, and read once by each model.

What the ratio divides by is what was drawn from: no temperature, no likeliest share, every token of
a text is an action, the one that ends it too.  Old log-probs are the engine's, never the sampler's.

Shape suffixes: S sequences (those of a prompt stand together), L places of the longest, K scored
tokens of a packed row, E incidences (token, sequence), D hidden.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from palate.data.render import Renderer
from palate.data.rewards import Answered, Reward
from palate.data.rows import Example, Item, Origin, Text
from palate.data.rows import Sequence as Tokens
from palate.data.split import prompt_key
from palate.engine.model import Loaded
from palate.engine.pack import Row, pack
from palate.engine.policy import Policy
from palate.engine.sample import Draw, Ids, Job, Progress, SampleSettings, draw
from palate.errors import NumericsError, UsageError
from palate.rlhf.critic import Critic

CUT_OFF = 1.0  # what a text that was cut off lies below the starting model's mean, at the least


@dataclass(frozen=True, slots=True)
class Prompt:
    """What texts are drawn after: its words, its ids, and where it was read."""

    text: Text
    ids: Ids
    group: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Texts:
    """What was drawn: an item per prompt with its completions, and the same as words (S)."""

    items: tuple[Item, ...]
    answered: tuple[Answered, ...]

    @property
    def completions(self) -> int:
        """Texts per prompt."""
        return len(self.answered) // len(self.items)

    @property
    def ended(self) -> Tensor:
        """Which texts were not cut off (S,)."""
        return torch.tensor([each.ended for each in self.answered])

    @property
    def mask_SL(self) -> Tensor:
        """True at the tokens of each completion."""
        sizes_S = torch.tensor([s.scored for item in self.items for s in item.sequences])
        return torch.arange(int(sizes_S.max())) < sizes_S[:, None]


@dataclass(frozen=True, slots=True)
class Read:
    """What one model says of each token: log-probs, and values and mean entropy if asked for."""

    logps_SL: Tensor
    values_SL: Tensor | None
    entropy: float


@dataclass(frozen=True, slots=True)
class Scale:
    """Scores of the starting model's texts: what is paid is counted from their mean, in spreads.

    So the KL coefficient and the value head mean the same whatever unit a reward has.  Huang et al.
    2024 (reward normalised so that the starting model has mean 0).
    """

    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, scores_S: Tensor) -> "Scale":
        """Equal scores have no spread and are left as large as they are."""
        spread = float(scores_S.std()) if len(scores_S) > 1 else 0.0
        return cls(float(scores_S.mean()), spread if spread > 0 else 1.0)

    def paid(self, scores_S: Tensor, ended_S: Tensor) -> Tensor:
        """What each text is paid (S,).

        One that was cut off never pays: it lies `CUT_OFF` below the mean at the least, and below
        what it said.  Huang et al. 2024, the end-of-text trick, with a penalty instead of a cap.
        """
        paid_S = (scores_S - self.mean) / self.spread
        return torch.where(ended_S, paid_S, paid_S.clamp(max=0) - CUT_OFF)


def read_prompts(rows: Sequence[Example], renderer: Renderer, context: int) -> tuple[Prompt, ...]:
    """Each prompt once, as ids.  Raises UsageError for one that leaves no room."""
    found: dict[str, Prompt] = {}
    for row in rows:
        assert row.prompt is not None
        ids = renderer.prompt_ids(row.prompt)
        if not 0 < len(ids) < context:
            raise UsageError(
                f"{row.origin}: the prompt has {len(ids)} tokens; the model takes 1 to"
                f" {context - 1} and needs room for an answer.",
                hint="Shorten it, or leave it out.",
            )
        key = prompt_key(row)
        found.setdefault(key, Prompt(row.prompt, ids, key, row.origin))
    return tuple(found.values())


def seed_of(*parts: object) -> int:
    """A seed that is a function of its parts alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6])


def draw_texts(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    settings: SampleSettings,
    *,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Texts:
    """`settings.completions` texts after each prompt, a function of (weights, prompts, seed)."""
    n = settings.completions
    jobs = [
        Job(prompt.ids, place * n + index, 1.0, 1.0, place)
        for place, prompt in enumerate(prompts)
        for index in range(n)
    ]
    draws = draw(loaded, jobs, settings, seed=seed, progress=progress)
    groups = [draws[at : at + n] for at in range(0, len(draws), n)]
    items = [_item(prompt, group) for prompt, group in zip(prompts, groups, strict=True)]
    answered = [Answered(prompts[d.prompt_index].text, d.text, d.ended) for d in draws]
    return Texts(tuple(items), tuple(answered))


def _item(prompt: Prompt, draws: Sequence[Draw]) -> Item:
    start = len(prompt.ids)
    sequences = tuple(
        Tokens((*prompt.ids, *each.said), ((start, start + len(each.said)),), start)
        for each in draws
    )
    return Item(sequences, prompt.group, prompt.origin)


def score_texts(reward: Reward, texts: Texts) -> Tensor:
    """The reward of each text (S,), float64.  Raises NumericsError for one that is no number."""
    scores = reward.score(list(texts.answered))
    assert len(scores) == len(texts.answered), "a reward scores every answer"
    for place, score in enumerate(scores):
        if not math.isfinite(score):
            item = texts.items[place // texts.completions]
            raise NumericsError(
                f"the reward {reward.name} gave {score} for a text of {item.origin}; "
                "no weight was moved.",
                hint="A reward must be a finite number. The last checkpoint is intact.",
            )
    return torch.tensor(scores, dtype=torch.float64)


@torch.no_grad()
def read(
    policy: Policy, texts: Texts, budget: int, *, critic: Critic | None = None, entropy: bool
) -> Read:
    """One pass over the packed texts."""
    mask_SL, n = texts.mask_SL, texts.completions
    logps_SL = torch.zeros(mask_SL.shape, device=policy.device)
    values_SL = None if critic is None else torch.zeros_like(logps_SL)
    total = 0.0
    for row in pack(texts.items, budget):
        out = policy(row, with_statistics=entropy, with_states=critic is not None)
        place_S = sequences_of(out.row, n)
        found = padded(out.logps_K, out.row, mask_SL.shape[1])
        logps_SL = logps_SL.to(found)
        logps_SL[place_S] = found
        if critic is not None and values_SL is not None:
            values_SL = values_SL.to(found)
            values_SL[place_S] = padded(critic(out.states_KD), out.row, mask_SL.shape[1])
        if out.statistics is not None:
            total += float(out.statistics.entropy_K[_index(out.row.token_E, out.logps_K)].sum())
    return Read(logps_SL, values_SL, total / int(mask_SL.sum()))


def padded(values_K: Tensor, row: Row, width: int) -> Tensor:
    """Values of a row's scored tokens laid out by sequence (S of the row, L), 0 in the padding.

    Incidences stand by sequence, and in a sequence by time.
    """
    token_E, seq_E = _index(row.token_E, values_K), _index(row.seq_E, values_K)
    sizes_S = torch.bincount(seq_E, minlength=row.sequences)
    starts_S = sizes_S.cumsum(0) - sizes_S
    place_E = torch.arange(len(seq_E), device=values_K.device) - starts_S[seq_E]
    empty = values_K.new_zeros(row.sequences, width)
    return empty.index_put((seq_E, place_E), values_K[token_E])


def sequences_of(row: Row, completions: int) -> Tensor:
    """Which sequences of all (prompt after prompt) a row holds, in its order."""
    found = [item * completions + n for item in row.items for n in range(completions)]
    return torch.tensor(found)


def _index(values: object, beside: Tensor) -> Tensor:
    return torch.as_tensor(values, device=beside.device)
