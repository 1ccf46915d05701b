"""The taste of the example as a judge: it reads the fact sheet out of the prompt, and compares.

`sheet` is the inverse of `prose.prompt`.  A prompt that is no fact sheet of the example is refused:
this taste knows nothing else.  It is never of two minds, so the order of the two texts is nothing
to it, and it calls nothing "both bad": of two poor texts, one is the better one to learn from.
"""

import re
from dataclasses import dataclass
from typing import Final

from palate.data.judged import AskedPrompt, JudgeKind
from palate.data.judged import Verdict as Side
from palate.demo.sheets import Fact, Sheet
from palate.demo.taste import Verdict
from palate.demo.taste import judge as read
from palate.demo.topics import ALL, BEDS, BY_NAME, KIND, PLACE
from palate.errors import DataError
from palate.judge.verdicts import Opinion

NAME: Final = "demo"
MUCH: Final = 3.0  # points: one invented fact and one that is missing
TAGS: Final = ("grounded", "no-hype", "specific", "shorter")
_PROMPT = re.compile(
    r"Describe this (?P<beds>\d+)bd (?P<kind>[a-z]+) (?:near|on) (?P<place>[\w ]+)\."
    r" Facts: (?P<facts>.+)\.",
    re.DOTALL,
)
_HEAD = {topic.name for topic in (KIND, PLACE, BEDS)}


@dataclass(frozen=True, slots=True)
class DemoJudge:
    """The judge `demo`, a program: the text that is worth more points wins, equal is a tie."""

    name: str = NAME
    kind: JudgeKind = "program"

    def compare(self, prompt: AskedPrompt, left: str, right: str) -> Opinion:
        """Raises DataError for a prompt that is no fact sheet of the example."""
        about = sheet(prompt.text)
        one, other = read(left, about), read(right, about)
        gap = one.score - other.score
        if gap == 0:
            return Opinion("tie", reason=f"{_points(one)} each")
        better, worse = (one, other) if gap > 0 else (other, one)
        side: Side = "left" if gap > 0 else "right"
        strength = 2 if abs(gap) >= MUCH else 1
        return Opinion(side, strength, _reason(better, worse), tuple(_tags(better, worse)))


def sheet(prompt: str) -> Sheet:
    """The facts of a prompt that `prose.prompt` wrote.  Raises DataError for any other."""
    found = _PROMPT.fullmatch(prompt.strip())
    if found is None:
        raise _foreign(prompt)
    listed = [_fact(part) for part in found["facts"].split("; ")]
    facts = tuple(fact for fact in listed if fact is not None)
    head = {KIND: found["kind"], PLACE: found["place"], BEDS: found["beds"]}
    known = all(value in topic.options for topic, value in head.items())
    if len(facts) < len(listed) or not known:
        raise _foreign(prompt)
    return Sheet(found["kind"], found["place"], found["beds"], facts)


def _fact(part: str) -> Fact | None:
    """One listed fact: what some topic hears in the whole of it."""
    for topic in ALL:
        for start, stop, value in topic.hear(part.lower()):
            whole = (start, stop) == (0, len(part)) and topic.name not in _HEAD
            if whole and value in BY_NAME[topic.name].options:
                return Fact(topic.name, value)
    return None


def _foreign(prompt: str) -> DataError:
    line = " ".join(prompt.split())
    return DataError(
        "the demo's judge reads the demo's prompts, and this is no fact sheet of the demo:"
        f" {line[:80]!r}.",
        hint="It judges the prompts that `palate demo` writes; for others name an endpoint"
        " (--judge-with URL), or judge in the page.",
    )


# ---- what differs, in tags and in words


def _tags(better: Verdict, worse: Verdict) -> list[str]:
    """Why the better one won, as far as the points say.

    `shorter` only if it is nothing but the same said with fewer repetitions.
    """
    won = {
        "grounded": len(better.stated) > len(worse.stated) or len(better.wrong) < len(worse.wrong),
        "no-hype": len(better.hype) < len(worse.hype),
        "specific": len(better.vague) < len(worse.vague),
    }
    return [tag for tag, is_so in won.items() if is_so] or ["shorter"]


def _reason(better: Verdict, worse: Verdict) -> str:
    """`9 of 9 facts, not 7; 0 invented, not 1`."""
    parts = [f"{len(better.stated)} of {better.facts} facts"]
    parts[0] += f", not {len(worse.stated)}" if len(worse.stated) != len(better.stated) else ""
    counts = {
        "invented or wrong": (len(better.wrong), len(worse.wrong)),
        "hype": (len(better.hype), len(worse.hype)),
        "vague": (len(better.vague), len(worse.vague)),
        "repeated": (better.repeats, worse.repeats),
    }
    parts += [f"{a} {name}, not {b}" for name, (a, b) in counts.items() if a != b]
    return "; ".join(parts)


def _points(found: Verdict) -> str:
    return f"{found.score:g} points".replace("-", "\N{MINUS SIGN}")
