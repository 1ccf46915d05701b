"""A figure of the record as a page shows it: its text, and where it stands in the record.

Every figure of an evaluation goes through these functions, with its place: a JSON pointer
(RFC 6901) into `palate evaluate --json`, which the page keeps beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

from palate.report.page import MINUS, shown
from palate.stats import Interval

Tone = Literal["up", "down", "none"]
Form = Literal["rate", "mean", "change", "count", "number"]
TONES: Final[dict[str | None, Tone]] = {"better": "up", "worse": "down"}


@dataclass(frozen=True, slots=True)
class Figure:
    """`of`: its place in the record; `form`: how it was written; `text`: the estimate first."""

    of: str
    form: Form
    text: str
    value: float


def place(*parts: str | int) -> str:
    """A JSON pointer, as a URI holds it (RFC 6901, section 6): `/wins/0/raw`."""
    return "".join(f"/{quote(_escaped(str(part)), safe='')}" for part in parts)


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def rate(of: str, found: Interval) -> Figure:
    """A share with its interval: `61% [52%, 69%]`."""
    return Figure(of, "rate", found.percent(), found.value)


def mean(of: str, found: Interval, *, sign: bool = False) -> Figure:
    """A mean with its interval, to one precision: `5.63 [5.20, 6.03]`; `sign`: a difference."""
    value, low, high = together((found.value, found.low, found.high), sign=sign)
    return Figure(of, "change" if sign else "mean", f"{value} [{low}, {high}]", found.value)


def together(values: Sequence[float], *, sign: bool = False) -> list[str]:
    """Figures with the decimals that give the largest of them three digits."""
    most = max(map(abs, values))
    if not math.isfinite(most) or 0 < most < 1e-4 or most >= 1e6:
        return [shown(value, sign=sign) for value in values]
    decimals = max(0, 2 - math.floor(math.log10(most))) if most else 0
    told = [f"{abs(value):,.{decimals}f}" for value in values]
    signs = [MINUS if value < 0 else "+" if sign and value > 0 else "" for value in values]
    return [mark + text for mark, text in zip(signs, told, strict=True)]


def number(of: str, found: float) -> Figure:
    """One figure without an interval: a program's points."""
    return Figure(of, "number", shown(found), found)


def percent(of: str, found: float) -> Figure:
    """A bare share: `62%`."""
    return Figure(of, "rate", f"{found:.0%}", found)


def count(of: str, found: int) -> Figure:
    """A whole number: `1,200`."""
    return Figure(of, "count", f"{found:,}".replace("-", MINUS), found)


def tone(found: Interval | None, verdict: str | None, *, nothing: float = 0.5) -> Tone:
    """The colour of a verdict.  None ("none") wherever the interval covers no difference."""
    if found is not None and found.low <= nothing <= found.high:
        return "none"
    return TONES.get(verdict, "none")


def at(record: Any, of: str) -> Any:
    """What stands in a record (plain JSON) at a place.  Raises KeyError or IndexError."""
    for part in of.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        is_list = isinstance(record, Sequence) and not isinstance(record, str)
        record = record[int(key)] if is_list else record[key]
    return record
