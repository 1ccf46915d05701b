"""What is seen of one pair while it is being written: notes, each with a level.

The doctor's checks of text ask about files; the same questions about one pair are asked here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from palate.study.checks.appended import SENTENCES, Form, form
from palate.study.checks.base import PairText
from palate.study.checks.facts import ground, small_words, ungrounded
from palate.study.checks.patterns import NEGATIVE, PATTERNS, kind
from palate.study.checks.same_kind import BOTH
from palate.study.checks.well_formed import marker
from palate.study.checks.words import ONES, words
from palate.study.near_miss import Zone
from palate.study.signs import Sign

Level = Literal["good", "look", "bad"]
LONG_PROMPT: Final = 40_000  # characters; beyond, facts are not looked up in it
SHORTER, MUCH_SHORTER = 0.6, 0.25  # words of the shorter side over those of the longer one; ours
_SPELLED: Final = tuple(ONES)
_FORMATS: Final = (
    *("an emoji", "bold type", "an exclamation mark", "a list", "a link", "a heading"),
    *("a code block", "a closing question", "an unusual or invisible space"),
)


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that was seen.  `good`: as it should be; `look`: think twice; `bad`: mend it."""

    name: str
    says: str
    level: Level


@dataclass(frozen=True, slots=True)
class Typed:
    """The texts as they are read, and figures that several notes need.

    `grounded` is the prompt where facts are looked up in it.  `lengths` are words; `invented`, of
    each side, what the prompt does not hold.
    """

    prompt: str
    chosen: str
    rejected: str
    grounded: str
    lengths: tuple[int, int]
    form: Form | None
    invented: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def ratio(self) -> float:
        """Rejected over chosen, in words."""
        return (self.lengths[1] + 1) / (self.lengths[0] + 1)


def typed(prompt: str, chosen: str, rejected: str) -> Typed:
    grounded = prompt.strip() if len(prompt) <= LONG_PROMPT else ""
    ordinary = small_words((grounded, chosen, rejected))
    new: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    if grounded:
        new = ungrounded(chosen, grounded, ordinary), ungrounded(rejected, grounded, ordinary)
    lengths = len(words(chosen)), len(words(rejected))
    shape = form(PairText(0, prompt, chosen, rejected))
    return Typed(prompt, chosen, rejected, grounded, lengths, shape, new)


def notes_on(pair: Typed, seen: tuple[Sign, ...], zone: Zone) -> Iterable[Note]:
    for sign in seen:
        yield Note(sign.name, upper(sign.says) + ".", "bad" if zone == "cartoon" else "look")
    if zone == "cartoon":
        return
    if not pair.prompt.strip():
        yield Note("prompt", "No prompt yet: both would be learnt as answers to nothing.", "look")
    yield from _roles(pair)
    yield from _facts(pair)
    yield from _kinds(pair)
    yield from _length(pair)
    yield from _addition(pair)
    yield from _one_sided(pair)
    yield _difference(pair, zone)


def _roles(pair: Typed) -> Iterable[Note]:
    found = marker(pair.chosen) or marker(pair.rejected)
    if found:
        yield Note("role", f"“{found}” is packaging, not text: take it out.", "bad")


def _facts(pair: Typed) -> Iterable[Note]:
    """Facts of the chosen that the prompt does not hold; then what each side lacks."""
    chosen, rejected = pair.invented
    if len(chosen) > len(rejected):
        new = tuple(fact for fact in chosen if fact not in rejected)
        sheet = len(ground(pair.grounded).values) > 1
        tail = "that teaches inventing" if sheet else "fine if it is common knowledge"
        says = f"The prompt does not hold {named(new)} of the chosen answer: {tail}."
        yield Note("facts", says, "bad" if sheet else "look")
    elif rejected and len(rejected) > len(chosen):
        new = tuple(fact for fact in rejected if fact not in chosen)
        yield Note("facts", f"The rejected answer alone claims {named(new)}.", "good")


def _kinds(pair: Typed) -> Iterable[Note]:
    left, right = kind(pair.chosen), kind(pair.rejected)
    if left == right and left in NEGATIVE:
        says = f"{upper(BOTH[left])}: DPO on such pairs lowers both. Pair it with an answer."
        yield Note("kind", says, "look")


def _length(pair: Typed) -> Iterable[Note]:
    """Only where the shorter side is finished: a text in the making is short."""
    shorter = min(pair.ratio, 1 / pair.ratio)
    side = "rejected" if pair.ratio < 1 else "chosen"
    if side == "rejected" and not ended(pair.rejected) and ended(pair.chosen):
        return
    if shorter >= SHORTER:
        yield Note("length", "About the same length: length gives nothing away.", "good")
        return
    how = "a fraction of" if shorter < MUCH_SHORTER else "far shorter than"
    other = "chosen" if side == "rejected" else "rejected"
    says = f"The {side} answer is {how} the {other} one: length alone tells them apart."
    yield Note("length", says, "bad" if shorter < MUCH_SHORTER else "look")


def _addition(pair: Typed) -> Iterable[Note]:
    if pair.form is not None:
        yield Note("addition", upper(SENTENCES[pair.form][0]) + ".", "look")
    elif ended(pair.chosen) != ended(pair.rejected):
        side = "rejected" if ended(pair.chosen) else "chosen"
        what = f"The {side} answer has no end yet: whether a text ends would be learnt first."
        yield Note("ending", what, "look")


def _one_sided(pair: Typed) -> Iterable[Note]:
    """An opening or a format that one side alone has; once is no habit."""
    opens = PATTERNS["an affirmative opening"]
    if opens(pair.chosen) != opens(pair.rejected):
        side, text = ("chosen", pair.chosen) if opens(pair.chosen) else ("rejected", pair.rejected)
        first = next(iter(text.split()), "").strip(",.!:;")
        says = f"Only the {side} answer opens with “{first}”: keep it out unless it is the point."
        yield Note("opening", says, "look")
    found = [
        name for name in _FORMATS if PATTERNS[name](pair.chosen) != PATTERNS[name](pair.rejected)
    ]
    if found:
        side = "chosen" if PATTERNS[found[0]](pair.chosen) else "rejected"
        says = f"Only the {side} answer has {found[0]}: a mark is learnt before the matter."
        yield Note("format", says, "look")


def _difference(pair: Typed, zone: Zone) -> Note:
    changed, places = differences(pair.chosen, pair.rejected)
    if zone == "hairline":
        says = (
            f"{upper(counted(changed, 'word'))} differ{'s' * (changed == 1)}: fine if that is the "
            "point. A few such pairs need no anchor; the doctor says when they are many."
        )
        return Note("difference", says, "good")
    if zone == "strangers":
        says = "Hardly a word in common: write the one by editing the other."
        return Note("difference", says, "look")
    says = f"{upper(counted(changed, 'word'))} in {counted(places, 'place')}: enough to learn from."
    return Note("difference", says, "good")


def differences(chosen: str, rejected: str) -> tuple[int, int]:
    """Words that change from one to the other, and in how many places (two words apart or less
    is one place)."""
    from rapidfuzz.distance import Levenshtein

    left, right = words(chosen), words(rejected)
    edits = [op for op in Levenshtein.opcodes(left, right) if op.tag != "equal"]
    places, last = 0, -9
    for op in edits:
        places += op.src_start - last > 2
        last = op.src_end
    return Levenshtein.distance(left, right), places


def ended(text: str) -> bool:
    return not PATTERNS["no closing punctuation"](text)


# ---- words


def counted(number: int, noun: str) -> str:
    """`one word`, `two words`, `23 words`."""
    told = _SPELLED[number] if number <= 12 else str(number)
    return f"{told} {noun}{'' if number == 1 else 's'}"


def named(found: tuple[str, ...]) -> str:
    return ", ".join(f"“{each}”" for each in found[:3]) + (", …" if len(found) > 3 else "")


def upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def lower(text: str) -> str:
    return text[:1].lower() + text[1:]
