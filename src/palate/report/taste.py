"""The page of a taste: reasons with pairs that show them, what wins beside, contradictions, quotes.

Plain markup and nothing that runs.  Every text of a person or a model is escaped, and signs that
turn or hide text are shown by their number.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from palate.data.judged import Judgement
from palate.report.page import embedded, render
from palate.study.beside import Beside, in_words
from palate.study.checks.words import percent, plural
from palate.study.tally import sentences
from palate.study.taste import (
    CLASHES,
    Contradiction,
    Reason,
    Taste,
    contradictions_in_words,
    headline,
    own_words,
)

LONG: Final = 1500  # characters of a text that are shown
REASONS, QUOTES, CLASHING = 12, 12, 12
WIDE: Final = 240  # units of the interval's drawing
Part = tuple[str, bool]
_HIDDEN = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
_PIECE = re.compile(r"(?:\w+(?:[.,'\u2019-]\w+)*|[^\w\s])\s*|\s+")


@dataclass(frozen=True, slots=True)
class ShownPair:
    """A pair as it is drawn: parts of both answers, marked where they differ, and the words."""

    prompt: str
    chosen: list[Part]
    rejected: list[Part]
    said: str
    note: str


def page(found: Taste) -> str:
    """The whole page."""
    return render(
        "taste.html",
        styles=["explain.css", "taste.css"],
        scripts=[],
        judge=visible(found.judge),
        facts=_facts(found),
        verdict=[visible(part) for part in headline(found)],
        data=embedded({}),
        sentences=[visible(each) for each in sentences(found.tally, found.who)],
        reasons=[_reason(each, found) for each in found.reasons[:REASONS]],
        more_reasons=[f"{visible(each.tag)} {each.count}" for each in found.reasons[REASONS:]],
        silent=_silent(found),
        beside=[_beside(each, found) for each in found.beside if found.pairs],
        scaled=any(each.outcome != "too few" for each in found.beside),
        clashes=contradictions_in_words(found),
        clashing=[_clash(each) for each in found.contradictions[:CLASHING]],
        more_clashes=max(0, len(found.contradictions) - CLASHING),
        quotes=[_quote(each.text, each.count) for each in found.quotes[:QUOTES]],
        more_quotes=max(0, len(found.quotes) - QUOTES),
        wide=WIDE,
    )


def visible(text: str) -> str:
    """Signs that hide, or turn the direction of text, and halves of signs, as ⟨U+202E⟩."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


def _facts(found: Taste) -> str:
    told = ["palate taste", plural(len(found.pairs), "pair")]
    if found.tally.minutes >= 1:
        told.append(plural(round(found.tally.minutes), "minute"))
    return " · ".join(told)


def _silent(found: Taste) -> str:
    if not found.silent:
        return ""
    verb = "has" if found.silent == 1 else "have"
    return f"{plural(found.silent, 'pair')} of {len(found.pairs):,} {verb} neither tag nor words."


def _reason(reason: Reason, found: Taste) -> dict[str, Any]:
    most = max(each.count for each in found.reasons)
    return {
        "tag": visible(reason.tag),
        "count": f"{reason.count:,}",
        "width": round(100 * reason.count / most, 1),
        "examples": [shown_pair(each) for each in reason.examples],
    }


def shown_pair(judgement: Judgement) -> ShownPair:
    """A decided pair for the page."""
    assert judgement.chosen is not None and judgement.rejected is not None
    chosen, rejected = apart(judgement.chosen.text[:LONG], judgement.rejected.text[:LONG])
    left_out = [
        f"{len(text) - LONG:,} characters of the {side} answer are left out"
        for side, text in (("chosen", judgement.chosen.text), ("rejected", judgement.rejected.text))
        if len(text) > LONG
    ]
    strong = ["much better"] if judgement.strength == 2 else []
    return ShownPair(
        visible(cut(judgement.of.prompt.text)),
        [(visible(text), marked) for text, marked in chosen],
        [(visible(text), marked) for text, marked in rejected],
        visible(own_words(judgement)),
        "; ".join([*strong, *left_out]),
    )


def apart(one: str, other: str) -> tuple[list[Part], list[Part]]:
    """Both texts in parts, those that the other does not have marked; joined they are the texts."""
    from rapidfuzz.distance import Indel

    left, right = _PIECE.findall(one), _PIECE.findall(other)
    sides: tuple[list[Part], list[Part]] = ([], [])
    words = [[piece.strip() for piece in pieces] for pieces in (left, right)]
    for each in Indel.opcodes(*words):
        spans = left[each.src_start : each.src_end], right[each.dest_start : each.dest_end]
        for side, pieces in zip(sides, spans):
            side.append(("".join(pieces), each.tag != "equal"))
    return _joined(sides[0]), _joined(sides[1])


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of one kind as one part; white space at the end of a mark is not marked."""
    found: list[Part] = []
    for kind, same in itertools.groupby((part for part in parts if part[0]), lambda part: part[1]):
        text = "".join(piece for piece, _ in same)
        if found and not kind:  # after a mark
            before = found[-1][0].rstrip()
            text = found[-1][0][len(before) :] + text
            found[-1] = (before, True)
        found.append((text, kind))
    return [part for part in found if part[0]]


def cut(text: str, most: int = LONG) -> str:
    """A text that fits, and says what it lost."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} characters more)"


def _beside(each: Beside, found: Taste) -> dict[str, Any]:
    """The sentence, and the interval on a line from 0 to `WIDE`, the middle one half."""
    told = {"name": each.figure.name, "says": visible(in_words(each, found.who)), "drawn": False}
    if each.rate is None or each.outcome == "too few":
        return told | {"outcome": each.outcome, "label": ""}
    rate = each.rate
    return told | {
        "drawn": True,
        "outcome": each.outcome,
        "low": round(WIDE * rate.low, 1),
        "width": round(max(1.0, WIDE * (rate.high - rate.low)), 1),
        "point": round(WIDE * rate.value, 1),
        "label": f"{percent(rate.value)} chose the one that {each.figure.more}",
    }


def _clash(clash: Contradiction) -> dict[str, Any]:
    return {
        "says": CLASHES[clash.kind],
        "prompt": visible(cut(clash.judgements[0].of.prompt.text, 400)),
        "verdicts": [_over(each) for each in clash.judgements],
    }


def _over(judgement: Judgement) -> tuple[str, str]:
    assert judgement.chosen is not None and judgement.rejected is not None
    return (
        visible(cut(judgement.chosen.text, 400)),
        visible(cut(judgement.rejected.text, 400)),
    )


def _quote(text: str, count: int) -> tuple[str, str]:
    return visible(cut(text, 400)), f"{count} times" if count > 1 else ""
