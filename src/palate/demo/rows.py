"""The example's data files: what analysts wrote, prompts to draw for, and pairs by the taste.

The examples are as people write them: mostly grounded, a fact left out here and there, now and then
a vague phrase, a boast or a slip.  A model that imitates them imitates that as well, which is what
preferences are for.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palate.demo.prose import Style, describe, prompt
from palate.demo.sheets import Sheet, sheets
from palate.demo.taste import judge

NEAR = 1.0  # points that the better text must be ahead by: one fact, one boast, two vague phrases
CARELESS: Mapping[str, float] = {"vague": 0.15, "hype": 0.06, "wrong": 0.12}
KEEP = 0.85

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs, and why some prompts gave none: every text was about equally good."""

    rows: tuple[Row, ...]
    ties: int


def examples(count: int, seed: int) -> list[Row]:
    """SFT rows."""
    rng = random.Random(f"analysts {seed}")
    return [
        {"prompt": prompt(sheet), "completion": describe(sheet, _careless(rng), rng)}
        for sheet in sheets(count, f"examples {seed}")
    ]


def prompts(about: Sequence[Sheet]) -> list[Row]:
    """Rows for `palate sample`."""
    return [{"prompt": prompt(sheet)} for sheet in about]


def pairs(about: Sequence[Sheet], drawn: Sequence[Sequence[str]]) -> Pairs:
    """One near-miss per sheet: its best text against the best of those clearly behind it."""
    found = [_near_miss(sheet, texts) for sheet, texts in zip(about, drawn, strict=True)]
    rows = tuple(row for row in found if row is not None)
    return Pairs(rows, len(found) - len(rows))


def _careless(rng: random.Random) -> Style:
    slips = {name: int(rng.random() < chance) for name, chance in CARELESS.items()}
    return Style(keep=KEEP, **slips)


def _near_miss(sheet: Sheet, texts: Sequence[str]) -> Row | None:
    scored = sorted(((judge(text, sheet).score, -place) for place, text in enumerate(texts)))[::-1]
    best, first = scored[0]
    behind = [place for score, place in scored if score <= best - NEAR]
    if not behind:
        return None
    return {"prompt": prompt(sheet), "chosen": texts[-first], "rejected": texts[-behind[0]]}


def completions(records: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The texts of each prompt, in the order of the file that `palate sample --out` wrote."""
    texts: dict[int, list[str]] = {}
    for record in records:
        texts.setdefault(record["line"], []).append(record["completion"])
    yield from (texts[line] for line in sorted(texts))
