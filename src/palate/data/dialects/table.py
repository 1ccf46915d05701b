"""The table of dialects, and which of them a file is, by the exact signature of its first record.

Never by guess: what fits no signature is read in palate's own fields, and what fits two is refused.
"""

from collections.abc import Mapping
from typing import Any

from palate.data.dialects import examples, lists, preferences
from palate.data.dialects.base import Dialect
from palate.data.dialects.turns import is_messages
from palate.errors import DataError, Problem

AUTO, OWN = "auto", "palate"
DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        examples.SHAREGPT,
        preferences.LLAMAFACTORY,
        examples.ALPACA,
        preferences.ALPACA_PAIRS,
        examples.ALPACA_KTO,
        preferences.HH,
        examples.OPENAI,
        preferences.OPENAI_PAIRS,
        preferences.BINARIZED,
        lists.ULTRAFEEDBACK,
        lists.SCORED,
        preferences.STACK_EXCHANGE,
        examples.KTO,
    )
}
FORMATS = (AUTO, OWN, *DIALECTS)


def recognise(fields: Mapping[str, Any], format: str, path: str) -> Dialect | None:
    """The dialect of a file from its first record; None is palate's own.  Raises DataError."""
    if format != AUTO:
        return DIALECTS.get(format)
    fitting = [dialect for dialect in DIALECTS.values() if dialect.fits(fields)]
    if is_own(fields):
        refined = [dialect for dialect in fitting if dialect.refines]
        names = [dialect.name for dialect in refined or fitting]
        names += [] if refined else [OWN]
    else:
        names = [dialect.name for dialect in fitting]
    if len(names) > 1:
        what = f"fits {len(names)} formats: {' and '.join(names)} (fields: {', '.join(fields)})"
        flags = " or ".join(f"--format {name}" for name in names)
        raise DataError([Problem(path, 0, "", what, f"Say which: {flags}.")])
    return DIALECTS.get(names[0]) if names else None


def nearly(fields: Mapping[str, Any]) -> str:
    """What to say of a first record that has the field names of one dialect, but not its shapes."""
    if is_own(fields):
        return ""
    near = [dialect for dialect in DIALECTS.values() if dialect.named(fields)]
    if len(near) != 1:
        return ""
    return f" If this is {near[0].title}, --format {near[0].name} says what is wrong."


def is_own(fields: Mapping[str, Any]) -> bool:
    """Whether a record has one of palate's own forms."""
    sides = [fields.get(name) for name in ("chosen", "rejected")]
    return (
        {"prompt", "completion"} <= fields.keys()
        or {"prompt", "completions"} <= fields.keys()
        or {"prompt", "chosen", "rejected"} <= fields.keys()
        or all(isinstance(side, list) for side in sides)
        or is_messages(fields.get("messages"))
        or isinstance(fields.get("text"), str)
    )
