"""What wins beside the reasons given: plain figures of the two answers, counted over the verdicts.

A reason says what a person thinks decides; these say what did, or what came along with it.  Seven
questions are asked at once, so an answer is one only if its 99% interval leaves out one half; pairs
of one prompt count as the fewer independent ones that they are.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from palate.data.judged import Judgement
from palate.stats import Interval, share
from palate.study.checks.facts import facts, ungrounded
from palate.study.checks.words import percent, plural, words
from palate.study.tally import SAYS, Who

ENOUGH: Final = 10  # pairs that differ, before anything is said of them
Outcome = Literal["more", "less", "chance", "too few"]

_SOFT = re.compile(
    r"\b(?:perhaps|maybe|might|may|could|possibly|probably|presumably|apparently|seems?|seemingly"
    r"|appears?|somewhat|likely|it depends|in general|generally|arguably)\b",
    re.IGNORECASE,
)
_LAYOUT = re.compile(r"^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)]|#{1,6})[ \t]+\S|\*\*\S", re.MULTILINE)
_SENTENCE = re.compile(r"[.!?…。！？]+(?=\s|\Z)")


@dataclass(frozen=True, slots=True)
class Figure:
    """Something to be counted in an answer, given its prompt.

    `name` is a noun; `more` and `less` end the sentence "the chosen answer ..."; `said_more` and
    `said_less` are tags that claim the one or the other.
    """

    name: str
    more: str
    less: str
    count: Callable[[str, str], float]
    said_more: frozenset[str] = frozenset()
    said_less: frozenset[str] = frozenset()


@lru_cache(maxsize=4)
def _facts(text: str, prompt: str) -> tuple[int, int]:
    """Facts of the text that the prompt holds, and that it does not: the slow part, shared."""
    invented = len(ungrounded(text, prompt))
    return len(facts(text)) - invented, invented


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


FIGURES: Final = (
    Figure(
        "length",
        "was longer",
        "was shorter",
        lambda text, prompt: len(words(text)),
        _tags("longer detailed complete thorough"),
        _tags("shorter short concise brief terse succinct"),
    ),
    Figure(
        "facts of the prompt",
        "stated more of the prompt's facts",
        "stated fewer of the prompt's facts",
        lambda text, prompt: _facts(text, prompt)[0],
        _tags("grounded specific facts concrete"),
    ),
    Figure(
        "inventions",
        "stated more that the prompt does not hold",
        "stated less that the prompt does not hold",
        lambda text, prompt: _facts(text, prompt)[1],
        said_less=_tags("grounded invented correct calibrated honest"),
    ),
    Figure(
        "exclamation marks",
        "had more exclamation marks",
        "had fewer exclamation marks",
        lambda text, prompt: text.count("!") + text.count("！"),
        said_less=_tags("no-hype calm not-pushy plain"),
    ),
    Figure(
        "softening words",
        "had more softening words (perhaps, might, seems)",
        "had fewer softening words (perhaps, might, seems)",
        lambda text, prompt: len(_SOFT.findall(text)),
        _tags("calibrated careful"),
        _tags("no-hedging direct"),
    ),
    Figure(
        "lists and headings",
        "had more lists, headings and bold type",
        "had fewer lists, headings and bold type",
        lambda text, prompt: len(_LAYOUT.findall(text)),
        _tags("structured formatted"),
        _tags("plain prose"),
    ),
    Figure(
        "length of sentences",
        "had longer sentences",
        "had shorter sentences",
        lambda text, prompt: len(words(text)) / max(1, len(_SENTENCE.findall(text))),
        said_less=_tags("readable clear"),
    ),
)


@dataclass(frozen=True, slots=True)
class Beside:
    """One figure over all pairs: of `count` that differ, `more` chose the answer with more of it.

    `rate` has a 99% interval, None where nothing differs.  Of the `tagged` pairs whose tag claims
    the side in `claim`, `kept` were so.
    """

    figure: Figure
    count: int
    more: int
    pairs: int
    rate: Interval | None
    claim: Literal["more", "less"] | None = None
    tags: tuple[str, ...] = ()
    tagged: int = 0
    kept: int = 0

    @property
    def outcome(self) -> Outcome:
        """Which side wins, if one does."""
        if self.rate is None or self.count < ENOUGH:
            return "too few"
        if self.rate.low > 0.5:
            return "more"
        return "less" if self.rate.high < 0.5 else "chance"


def beside(pairs: Sequence[Judgement]) -> list[Beside]:
    """Every figure over decided pairs, in the order of `FIGURES`."""
    known: dict[str, tuple[float, ...]] = {}
    columns = zip(*(_signs(each, known) for each in pairs)) if pairs else [()] * len(FIGURES)
    return [_one(figure, pairs, signs) for figure, signs in zip(FIGURES, columns)]


def _one(figure: Figure, pairs: Sequence[Judgement], signs: Sequence[int]) -> Beside:
    """`signs` as `_signs` gives them, of this figure, one per pair."""
    told = [(sign > 0, each.of.prompt.id) for sign, each in zip(signs, pairs) if sign]
    hits = [hit for hit, _ in told]
    claims = [_claim(figure, each, sign) for each, sign in zip(pairs, signs)]
    found = {side: [kept for way, kept in claims if way == side] for side in ("more", "less")}
    way: Literal["more", "less"] = "more" if len(found["more"]) > len(found["less"]) else "less"
    said = figure.said_more if way == "more" else figure.said_less
    used = sorted({tag for each in pairs for tag in each.tags if tag.casefold() in said})
    return Beside(
        figure,
        len(hits),
        sum(hits),
        len(pairs),
        clustered(hits, [prompt for _, prompt in told]) if hits else None,
        way if found[way] else None,
        tuple(used),
        len(found[way]),
        sum(found[way]),
    )


def _signs(pair: Judgement, known: dict[str, tuple[float, ...]]) -> tuple[int, ...]:
    """Per figure 1 if the chosen answer has more of it, −1 if less, 0 if both have the same.

    `known` keeps what was counted: an answer stands in several pairs.
    """
    assert pair.chosen is not None and pair.rejected is not None, "a decided pair"
    for answer in (pair.chosen, pair.rejected):
        if answer.id not in known:
            known[answer.id] = tuple(
                figure.count(answer.text, pair.of.prompt.text) for figure in FIGURES
            )
    both = zip(known[pair.chosen.id], known[pair.rejected.id])
    return tuple((better > worse) - (better < worse) for better, worse in both)


def _claim(figure: Figure, pair: Judgement, sign: int) -> tuple[str, bool]:
    """Which way the pair's tags say it is, and whether it is."""
    tags = {tag.casefold() for tag in pair.tags}
    if tags & figure.said_less:
        return "less", sign < 0
    return ("more", sign > 0) if tags & figure.said_more else ("", False)


def clustered(hits: Sequence[bool], groups: Sequence[str]) -> Interval:
    """A share with Wilson's 99% interval, for as many independent pairs as there are.

    The count is divided by the design effect, the variance with whole groups (prompts) as units
    over that with single pairs, and never grows.
    """
    count = len(hits)
    rate = sum(hits) / count
    sums: defaultdict[str, float] = defaultdict(float)
    for hit, group in zip(hits, groups, strict=True):
        sums[group] += hit - rate
    if 0 < rate < 1:
        effect = sum(each * each for each in sums.values()) / (count * rate * (1 - rate))
    else:  # no variance to compare: as if every prompt were one pair
        effect = count / len(sums)
    independent = count / max(1.0, effect)
    found = share(rate * independent, independent, level=0.99)
    return Interval(rate, found.low, found.high, count)


def in_words(found: Beside, who: Who = "you") -> str:
    """One sentence that claims no more than the interval does."""
    figure, outcome, rate = found.figure, found.outcome, found.rate
    if rate is None:
        fact = f"no two answers differed in {figure.name}"
    elif outcome == "too few":
        fact = f"only {plural(found.count, 'pair')} differed in {figure.name}: too few to tell"
    else:
        less = outcome == "less" or (outcome == "chance" and found.claim == "less")
        hits = found.count - found.more if less else found.more
        low, high = (1 - rate.high, 1 - rate.low) if less else (rate.low, rate.high)
        band = f"{percent(hits / found.count)} [{percent(low)}, {percent(high)}]"
        way = figure.less if less else figure.more
        fact = f"the chosen answer {way} in {hits} of {found.count} pairs that differ ({band})"
        fact += ": no more than chance" if outcome == "chance" else ""
    said = _said(found, who)
    return f"{said}; {fact}." if said else f"{fact[:1].upper()}{fact[1:]}."


def _said(found: Beside, who: Who) -> str:
    """What the tags claim, and in how many of their own pairs it was so."""
    if not found.tagged:
        return ""
    told = f"{SAYS[who]} {' or '.join(found.tags)}"
    if found.tagged == 1:
        return f"{told} once, where it was{'' if found.kept else ' not'} so by this count"
    return f"{told} {found.tagged} times, where it was so by this count in {found.kept}"
