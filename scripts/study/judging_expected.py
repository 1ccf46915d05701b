"""What was expected of the judging study, written down before its first run, and what is held."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from palate.stats import Interval

Figures = Mapping[str, Interval]
# Names: "random 100" points over SFT, "active 100" likewise, "gap 100" active - random,
# "tied random", "tied active" shares of all judgements at the largest budget.


@dataclass(frozen=True, slots=True)
class Expectation:
    """A sentence, the figures it is about, and whether their means bear it out."""

    says: str
    about: tuple[str, ...]
    holds: Callable[[Figures], bool]


def _mean(figures: Figures, *names: str) -> float:
    return sum(figures[name].value for name in names) / len(names)


EXPECTED = (
    Expectation(
        "400 random judgements gain at least 1.5 points over SFT.",
        ("random 400",),
        lambda found: found["random 400"].value >= 1.5,
    ),
    Expectation(
        "25 random judgements gain less than a third of what 400 do.",
        ("random 25", "random 400"),
        lambda found: found["random 25"].value < found["random 400"].value / 3,
    ),
    Expectation(
        "100 random judgements are enough for a gain whose interval over seeds is above 0.",
        ("random 100",),
        lambda found: found["random 100"].low > 0,
    ),
    Expectation(
        "The gain saturates by 200: from 200 to 400 random judgements it grows by less than half"
        " a point.",
        ("random 200", "random 400"),
        lambda found: found["random 400"].value - found["random 200"].value < 0.5,
    ),
    Expectation(
        "Active beats random at 50 to 200 judgements by at least half a point on average.",
        ("gap 50", "gap 100", "gap 200"),
        lambda found: _mean(found, "gap 50", "gap 100", "gap 200") >= 0.5,
    ),
    Expectation(
        "At 400 of 500 prompts there is little left to choose: the two differ by less than 0.3.",
        ("gap 400",),
        lambda found: abs(found["gap 400"].value) < 0.3,
    ),
    Expectation(
        "Active picks give fewer ties, by at least 5 of 100 judgements.",
        ("tied random", "tied active"),
        lambda found: found["tied random"].value - found["tied active"].value >= 0.05,
    ),
)
