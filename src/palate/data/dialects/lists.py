"""Dialects of several answers to one prompt with their scores: pairs by a stated rule.

Every two answers with different scores make a pair.  Equal scores make none and are counted; so
are answers without a score, and equal texts.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from palate.data.decode import kind
from palate.data.dialects.base import Dialect, Faults, Shape, Values, may, needs
from palate.data.dialects.turns import ANY, SIDE, TEXT

Rated = tuple[Any, float]
LIST = Shape("a list", lambda value: isinstance(value, list))
_RULE = "every two answers with different scores -> a pair, the higher one chosen"
_MEND = "Mend or remove the row."


def scored(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """Two lists: answers and their scores."""
    return _pairs(fields["prompt"], _zipped(fields, faults), faults)


def scored_ranking(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """The same, best first."""
    return _ranking(fields["prompt"], _zipped(fields, faults), "responses", faults)


def ultrafeedback(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """One list of objects that hold an answer and its score."""
    return _pairs(fields["instruction"], _objects(fields, faults), faults)


def ultrafeedback_ranking(fields: Values, faults: Faults) -> Iterator[dict[str, Any]]:
    """The same, best first."""
    return _ranking(fields["instruction"], _objects(fields, faults), "completions", faults)


def _zipped(fields: Values, faults: Faults) -> list[Rated]:
    answers, scores = fields["responses"], fields["scores"]
    if len(answers) != len(scores):
        what = f"has {len(scores)} numbers for {len(answers)} answers"
        faults.add("scores", what, _MEND)
        return []
    return _rated(answers, scores, ("responses", "scores"), faults)


def _objects(fields: Values, faults: Faults) -> list[Rated]:
    found = fields["completions"]
    for n, one in enumerate(found, start=1):
        if not isinstance(one, dict) or not {"response", "overall_score"} <= one.keys():
            what = f"number {n} is not an object with 'response' and 'overall_score'"
            faults.add("completions", what, _MEND)
    if faults.problems:
        return []
    answers, scores = ([one[key] for one in found] for key in ("response", "overall_score"))
    return _rated(answers, scores, ("completions", "completions"), faults)


def _rated(
    answers: list[Any], scores: list[Any], names: tuple[str, str], faults: Faults
) -> list[Rated]:
    """Answers with their scores, in the file's order."""
    rated: list[Rated] = []
    for n, (answer, score) in enumerate(zip(answers, scores), start=1):
        if not SIDE.fits(answer) or (isinstance(answer, str) and not answer.strip()):
            what = "empty" if answer == [] or isinstance(answer, str) else kind(answer)
            faults.add(names[0], f"number {n} is {what}", "Text is required; remove the row.")
        elif score is None:
            faults.leave("an answer without a score makes no pair")
        elif type(score) not in (int, float) or score != score:
            faults.add(names[1], f"the score of number {n} is {kind(score)}, not a number", _MEND)
        else:
            rated.append((answer, float(score)))
    return rated


def _pairs(prompt: Any, rated: list[Rated], faults: Faults) -> Iterator[dict[str, Any]]:
    for (one, high), (two, low) in itertools.combinations(rated, 2):
        if high == low:
            faults.leave("two answers with equal scores make no pair")
        elif one == two:
            faults.leave("two equal answers make no pair")
        else:
            better, worse = (one, two) if high > low else (two, one)
            yield {"prompt": prompt, "chosen": better, "rejected": worse}


def _ranking(
    prompt: Any, rated: list[Rated], name: str, faults: Faults
) -> Iterator[dict[str, Any]]:
    if len({score for _, score in rated}) < len(rated):
        todo = "A ranked list has no ties; train on pairs, or remove the row."
        faults.add(name, "holds answers with equal scores", todo)
    ordered = sorted(rated, key=lambda one: -one[1])
    yield {"prompt": prompt, "completions": [answer for answer, _ in ordered]}


def _of_texts(fields: Values) -> bool:
    """Lists of texts and of numbers."""
    answers = next(fields[name] for name in ANSWERS if name in fields)
    scores = next(fields[name] for name in SCORES if name in fields)
    return bool(answers) and all(map(SIDE.fits, answers)) and all(map(_is_score, scores))


def _is_score(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _of_objects(fields: Values) -> bool:
    found = fields["completions"]
    return bool(found) and all(isinstance(one, dict) and "response" in one for one in found)


ANSWERS = ("responses", "completions", "generations", "candidates", "answers")
SCORES = ("scores", "ratings")
SCORED = Dialect(
    "scored",
    "answers with scores",
    "pairs",
    (needs(SIDE, "prompt", "instruction", "question"), needs(LIST, *ANSWERS), needs(LIST, *SCORES)),
    _RULE,
    scored,
    sign=_of_texts,
    lacks=frozenset({"chosen", "rejected"}),
    also={"ranked": scored_ranking},
    refines=True,
    prompt="prompt",
)
ULTRAFEEDBACK = Dialect(
    "ultrafeedback",
    "UltraFeedback",
    "pairs",
    (
        needs(TEXT, "instruction"),
        needs(LIST, "completions"),
        may(ANY, "models"),
        may(ANY, "correct_answers"),
        may(ANY, "incorrect_answers"),
    ),
    f"instruction -> prompt; by overall_score, {_RULE}",
    ultrafeedback,
    sign=_of_objects,
    lacks=frozenset({"chosen", "rejected"}),
    names={"prompt": "instruction", "chosen": "completions", "rejected": "completions"},
    also={"ranked": ultrafeedback_ranking},
    prompt="instruction",
)
