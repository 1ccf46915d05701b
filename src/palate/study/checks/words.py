"""Text to words, for every check alike, and figures and lists as words.

A word is lower case, of letters and digits; a CJK sign is one each.
"""

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
    "(?:['\u2019][^\\W\\d_]+)*"
)

_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
ONES = {name: value for value, name in enumerate(_NAMES.split())}


@lru_cache(maxsize=1 << 16)
def words(text: str) -> tuple[str, ...]:
    """The words of a text, in order."""
    return tuple(map(sys.intern, _WORD.findall(text.lower())))


def normalised(text: str) -> str:
    """The text as it is compared: NFC, case folded, white space single."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def percent(value: float) -> str:
    """`74%`; small shares keep a digit: `0.5%`."""
    return f"{value:.1%}" if 0 < value < 0.0995 else f"{value:.0%}"


def plural(count: int, noun: str) -> str:
    """`1 pair`, `480 pairs`, `10,000 pairs`; `more` stays as it is."""
    return f"{count:,} {noun}{'' if count == 1 or noun == 'more' else 's'}"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))
