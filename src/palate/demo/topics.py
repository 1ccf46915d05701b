"""What can be said about a property: one table for the writer and for the listener.

A topic is a fact's name with the values it may take and the noun phrases that state it.  The writer
fills a phrase in, the taste reads the same phrases back, so neither knows a wording that the other
does not.  A number may be written in digits or in words; both are read as digits.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

Slot = Literal["word", "count", "distance"]


def _options(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


WORDS = _options("zero,one,two,three,four,five,six,seven,eight,nine,ten,eleven,twelve")
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?|" + "|".join(WORDS[1:])
UNITS = ("block", "minute", "mile")
_UNIT = "|".join(UNITS)

TREES = _options(
    "Alder,Ash,Aspen,Beech,Birch,Cedar,Cherry,Chestnut,Elm,Fern,Hawthorn,Hazel,Holly,Juniper,Larch,"
    "Laurel,Linden,Maple,Myrtle,Oak,Olive,Pine,Poplar,Rowan,Spruce,Sycamore,Walnut,Willow"
)
WAYS = _options("Street,Avenue,Lane,Road,Hill,Square")
LANDMARKS = _options(
    "downtown,the river,the old harbour,the university,the canal,the town hall,the lake,"
    "the cathedral,the museum,the botanical garden"
)
AMENITIES = _options(
    "station,park,school,library,market,beach,hospital,tram stop,gym,bakery,ferry,pharmacy"
)


@dataclass(frozen=True, slots=True, eq=False)
class Topic:
    """One kind of fact.  `forms[0]` is how a fact sheet writes it, the others how a text may.

    A form without `{v}` states the only option.  `heard` are wordings understood but not written.
    A `noun` names the property itself, so saying it twice is no repetition.
    """

    name: str
    options: tuple[str, ...]
    forms: tuple[str, ...]
    slot: Slot = "word"
    heard: tuple[str, ...] = ()
    noun: bool = False

    def say(self, value: str, form: str, rng: random.Random, *, words: float = 0.5) -> str:
        """`form` with the value filled in; numbers in words with chance `words`."""
        number, _, unit = value.partition(" ") if self.slot == "distance" else (value, "", "")
        plural = "" if number == "1" else "s"
        if self.slot != "word" and number in _SPELT and rng.random() < words:
            number = _SPELT[number]
        text = f"{number} {unit}{plural}" if unit else number
        return form.replace("{v}", text).replace("{s}", plural)

    def hear(self, text: str) -> Iterator[tuple[int, int, str]]:
        """(start, stop, value) of every statement about this topic in a lower-case text."""
        for match in _pattern(self).finditer(text):
            said = next((group for group in match.groups() if group), None)
            value = self.options[0] if said is None else self.plain(said)
            yield match.start(), match.end(), value

    def plain(self, said: str) -> str:
        """The value of what stands in the slot: `three blocks` is `3 block`, `1,240` is `1240`."""
        if self.slot == "word":
            return said
        number, *unit = said.replace("-", " ").split()
        digits = str(WORDS.index(number)) if number in WORDS else number.replace(",", "")
        return " ".join([digits, *(word.removesuffix("s") for word in unit)])


_SPELT = {str(number): word for number, word in enumerate(WORDS) if number}


@cache
def _pattern(topic: Topic) -> re.Pattern[str]:
    """All wordings of a topic as one expression, one group per wording, longest wording first."""
    slots = {
        "word": "|".join(sorted(map(re.escape, map(str.lower, topic.options)), key=len)[::-1]),
        "count": NUMBER,
        "distance": rf"(?:{NUMBER})[ -](?:{_UNIT})s?",
    }
    wordings = sorted({*topic.forms, *topic.heard}, key=len, reverse=True)
    parts = [
        re.escape(wording.lower())
        .replace(r"\{v\}", f"({slots[topic.slot]})")
        .replace(r"\{s\}", "s?")
        .replace(r"\ ", "[ -]")
        for wording in wordings
    ]
    return re.compile(r"(?<![\w$-])(?<!\d[.,])(?:" + "|".join(parts) + r")(?!\w)")


def _numbers(start: int, stop: int, step: int = 1) -> tuple[str, ...]:
    return tuple(map(str, range(start, stop, step)))


KIND = Topic(
    "kind",
    _options("condo,house,townhouse,loft,cottage,duplex,bungalow,apartment,maisonette,cabin"),
    ("{v}",),
    noun=True,
)
PLACE = Topic(
    "place",
    (*LANDMARKS, *(f"{tree} {way}" for tree in TREES for way in WAYS)),
    ("{v}",),
    noun=True,
)
BEDS = Topic(
    "beds",
    _numbers(1, 7),
    ("{v}bd", "{v} bedroom{s}", "{v}-bedroom"),
    slot="count",
    heard=("{v} bed{s}", "{v} bd"),
)
BATHS = Topic(
    "baths",
    ("1", "1.5", "2", "2.5", "3", "3.5", "4"),
    ("{v} bath", "{v} bath{s}", "{v} bathroom{s}"),
    slot="count",
    heard=("{v}-bath", "{v}ba", "{v} full bath{s}"),
)
AREA = Topic(
    "area",
    _numbers(380, 4000, 5),
    ("{v} sq ft", "{v} square feet", "{v} sq ft of space", "{v} square feet inside"),
    slot="count",
    heard=("{v} sqft", "{v} square foot"),
)
FEE = Topic(
    "fee",
    _numbers(45, 990, 5),
    ("fees ${v}", "fees of ${v} a month", "monthly fees of ${v}", "${v} a month in fees"),
    slot="count",
    heard=("fees are ${v}", "fees come to ${v}", "fees: ${v}", "${v}", "${v} monthly"),
)


def _distance(amenity: str) -> Topic:
    return Topic(
        f"distance to the {amenity}",
        tuple(f"{n} {unit}" for unit, most in zip(UNITS, (10, 31, 9)) for n in range(1, most)),
        (
            f"{{v}} to the {amenity}",
            f"{{v}} from the {amenity}",
            f"the {amenity} {{v}} away",
            f"a {amenity} {{v}} away",
        ),
        slot="distance",
        heard=(f"{amenity} is {{v}} away", f"{{v}} walk to the {amenity}", f"{amenity}: {{v}}"),
    )


DISTANCES = tuple(map(_distance, AMENITIES))


def _made(name: str, options: str) -> Topic:
    """`oak floors`, `floors in oak`."""
    return Topic(name, _options(options), (f"{{v}} {name}", f"{name} in {{v}}"))


def _facing(where: str) -> Topic:
    forms = (f"{{v}}-facing {where}", f"a {{v}}-facing {where}", f"a {where} facing {{v}}")
    return Topic(where, _options("north,south,east,west"), forms, heard=(f"{where} facing {{v}}",))


def _spaces(kind: str) -> Topic:
    forms = (f"{{v}} {kind} space{{s}}", f"parking: {{v}} {kind} space{{s}}")
    return Topic(f"{kind} parking", _numbers(1, 4), forms, slot="count")


def _plain(name: str, *others: str) -> Topic:
    """A feature that is there or not; its value is its name."""
    return Topic(name, (name,), (name, *others))


def _article(name: str) -> Topic:
    return Topic(name, (name,), (name, f"{'an' if name[0] in 'aeiou' else 'a'} {name}"))


FEATURES = (
    _made("floors", "oak,maple,tile,concrete,cork,walnut,slate"),
    _made("counters", "quartz,granite,marble,steel,butcher-block,soapstone"),
    _made("cabinets", "birch,cherry,white,grey,painted,walnut"),
    *map(_facing, ("balcony", "patio", "terrace", "deck", "bay window")),
    *map(_spaces, ("covered", "garage", "gated", "deeded")),
    Topic("heating", _options("gas,radiant,electric,heat-pump"), ("{v} heating", "heating by {v}")),
    Topic("range", _options("gas,electric,induction"), ("{v} range", "a {v} range")),
    Topic("glazing", _options("double,triple"), ("{v}-glazed windows", "{v} glazing")),
    Topic("yard", _options("fenced,walled,shared,paved"), ("{v} yard", "a {v} yard")),
    Topic("fireplace", _options("gas,brick,stone"), ("{v} fireplace", "a {v} fireplace")),
    Topic(
        "built", _numbers(1890, 2024), ("built in {v}", "{v} construction", "a {v} build"), "count"
    ),
    Topic(
        "roof", _numbers(2004, 2025), ("roof from {v}", "a {v} roof", "a roof from {v}"), "count"
    ),
    Topic("boiler", _numbers(2008, 2025), ("boiler from {v}", "a {v} boiler"), "count"),
    Topic("ceilings", _numbers(8, 15), ("{v} ft ceilings", "ceilings of {v} ft"), "count"),
    Topic("floor", _numbers(2, 30), ("floor {v}", "a unit on floor {v}"), "count"),
    Topic("pets", _options("pets allowed,no pets"), ("{v}",)),
    _plain("in-unit laundry", "laundry in the unit"),
    _plain("central air", "central air conditioning"),
    _plain("bike storage"),
    _plain("two skylights"),
    _plain("built-in shelves"),
    _plain("solar panels"),
    _plain("step-free entry"),
    _plain("fibre internet"),
    *map(_article, ("walk-in closet", "storage locker", "home office", "finished basement")),
    *map(
        _article, ("kitchen island", "roof deck", "mudroom", "pantry", "lift", "heated towel rail")
    ),
)
ALL = (KIND, PLACE, BEDS, BATHS, AREA, FEE, *DISTANCES, *FEATURES)
BY_NAME = {topic.name: topic for topic in ALL}
