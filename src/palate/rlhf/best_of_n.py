"""The best of n texts by a reward: which one, what n is worth, and what it costs in KL.  Pure.

Of the texts that a model ended, the one with the highest reward, the first of equals; one that was
cut off, or is empty, is taken only where all are.  Of N draws the estimate for every smaller n is
unbiased: it is the mean over all choices of n among them, so a file of 16 draws gives the whole
curve.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import comb, isfinite, log
from typing import Any

from palate.data.rewards import Answered, Reward
from palate.data.rows import Message, Text
from palate.errors import NumericsError
from palate.stats import Interval, bootstrap_mean
from palate.train.events import Listener, Working

AT_ONCE = 256  # texts scored between two signs of progress
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AtN:
    """What the best of `n` is worth: mean reward with its interval, by prompt; nats at most."""

    n: int
    reward: Interval
    kl_at_most: float


@dataclass(frozen=True, slots=True)
class Best:
    """The texts that were kept, a row per prompt, and what was found on the way.

    `cut_off` of them were not ended; `empty` prompts had no text with a word in it and have no row;
    of `alike` prompts all texts got one reward.
    """

    rows: tuple[dict[str, Any], ...]
    curve: tuple[AtN, ...]
    cut_off: int
    empty: int
    alike: int


def kl_at_most(n: int) -> float:
    """Bound of KL(best of n || policy) in nats: `log n - (n - 1)/n`.  Stiennon et al. 2020.

    It is a bound and no equality: Beirami et al. 2024 (arXiv:2401.01879).
    """
    return log(n) - (n - 1) / n


def standing(rewards: Sequence[float], ended: Sequence[bool]) -> list[int]:
    """Place of each text in the order that decides, from the worst; equals share one."""
    keys = list(zip(ended, rewards, strict=True))
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return [places[key] for key in keys]


def expected_best(order: Sequence[float], values: Sequence[float], n: int) -> float:
    """Mean value of the best of `n` by `order`, over all choices of n texts among these.

    Unbiased for the best of n fresh draws.  `values` may be of another reward than `order`: what
    one pays, measured by the other.  The text at place k of N, from the worst, is best in
    `C(k - 1, n - 1)` of the `C(N, n)` choices; equals share theirs.  Raises ValueError if n > N.
    """
    count = len(order)
    if not 1 <= n <= count:
        raise ValueError(f"the best of {n} cannot be told from {count} draws")
    worst_first = sorted(range(count), key=order.__getitem__)
    total, below = 0.0, 0
    for _, group in groupby(worst_first, order.__getitem__):
        equals = [values[place] for place in group]
        chosen = comb(below + len(equals), n) - comb(below, n)
        total += chosen / comb(count, n) * sum(equals) / len(equals)
        below += len(equals)
    return total


def sizes(n: int) -> list[int]:
    """1, 2, 4, ... and n itself."""
    return sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n})


def best(records: Sequence[Record], reward: Reward, listen: Listener) -> Best:
    """Keep the best record of each prompt, of those that `palate sample` wrote.

    Every prompt has the same number of records.  Raises what the reward raises.
    """
    groups: defaultdict[int, list[Record]] = defaultdict(list)
    for record, score in zip(records, _scores(records, reward, listen), strict=True):
        groups[record["line"]].append({**record, "reward": score})
    every = list(groups.values())
    kept = [_kept(group, reward) for group in every]
    rows = tuple(row for row in kept if row["completion"].strip())
    return Best(
        rows=rows,
        curve=tuple(_at(n, every) for n in sizes(len(every[0]))),
        cut_off=sum(not row["ended"] for row in rows),
        empty=len(kept) - len(rows),
        alike=sum(len({each["reward"] for each in group}) == 1 for group in every),
    )


def _kept(group: Sequence[Record], reward: Reward) -> dict[str, Any]:
    """The row of one prompt, as `palate sft` reads it."""
    places = _places(group)
    one = group[places.index(max(places))]
    return {
        "prompt": one["prompt"],
        "completion": one["completion"],
        "reward": one["reward"],
        "mean_reward": sum(each["reward"] for each in group) / len(group),
        "n": len(group),
        "index": one["index"],
        "ended": one["ended"],
        "rewarded_by": reward.name,
        "reward_identity": reward.identity,
        "drawn_as": one["id"],
    }


def _places(group: Sequence[Record]) -> list[int]:
    """The order that decides; a text that was cut off or is empty stands below all others."""
    whole = [each["ended"] and bool(each["completion"].strip()) for each in group]
    return standing([each["reward"] for each in group], whole)


def _at(n: int, groups: Sequence[Sequence[Record]]) -> AtN:
    found = [
        expected_best(_places(group), [each["reward"] for each in group], n) for group in groups
    ]
    return AtN(n, bootstrap_mean(found), kl_at_most(n))


def _scores(records: Sequence[Record], reward: Reward, listen: Listener) -> list[float]:
    """Raises NumericsError for a reward that is no finite number."""
    asked = [Answered(_text(r["prompt"]), r["completion"], r["ended"]) for r in records]
    found: list[float] = []
    for start in range(0, len(asked), AT_ONCE):
        found += reward.score(asked[start : start + AT_ONCE])
        listen(Working("texts scored", len(found), len(asked)))
    for record, score in zip(records, found, strict=True):
        if not isfinite(score):
            raise NumericsError(
                f"the reward {reward.name} gave {score} for a text of line {record['line']}.",
                hint="A reward must be a finite number.",
            )
    return found


def _text(prompt: Any) -> Text:
    """A prompt as it was before it became JSON."""
    if isinstance(prompt, str):
        return prompt
    return tuple(Message(turn["role"], turn["content"]) for turn in prompt)
