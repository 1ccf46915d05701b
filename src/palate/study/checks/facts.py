"""The checkable facts of a text: numbers with their units, names, months, links, quotations.

No vocabulary of any subject: a number is one in digits or in words, a name a capitalised word in
mid-sentence.  List markers, labels such as "Step 2:", code, "I" and the first word of a sentence
are none.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from palate.study.checks.words import ONES

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"')\]]+", re.IGNORECASE)
_QUOTE = re.compile('\u201c([^\u201c\u201d\\n]*)\u201d|"([^"\\n]*)"')
_MARKER = re.compile(
    r"^[ \t>*#_|-]*(?:\(?\d{1,3}[.):](?=[\s*]|\Z)|[^\W\d_]+ \d{1,3}[:)]|\(?[A-Za-z][.)](?=\s))",
    re.MULTILINE,
)
_ISO = re.compile(r"\b\d{4}-(\d{2})-(\d{2})\b|\b(\d{1,2})[/.](\d{1,2})[/.]\d{2,4}\b")
# What is searched for in every text begins with its first sign and looks behind it only then: so
# the engine may leap to such signs, which is several times as fast.
_NUMBER = re.compile(
    r"(?P<digits>\d(?<![\w.,]\d)(?:\d{0,2}(?:,\d{3})+(?:\.\d+)?|\d*(?:\.\d+)*))"
    r"(?P<half>[½¼¾]| 1/2\b)?"
    r"(?P<tail>\s?%|[ -]?[^\W\d_]+)?"
)
_MONEY = re.compile(r"[$€£¥]\s?\Z")
_GLUED = re.compile(r"\d(?<=[^\W\d_]\d)\d*")
_DIGIT = re.compile(r"\d")
_WITH_DIGIT = re.compile(r"[^\W\d_][^\W_]*\d[^\W_]*")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
_ALONE: Final = frozenset(["one", "zero"])

TENS: Final = {
    name: 10 * value
    for value, name in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES: Final = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_SUFFIX: Final = {"k": 10**3, "m": 10**6, "bn": 10**9, "mn": 10**6, **_SCALES}
_PART: Final = {"½": 0.5, "¼": 0.25, "¾": 0.75, "1/2": 0.5}
_FIRST: Final = "|".join((*TENS, *sorted(ONES, key=len, reverse=True)))
_SPELLED = re.compile(
    rf"\b(?=[zotfsen])(?P<number>(?:{_FIRST})"
    rf"(?:[ -](?:{_FIRST}|{'|'.join(_SCALES)}|and a half))*)\b"
    r"(?:[ -](?P<unit>[^\W\d_]+))?"
)
_MONTHS: Final = {
    name: value
    for value, name in enumerate(
        [
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ],
        start=1,
    )
}
_UNITS: Final = {
    alias: unit
    for unit, aliases in {
        "money": "dollar dollars usd eur euro euros gbp pound-sterling yen cents cent bucks",
        "%": "% percent pct",
        "m": "metre metres meter meters",
        "km": "km kilometre kilometres kilometer kilometers",
        "cm": "cm centimetre centimetres centimeter centimeters",
        "mile": "mile miles mi",
        "foot": "ft foot feet",
        "inch": "inch inches",
        "kg": "kg kilo kilos kilogram kilograms",
        "lb": "lb lbs",
        "second": "second seconds sec secs",
        "minute": "minute minutes min mins",
        "hour": "hour hours hr hrs",
        "day": "day days",
        "week": "week weeks",
        "month": "month months",
        "year": "year years yr yrs",
        "degree": "degree degrees celsius fahrenheit",
    }.items()
    for alias in aliases.split()
}


@dataclass(frozen=True, slots=True)
class Facts:
    """`numbers` as (value, unit or ""), the rest as it is compared.  A month is "month 3"."""

    numbers: frozenset[tuple[str, str]]
    names: frozenset[str]
    others: frozenset[str]

    def __len__(self) -> int:
        return len(self.numbers) + len(self.names) + len(self.others)


def facts(text: str) -> Facts:
    """What `text` states, code left out."""
    plain = _CODE.sub(" ", text) if "`" in text else text
    may_link = "://" in plain or "www." in plain.lower()
    found = _URL.findall(plain) if may_link else ()
    links = frozenset(link.lower().rstrip(".,;:!?/") for link in found)
    plain = _MARKER.sub("\n", _URL.sub(" ", plain) if links else plain)
    found = _QUOTE.findall(plain) if '"' in plain or "\u201c" in plain else ()
    quoted = (one or two for one, two in found)
    quotes = frozenset(
        " ".join(each.casefold().split()).strip(" .,;:!?")
        for each in quoted
        if 1 < len(each.split()) <= 15
    )
    names = _names(plain)
    months = frozenset(f"month {_MONTHS[each]}" for each in names if each in _MONTHS)
    numbers = frozenset(_digits(plain)) | frozenset(_spelled(plain))
    return Facts(numbers, names - _MONTHS.keys(), links | quotes | months)


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What a prompt holds, ready to be asked."""

    text: str
    values: dict[str, set[str]]
    small: frozenset[str]
    months: frozenset[int]

    def holds_number(self, value: str, unit: str) -> bool:
        """Is the value there, with the same unit or with none on either side?"""
        units = self.values.get(value)
        return units is not None and (not unit or unit in units or "" in units)

    def holds_word(self, word: str) -> bool:
        """Is the word there, singular or plural?"""
        stem = _stem(word)
        return stem in self.small or f"{stem}s" in self.small or f"{stem}es" in self.small

    def holds_other(self, fact: str) -> bool:
        """Is the link, quotation or month there?"""
        if fact.startswith("month "):
            return int(fact[6:]) in self.months
        return fact in self.text


@lru_cache(maxsize=64)
def ground(prompt: str) -> Ground:
    """What may be said without inventing it: every word, every number, in any spelling."""
    values: dict[str, set[str]] = {}
    for value, unit in [*_digits(prompt), *_spelled(prompt, every=True)]:
        values.setdefault(value, set()).add(unit)
    numbered = _DIGIT.search(prompt)
    for value in _GLUED.findall(prompt) if numbered else ():
        values.setdefault(_plain(float(value)) if len(value) < 16 else value, set()).add("")
    low = prompt.casefold()
    small = frozenset(_LETTERS.findall(low) + (_WITH_DIGIT.findall(low) if numbered else []))
    iso = _ISO.findall(prompt) if numbered else ()
    dates = [int(each) for found in iso for each in found if each]
    months = {number for name, number in _MONTHS.items() if name in small or name[:3] in small}
    return Ground(" ".join(low.split()), values, small, frozenset({*months, *dates}))


def ungrounded(text: str, prompt: str, ordinary: Collection[str] = ()) -> tuple[str, ...]:
    """The facts of `text` that `prompt` does not hold, in order of kind, then of spelling.

    A name whose words are all `ordinary` (the file writes them small too) is none.
    """
    stated, known = facts(text), ground(prompt)
    numbers = [
        f"{value} {unit}".strip()
        for value, unit in stated.numbers
        if not known.holds_number(value, unit)
    ]
    names = [
        name
        for name in stated.names
        if any(not known.holds_word(word) and word not in ordinary for word in name.split())
    ]
    others = [fact for fact in stated.others if not known.holds_other(fact)]
    return (*sorted(numbers), *sorted(names), *sorted(others))


def small_words(texts: Iterable[str]) -> frozenset[str]:
    """The words that some text writes in lower case."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text.split())
    found = (word for each in seen for word in _LETTERS.findall(each))
    return frozenset(word for word in found if word.islower())


def _plain(value: float) -> str:
    """One spelling per value: 3.50 and 3.5, 1,200 and 1200."""
    return str(int(value)) if value == int(value) else repr(value)


def _digits(text: str) -> list[tuple[str, str]]:
    found = []
    for each in _NUMBER.finditer(text):
        digits, tail = each["digits"].replace(",", ""), (each["tail"] or "").strip(" -").lower()
        if digits.count(".") > 1 or len(digits) > 15:
            found.append((digits, ""))
            continue
        value = float(digits) + _PART.get((each["half"] or "").strip(), 0.0)
        start = each.start()
        unit = "money" if _MONEY.search(text, max(start - 2, 0), start) else ""
        if tail in _SCALES or (tail in _SUFFIX and unit):
            value, tail = value * _SUFFIX[tail], ""
        elif tail == "k" and each["tail"] == "k":
            value, tail = value * 1000, ""
        found.append((_plain(value), unit or _UNITS.get(tail, "")))
    return found


def _spelled(text: str, *, every: bool = False) -> list[tuple[str, str]]:
    """Numbers in words: "twenty-five", "two hundred", "three and a half".

    "One" by itself is a pronoun more often than a number and left out, unless `every`.
    """
    found = []
    for each in _SPELLED.finditer(text.lower()):
        tokens = _WORD.findall(each["number"])
        place = 0
        while place < len(tokens):
            start = place
            value, place = _read(tokens, place)
            last = place == len(tokens)
            if every or place - start > 1 or tokens[start] not in _ALONE:
                found.append((_plain(value), _UNITS.get(each["unit"] or "", "") if last else ""))
            place = max(place, start + 1)
    return found


def _read(tokens: list[str], place: int) -> tuple[float, int]:
    """The number that starts at `place`, and the place after it."""
    total, part = 0.0, 0.0
    while place < len(tokens):
        token = tokens[place]
        if token in TENS and part % 100 == 0:
            part += TENS[token]
        elif token in ONES and (part % 10 == 0 and (part % 100 >= 20 or part % 100 == 0)):
            part += ONES[token]
        elif token == "hundred" and part:
            part *= 100
        elif token in _SCALES and part:
            total, part = total + part * _SCALES[token], 0.0
        elif tokens[place : place + 3] == ["and", "a", "half"]:
            return total + part + 0.5, place + 3
        else:
            break
        place += 1
        if not part and token in ONES:
            break
    return total + part, place


_CAPITAL = re.compile(
    r"[^\W\d_a-z](?<![^\W_].)(?<![\w]['\u2019-].)[\w\u2019'-]*"
    r"(?: [^\W\d_a-z][\w\u2019'-]*)*"
)
_OPENERS: Final = '.!?:;…\n\r\u201c\u2018"([{|>•·–—-'
_IGNORED: Final = " \t*_#"


def _names(text: str) -> frozenset[str]:
    """Capitalised words in mid-sentence, neighbours as one name, in lower case.

    The digits of a code ("D-118") are a number already.
    """
    found = set()
    for line in text.split("\n"):
        if line.upper() == line or _is_title(line):
            continue
        for each in _CAPITAL.finditer(line):
            name = each.group()
            if not name[0].isupper():
                continue
            before = line[: each.start()].rstrip(_IGNORED)
            if not before or before[-1] in _OPENERS:
                name = name.partition(" ")[2]
            parts = [_bare(part) for part in name.replace("-", " ").split(" ")]
            parts = [part for part in parts if len(part) > 1 and not part.isdigit()]
            if parts:
                found.add(" ".join(parts))
    return frozenset(found)


def _is_title(line: str) -> bool:
    """A heading: most of at least three words capitalised, no full stop at its end."""
    if line.rstrip()[-1:] in ".!?,;":
        return False
    found = _WORD.findall(line)
    capital = sum(word[0].isupper() for word in found)
    return len(found) > 2 and capital > 0.6 * len(found)


@lru_cache(maxsize=1 << 14)
def _bare(word: str) -> str:
    """In lower case, without what an apostrophe adds."""
    return word.casefold().replace("\u2019", "'").partition("'")[0].rstrip("_")


@lru_cache(maxsize=1 << 14)
def _stem(word: str) -> str:
    """Singular or plural, possessive or not: one and the same."""
    bare = _bare(word)
    return bare[:-1] if len(bare) > 3 and bare.endswith("s") else bare
