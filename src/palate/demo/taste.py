"""The taste of the example, as a program: what a description is worth, given its fact sheet.

A point for every fact stated correctly, two off for every wrong or invented one, half a point off
for a vague phrase or a repetition, one off for a hype phrase.  Only statements and phrases count,
never words: neutral words, however many, change nothing, so length by itself is worth nothing.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from palate.demo.sheets import Fact, Sheet
from palate.demo.topics import (
    AREA,
    BATHS,
    BEDS,
    DISTANCES,
    FEATURES,
    FEE,
    KIND,
    NUMBER,
    PLACE,
    UNITS,
)

_VAGUE = re.compile(
    r"\b(?:lovely|charming|nice|delightful|pleasant|wonderful|plenty of \w+|a lot to offer"
    r"|everything you (?:could|may|might) (?:need|want)|something for everyone|close by"
    r"|(?:great|desirable|prime|fantastic|good|ideal|perfect)"
    r" (?:spot|location|setting|place|area|feel)"
    r"|feels like home|(?:very )?convenient|around the corner|full of character|well located"
    r"|special|and more|much more|lots of)\b"
)
_HYPE = re.compile(
    r"\b(?:stunning|must-see|must see|dream home|breathtaking|of a lifetime|unbeatable"
    r"|world-class|spectacular|one-of-a-kind|jaw-dropping|won't last|act fast|at first sight"
    r"|at its finest|once-in-a-lifetime|better than this|the envy of|incredible|amazing)\b"
)
_ORDER = (*DISTANCES, FEE, AREA, BATHS, BEDS, *FEATURES, PLACE, KIND)
_LOOSE = re.compile(rf"(?:{NUMBER})[ -](?:{'|'.join(UNITS)})s?\b|\$?\d[\d,.]*")
_NOUNS = frozenset(topic.name for topic in _ORDER if topic.noun)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was counted in one description.  `facts` is how many the sheet holds."""

    facts: int
    stated: frozenset[Fact]
    wrong: tuple[Fact, ...]
    vague: tuple[str, ...]
    hype: tuple[str, ...]
    repeats: int

    @property
    def score(self) -> float:
        """Points; comparable only between descriptions of one sheet."""
        lost = 2 * len(self.wrong) + 0.5 * len(self.vague) + len(self.hype) + 0.5 * self.repeats
        return len(self.stated) - lost


def judge(text: str, sheet: Sheet) -> Verdict:
    """Read every claim, vague phrase, hype phrase and repetition of `text`."""
    plain = " ".join(text.lower().replace("’", "'").split())
    known = {Fact(fact.topic, fact.value.lower()): fact for fact in sheet.facts}
    said = Counter(claims(plain))
    right = frozenset(known[claim] for claim in said if claim in known)
    wrong = tuple(claim for claim in said if claim not in known)
    again = sum(count - 1 for claim, count in said.items() if claim.topic not in _NOUNS)
    vague, hype = tuple(_VAGUE.findall(plain)), tuple(_HYPE.findall(plain))
    return Verdict(len(known), right, wrong, vague, hype, again + _echoes(plain))


def claims(plain: str) -> Iterator[Fact]:
    """Every claim in a lower-case text.  A number that belongs to no topic is a claim as well."""
    for topic in _ORDER:
        for start, stop, value in list(topic.hear(plain)):
            yield Fact(topic.name, value.lower())
            plain = plain[:start] + "·" * (stop - start) + plain[stop:]
    for match in _LOOSE.finditer(plain):
        yield Fact("number", match.group())


def _echoes(plain: str) -> int:
    """Clauses of four words or more that stand again, word for word, without a claim in them."""
    clauses = (clause.strip() for clause in re.split(r"[.,;:!?]+(?:\s|$)", plain))
    long = Counter(clause for clause in clauses if len(clause.split()) >= 4)
    return sum(n - 1 for clause, n in long.items() if n > 1 and not any(claims(clause)))
