"""A reward model against DPO's implicit reward: which ranks held-out pairs better?

    python scripts/reward_against_dpo.py --data pairs.jsonl --model MODEL --out runs/against

Both stages learn from the same pairs and are asked about the same held-out ones.  Prompts are cut
into folds by seed, and each fold is held out once, so every pair is asked about, by a model that
never saw its prompt.  The last weights count: no held-out pair chooses anything.  Same command:
finished runs are not made again.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from palate import api
from palate.config import DpoConfig, RewardConfig
from palate.data.rewards import Answered
from palate.data.rows import Pair
from palate.data.sources import read
from palate.data.split import prompt_key
from palate.rlhf.reward import open_reward
from palate.rlhf.reward_stage import train_reward
from palate.stats import Interval, bootstrap_mean, share


@dataclass(frozen=True)
class Hit:
    """One pair: its prompt, and how often each of the two ranked it right, over the seeds."""

    prompt: str
    reward: float
    implicit: float


Hits = dict[int, Hit]  # by the pair's line


@dataclass(frozen=True)
class Compared:
    """Accuracies with Wilson intervals; their difference, bootstrapped by prompt."""

    reward: Interval
    implicit: Interval
    difference: Interval


def compared(hits: Hits) -> Compared:
    """The difference is taken pair by pair, so luck with the split falls out of it."""
    found = list(hits.values())
    return Compared(
        share(sum(hit.reward for hit in found), len(found)),
        share(sum(hit.implicit for hit in found), len(found)),
        bootstrap_mean([hit.reward - hit.implicit for hit in found], [h.prompt for h in found]),
    )


def over_seeds(seeds: Sequence[Hits]) -> Hits:
    """The mean of a pair's seeds: the same pair asked again is no further pair."""
    return {
        line: Hit(
            first.prompt,
            fmean(hits[line].reward for hits in seeds),
            fmean(hits[line].implicit for hits in seeds),
        )
        for line, first in seeds[0].items()
    }


def folds(pairs: Sequence[Pair], count: int, seed: int) -> list[tuple[list[Pair], list[Pair]]]:
    """(train, held out) per fold, prompts whole.  A function of content and seed."""
    keys = sorted({prompt_key(pair) for pair in pairs}, key=lambda key: _rank(key, seed))
    part = {key: place % count for place, key in enumerate(keys)}
    return [
        (
            [pair for pair in pairs if part[prompt_key(pair)] != fold],
            [pair for pair in pairs if part[prompt_key(pair)] == fold],
        )
        for fold in range(count)
    ]


def _rank(key: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {key}".encode()).hexdigest()


def one_fold(
    split: tuple[list[Pair], list[Pair]], model: str, out: Path, options: dict[str, Any]
) -> Hits:
    """Both stages on one split."""
    train, held = split
    out.mkdir(parents=True, exist_ok=True)
    paths = [_write(out / name, rows) for name, rows in (("train", train), ("held", held))]
    shared: dict[str, Any] = {"model": model, "data": paths[0], "heldout": paths[1], **options}
    shared |= {"final": "last", "eval_every": 10**6}
    train_reward(RewardConfig(out=out / "reward", **shared))
    api.dpo(DpoConfig(out=out / "dpo", **shared))
    rewards = open_reward(str(out / "reward"))
    scored = rewards.score(
        [Answered(pair.prompt, str(side)) for pair in held for side in (pair.chosen, pair.rejected)]
    )
    gaps = [a - b for a, b in zip(scored[::2], scored[1::2], strict=True)]
    margins = [row.margin or 0.0 for row in api.score(str(out / "dpo"), paths[1])]
    return {
        pair.origin.line: Hit(prompt_key(pair), _hit(gap), _hit(margin))
        for pair, gap, margin in zip(held, gaps, margins, strict=True)
    }


def _hit(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _write(path: Path, rows: Sequence[Pair]) -> str:
    """The fold's rows as palate's own."""
    body = [{"prompt": r.prompt, "chosen": r.chosen, "rejected": r.rejected} for r in rows]
    file = path.with_suffix(".jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in body))
    return str(file)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", required=True, help="pairs of plain strings")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="flags of both: lr=1e-3 full=true")
    asked = parser.parse_args(words)
    pairs = read(asked.data, kind="pairs").rows
    options = dict(word.split("=", 1) for word in asked.set)
    seeds: list[Hits] = []
    for seed in range(asked.seeds):
        seeds.append({})
        for number, split in enumerate(folds(pairs, asked.folds, seed)):
            place = asked.out / f"seed-{seed}" / f"fold-{number}"
            seeds[-1] |= one_fold(split, asked.model, place, options | {"seed": seed})
        _say(f"seed {seed}", seeds[-1])
    if len(seeds) > 1:
        _say(f"mean of {len(seeds)} seeds", over_seeds(seeds))


def _say(what: str, hits: Hits) -> None:
    found = compared(hits)
    apart = found.difference
    sys.stdout.write(
        f"{what}: {len(hits)} pairs, each held out once\n"
        f"  reward model           {_percent(found.reward)}\n"
        f"  DPO's implicit reward  {_percent(found.implicit)}\n"
        f"  difference             {apart.value:+.1%} [{apart.low:+.1%}, {apart.high:+.1%}]"
        f"{'' if apart.low > 0 or apart.high < 0 else '  indistinguishable'}\n"
    )
    sys.stdout.flush()


def _percent(found: Interval) -> str:
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


if __name__ == "__main__":
    main()
