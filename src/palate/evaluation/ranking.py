"""How each policy ranks the held-out pairs: a sanity check, never the headline of a text's worth.

Implicit-reward accuracy can rise while texts get worse, and log-prob ranking favours short answers;
the record says both, beside the ceiling that the judge's own noise sets.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from palate.config import RowOptions
from palate.data.rows import Origin, Pair
from palate.data.split import prompt_key
from palate.evaluation.contestants import Contestant
from palate.stats import Interval, rate, verdict
from palate.study.evaluated import Accuracy
from palate.train.events import Listener, Note


@dataclass(frozen=True, slots=True)
class Ranked:
    """One policy on the pairs that it could be given: gaps of chosen over rejected, in nats.

    `implicit` is of the log-ratios to its reference, empty if it has none; `margins` is beta times
    that, where it has a beta.
    """

    model: str
    prompts: tuple[Hashable, ...]
    total: tuple[float, ...]
    per_token: tuple[float, ...]
    implicit: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()


def ranked(contestant: Contestant, pairs: Sequence[Pair], listen: Listener) -> Ranked:
    """Score the pairs under a policy and its reference.  Raises DataError, CheckpointError."""
    from palate.study.score import score_rows

    rows = [replace(pair, origin=Origin("held out", n)) for n, pair in enumerate(pairs)]
    found = score_rows(contestant.path, rows, RowOptions(drop_long=True), _quieter(listen))
    if len(found) < len(pairs):
        what = f"{len(pairs) - len(found)} of {len(pairs)} pairs are too long for {contestant.name}"
        listen(Note(f"{what}, and left out", warning=True))
    implicit = tuple(
        (row.logps[0] - row.reference[0]) - (row.logps[1] - row.reference[1])
        for row in found
        if row.reference is not None
    )
    return Ranked(
        contestant.name,
        tuple(prompt_key(pairs[row.line]) for row in found),
        tuple(row.logps[0] - row.logps[1] for row in found),
        tuple(row.logps[0] / row.tokens[0] - row.logps[1] / row.tokens[1] for row in found),
        implicit,
        tuple(row.margin for row in found if row.margin is not None),
    )


def accuracy(found: Ranked, ceiling: Interval | None) -> Accuracy:
    """Shares of pairs ranked as the verdicts were; ties count half, and are told."""
    implicit = rate(_hits(found.implicit), found.prompts) if found.implicit else None
    ranking = rate([float(gap >= 0) for gap in found.total], found.prompts)
    return Accuracy(
        model=found.model,
        implicit=implicit,
        implicit_ties=sum(gap == 0 for gap in found.implicit),
        ranking=ranking,
        ranking_mean=rate([float(gap >= 0) for gap in found.per_token], found.prompts),
        verdict=verdict(implicit or ranking, null=0.5),
        ceiling=ceiling,
    )


def agreement(found: Ranked) -> Interval:
    """With the verdicts: by implicit reward, for a model without one by log-prob."""
    return rate(_hits(found.implicit or found.total), found.prompts)


def _hits(gaps: Sequence[float]) -> list[float]:
    return [0.5 if gap == 0 else float(gap > 0) for gap in gaps]


def _quieter(listen: Listener) -> Listener:
    """Progress and warnings: how rows are joined was said when the run was made."""

    def heard(event: object) -> None:
        if not isinstance(event, Note) or event.warning:
            listen(event)  # type: ignore[arg-type]

    return heard
