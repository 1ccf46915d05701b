"""Records that hold more, or less, than a pair: weighted rows, single verdicts, ranked lists.

Weighted: an SFT row with `weight`.  Verdict: prompt, completion, `label` (true: desirable).
Ranked: prompt and `completions`, best first; read as pairs, every two of them make one.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from palate.data import forms
from palate.data.fields import REMOVE, Fields
from palate.data.rows import Example, Origin, Pair, Ranking
from palate.errors import DataError, Problem

RANKED = ("prompt", "completions")


def weighted_form(
    found: Mapping[str, Any], mapping: Mapping[str, str], path: str
) -> tuple[str, ...]:
    """An SFT form, and a weight."""
    return (*forms.sft_form(found, mapping, path), "weight")


def labelled_form(
    found: Mapping[str, Any], mapping: Mapping[str, str], path: str
) -> tuple[str, ...]:
    """Prompt, completion, label."""
    if not mapping and {"chosen", "rejected"} <= found.keys():
        what = "holds pairs: it has 'chosen' and 'rejected'"
        todo = (
            "kto learns from rows with a 'label'; for pairs leave --objective out, or name another."
        )
        raise DataError([Problem(path, 0, "", what, todo)])
    return ("prompt", "completion", "label")


def ranked_form(found: Mapping[str, Any], mapping: Mapping[str, str], path: str) -> tuple[str, ...]:
    """Prompt and completions, best first."""
    if not mapping and {"chosen", "rejected"} <= found.keys():
        what = "holds pairs: it has 'chosen' and 'rejected'"
        todo = "plackett_luce learns from 'completions', best first; dpo is the same for pairs."
        raise DataError([Problem(path, 0, "", what, todo)])
    return RANKED


def weighted(fields: Fields) -> Example | None:
    """An SFT row with its own weight."""
    row = forms.example(replace(fields, wanted=fields.wanted[:-1]))
    weight = fields.number("weight")
    return replace(row, value=weight) if row and weight is not None else None


def labelled(fields: Fields) -> Example | None:
    """A completion and whether it is desirable."""
    row = forms.example(replace(fields, wanted=fields.wanted[:-1]))
    label = fields.verdict("label")
    return replace(row, value=label) if row and label is not None else None


def ranking(fields: Fields) -> Ranking | None:
    """A prompt and its completions, best first."""
    prompt, texts = fields.text("prompt", blank=True), fields.texts("completions")
    if prompt is None or texts is None:
        return None
    if len(texts) < 2:
        fields.fault("completions", f"has {len(texts)} of at least 2", REMOVE)
    for (n, one), (m, other) in itertools.combinations(enumerate(texts, start=1), 2):
        if one == other:
            fields.fault("completions", f"number {n} and {m} are identical", "Keep one of them.")
    if not fields.sound:
        return None
    names = {f"completions, number {n}": text for n, text in enumerate(texts, start=1)}
    prompt, sides = forms.joined(fields, prompt, names)
    origin = Origin(fields.record.path, fields.record.line)
    return Ranking(prompt, tuple(sides), origin) if fields.sound else None


def pairs(fields: Fields) -> tuple[Pair, ...] | None:
    """A pair, or every two of a ranked list."""
    if fields.wanted != RANKED:
        found = forms.pair(fields)
        return None if found is None else (found,)
    ranked = ranking(fields)
    if ranked is None:
        return None
    two = itertools.combinations(ranked.completions, 2)
    return tuple(Pair(ranked.prompt, better, worse, ranked.origin) for better, worse in two)
