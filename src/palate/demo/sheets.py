"""Seeded fact sheets of properties that do not exist: what a description may say, and no more."""

import random
from dataclasses import dataclass

from palate.demo.topics import (
    AREA,
    BATHS,
    BEDS,
    BY_NAME,
    DISTANCES,
    FEATURES,
    FEE,
    KIND,
    PLACE,
    Topic,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One value of one topic, such as `fee` and `310`."""

    topic: str
    value: str

    @property
    def about(self) -> Topic:
        return BY_NAME[self.topic]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that is known about one property: its kind, place and beds, then the listed facts."""

    kind: str
    place: str
    beds: str
    listed: tuple[Fact, ...]

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Every fact, those of the prompt's first sentence first."""
        head = Fact("beds", self.beds), Fact("kind", self.kind), Fact("place", self.place)
        return head + self.listed


def draw(rng: random.Random, *, wide: bool = False) -> Sheet:
    """A sheet of six to ten facts; `wide`, as the base's corpus has them, of six to twelve.

    The example asks about one distance a sheet: a model this small mixes up two.
    """
    listed = [_value(BATHS, rng)]
    if rng.random() < 0.6:
        listed.append(_value(AREA, rng))
    listed += [_value(topic, rng) for topic in rng.sample(FEATURES, rng.randint(2, 3 + wide))]
    listed += [_value(topic, rng) for topic in rng.sample(DISTANCES, rng.randint(1, 1 + wide))]
    if rng.random() < 0.8:
        listed.append(_value(FEE, rng))
    beds = rng.choices(BEDS.options, (4, 6, 5, 3, 1, 1))[0]
    return Sheet(rng.choice(KIND.options), _place(rng), beds, tuple(listed))


def sheets(count: int, seed: int | str) -> list[Sheet]:
    """`count` sheets, a function of the seed alone."""
    rng = random.Random(f"sheets {seed}")
    return [draw(rng) for _ in range(count)]


def other(fact: Fact, rng: random.Random) -> Fact | None:
    """The same topic with a wrong value; None if the topic has only one."""
    values = [value for value in fact.about.options if value != fact.value]
    return Fact(fact.topic, rng.choice(values)) if values else None


def _value(topic: Topic, rng: random.Random) -> Fact:
    return Fact(topic.name, rng.choice(topic.options))


def _place(rng: random.Random) -> str:
    landmarks, streets = PLACE.options[:10], PLACE.options[10:]
    return rng.choice(landmarks if rng.random() < 0.35 else streets)
