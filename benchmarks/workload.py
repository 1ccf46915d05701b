"""What both tools are given: a model from a config, and synthetic token ids with realistic lengths.

Lengths are quantiles of a log-normal, shuffled, so that a few pairs already have the shape of many.
Ids are random.  Everything is a function of the `Workload` alone: each process makes its own copy.
Imports neither torch nor a tool under test.
"""

import hashlib
import json
import math
import random
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

PAD, EOS, FIRST = 0, 1, 2  # ids from FIRST on are words
BATCH = 16  # pairs (SFT: rows) of an optimiser step
BETA = 0.1
CLIP = 1.0
LR = 1e-6


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama with tied embeddings."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int

    @property
    def layer_parameters(self) -> int:
        """Weights of all matrices in the layers, embeddings and norms left out."""
        head = self.hidden // self.heads
        attention = 2 * self.hidden * head * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn)


SHAPES = {
    "135m": Shape(hidden=576, layers=30, heads=9, kv_heads=3, ffn=1536, vocab=49152),
    "tiny": Shape(hidden=64, layers=2, heads=4, kv_heads=2, ffn=128, vocab=512),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Median lengths in tokens, their log-normal spread, and how many pairs one prompt has.

    `ranked` completions of a prompt make every pair of them: four make six.  `batch` is the default
    number of pairs (rows) of an optimiser step.
    """

    about: str
    prompt: int
    completion: int
    spread: float = 0.7
    kind: Literal["pairs", "sft"] = "pairs"
    ranked: int = 2
    batch: int = BATCH

    @property
    def pairs_per_prompt(self) -> int:
        return 1 if self.kind == "sft" else self.ranked * (self.ranked - 1) // 2

    @property
    def completions(self) -> int:
        return 1 if self.kind == "sft" else self.ranked


PROFILES = {
    "hh": Profile("pairs as long as those of HH-RLHF", 150, 60),
    "ultrafeedback": Profile("pairs as long as those of UltraFeedback", 130, 250, batch=8),
    "ranked": Profile("four ranked completions, six pairs", 150, 150, 0.0, ranked=4, batch=12),
    "sft": Profile("one completion to imitate", 150, 60, kind="sft"),
}


@dataclass(frozen=True, slots=True)
class Workload:
    """One profile at one size: `steps` timed optimiser steps of `batch` records, one warm-up."""

    profile: str
    shape: str = "135m"
    batch: int = BATCH
    steps: int = 1
    seed: int = 0
    scale: float = 1.0  # of all lengths

    @property
    def kind(self) -> Literal["pairs", "sft"]:
        return PROFILES[self.profile].kind


Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A prompt with chosen and rejected (SFT: the completion alone).  Prompt number `group`."""

    prompt: Ids
    completions: tuple[Ids, ...]
    group: int


def timed(work: Workload) -> list[Record]:
    """The records of the timed steps, in the order of training."""
    profile, rng = PROFILES[work.profile], random.Random(f"{work.profile} {work.seed}")
    prompts = -(-work.batch * work.steps // profile.pairs_per_prompt)
    shares = prompts * profile.completions
    prompt_lengths = _lengths(rng, prompts, profile.prompt * work.scale, profile.spread)
    lengths = iter(_lengths(rng, shares, profile.completion * work.scale, profile.spread))
    records: list[Record] = []
    for group, length in enumerate(prompt_lengths):
        sizes = [next(lengths) for _ in range(profile.completions)]
        records += _records(rng, SHAPES[work.shape].vocab, (length, *sizes), group)
    return records[: work.batch * work.steps]


def warm_up(work: Workload) -> list[Record]:
    """One step of short records: buffers and moments are made, and no time is taken."""
    rng, vocab = random.Random("warm-up"), SHAPES[work.shape].vocab
    sizes = (12, 6) if work.kind == "sft" else (12, 6, 6)
    return [_records(rng, vocab, sizes, -1 - i)[0] for i in range(work.batch)]


def digest(records: list[Record]) -> str:
    """Short hash of the ids: both tools must report the same."""
    rows = [[record.prompt, record.completions] for record in records]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def _lengths(rng: random.Random, count: int, median: float, spread: float) -> list[int]:
    """`count` log-normal quantiles in random order, between 4 and 700 tokens."""
    normal = NormalDist()
    values = [math.exp(spread * normal.inv_cdf((i + 0.5) / count)) for i in range(count)]
    rng.shuffle(values)
    return [min(700, max(4, round(median * value))) for value in values]


def _records(rng: random.Random, vocab: int, sizes: tuple[int, ...], group: int) -> list[Record]:
    """All pairs of one prompt, better first.  Completions may share their first 0 to 2 tokens."""

    def draw(length: int) -> Ids:
        return tuple(rng.randrange(FIRST, vocab) for _ in range(length))

    prompt, start = draw(sizes[0]), draw(rng.randrange(3))
    completions = [(*start, *draw(size - len(start) - 1), EOS) for size in sizes[1:]]
    if len(completions) == 1:
        return [Record(prompt, (completions[0],), group)]
    return [
        Record(prompt, (better, worse), group)
        for rank, better in enumerate(completions)
        for worse in completions[rank + 1 :]
    ]
