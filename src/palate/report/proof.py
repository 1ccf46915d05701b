"""The report: what became of a run, on one page that can be sent to somebody.

Nothing runs on it and nothing is fetched.  Its figures are those of `palate evaluate --json` and of
what the runs wrote down; every text of a person or a model is escaped, and signs that turn or hide
text are shown by their number.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from palate.errors import CheckpointError, UsageError
from palate.report import effects, evidence
from palate.report.curves import panels
from palate.report.evidence import Models
from palate.report.figures import Figure, Tone, number, place, tone
from palate.report.lineage import (
    Lineage,
    Stage,
    commands,
    duration,
    facts,
    hashes,
    losses,
    overridden,
    seeds,
    versions,
)
from palate.report.page import embedded, render
from palate.report.plots import wins
from palate.report.taste import LONG, Part, apart, cut, visible
from palate.stats import Interval
from palate.study.evaluated import RECORD, Evaluated, Shown

FIGURE: Final = re.compile(r"(\d[\d.,]*\s?%?\s?[\[(][^\[\]()]*\d[^\[\]()]*[\])])")
WORDS: Final[dict[Tone, str]] = {"up": "Better", "down": "Worse", "none": "Indistinguishable"}


def recorded(run: Path) -> Evaluated:
    """What the last evaluation of a run found.

    Raises UsageError if there was none, CheckpointError if it cannot be read.
    """
    path, again = run / RECORD, f"palate evaluate {shlex.quote(str(run))}"
    try:
        return Evaluated.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{run} has not been evaluated yet.", hint=f"First: {again}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged, or of another version of palate.", hint=f"{again} writes it again."
        ) from error


def page(record: Evaluated, found: Lineage) -> str:
    """The whole page."""
    return render(
        "proof.html",
        styles=["explain.css", "proof.css"],
        scripts=[],
        name=visible(found.stages[-1].name),
        facts=_facts(record, found),
        verdict=[visible(part) for part in FIGURE.split(record.headline)],
        data=embedded({}),
        colour=_colour(record),
        word=_word(record),
        picture=_picture(record),
        advice=visible(record.advice or ""),
        broken=record.control in ("better", "worse"),
        held=evidence.looked(record),
        lineage=_lineage(found),
        stages=[_stage(each) for each in found.stages if each.metrics],
        models=evidence.models(record),
        wins=evidence.wins(record),
        person=evidence.person(record),
        accuracy=evidence.accuracy(record),
        kl=effects.kl(record),
        margins=evidence.margins(record),
        displacement=effects.displacement(record),
        diversity=effects.diversity(record),
        rubric=effects.rubric(record),
        regression=effects.regression(record),
        copied=effects.copied(record),
        slices=evidence.slices(record),
        **_side_by_side(record),
        control=record.control,
        again=_again(record, found),
        plain=[visible(each) for each in record.plain],
    )


def _facts(record: Evaluated, found: Lineage) -> str:
    last = found.stages[-1]
    told = ["palate report", last.kind]
    if created := str(last.record.get("created", ""))[:10]:
        told.append(created)
    return " · ".join(told)


def _colour(record: Evaluated) -> Tone:
    """Of what is the candidate's own, all over the page."""
    found = _headline(record)
    return tone(None if found is None else found[1], record.verdict)


def _word(record: Evaluated) -> str:
    """The verdict in a word; a judge that is not trusted gives none."""
    return WORDS[_colour(record)] if record.verdict else ""


def _headline(record: Evaluated) -> tuple[str, Interval] | None:
    """The interval that the headline tells; else the first there is."""
    known = list(evidence.figures_of(record))
    told = [each for each in known if each[1].percent() in record.headline]
    return next(iter(told or known), None)


def _picture(record: Evaluated) -> dict[str, Any] | None:
    """The headline's interval, drawn."""
    found = _headline(record)
    if found is None:
        return None
    of, interval = found
    blind = record.heldout.detectable if of.startswith("/wins") else None
    drawn = [wins(interval, tone=_colour(record), blind=blind, wide=wide) for wide in (True, False)]
    return {"drawn": drawn, "is_win": of.startswith("/wins"), "of": _of(record, of)}


def _of(record: Evaluated, of: str) -> str:
    """What the drawn interval is a rate of."""
    kind, *rest = of.split("/")[1:]
    if kind == "wins":
        each = record.wins[int(rest[0])]
        how = " at equal length" if rest[1] == "controlled" else ""
        return visible(f"How often {each.ours}’s text beats {each.theirs}’s{how}")
    if kind == "person":
        return visible(f"How often {Models(record).candidate} ranks two answers as you did")
    return visible(f"How often {record.accuracy[int(rest[0])].model} ranks a pair as it was judged")


# ---- how it came to be


def _lineage(found: Lineage) -> dict[str, Any]:
    return {
        "base": visible(found.base.rstrip("/").rpartition("/")[2] or found.base),
        "identity": found.identity[:12],
        "lost": visible(found.lost or ""),
        "stages": [
            {
                "name": visible(each.name),
                "kind": visible(each.kind),
                "facts": [(what, visible(how)) for what, how in facts(each)],
            }
            for each in found.stages
        ],
        "overridden": [
            (visible(each.name), [visible(one) for one in told])
            for each in found.stages
            if (told := overridden(each))
        ],
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": visible(stage.name),
        "kind": visible(stage.kind),
        "says": losses(stage),
        "panels": panels(stage),
    }


# ---- texts


def _side_by_side(record: Evaluated) -> dict[str, Any]:
    """Prompts drawn by the seed, and the worst losses, each with both sides' texts."""
    told = [_pair(record, index, each) for index, each in enumerate(record.shown)]
    return {
        "drawn": [each for each in told if not each["worst"]],
        "worst": [each for each in told if each["worst"]],
    }


def _pair(record: Evaluated, index: int, each: Shown) -> dict[str, Any]:
    """The baseline's text left, the candidate's right, marked where they differ; others below."""
    who = Models(record)
    names = [name for name in (who.baseline, who.candidate) if name in each.texts]
    names += [name for name in each.texts if name not in names]
    texts = [each.texts[str(name)] for name in names]
    sides: list[list[Part]] = [[(cut(text), False)] for text in texts]
    if len(texts) > 1:
        sides[:2] = apart(texts[0][:LONG], texts[1][:LONG])
    answers = [
        {
            "name": visible(str(name)),
            "won": each.verdict == name,
            "lost": each.verdict in each.texts and each.verdict != name and place_of < 2,
            "parts": [(visible(text), marked) for text, marked in side],
            "left_out": f"{len(text) - LONG:,}" if len(text) > LONG and place_of < 2 else "",
            "points": _points(each, index, str(name)),
        }
        for place_of, (name, side, text) in enumerate(zip(names, sides, texts, strict=True))
    ]
    tie = each.verdict not in each.texts
    return {
        "prompt": visible(cut(each.prompt)),
        "two": answers[:2],
        "more": answers[2:],
        "tie": tie,
        "worst": each.worst,
    }


def _points(each: Shown, index: int, name: str) -> Figure | None:
    if name not in each.points:
        return None
    return number(place("shown", index, "points", name), each.points[name])


# ---- to do it again


def _again(record: Evaluated, found: Lineage) -> dict[str, Any]:
    return {
        "commands": [visible(each) for each in commands(found, record.settings)],
        "seeds": visible(seeds(found)),
        "hashes": [(visible(what), visible(value)) for what, value in hashes(found)]
        + [("held-out set", visible(record.heldout.digest))] * bool(record.heldout.digest),
        "versions": {
            visible(k): visible(v) for k, v in (versions(found) | record.versions).items()
        },
        "settings": [(visible(k), visible(v)) for k, v in _settings(record)],
        "papers": [
            (visible(each.name), visible(str(each.record["paper"])))
            for each in found.stages
            if each.record.get("paper")
        ],
    }


def _settings(record: Evaluated) -> Iterator[tuple[str, str]]:
    """How the evaluation was made; what was left out goes without saying."""
    for name, value in record.settings.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            yield name.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value)
    if record.seconds:
        yield "time", duration(record.seconds)
