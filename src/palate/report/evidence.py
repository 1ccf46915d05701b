"""What speaks for a run: models, win rates, agreement and margins, as values for the template.

A section whose data is absent is None and left out.  Each figure carries its place in the record.
"""

from collections.abc import Iterator
from typing import Any, Final

from palate.report.figures import Figure, count, mean, percent, place, rate
from palate.report.forest import Entry, rates
from palate.report.plots import histograms
from palate.report.taste import visible
from palate.stats import verdict
from palate.study.evaluated import Evaluated, Named, WinRate

Section = dict[str, Any]
KINDS: Final = {
    "person": "a person",
    "program": "a program",
    "model": "a model",
    "file": "a file of verdicts",
}
ROLES: Final = {
    "candidate": "under test",
    "baseline": "the baseline",
    "control": "random labels",
    "prompted": "examples in its context",
    "best-of-n": "the best of several texts",
    "other": "",
}
CHANCE: Final = {
    "better": "above chance",
    "worse": "below chance",
    "indistinguishable": "indistinguishable",
}


class Models:
    """Who is who in a record."""

    def __init__(self, record: Evaluated) -> None:
        self.all = record.models
        self.candidate = self._first("candidate")
        self.baseline = self._first("baseline")

    def _first(self, role: str) -> str | None:
        return next((each.name for each in self.all if each.role == role), None)

    def mine(self, name: str) -> bool:
        return name == self.candidate

    def note(self, name: str) -> str:
        return next((ROLES[each.role] for each in self.all if each.name == name), "")


# ---- the models


def models(record: Evaluated) -> Section | None:
    """Length and reward of what each writes."""
    heads = {"points": "points per text", "gain": "against the baseline", "words": "words per text"}
    kept = [
        name for name in heads if any(getattr(each, name) is not None for each in record.models)
    ]
    if not kept:
        return None
    rows = [
        {
            "name": visible(each.name),
            "role": ROLES[each.role],
            "cells": [_of_model(each, index, name) for name in kept],
        }
        for index, each in enumerate(record.models)
    ]
    reward = visible(record.reward) if record.reward else ""
    return {"heads": [heads[name] for name in kept], "rows": rows, "of": reward}


def _of_model(each: Named, index: int, name: str) -> Figure | None:
    found = getattr(each, name)
    return None if found is None else mean(place("models", index, name), found, sign=name == "gain")


# ---- win rates


def wins(record: Evaluated) -> Section | None:
    """Every comparison on one scale, the first that counts also in words, and who judged."""
    if not record.wins:
        return None
    met = [
        (index, each)
        for index, each in enumerate(record.wins)
        if each not in record.wins[:index]  # said twice is said once
    ]
    lead = next((index for index, each in met if each.trusted), None)
    known: dict[str, tuple[int, WinRate]] = {}
    for index, each in met:
        known.setdefault(each.judge, (index, each))
    return {
        "lead": None if lead is None else _lead(record.wins[lead], lead, record.heldout.prompts),
        "rows": rates([entry for index, each in met for entry in _against(each, index)]),
        "judges": [_judge(each, index) for index, each in known.values()],
    }


def _against(each: WinRate, index: int) -> Iterator[Entry]:
    """Texts as they were drawn, then the same at equal length."""

    def told(name: str, number: int) -> Figure:
        return count(place("wins", index, name), number)

    counts = told("wins", each.wins), told("losses", each.losses), told("ties", each.ties)
    note = (counts[0], " won, ", counts[1], " lost, ", counts[2], " tied")
    title = f"{visible(each.ours)} against {visible(each.theirs)}"
    dim = not each.trusted
    by = f"says {visible(each.judge)}: "
    yield Entry(title, place("wins", index, "raw"), each.raw, each.verdict, (by, *note), dim=dim)
    if each.controlled is not None:
        said = each.controlled_verdict or verdict(each.controlled, null=0.5)
        of = place("wins", index, "controlled")
        yield Entry("at equal length", of, each.controlled, said, dim=dim, sub=True)


def _lead(each: WinRate, index: int, prompts: int) -> Section:
    """The first comparison in words; of several texts per prompt there are more than prompts."""

    def of(name: str) -> str:
        return place("wins", index, name)

    equal = None if each.controlled is None else rate(of("controlled"), each.controlled)
    return {
        "ours": visible(each.ours),
        "theirs": visible(each.theirs),
        "raw": rate(of("raw"), each.raw),
        "count": count(place("wins", index, "raw", "count"), each.raw.count),
        "several": each.raw.count > prompts,
        "equal": equal,
    }


def _judge(each: WinRate, index: int) -> Section:
    """How far a judge is to be relied on."""

    def told(name: str) -> Figure | None:
        found = getattr(each, name)
        return None if found is None else rate(place("wins", index, name), found)

    return {
        "name": visible(each.judge),
        "kind": KINDS[each.kind],
        "trusted": each.trusted,
        "consistency": told("consistency"),
        "agreement": told("agreement"),
    }


def slices(record: Evaluated) -> list[Section]:
    """Win rates by the user's own reasons."""
    found = []
    for index, each in enumerate(record.wins):
        if each.slices and each.trusted:
            entries = [
                Entry(
                    visible(one.tag),
                    place("wins", index, "slices", place_of, "wins"),
                    one.wins,
                    one.verdict,
                    (
                        count(
                            place("wins", index, "slices", place_of, "wins", "count"),
                            one.wins.count,
                        ),
                        " prompts",
                    ),
                )
                for place_of, one in enumerate(each.slices)
            ]
            title = f"{visible(each.ours)} against {visible(each.theirs)}"
            found.append({"title": title, "judge": visible(each.judge), "rows": rates(entries)})
    return found


# ---- agreement


def person(record: Evaluated) -> Section | None:
    """What the user's own verdicts say, before and after, beside the user asked again."""
    found, who = record.person, Models(record)
    if found is None:
        return None
    told = [("before", visible(who.baseline or "before"), "before training on the pairs")]
    told += [("agrees", visible(who.candidate or "after"), "after")]
    told += [("itself", "you, asked again", "the ceiling: nobody agrees with themselves always")]
    entries = [
        Entry(
            name, place("person", each), interval, None, (note,), "mine" if each == "agrees" else ""
        )
        for each, name, note in told
        if (interval := getattr(found, each)) is not None
    ]
    itself = None if found.itself is None else rate(place("person", "itself"), found.itself)
    return {
        "agrees": rate(place("person", "agrees"), found.agrees),
        "itself": itself,
        "rows": rates(entries),
    }


def accuracy(record: Evaluated) -> Section | None:
    """How each policy ranks the held-out pairs."""
    if not record.accuracy:
        return None
    groups = {
        "implicit": "By implicit reward, against the reference",
        "ranking": "By log-prob: the likelier answer is the chosen one",
        "ranking_mean": "By log-prob per token",
    }
    blocks = []
    for name, title in groups.items():
        entries = [
            Entry(
                visible(each.model),
                place("accuracy", index, name),
                found,
                verdict(found, null=0.5),
                _ties(each.implicit_ties, index) if name == "implicit" else (),
                words=CHANCE,
            )
            for index, each in enumerate(record.accuracy)
            if (found := getattr(each, name)) is not None
        ]
        if entries:
            blocks.append({"title": title, "rows": rates(entries)})
    ceilings = [
        rate(place("accuracy", index, "ceiling"), each.ceiling)
        for index, each in enumerate(record.accuracy)
        if each.ceiling is not None
    ]
    return {"blocks": blocks, "ceiling": ceilings[0] if ceilings else None, "lead": _ranks(record)}


def _ranks(record: Evaluated) -> Section | None:
    """The candidate's figure in words, by implicit reward if it has one."""
    who = Models(record)
    for index, each in enumerate(record.accuracy):
        if who.mine(each.model):
            name = "ranking" if each.implicit is None else "implicit"
            found = each.implicit or each.ranking
            even = verdict(found, null=0.5) == "indistinguishable"
            of = rate(place("accuracy", index, name), found)
            return {"name": visible(each.model), "found": of, "even": even}
    return None


def _ties(ties: int, index: int) -> tuple[str | Figure, ...]:
    told = count(place("accuracy", index, "implicit_ties"), ties)
    return (told, " ties, half each") if ties else ()


def margins(record: Evaluated) -> Section | None:
    """Before and after on one scale: the baseline above the candidate."""
    if not record.margins:
        return None
    who = Models(record)
    order = sorted(record.margins, key=lambda name: (who.mine(name), name == who.baseline))
    found = {visible(name): record.margins[name] for name in order}
    label = f"Margins of the held-out pairs: {', '.join(found)}"
    told = {
        each.model: rate(place("accuracy", index, "ranking"), each.ranking)
        for index, each in enumerate(record.accuracy)
    }
    lead = [(visible(name), told[name]) for name in (who.candidate, who.baseline) if name in told]
    drawn = [histograms(found, label=label, wide=wide) for wide in (True, False)]
    return {"drawn": drawn, "lead": lead}


# ---- what it was measured on


def looked(record: Evaluated) -> Section:
    """What it was measured on."""
    held = record.heldout
    return {
        "prompts": count("/heldout/prompts", held.prompts),
        "pairs": count("/heldout/pairs", held.pairs),
        "looks": count("/heldout/looks", held.looks),
        "detectable": None
        if held.detectable is None
        else percent("/heldout/detectable", held.detectable),
        "source": visible(held.source),
        "digest": held.digest,
    }


def figures_of(record: Evaluated) -> Iterator[tuple[str, Any]]:
    """The intervals that a headline may be about, each with its place."""
    for index, each in enumerate(record.wins):
        yield place("wins", index, "raw"), each.raw
        if each.controlled is not None:
            yield place("wins", index, "controlled"), each.controlled
    if record.person is not None:
        yield "/person/agrees", record.person.agrees
    for index, one in enumerate(record.accuracy):
        yield place("accuracy", index, "implicit"), one.implicit or one.ranking
