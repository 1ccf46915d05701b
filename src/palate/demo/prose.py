"""Prompts and descriptions, put together from phrases: grounded, vague, hype, or with wrong facts.

A text is a list of statements in a free order, cut into groups, each group in one of many frames,
so two texts about one sheet rarely agree.  `Style` says what goes into a text; `taste` says what it
is worth, and knows nothing of this module but the topics.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from palate.demo.sheets import Fact, Sheet, draw, other
from palate.demo.topics import LANDMARKS

_VAGUE_OPENINGS = (
    "A {nice} {noun} in a {great} {spot}",
    "This {noun} is a {nice} place in a {great} {spot}",
    "Here is a {nice} {noun} with plenty of charm",
    "A {nice} {noun} with everything you could need close by",
    "A {noun} with a lot to offer in a {great} {spot}",
    "A {nice} {noun} that feels like home",
)
_VAGUE_ENDINGS = (
    "Everything you could need is close by.",
    "It has plenty of charm.",
    "There is something for everyone.",
    "It is a great spot.",
    "The area is very convenient.",
    "It has a good feel throughout.",
    "Many nice touches make it special.",
    "Shops and more are just around the corner.",
    "It has plenty of room.",
    "A lovely place to live.",
    "It is well located and full of character.",
    "It has a lot to offer.",
)
_HYPE_OPENINGS = (
    "Stunning {noun}, a true must-see",
    "Welcome to your dream home, a breathtaking {noun}",
    "The {noun} of a lifetime",
    "An unbeatable {noun} in a world-class {spot}",
    "Simply spectacular: a one-of-a-kind {noun}",
    "A jaw-dropping {noun}",
)
_HYPE_ENDINGS = (
    "This one won't last!",
    "Act fast!",
    "You will fall in love at first sight.",
    "Luxury living at its finest!",
    "A once-in-a-lifetime opportunity.",
    "An absolute must-see!",
    "It does not get better than this!",
    "Your dream home awaits.",
    "A truly spectacular find!",
    "The envy of the neighbourhood!",
)
_WORDS = {
    "nice": ("lovely", "charming", "nice", "delightful", "pleasant", "wonderful"),
    "great": ("great", "desirable", "prime", "fantastic", "good"),
    "spot": ("spot", "location", "setting"),
}
_FRAMES = (
    "It has {list}.",
    "It comes with {list}.",
    "It also has {list}.",
    "There is {list}.",
    "Add {list}.",
    "The sheet lists {list}.",
)
_PLAIN_FRAMES = ("{List}.", "{List}.", "Also: {list}.", "Plus {list}.", "On record: {list}.")
_LINKS = (" with {list}.", ", with {list}.", " that has {list}.")
_PLAIN_LINKS = (": {list}.", ": {list}.", ", {list}.", ". {List}.", "; {list}.")
_AWKWARD = re.compile(
    r"(?:\S+ (?:blocks?|minutes?|miles?) (?:to|from)|fees|parking|built|floor|\$)\b"
)
_JOINS = ((", ", " and "), (", ", " and "), (", ", ", "), ("; ", "; "), (", ", ", plus "))


@dataclass(frozen=True, slots=True)
class Style:
    """What one text is made of.  `keep` is the chance that a fact is stated at all."""

    keep: float = 1.0
    wrong: int = 0
    vague: int = 0
    hype: int = 0


def prompt(sheet: Sheet, rng: random.Random | None = None) -> str:
    """`Describe this 2bd condo near downtown. Facts: 2 bath; ...; fees $310.`"""
    rng = rng or random.Random(f"prompt {sheet}")
    listed = [_listed(fact, rng) for fact in sheet.listed]
    asked = f"Describe this {sheet.beds}bd {sheet.kind} {where(sheet.place)}."
    return f"{asked} Facts: {'; '.join(listed)}."


def _listed(fact: Fact, rng: random.Random) -> str:
    """A fact as the sheet writes it: distances and spaces often in words, all else in digits."""
    wordy = fact.topic.endswith("parking") or fact.topic.startswith("distance")
    return fact.about.say(fact.value, fact.about.forms[0], rng, words=0.6 if wordy else 0.0)


def where(place: str) -> str:
    """The place with its preposition."""
    return f"near {place}" if place in LANDMARKS else f"on {place}"


def describe(sheet: Sheet, style: Style, rng: random.Random) -> str:
    """One description of `sheet` in `style`."""
    facts = _chosen(sheet, style, rng)
    opening, rest = _opening(facts, style, rng)
    rng.shuffle(rest)
    fees = [fact for fact in rest if fact.topic == "fee"]
    if fees and rng.random() < 0.6:
        rest = [fact for fact in rest if fact.topic != "fee"] + fees
    sentences = _sentences(opening, rest, rng)
    for endings, count in ((_VAGUE_ENDINGS, style.vague), (_HYPE_ENDINGS, style.hype)):
        for ending in rng.sample(endings, count):
            sentences.insert(rng.choice((1, len(sentences), len(sentences))), ending)
    return " ".join(sentences)


def statement(fact: Fact, rng: random.Random) -> str:
    """A noun phrase that states the fact."""
    if fact.topic == "place":
        return f"an address {where(fact.value)}"
    if fact.topic == "kind":
        return _articled(f"a {fact.value}")
    form = rng.choice(
        [form for form in fact.about.forms if "-bedroom" not in form and "bd" not in form]
    )
    return fact.about.say(fact.value, form, rng)


def _chosen(sheet: Sheet, style: Style, rng: random.Random) -> list[Fact]:
    """The facts of the text: the kept ones, `style.wrong` of them changed or made up."""
    facts = [fact for fact in sheet.facts if fact.topic == "kind" or rng.random() < style.keep]
    for _ in range(style.wrong):
        place = rng.randrange(len(facts))
        changed = other(facts[place], rng) if rng.random() < 0.6 else None
        if changed:
            facts[place] = changed
        else:
            known = {fact.topic for fact in [*sheet.facts, *facts]}
            facts += [fact for fact in draw(rng, wide=True).listed if fact.topic not in known][:1]
    return facts


def _opening(facts: list[Fact], style: Style, rng: random.Random) -> tuple[str, list[Fact]]:
    """The first clause, without its full stop, and the facts it leaves over."""
    noun, rest = _noun(facts, rng)
    vague, hype = style.vague > 0, style.hype > 0
    if (vague or hype) and rng.random() < 0.6:
        frame = rng.choice(_HYPE_OPENINGS if hype else _VAGUE_OPENINGS)
        words = {name: rng.choice(options) for name, options in _WORDS.items()}
        return _articled(frame.format(noun=noun, **words)), rest
    article = rng.choice(("", "", "", "A ", "This is a "))
    return _articled(article + (noun if article else noun[0].upper() + noun[1:])), rest


def _articled(text: str) -> str:
    return re.sub(r"\b([Aa]) (?=apartment)", r"\1n ", text)


def _noun(facts: list[Fact], rng: random.Random) -> tuple[str, list[Fact]]:
    """`two-bedroom, two-bath condo near downtown`: the property with some of its facts."""
    said = {fact.topic: fact for fact in facts}
    near = [fact for fact in facts if fact.topic.startswith("distance")]
    used = [said["kind"]]
    before = []
    for topic, form, chance in (("beds", "{v}-bedroom", 0.85), ("baths", "{v}-bath", 0.5)):
        if topic in said and rng.random() < chance:
            used.append(said[topic])
            before.append(said[topic].about.say(said[topic].value, form, rng))
    text = " ".join([rng.choice((", ", " ")).join(before), said["kind"].value]).strip()
    if "place" in said and rng.random() < 0.85:
        used.append(said["place"])
        text += f" {where(said['place'].value)}"
    if near and rng.random() < 0.25:
        used.append(near[0])
        text += " " + near[0].about.say(near[0].value, near[0].about.forms[1], rng)
    return text, [fact for fact in facts if fact not in used]


def _sentences(opening: str, rest: Sequence[Fact], rng: random.Random) -> list[str]:
    """The opening with the first group of statements, then one sentence per group."""
    groups = _groups([statement(fact, rng) for fact in rest], rng)
    head = f"{opening}."
    if groups and rng.random() < 0.85:
        head = opening + _framed((_LINKS, _PLAIN_LINKS), groups.pop(0), rng)
    return [head, *(_framed((_FRAMES, _PLAIN_FRAMES), group, rng) for group in groups)]


def _groups(parts: list[str], rng: random.Random) -> list[list[str]]:
    groups = []
    while parts:
        size = rng.randint(1, 5)
        groups.append(parts[:size])
        parts = parts[size:]
    return groups


def _framed(frames: tuple[Sequence[str], ...], parts: list[str], rng: random.Random) -> str:
    """The parts in a frame; without a verb if a part, such as `fees $310`, cannot follow one."""
    verbal, plain = frames
    awkward = any(_AWKWARD.match(part) for part in parts)
    frame = rng.choice(plain if awkward or rng.random() < 0.5 else verbal)
    middle, last = rng.choice(_JOINS)
    text = middle.join(parts[:-1]) + (last if len(parts) > 1 else "") + parts[-1]
    return frame.replace("{list}", text).replace("{List}", text[0].upper() + text[1:])
