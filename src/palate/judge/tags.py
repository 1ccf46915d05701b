"""The project's own reasons, on the number keys: kept in the store, and read in one place."""

import json
from collections.abc import Sequence
from typing import Final

from palate.judge.store import Store

TAGS: Final = (
    *("grounded", "specific", "calibrated", "no-hype", "on-brief", "shorter", "tone", "correct"),
)
_NAME: Final = "tags"


def tags_of(store: Store) -> tuple[str, ...]:
    """The store's tags, or those of a listing if it has none, or none that can be read."""
    try:
        found = json.loads(store.meta(_NAME, "[]"))
    except ValueError:
        return TAGS
    named = [str(each).strip() for each in found] if isinstance(found, list) else []
    return tuple(each for each in named if each) or TAGS


def keep_tags(store: Store, tags: Sequence[str]) -> None:
    """Remember them for the next time."""
    store.set_meta(_NAME, json.dumps(list(tags), ensure_ascii=False))
