"""`palate evaluate`: a verdict, the table behind it, what it means in plain words, and what next.

With `--json` stdout holds the record and nothing else; progress goes to stderr.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from palate.config import EvaluateOptions
from palate.stats import Interval

if TYPE_CHECKING:
    from palate.api import Evaluation
    from palate.evaluation.judging import Means
    from palate.study.evaluated import Evaluated, Named, WinRate
    from palate.train.events import Listener

WIDTH: Final = 100
EMPTY: Final = "\N{EN DASH}"
Cells = tuple[str, ...]


def evaluate(
    *runs: str,
    options: Annotated[EvaluateOptions, Parameter(name="*")] = EvaluateOptions(),  # noqa: B008 (frozen)
    json: bool = False,
) -> None:
    """Did a run learn the taste?

    Parameters
    ----------
    runs:
        a run of palate; of several the best is chosen on other rows than it is reported on
    json:
        the whole record on stdout; it is also in RUN/evaluation.json
    """
    from palate import api
    from palate.cli.show import shown
    from palate.errors import UsageError
    from palate.evaluation.texts import check

    if not runs:
        raise UsageError("RUN is needed.", hint="Name a run of palate: palate evaluate runs/dpo")
    check(options)
    with shown(stderr=True) as listen:
        done = api.evaluate(runs, options, _means(options, runs[0], listen), listen)
    if json:
        print(done.record.model_dump_json())
        return
    for line in page(done.record):
        print(line)
    for place, command in enumerate(_next(done, options)):
        print("next: " if place == 0 else "      ", command, sep="")


# -- who judges


def _means(options: EvaluateOptions, run: str, listen: "Listener") -> "Means":
    """The judge, the reward, and who answers a rubric's questions.  Raises PalateError."""
    from palate.cli.reward_with import DEMO, endpoint_of, judge_of, reward_with
    from palate.evaluation.judging import Means
    from palate.judge.by_endpoint import EndpointJudge
    from palate.judge.questions import EndpointQuestions

    reward = None if options.reward is None else reward_with(options.reward, listen, policy=run)
    url, model, insecure = options.judge_with, options.judge_model, options.insecure
    if url is None:
        return Means(reward=reward)
    if url == DEMO:
        return Means(judge_of(url, model, insecure=insecure), reward)
    endpoint = endpoint_of(url, model, insecure=insecure)
    return Means(EndpointJudge(endpoint), reward, EndpointQuestions(endpoint))


# -- the page


def page(record: "Evaluated") -> Iterator[str]:
    """Lines: the verdict, the tables, plain words, advice."""
    yield from textwrap.wrap(record.headline, WIDTH)
    yield ""
    yield from _models(record)
    yield from _wins(record)
    yield from _accuracy(record)
    yield from _slices(record)
    yield "In plain words"
    for sentence in record.plain:
        yield from _bullet(sentence)
    if record.advice:
        yield from _bullet(record.advice)
    yield ""
    yield from textwrap.wrap(_measured_on(record), WIDTH)


def _models(record: "Evaluated") -> Iterator[str]:
    """Per model: what its texts are, what the preference cost, the rubric; empty columns go."""
    kl = {each.model: each.per_text for each in record.divergence}
    spread = {each.model: each.distinct_2 for each in record.diversity}
    lost = {each.model: each.loss for each in record.regression}
    taken = {each.model: each.words for each in record.copied}
    unit = f"points ({record.reward})" if record.reward else "points"
    yield from _means_of(
        record,
        "mean per text [95%]",
        {
            unit: {each.name: each.points for each in record.models},
            "words": {each.name: each.words for each in record.models},
            "KL, nats": kl,
        },
    )
    head = "what it cost [95%]"
    yield from _means_of(record, head, {"distinct-2": spread, "SFT loss": lost, "copied": taken})
    rates: dict[str, dict[str, Interval | None]] = {}
    for each in record.rubric:
        rates.setdefault(each.check, {})[each.model] = each.rate
    yield from _means_of(record, "passes [95%]", rates, percent=True)


def _means_of(
    record: "Evaluated",
    head: str,
    columns: Mapping[str, Mapping[str, Interval | None]],
    *,
    percent: bool = False,
) -> Iterator[str]:
    """One row per model, one column per figure."""
    kept = {name: cells for name, cells in columns.items() if any(cells.values())}
    if not kept:
        return
    rows: list[Cells] = [(head, *kept)]
    for each in record.models:
        cells = (_cell(cells.get(each.name), percent=percent) for cells in kept.values())
        rows.append((_who(each), *cells))
    yield from _table(rows)


def _who(model: "Named") -> str:
    return f"{model.name} (control)" if model.role == "control" else model.name


def _wins(record: "Evaluated") -> Iterator[str]:
    if not record.wins:
        return
    rows: list[Cells] = [("wins against", "rate [95%]", "ties", "at equal length", "verdict")]
    rows += [_win(each, many=_many(record)) for each in record.wins]
    yield from _table(rows)


def _many(record: "Evaluated") -> bool:
    return len({each.judge for each in record.wins}) > 1


def _win(found: "WinRate", *, many: bool) -> Cells:
    told = f"{found.ours} against {found.theirs}" + (f" ({found.judge})" if many else "")
    state: str = found.verdict if found.trusted else "not trusted"
    if found.consistency is not None:
        state += f"; consistent {found.consistency.percent()}"
    if found.agreement is not None:
        state += f"; with you {found.agreement.percent()}"
    controlled = EMPTY if found.controlled is None else found.controlled.percent()
    return told, found.raw.percent(), str(found.ties), controlled, state


def _accuracy(record: "Evaluated") -> Iterator[str]:
    if not record.accuracy:
        return
    rows: list[Cells] = [
        (f"ranks {record.heldout.pairs} held-out pairs", "implicit", "log-prob", "per token")
    ]
    rows += [
        (
            each.model,
            EMPTY if each.implicit is None else each.implicit.percent(),
            each.ranking.percent(),
            each.ranking_mean.percent(),
        )
        for each in record.accuracy
    ]
    ceiling = record.accuracy[0].ceiling
    if ceiling is not None:
        rows.append(("ceiling, from re-asks", ceiling.percent(), EMPTY, EMPTY))
    if record.person is not None and record.person.itself is not None:
        rows.append(("you with yourself", record.person.itself.percent(), EMPTY, EMPTY))
    yield from _table(rows)


def _slices(record: "Evaluated") -> Iterator[str]:
    main = next((each for each in record.wins if each.slices), None)
    if main is None:
        return
    head = f"{main.ours} wins where you said"
    rows: list[Cells] = [(head, "rate [95%]", "of", "verdict")]
    rows += [
        (each.tag, each.wins.percent(), str(each.wins.count), each.verdict) for each in main.slices
    ]
    yield from _table(rows)


def _measured_on(record: "Evaluated") -> str:
    heldout = record.heldout
    looks = "first look" if heldout.looks == 1 else f"look number {heldout.looks}"
    pairs = f" and {heldout.pairs} pairs" if heldout.pairs else ""
    return f"Measured on {heldout.prompts} prompts{pairs}: {heldout.source}; {looks} at them."


def _bullet(sentence: str) -> list[str]:
    from palate.cli.words import safe

    return textwrap.wrap(safe(sentence), WIDTH, initial_indent="  ", subsequent_indent="  ")


def _cell(found: Interval | None, *, percent: bool) -> str:
    from palate.cli.words import figure

    if found is None:
        return EMPTY
    if percent:
        return found.percent()
    return f"{figure(found.value)} [{figure(found.low)}, {figure(found.high)}]"


def _table(rows: Sequence[Cells]) -> Iterator[str]:
    """Aligned: names to the left, figures to the right, words last to the left."""
    from palate.cli.words import safe

    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = rows[0][-1] == "verdict"
    for row in rows:
        cells = [safe(row[0]).ljust(widths[0])]
        for place, cell in enumerate(row[1:], start=1):
            is_words = words and place == len(row) - 1
            cells.append(cell if is_words else cell.rjust(widths[place]))
        yield "  ".join(cells).rstrip()
    yield ""


# -- what next


def _next(done: "Evaluation", options: EvaluateOptions) -> Iterator[str]:
    if done.asked is not None and done.asked.waiting and options.store is not None:
        store = quote(str(options.store))
        yield f"palate judge {store} --mode audit --judge {quote(done.asked.judge)}"
    yield f"palate report {quote(done.run)}"
    if (Path(done.run) / "history.jsonl").exists() and done.record.verdict != "better":
        yield f"palate diagnose {quote(done.run)}"
