"""One pair read while it is being written: is it fine against better, or garbage against great?

The doctor's checks of text, on a pair instead of a file, in milliseconds: no torch, no statistics.
A rule sees form and figures.  Whether a claim is true, or a rejection interesting, it does not see.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Protocol

from palate.study.checks.distance import HAIRLINE, STRANGERS, apart
from palate.study.checks.facts import facts
from palate.study.checks.well_formed import folded
from palate.study.checks.words import normalised, words
from palate.study.near_miss import CARTOON as UNLIKELY
from palate.study.near_miss import Zone
from palate.study.remarks import Note, Typed, counted, differences, ended, lower, notes_on, typed
from palate.study.signs import CARTOON, Sign, cartoonness, content, signs

FEWEST: Final = 3  # words from which on a text is read
LONGEST: Final = 8_000  # characters of a text that are read
CACHED: Final = 4_096  # texts whose words are kept
SHARED: Final = 0.4  # matter in common from which on two answers are no strangers; ours
EDGE: Final = 0.2  # of `place`: below it lie the cartoons
_SCALE: Final = ((0.0, 1.0), (HAIRLINE, 0.75), (0.5, 0.5), (STRANGERS, 0.3), (1.0, 0.25))
_CAP: Final = ((0.0, 1.0), (CARTOON, EDGE), (1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Reading:
    """The verdict in words, what it rests on, and where the pair stands (see `position`)."""

    sentence: str
    notes: tuple[Note, ...] = ()
    place: float | None = None
    zone: Zone | None = None


@dataclass(frozen=True, slots=True)
class PlausibleReading:
    """What a model says: in words, and the share of its own texts that are less likely (0 to 1).

    `cartoon`: it would essentially never write the rejected answer.  `again`: it has no figure
    yet, and will have one if it is asked again.
    """

    says: str
    percentile: float | None = None
    cartoon: bool = False
    again: bool = False


class Looker(Protocol):
    """A model that is asked how plausible the rejected answer is; None if a newer call is there."""

    def look(self, prompt: str, chosen: str, rejected: str) -> PlausibleReading | None: ...


# ---- the whole reading


def read_pair(prompt: str, chosen: str, rejected: str) -> Reading:
    """Everything that the text of one pair says of itself.  Never raises on text."""
    found = _unfinished(chosen, rejected)
    if found is not None:
        return found
    pair = typed(prompt, chosen.strip()[:LONGEST], rejected.strip()[:LONGEST])
    alike = _alike(pair)
    if alike:
        return Reading(f"Too alike to matter: only {alike} differs.", (), 1.0, "hairline")
    seen = signs(pair.grounded, pair.chosen, pair.rejected)
    gap = apart(pair.chosen, pair.rejected)
    zone = _zone(seen, gap, _shared(pair))
    if zone != "cartoon" and pair.form == "rejected is cut":
        told = "Go on: so far the rejected answer is the beginning of the chosen one."
        return Reading(told, (), None)
    notes = tuple(notes_on(pair, seen, zone))
    return Reading(_sentence(pair, zone, seen, notes), notes, position(gap, seen), zone)


def position(gap: float, seen: tuple[Sign, ...] = ()) -> float:
    """Where a pair stands: 0 a cartoon, .5 a near miss, 1 a hairline.

    Piecewise linear in the word distance: 1 at 0, .75 at the border of the hairlines (.10), .5
    where half the words differ, .3 at the border of the strangers (.90), .25 at 1.  Signs of a
    cartoon cap it: 1 without any, .2 (`EDGE`) where they suffice, 0 at twice that.  Falls in both.
    """
    return min(_on(_SCALE, gap), _on(_CAP, cartoonness(seen)))


def _on(line: tuple[tuple[float, float], ...], at: float) -> float:
    for (left, high), (right, low) in pairwise(line):
        if at <= right:
            return high + (low - high) * (max(at, left) - left) / (right - left)
    return line[-1][1]


def _zone(seen: tuple[Sign, ...], gap: float, shared: float) -> Zone:
    """As on the doctor's map; but the same matter in another order is not a stranger."""
    if cartoonness(seen) >= CARTOON:
        return "cartoon"
    if gap > STRANGERS and shared < SHARED:
        return "strangers"
    return "hairline" if gap < HAIRLINE else "near miss"


def _shared(pair: Typed) -> float:
    """Share of the matter of the answer that has less of it, that the other one has too."""
    left, right = content(pair.chosen), content(pair.rejected)
    return len(left & right) / max(min(len(left), len(right)), 1)


# ---- texts that are not there yet


def _unfinished(chosen: str, rejected: str) -> Reading | None:
    few = [_few(text) for text in (chosen, rejected)]
    if not chosen.strip() and not rejected.strip():
        return Reading("Write the better answer, then one that is nearly as good.")
    if few[0]:
        return Reading("Go on: the chosen answer is too short to read.")
    if not rejected.strip():
        return Reading("Now the rejected answer: nearly as good, and worse in what you mean.")
    if few[1] and not (ended(rejected) and len(words(chosen)) >= 8):
        return Reading("Go on: the rejected answer is too short to read.")
    return None


def _few(text: str) -> bool:
    return len(words(text[:LONGEST])) < FEWEST


def _alike(pair: Typed) -> str | None:
    """What little tells two texts apart that say the same; None if they do not."""
    left, right = pair.chosen, pair.rejected
    if left == right or folded(left) == folded(right):
        return "white space" if left != right else "nothing"
    if normalised(left) == normalised(right):
        return "the use of capitals"
    if words(left) != words(right) or not words(left):
        return None
    stem = ".!?… "
    return "the end mark" if left.rstrip(stem) == right.rstrip(stem) else "punctuation"


# ---- the sentence


def _sentence(pair: Typed, zone: Zone, seen: tuple[Sign, ...], notes: tuple[Note, ...]) -> str:
    if zone == "cartoon":
        return _cartoon(seen)
    but = next((each for each in notes if each.level == "bad"), None)
    tail = "" if but is None else f" But see “{but.name}”: {lower(but.says)}"
    if zone == "strangers":
        return (
            "Two different answers: hardly a word in common, so nothing says which difference you"
            f" mean.{tail}"
        )
    changed, places = differences(pair.chosen, pair.rejected)
    if zone == "hairline":
        verb = "differs" if changed == 1 else "differ"
        return f"A hairline: only {counted(changed, 'word')} {verb}.{tail}"
    return f"A near miss: they differ in {_what(pair, places)}, and both read like an answer.{tail}"


def _cartoon(seen: tuple[Sign, ...]) -> str:
    first = seen[0]
    if first.name == "language":
        return f"A cartoon: {first.says}, so anyone can tell; nobody learns from it."
    if first.name == "topic":
        return f"Answers to different questions: {first.says}, so nobody learns from it."
    return f"Garbage against great: {first.says}, so anyone can tell; nobody learns from it."


def _what(pair: Typed, places: int) -> str:
    """`two claims` where facts tell them apart and are few, else `five places`."""
    left, right = facts(pair.chosen), facts(pair.rejected)
    count = max(
        len(left.numbers - right.numbers) + len(left.names - right.names),
        len(right.numbers - left.numbers) + len(right.names - left.names),
    )
    return counted(count, "claim") if 0 < count <= places <= 6 else counted(places, "place")


# ---- for the page


@dataclass(frozen=True)
class Reader:
    """Reads pairs for the page: the text, and the model's view where there is a model."""

    plausible: Looker | None = None

    def read(self, prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
        """The reply of POST /reading."""
        if words.cache_info().currsize > CACHED:  # made for a file, not for every keystroke
            words.cache_clear()
        found = read_pair(prompt, chosen, rejected)
        view = None
        if self.plausible is not None and found.zone is not None:
            view = self.plausible.look(prompt, chosen, rejected)
        return as_json(found if view is None else joined(found, view), view)


def joined(found: Reading, view: PlausibleReading) -> Reading:
    """The text's reading where the model calls the rejected answer a cartoon as well."""
    if not view.cartoon or found.zone == "cartoon":
        return found
    place = (
        None if found.place is None else min(found.place, EDGE * (view.percentile or 0) / UNLIKELY)
    )
    told = "It reads like an answer, but not like one of this model's: nothing is learnt from it."
    return replace(found, sentence=told, place=place, zone="cartoon")


def as_json(found: Reading, view: PlausibleReading | None) -> dict[str, Any]:
    """Plain values, as the page reads them."""
    notes: list[Mapping[str, str]] = [
        {"name": note.name, "says": note.says, "level": note.level} for note in found.notes
    ]
    said = None
    if view is not None:
        said = {"says": view.says, "percentile": view.percentile, "again": view.again}
    return {"sentence": found.sentence, "notes": notes, "place": found.place, "plausible": said}
