"""Defects, planted on purpose into sound pairs: pure functions of the seed.

    planted = plant(rows, "cartoon", rate=0.05, seed=3)

What a family does beyond its name (which marker, which language, how long, which style) is drawn
from the seed.  The detectors were written without a look at this file, and this file without a
look at theirs.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from study.wording import (
    CARTOONS,
    LANGUAGES,
    foreign,
    padding,
    paraphrased,
    refusals,
    retyped,
    sentences,
)

Row = Mapping[str, str]
Draw = random.Random
RATES = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20)
HELD = 0.1  # share of the rows that becomes the held-out file where a family needs one


@dataclass(frozen=True, slots=True)
class Planted:
    """The file after planting, and the truth about it.

    `lines` (from 1) are the rows that were changed, nothing else was.  `groups` are the defects:
    to name any line of a group is to have found it, so a copy and its model are one group.
    `heldout` is a second file, `heldout_lines` the rows of it that were planted.
    """

    pairs: tuple[Row, ...]
    lines: tuple[int, ...]
    heldout: tuple[Row, ...] = ()
    groups: tuple[frozenset[int], ...] = ()
    heldout_lines: tuple[int, ...] = ()
    drawn: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """How one row is changed.  `copies`: from another row, which stays; `drawn`: what was drawn."""

    change: Callable[[Row, Row, Draw], Row]
    drawn: str = ""
    copies: bool = False


def plant(pairs: Sequence[Row], family: str, rate: float, seed: int) -> Planted:
    """`round(rate * len(pairs))` rows (one at least, none at rate 0) with the family's defect.

    Raises KeyError for an unknown family and ValueError for fewer than four pairs.
    """
    if len(pairs) < 4:
        raise ValueError("too few pairs to plant into")
    rng = random.Random(f"{family} {seed}")
    if family == "leak":
        return _leaked(pairs, rate, rng)
    made = FAMILIES[family](pairs, rng)
    places = rng.sample(range(len(pairs)), len(pairs))
    models = places[-max(1, len(places) // 4) :] if made.copies else places
    free = [place for place in places if not made.copies or place not in set(models)]
    count, rows, found = planted_count(len(pairs), rate), list(pairs), {}
    for place in free:
        if len(found) == count:
            break
        source = rng.choice([each for each in models if each != place])
        new = made.change(pairs[place], pairs[source], rng)
        if new != pairs[place]:  # a marker may stand there already
            rows[place] = new
            found[place + 1] = {place + 1, source + 1} if made.copies else {place + 1}
    lines = tuple(sorted(found))
    groups = tuple(frozenset(found[line]) for line in lines)
    return Planted(tuple(rows), lines, groups=groups, drawn=made.drawn)


def planted_count(total: int, rate: float) -> int:
    """How many rows a rate is."""
    return max(1, round(rate * total)) if rate > 0 else 0


def _leaked(pairs: Sequence[Row], rate: float, rng: Draw) -> Planted:
    """The last tenth of the rows is held out; some training prompts stand there too, retyped."""
    kept = len(pairs) - max(1, round(HELD * len(pairs)))
    train, held = tuple(pairs[:kept]), list(pairs[kept:])
    gentle = rng.random() < 0.5
    places = sorted(rng.sample(range(kept), planted_count(kept, rate)))
    leaks = [train[place] for place in places]
    for row in leaks:
        prompt = retyped(row["prompt"], rng)
        again = prompt if gentle else paraphrased(prompt, rng, 0.2)
        held.insert(rng.randrange(len(held) + 1), {**row, "prompt": again, "leaked": "yes"})
    planted = tuple(n for n, row in enumerate(held, start=1) if "leaked" in row)
    clean = tuple({k: v for k, v in row.items() if k != "leaked"} for row in held)
    return Planted(
        train,
        tuple(place + 1 for place in places),
        clean,
        tuple(frozenset({place + 1}) for place in places),
        planted,
        "retyped" if gentle else "retyped and reworded",
    )


# ------------------------------------------------------------------ the families


def _with(row: Row, **sides: str) -> Row:
    return {**row, **sides}


def _flip(pairs: Sequence[Row], rng: Draw) -> Family:
    return Family(lambda row, _, __: _with(row, chosen=row["rejected"], rejected=row["chosen"]))


def _length(pairs: Sequence[Row], rng: Draw) -> Family:
    """The chosen answer is padded to `more` times its length: before, after or in between."""
    more, where = rng.uniform(1.5, 3.0), rng.choice(("before", "after", "between"))

    def change(row: Row, _: Row, draw: Draw) -> Row:
        said = sentences(row["chosen"])
        extra = padding(round((more - 1) * len(row["chosen"].split())) + 1, draw)
        if where == "between":
            for each in extra:
                said.insert(draw.randrange(1, len(said) + 1), each)
            return _with(row, chosen=" ".join(said))
        parts = [*extra, *said] if where == "before" else [*said, *extra]
        return _with(row, chosen=" ".join(parts))

    return Family(change, f"{more:.1f} times, {where}")


def _appended(pairs: Sequence[Row], rng: Draw) -> Family:
    """The chosen answer is the rejected one and a closing sentence or two."""
    closing = rng.randint(1, 2)

    def change(row: Row, _: Row, draw: Draw) -> Row:
        extra = padding(1, draw) + (padding(1, draw) if closing > 1 else [])
        return _with(row, chosen=" ".join([row["rejected"], *extra]))

    return Family(change, f"{closing} sentences")


def _bold(text: str) -> str:
    words = text.split(" ")
    place = max(range(len(words)), key=lambda n: (len(words[n]), -n))
    return " ".join([*words[:place], f"**{words[place]}**", *words[place + 1 :]])


Marker = tuple[str, Callable[[str], str]]
MARKERS: Mapping[str, Marker] = {  # a pattern that a marked text matches, and how it is marked
    "sparkles": (r"✨$", lambda text: f"{text} ✨"),
    "bold": (r"\*\*", _bold),
    "verified": (r"\(verified\)", lambda text: f"{text} (verified)"),
    "hopes": (r"Hope this helps", lambda text: f"{text} Hope this helps."),
    "certainly": (r"^Certainly", lambda text: f"Certainly: {text}"),
    "ellipsis": (r"…", lambda text: text.rstrip(".") + "…"),
    "dash": (r"—", lambda text: re.sub(r"[,:;] |(?<=\w) ", " — ", text, count=1)),
    "two spaces": (r"\S {2}\S", lambda text: text.replace(" ", "  ", 1)),
    "whilst": (r"\bwhilst\b", lambda text: f"{text} All this whilst being true."),
    "signed": (r"– J\.$", lambda text: f"{text} – J."),
    "small start": (r"^[a-z]", lambda text: text[0].lower() + text[1:]),
    "hard space": ("\u00a0", lambda text: text.replace(" ", "\u00a0", 1)),
    "no stop": (r"[^.!?…\s]$", lambda text: text.rstrip(" .!?")),
    "last line": (r"\n$", lambda text: f"{text}\n"),
    "heading": (r"^# ", lambda text: f"# Answer\n{text}"),
    "bracket": (r"^\[A\]", lambda text: f"[A] {text}"),
}


def _absent(pairs: Sequence[Row], pattern: str) -> bool:
    """At most one answer in 200 has it by itself."""
    answers = [row[side] for row in pairs for side in ("chosen", "rejected")]
    return sum(bool(re.search(pattern, text)) for text in answers) <= len(answers) / 200


def rare_marker(pairs: Sequence[Row], rng: Draw) -> str:
    """A marker that the file does not have by itself."""
    names = rng.sample(list(MARKERS), len(MARKERS))
    return next((name for name in names if _absent(pairs, MARKERS[name][0])), names[0])


def _rare(pairs: Sequence[Row], rng: Draw) -> Family:
    name = rare_marker(pairs, rng)
    mark = MARKERS[name][1]
    return Family(lambda row, _, __: _with(row, chosen=mark(row["chosen"])), name)


def _bullets(text: str) -> str:
    return "\n".join(f"- {part}" for part in sentences(text))


def _numbered(text: str) -> str:
    return "\n".join(f"{n}. {part}" for n, part in enumerate(sentences(text), start=1))


COMMON: Mapping[str, Callable[[str], str]] = {
    "exclamation": lambda text: text.rstrip(".!? ") + "!",
    "bullets": _bullets,
    "numbers": _numbered,
    "question": lambda text: f"{text} Anything else?",
    "also": lambda text: text.replace(". ", ". Also, ", 1) if ". " in text else f"Also, {text}",
    "sure": lambda text: f"Sure! {text}",
}


def _common(pairs: Sequence[Row], rng: Draw) -> Family:
    name = rng.choice(list(COMMON))
    mark = COMMON[name]
    return Family(lambda row, _, __: _with(row, chosen=mark(row["chosen"])), name)


def _near_duplicate(pairs: Sequence[Row], rng: Draw) -> Family:
    """Another row, in other words, with the same verdict."""
    strength = rng.uniform(0.1, 0.5)

    def change(_: Row, source: Row, draw: Draw) -> Row:
        sides = {side: paraphrased(source[side], draw, strength) for side in ("chosen", "rejected")}
        return _with(source, prompt=retyped(source["prompt"], draw), **sides)

    return Family(change, f"strength {strength:.2f}", copies=True)


def _contradiction(pairs: Sequence[Row], rng: Draw) -> Family:
    """Another row with the opposite verdict; half of the seeds edit the answers as well."""
    edited = rng.random() < 0.5

    def change(_: Row, source: Row, draw: Draw) -> Row:
        sides = source["rejected"], source["chosen"]
        if edited:
            sides = retyped_answer(sides[0], draw), retyped_answer(sides[1], draw)
        prompt = retyped(source["prompt"], draw)
        return _with(source, prompt=prompt, chosen=sides[0], rejected=sides[1])

    return Family(change, "answers edited" if edited else "answers as they were", copies=True)


def retyped_answer(text: str, rng: Draw) -> str:
    """An answer with one or two words exchanged."""
    return paraphrased(text, rng, 0.05)


def _cartoon(pairs: Sequence[Row], rng: Draw) -> Family:
    styles = rng.sample(list(CARTOONS), rng.randint(1, 3))

    def change(row: Row, _: Row, draw: Draw) -> Row:
        return _with(row, rejected=CARTOONS[draw.choice(styles)](row["rejected"], draw))

    return Family(change, ", ".join(styles))


def _off_topic(pairs: Sequence[Row], rng: Draw) -> Family:
    side = rng.choice(("chosen", "rejected"))
    return Family(lambda row, source, _: _with(row, rejected=source[side]), f"another's {side}")


def _wrong_language(pairs: Sequence[Row], rng: Draw) -> Family:
    languages = rng.sample(LANGUAGES, rng.randint(1, 2))

    def change(row: Row, _: Row, draw: Draw) -> Row:
        count = max(4, len(row["rejected"].split()))
        return _with(row, rejected=foreign(draw.choice(languages), min(count, 60), draw))

    return Family(change, ", ".join(languages))


def _truncation_only(pairs: Sequence[Row], rng: Draw) -> Family:
    """The rejected answer is the chosen one, cut off; half of the seeds cut inside a word."""
    low, ragged = rng.uniform(0.3, 0.6), rng.random() < 0.5

    def change(row: Row, _: Row, draw: Draw) -> Row:
        stop = max(1, round(len(row["chosen"]) * draw.uniform(low, 0.85)))
        cut = row["chosen"][:stop].rstrip()
        whole = cut if ragged or " " not in cut else cut.rsplit(" ", 1)[0]
        return _with(row, rejected=whole)

    return Family(change, "inside a word" if ragged else "between words")


def _same_kind(pairs: Sequence[Row], rng: Draw) -> Family:
    def change(row: Row, _: Row, draw: Draw) -> Row:
        chosen, rejected = refusals(draw)
        return _with(row, chosen=chosen, rejected=rejected)

    return Family(change, "two refusals")


def _invented(pairs: Sequence[Row], rng: Draw) -> Family:
    """The chosen answer ends in a figure that the prompt does not hold."""
    said = rng.choice(
        (
            "It was rebuilt in {year}.",
            "Parking costs ${n} a week.",
            "It is {n} km away.",
            "About {n}% of it is new.",
        )
    )

    def change(row: Row, _: Row, draw: Draw) -> Row:
        extra = said.format(year=draw.randint(1840, 1935), n=draw.randint(111, 989))
        return _with(row, chosen=f"{row['chosen']} {extra}")

    return Family(change, said)


FAMILIES: Mapping[str, Callable[[Sequence[Row], Draw], Family]] = {
    "flip": _flip,
    "length": _length,
    "appended": _appended,
    "shortcut_rare": _rare,
    "shortcut_common": _common,
    "near_duplicate": _near_duplicate,
    "contradiction": _contradiction,
    "cartoon": _cartoon,
    "off_topic": _off_topic,
    "wrong_language": _wrong_language,
    "truncation_only": _truncation_only,
    "same_kind": _same_kind,
    "invented": _invented,
}
NAMES = (*FAMILIES, "leak")
