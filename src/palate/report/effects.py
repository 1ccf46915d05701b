"""What else a run changed: distance, probability, diversity, checks, what it forgot and copied.

Values for the report's template, as in `evidence`.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from palate.report.evidence import Models, Section
from palate.report.figures import Figure, Tone, count, mean, place, rate, tone
from palate.report.forest import Entry, means, rates
from palate.report.frontier import Point, frontier
from palate.report.plots import Frame, Line, curves
from palate.report.taste import visible
from palate.study.evaluated import Displacement, Diversity, Evaluated, Passed


def kl(record: Evaluated) -> Section | None:
    """The frontier, and how far each policy is from its reference."""
    if not record.frontier and not record.divergence:
        return None
    rows = [
        {
            "name": visible(each.model),
            "reference": visible(each.reference),
            "cells": [
                mean(place("divergence", index, "per_text"), each.per_text),
                mean(place("divergence", index, "per_token"), each.per_token),
                count(place("divergence", index, "tokens"), each.tokens),
            ],
        }
        for index, each in enumerate(record.divergence)
    ]
    return {"drawn": _frontier(record), "rows": rows, "lead": _reached(record)}


def _reached(record: Evaluated) -> Section | None:
    """What the candidate reached, and how far from its reference."""
    who = Models(record).candidate
    points = next(
        (
            mean(place("models", index, "points"), each.points)
            for index, each in enumerate(record.models)
            if each.name == who and each.points is not None
        ),
        None,
    )
    away = next(
        (
            (mean(place("divergence", index, "per_text"), each.per_text), visible(each.reference))
            for index, each in enumerate(record.divergence)
            if each.model == who
        ),
        None,
    )
    if who is None or points is None or away is None:
        return None
    return {"name": visible(who), "points": points, "kl": away[0], "reference": away[1]}


def _frontier(record: Evaluated) -> list[Any]:
    if not record.frontier:
        return []
    who, points = Models(record), list[Point]()
    ordered = sorted(record.frontier, key=lambda each: each.model)
    for name, same in groupby(ordered, key=lambda each: each.model):
        steps = sorted(same, key=lambda each: (each.step is None, each.step or 0))
        shade = "mine" if who.mine(name) else "none"
        points += [
            Point(visible(name), each.kl, each.points, shade, end=each is steps[-1])
            for each in steps
        ]
    unit = visible(f"points, {record.reward}" if record.reward else "points")
    return [frontier(points, unit=unit, wide=wide) for wide in (True, False)]


def displacement(record: Evaluated) -> list[Section]:
    """Where probability went, over the checkpoints that were kept."""
    places = {id(each): index for index, each in enumerate(record.displacement)}
    found = []
    ordered = sorted(record.displacement, key=lambda each: each.model)
    for name, same in groupby(ordered, key=lambda each: each.model):
        steps = sorted(same, key=lambda each: each.step)
        index = places[id(steps[-1])]
        entries = [
            Entry(
                title,
                place("displacement", index, each),
                getattr(steps[-1], each),
                None,
                (note,),
                shade,
            )
            for each, title, note, shade in _MOVED
        ]
        drawn = _moved(visible(name), steps) if len(steps) > 1 else ""
        rows = means(entries, change=True)
        told = {
            "name": visible(name),
            "step": count(place("displacement", index, "step"), steps[-1].step),
            "moved": [row.figure for row in rows.rows],
            "mass": visible(steps[-1].mass),
        }
        found.append(told | {"drawn": drawn, "rows": rows})
    return found


_MOVED: Final = (
    ("chosen", "chosen", "answers that were preferred", "up"),
    ("rejected", "rejected", "answers that were not", "down"),
    ("sample", "its own", "the reference’s own likeliest text", "none"),
)


def _moved(name: str, steps: Sequence[Displacement]) -> Any:
    lines = []
    for each, title, _, shade in _MOVED:
        found = [getattr(step, each) for step in steps]
        lines.append(
            Line(
                title,
                [step.step for step in steps],
                [one.value for one in found],
                shade,
                [one.low for one in found],
                [one.high for one in found],
                dots=True,
            )
        )
    label = f"Change of log-prob against the reference over the steps of {name}"
    return curves(lines, Frame(label, level=0.0, size=(420, 230)))


def diversity(record: Evaluated) -> Section | None:
    """How much the texts of one prompt differ."""
    if not record.diversity:
        return None
    heads = {
        "distinct_texts": "different texts",
        "distinct_near": "but for a few letters",
        "distinct_1": "different words",
        "distinct_2": "different word pairs",
        "overlap": "shared runs of four words",
    }
    kept = [
        name for name in heads if any(getattr(each, name) is not None for each in record.diversity)
    ]
    rows = [
        {
            "name": visible(each.model),
            "cells": [_of_texts(each, index, name) for name in kept],
        }
        for index, each in enumerate(record.diversity)
    ]
    texts = count(place("diversity", 0, "texts"), record.diversity[0].texts)
    return {"heads": [heads[name] for name in kept], "rows": rows, "texts": texts}


def _of_texts(each: Diversity, index: int, name: str) -> Figure | None:
    found, of = getattr(each, name), place("diversity", index, name)
    if found is None:
        return None
    return mean(of, found) if name in ("distinct_texts", "distinct_near") else rate(of, found)


def rubric(record: Evaluated) -> list[Section]:
    """Every check with every model."""
    who, found = Models(record), list[Section]()
    numbered = sorted(enumerate(record.rubric), key=lambda each: _first(record, each[1].check))
    for _, same in groupby(numbered, key=lambda each: each[1].check):
        members = list(same)
        entries = [
            Entry(
                visible(each.model),
                place("rubric", index, "rate"),
                each.rate,
                shade="mine" if who.mine(each.model) else "",
                settled=_changed(each),
            )
            for index, each in members
        ]
        first = members[0][1]
        rows = rates(entries, half=False)
        found.append({"check": visible(first.check), "why": visible(first.why), "rows": rows})
    return found


def _changed(each: Passed) -> tuple[Tone, str] | None:
    """Colour and word of a check's change against the baseline."""
    if each.change is None or each.verdict is None:
        return None
    colour = tone(each.change, each.verdict, nothing=0.0)
    return colour, {"up": "more often", "down": "less often", "none": "indistinguishable"}[colour]


def _first(record: Evaluated, check: str) -> int:
    return next(index for index, each in enumerate(record.rubric) if each.check == check)


def regression(record: Evaluated) -> Section | None:
    """What the preference cost on the examples that were imitated."""
    if not record.regression:
        return None
    rows = [
        {
            "name": visible(each.model),
            "loss": mean(place("regression", index, "loss"), each.loss),
        }
        for index, each in enumerate(record.regression)
    ]
    words = {"better": "lower loss", "worse": "higher loss"}
    entries = [
        Entry(
            visible(each.model),
            place("regression", index, "change"),
            each.change,
            each.verdict,
            words=words,
        )
        for index, each in enumerate(record.regression)
        if each.change is not None
    ]
    return {"rows": rows, "changes": means(entries, change=True) if entries else None}


def copied(record: Evaluated) -> Section | None:
    """Longest run of words shared with a training text."""
    if not record.copied:
        return None
    quoted = [
        {
            "model": visible(each.model),
            "run": visible(each.worst.run),
            "words": count(place("copied", index, "worst", "words"), each.worst.words),
            "source": visible(each.worst.source.rpartition("/")[2]),
        }
        for index, each in enumerate(record.copied)
        if each.worst is not None
    ]
    return {
        "quoted": quoted,
        "rows": [
            {
                "name": visible(each.model),
                "cells": [
                    mean(place("copied", index, "words"), each.words),
                    rate(place("copied", index, "share"), each.share),
                ],
            }
            for index, each in enumerate(record.copied)
        ],
    }
