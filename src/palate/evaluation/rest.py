"""Every other figure of the record: what it cost, what it copies, how it spreads, what it passes.

Each is another room's function on the texts and models at hand; where one does not apply its part
of the record stays empty.
"""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from palate import __version__
from palate.config import EvaluateOptions
from palate.data.rewards import Answered
from palate.data.rows import Example, Pair
from palate.errors import PalateError
from palate.evaluation.contestants import Contestant
from palate.evaluation.heldout import Heldout
from palate.evaluation.matches import Field
from palate.stats import Interval
from palate.study.drawn import Drawn
from palate.study.evaluated import (
    Copied,
    Displacement,
    Divergence,
    Diversity,
    FrontierPoint,
    Named,
    Passed,
    Regression,
)
from palate.train.events import Listener, Note

Texts = Mapping[str, Drawn]
Examples = tuple[tuple[Example, ...], tuple[Example, ...], str]  # learnt, held out, from where


def divergences(
    models: Sequence[Contestant], texts: Texts, options: EvaluateOptions, listen: Listener
) -> tuple[Divergence, ...]:
    """KL of every preference run from what it started from; only texts at temperature 1 tell it."""
    from palate.study.divergence import of_samples

    if options.temperature != 1 or options.top_p != 1:
        listen(Note("KL is left out: it needs texts drawn at temperature 1, nothing cut off"))
        return ()
    names = {each.identity: each.name for each in models}
    found = []
    for each in models:
        if each.record is None or each.start is None or each.stage == "sft":
            continue
        measured = of_samples(each.path, each.start, texts[each.name], listen)
        if measured is not None:
            start = names.get(str(each.record["base_identity"]), each.start)
            found.append(measured.model_copy(update={"model": each.name, "reference": start}))
    return tuple(found)


def frontier(
    field: Field,
    heldout: Heldout,
    divergence: Sequence[Divergence],
    named: Sequence[Named],
    candidate: Contestant,
) -> tuple[FrontierPoint, ...]:
    """Points against KL of the final models; with `--frontier` of every kept checkpoint too."""
    reward = field.means.reward
    if reward is None:
        return ()
    points = {each.name: each.points for each in named}
    finals = [
        FrontierPoint(model=each.model, step=None, kl=each.per_text, points=value)
        for each in divergence
        if (value := points[each.model]) is not None
    ]
    starts = {each.reference for each in divergence}
    still = [
        FrontierPoint(model=each.name, step=None, kl=Interval(0, 0, 0, 0), points=each.points)
        for each in named
        if each.name in starts and each.points is not None
    ]
    if not field.pen.options.frontier:
        return (*still, *finals)
    from palate.evaluation.frontier import checkpoints

    longest, listen = field.pen.options.max_new_tokens, field.pen.listen
    return (*still, *checkpoints(candidate, heldout.prompts, reward, longest, listen), *finals)


def displacement(
    candidate: Contestant, pairs: Sequence[Pair], listen: Listener
) -> tuple[Displacement, ...]:
    """Three curves over the checkpoints that the run kept."""
    if not pairs or candidate.stage == "sft":
        return ()
    from palate.study.displacement import curves

    found = curves(candidate.path, pairs, listen)
    return tuple(each.model_copy(update={"model": candidate.name}) for each in found)


def diversity(texts: Texts) -> tuple[Diversity, ...]:
    """Of every model that wrote several texts for a prompt."""
    from palate.study.diversity import of_texts

    several = {name: each for name, each in texts.items() if min(map(len, each.texts)) > 1}
    return tuple(of_texts(name, each.texts) for name, each in several.items())


def rubric(
    field: Field, texts: Texts, baseline: Contestant | None, candidate: Contestant
) -> tuple[Passed, ...]:
    """Which checks the texts pass, one text per prompt where a judge is asked."""
    path = field.pen.options.rubric
    if path is None:
        return ()
    from palate.study.checklist import load, measure, trained_on

    found, listen = load(path), field.pen.listen
    if told := trained_on(found, candidate.record or {}):
        listen(Note(told, warning=True))
    against = None if baseline is None else baseline.name
    drawn = [_renamed(each, name) for name, each in texts.items()]
    return measure(found, drawn, baseline=against, judge=field.means.yes, listen=listen)


def paid_by(run: Contestant) -> str | None:
    """Identity of the reward that a run was trained by, if it was."""
    found = (run.record or {}).get("reward")
    return str(found["identity"]) if isinstance(found, dict) and "identity" in found else None


def _renamed(drawn: Drawn, name: str) -> Drawn:
    return Drawn(name, drawn.prompts, drawn.texts, drawn.ended)


def regression(
    models: Sequence[Contestant], examples: Examples | None, listen: Listener
) -> tuple[Regression, ...]:
    """Loss on examples that no stage trained on, against the baseline, which comes first."""
    if examples is None or not examples[1]:
        return ()
    from palate.study.regression import compare

    first = [each for each in models if each.role == "baseline"]
    ranked = first + [each for each in models if each.role in ("candidate", "control")]
    try:
        found = compare([each.path for each in ranked], examples[1], listen)
    except PalateError as error:
        listen(Note(f"what SFT forgot is not measured: {error}", warning=True))
        return ()
    return tuple(
        each.model_copy(update={"model": who.name}) for each, who in zip(found, ranked, strict=True)
    )


def copied(texts: Texts, examples: Examples | None) -> tuple[Copied, ...]:
    """Of every model's texts, and of the held-out texts that people wrote, as the yardstick."""
    if examples is None or not examples[0]:
        return ()
    from palate.study.copied import Training, of_texts

    training = Training.of_rows(examples[0])
    found = [of_texts(name, _answered(drawn), training) for name, drawn in texts.items()]
    people = [
        Answered(each.prompt, each.completion)
        for each in examples[1]
        if each.prompt is not None and isinstance(each.completion, str)
    ]
    return (*found, *([of_texts("people", people, training)] if people else []))


def _answered(drawn: Drawn) -> list[Answered]:
    return [
        Answered(prompt, text)
        for prompt, texts in zip(drawn.prompts, drawn.texts, strict=True)
        for text in texts
    ]


def settings(runs: Sequence[str], options: EvaluateOptions, why: str) -> dict[str, Any]:
    """What was asked, so that it can be asked again."""
    asked = options.model_dump(mode="json", exclude_defaults=True)
    drawn = {name: getattr(options, name) for name in ("n", "temperature", "top_p", "seed")}
    found: dict[str, Any] = {"runs": list(runs), **drawn, "asked": asked}
    return found | ({"chosen": why} if why else {})


def versions() -> dict[str, str]:
    """Of everything that decides a figure."""
    import numpy
    import torch
    import transformers

    return {
        "palate": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
    }
