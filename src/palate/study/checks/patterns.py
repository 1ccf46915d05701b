"""Shapes of a text that need no reading: format patterns, surface figures, the kind of an answer.

The first seven patterns are those of Zhang et al., arXiv 2409.11704, without length.
"""

import math
import re
from collections.abc import Callable
from typing import Final, Literal

from palate.study.checks.words import words

Kind = Literal["refusal", "question", "code", "list", "answer"]
NEGATIVE: Final[frozenset[Kind]] = frozenset({"refusal", "question"})

EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f300-\U0001faff]")
_LIST = re.compile(r"^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_LINK = re.compile(r"https?://|www\.|\]\([^)\s]+\)")
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+\S", re.MULTILINE)
_OPENER = re.compile(
    r"\W*(?:sure|certainly|absolutely|of course|definitely|yes|yeah|great|gladly|no problem"
    r"|happy to|i(?:'d|\u2019d| would) be (?:happy|glad))\b",
    re.IGNORECASE,
)
_NOT_ABLE = (
    r"(?:can ?not|can['\u2019]t|won['\u2019]t|will not|must decline|decline to|refuse to"
    r"|don['\u2019]t have|do not have)(?! (?:believe|wait|imagine|thank)\b)"
)
_REFUSAL = re.compile(
    rf"\b(?:(?:i|we) {_NOT_ABLE}"
    r"|(?:i['\u2019]m|i am|we['\u2019]re|we are) (?:sorry,? but (?:i|that|this|no)\b"
    r"|(?:unable|not able|not comfortable|not going|not allowed|not permitted) to)"
    r"|(?:i|we)(?:['\u2019]d| would)? (?:rather not|prefer not to)"
    r"|not something (?:that )?(?:i|we)(?: can|['\u2019]m| am|['\u2019]re| are)\b"
    r"|(?:sorry|apologi[sz]e|apologies|unfortunately|afraid|as an ai)\b[^.!?]{0,60}\b"
    rf"{_NOT_ABLE})",
    re.IGNORECASE,
)
_CAPITALS = re.compile(r"\b[A-Z]{3,}\b")
_CAPITAL = re.compile(r"[A-Z]")
_DIGIT = re.compile(r"\d")
_UNSEEN = re.compile(
    "[\\u00a0\\u00ad\\u1680\\u2000-\\u200c\\u200e-\\u200f\\u2028-\\u202f\\u205f-\\u2064\\ufeff]"
)
_STRAY = re.compile(r"[^\n ] {2,}\S")
_ENDS = frozenset(".!?…:;)]}\"'”’»。！？`*|>")
_SENTENCE = re.compile("[.!?…。！？]+(?=\\s|\\Z)")

PATTERNS: Final[dict[str, Callable[[str], bool]]] = {
    "an emoji": lambda text: not text.isascii() and bool(EMOJI.search(text)),
    "bold type": lambda text: text.count("**") > 1,
    "an exclamation mark": lambda text: "!" in text or "！" in text,
    "a list": lambda text: bool(_LIST.search(text)),
    "a link": lambda text: bool(_LINK.search(text)),
    "an affirmative opening": lambda text: bool(_OPENER.match(text)),
    "a heading": lambda text: bool(_HEADING.search(text)),
    "a code block": lambda text: "```" in text,
    "an opening “I”": lambda text: words(text[:40])[:1] in (("i",), ("i'm",), ("i’m",)),
    "a refusal": lambda text: bool(_REFUSAL.search(text)),
    "a digit": lambda text: bool(_DIGIT.search(text)),
    "a word in capitals": lambda text: bool(_CAPITALS.search(text)),
    "a closing question": lambda text: text.rstrip().endswith(("?", "？")),
    "a question mark": lambda text: "?" in text or "？" in text,
    "no closing punctuation": lambda text: text.rstrip()[-1:] not in _ENDS,
    "a blank line": lambda text: "\n\n" in text,
    "an unusual or invisible space": lambda text: not text.isascii() and bool(_UNSEEN.search(text)),
    "stray white space": lambda text: (
        text != text.rstrip() or ("  " in text and bool(_STRAY.search(text)))
    ),
}


def holds(text: str) -> tuple[bool, ...]:
    """Which of `PATTERNS`, in their order, the text shows."""
    return tuple(shows(text) for shows in PATTERNS.values())


def kind(text: str) -> Kind:
    """The kind of an answer by plain rules: refusal, question back, code, list, else answer.

    A refusal is one that refuses in its first 200 characters; a question asks in its last words
    and hardly states anything before it (at most two sentences in all).
    """
    if _REFUSAL.search(text[:200]):
        return "refusal"
    if text.rstrip().endswith(("?", "？")) and len(_SENTENCE.findall(text)) <= 2:
        return "question"
    if "```" in text:
        return "code"
    return "list" if len(_LIST.findall(text)) > 1 else "answer"


SURFACE: Final = (
    *("words", "letters per word", "words per sentence", "different words", "commas"),
    *("exclamation marks", "question marks", "digits", "capitals", "list items", "bold"),
    *("emoji", "line breaks", "colons", "closing punctuation", "first person"),
)
_FIRST_PERSON: Final = frozenset({"i", "i'm", "i’m", "me", "my", "we", "our", "us"})


def surface(text: str) -> tuple[float, ...]:
    """The figures of `SURFACE`.  Counts as log(1 + n), so that one long text is no outlier."""
    found = words(text)
    count = max(len(found), 1)
    counts = (
        *(text.count(","), text.count("!"), text.count("?"), len(_DIGIT.findall(text))),
        *(len(_CAPITAL.findall(text)), len(_LIST.findall(text)), text.count("**")),
        *(0 if text.isascii() else len(EMOJI.findall(text)), text.count("\n"), text.count(":")),
    )
    return (
        math.log1p(len(found)),
        sum(map(len, found)) / count,
        math.log1p(count / max(len(_SENTENCE.findall(text)), 1)),
        len(set(found)) / count,
        *map(math.log1p, counts),
        float(text.rstrip()[-1:] in _ENDS),
        math.log1p(sum(word in _FIRST_PERSON for word in found)),
    )
