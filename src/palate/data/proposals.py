"""What a missing field was probably called, so that the error can name the `--map` that mends it.

The nearest spelling first, then other tools' names, then, when exactly as many texts are there as
are wanted, their order.  A proposal is words in an error: nothing is renamed unasked.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

FIELDS = (
    "prompt",
    "completion",
    "messages",
    "text",
    "chosen",
    "rejected",
    "completions",
    "label",
    "weight",
)
_ALIASES = {
    "prompt": ("instruction", "question", "query", "input", "mr", "source", "context"),
    "completion": ("response", "answer", "output", "target", "human", "ref", "reference"),
    "messages": ("conversations", "conversation", "dialogue", "turns"),
    "text": ("content", "document", "story"),
    "chosen": ("chosen_response", "response_j", "preferred", "winner", "better", "accepted"),
    "completions": ("responses", "answers", "candidates", "generations", "outputs"),
    "label": ("thumb", "thumbs", "desirable", "is_good", "liked"),
    "weight": ("weights", "advantage", "reward", "importance"),
    "rejected": ("rejected_response", "response_k", "dispreferred", "loser", "worse", "reject"),
}


def missing(
    wanted: str, found: Mapping[str, Any], needed: Sequence[str], mapping: Mapping[str, str]
) -> tuple[str, str]:
    """(what, todo) for a wanted field that a record does not have."""
    what = f"is missing (found: {', '.join(map(str, found)) or 'nothing'})"
    names = propose(found, needed, mapping)
    if wanted in mapping:
        near = difflib.get_close_matches(mapping[wanted], list(found), 1)
        return what, f"Use --map {wanted}={near[0]}." if near else f"Mend --map {wanted}=..."
    if wanted not in names:
        return what, f"Name it: --map {wanted}=FIELD."
    flags = ",".join(f"{name}={column}" for name, column in names.items())
    near = difflib.get_close_matches(wanted, [names[wanted]], 1)
    guess = f"Did you mean '{near[0]}' -> '{wanted}'? " if near else ""
    return what, f"{guess}Use --map {flags}."


def propose(
    found: Mapping[str, Any], needed: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, str]:
    """Wanted field -> column, for every wanted field that is not there and has a likely column."""
    present = {name for name in needed if mapping.get(name, name) in found}
    free = [name for name in found if name not in needed and name not in mapping.values()]
    lacking = [name for name in needed if name not in present and name not in mapping]
    texts = [name for name in free if isinstance(found[name], str | list)]
    named = _by_name(lacking, free)
    if len(named) < len(lacking) and len(texts) == len(lacking):
        return dict(zip(lacking, texts))
    return named


def _by_name(lacking: Sequence[str], free: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name in lacking:
        left = [column for column in free if column not in named.values()]
        alias = [column for column in _ALIASES[name] if column in left]
        near = difflib.get_close_matches(name, left, 1, 0.6)
        if alias or near:
            named[name] = (near or alias)[0]
    return named
