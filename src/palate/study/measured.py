"""What a model says of every pair of a file: one pass of palate's engine, and nothing trained.

The model is the one that training starts from: of a DPO run, its reference.  Rows that could not be
trained on stop nothing; `Measured.cut` says what is wrong with them.

Shape suffixes: P pairs of the case, in its order; I pairs that could be rendered; D hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from palate.config import DoctorOptions
from palate.data.limits import TooLong
from palate.data.render import Renderer
from palate.data.rows import Item, Pair
from palate.data.tokens import RowFault
from palate.engine.pack import pack
from palate.engine.policy import Output, Policy
from palate.errors import DataError, UsageError
from palate.runs.folder import Run
from palate.study.case import Material
from palate.study.checks import truncation
from palate.study.checks.base import Floats, Ints, Measured
from palate.study.own_texts import Asked, after_nothing, own_texts
from palate.study.source import check_reference, open_source
from palate.study.tokens import PART, common_start
from palate.train.events import Listener, Note, Working

BETA = 0.1  # DPO's own default
WIDTH = 256  # a wider state is projected to this many dimensions
REMEMBERED = ("join", "plain", "max_length", "truncate")


def measure(material: Material, options: DoctorOptions, listen: Listener) -> tuple[Measured, float]:
    """Every pair under `options.model`, and what the pass cost over scoring alone (1.0: the same).

    Raises ModelError, CheckpointError or UsageError; DataError if no pair can be rendered.
    """
    model, options, record = _start(options, listen)
    opened = open_source(model, options, listen)
    if record is not None and record.get("reference") is not None:
        check_reference(model, opened.loaded.identity, record)
    drafts = _drafts(material.pairs, opened.renderer)
    if not drafts.items:
        first = next(iter(drafts.cut.values()))
        what = f"No pair of {material.case.path} can be put to {model}: {first}."
        raise DataError(what, hint="Raise --max-length, or mend the rows.")
    policy = opened.policy(drafts.items)
    listen(Note(f"fast path: {policy.plan}", warning=bool(policy.plan.reasons)))
    found = _one_pass(policy, drafts.items, opened.budget, listen)
    cost = found.seconds / (found.seconds - found.extra)
    listen(Note(f"one pass over the pairs: {cost:.2f} times the cost of their log-probs alone"))
    asked = Asked(opened, policy, material.pairs, drafts.items, drafts.kept_I)
    samples = own_texts(asked, options.samples, listen)
    empty_P2 = None
    if samples is not None:
        empty_P2 = after_nothing(asked, found.first_logps_I2, listen)
    count = len(material.pairs)
    measured = Measured(
        model=model,
        beta=_beta(options, record),
        limit=opened.renderer.limit,
        logps_P2=_spread(found.logps_I2, drafts.kept_I, count),
        tokens_P2=drafts.tokens_P2,
        first_P=drafts.first_P,
        ln_ches_P=_spread(found.ln_ches_I, drafts.kept_I, count),
        states_P2D=_spread(found.means_I2D, drafts.kept_I, count),
        cut=drafts.cut,
        samples=samples,
        empty_P2=empty_P2,
    )
    return measured, cost


# ------------------------------------------------------------------ which model


def _start(
    options: DoctorOptions, listen: Listener
) -> tuple[str, DoctorOptions, dict[str, Any] | None]:
    """The model that training starts from, options as the run had them, and its record."""
    if options.model is None:
        raise UsageError("This tier asks a model, and none is named.", hint="Pass --model.")
    name = options.model
    if not (Path(name) / "run.json").exists():
        return name, options, None
    record = dict(Run.read(Path(name)))
    config = record["config"]
    left_out = [n for n in REMEMBERED if getattr(options, n) == getattr(DoctorOptions(), n)]
    options = options.model_copy(update={n: config[n] for n in left_out if n in config})
    if record.get("stage") != "dpo":
        return name, options, record
    start = str(config["model"])
    listen(Note(f"{name} has learnt from pairs: the model it started from is asked, {start}"))
    return start, options, record


def _beta(options: DoctorOptions, record: dict[str, Any] | None) -> float:
    """The flag's, the run's, or DPO's default."""
    made = {} if record is None else record["objective"]["options"]
    return float(options.beta or made.get("beta") or BETA)


# ------------------------------------------------------------------ rows to tokens


@dataclass(frozen=True, slots=True, eq=False)
class _Drafts:
    """Items that fit, the pair that each of them is, and what is wrong with the others."""

    items: list[Item]
    kept_I: Ints
    tokens_P2: Ints
    first_P: Ints
    cut: dict[int, str]


def _drafts(pairs: Sequence[Pair], renderer: Renderer) -> _Drafts:
    items: list[Item] = []
    kept: list[int] = []
    tokens_P2, first_P = np.full((len(pairs), 2), -1), np.full(len(pairs), -1)
    cut: dict[int, str] = {}
    for place, pair in enumerate(pairs):
        try:
            draft = renderer.draft(pair)
        except RowFault as fault:
            cut[pair.origin.line] = truncation.refused(fault.field, fault.what)
            continue
        chosen, rejected = draft.sequences
        tokens_P2[place] = chosen.scored, rejected.scored
        first_P[place] = common_start(chosen, rejected) - chosen.prompt
        fitted = renderer.fit(draft)
        told = _told(draft, fitted, renderer)
        if told is not None:
            cut[pair.origin.line] = told
        if not isinstance(fitted, TooLong):
            items.append(fitted)
            kept.append(place)
    return _Drafts(items, np.array(kept, np.int64), tokens_P2, first_P, cut)


def _told(draft: Item, fitted: Item | TooLong, renderer: Renderer) -> str | None:
    """What the limit does to a pair, and whether both sides end; None if all is well."""
    limit, (chosen, rejected) = renderer.limit, draft.sequences
    if isinstance(fitted, TooLong):
        return truncation.too_long(
            longest=fitted.tokens,
            limit=limit,
            first=common_start(chosen, rejected),
            one_side=min(len(chosen.ids), len(rejected.ids)) <= limit,
        )
    if fitted is not draft:
        return truncation.shortened(chosen.prompt - fitted.sequences[0].prompt)
    ends = [sequence.ids[-1] in renderer.stop_ids for sequence in draft.sequences]
    return None if all(ends) else truncation.no_end(any(ends))


# ------------------------------------------------------------------ the pass


@dataclass(slots=True, eq=False)
class _Pass:
    """What one pass gave, and the seconds of it that log-probs alone would not have taken."""

    logps_I2: Floats
    first_logps_I2: Floats
    ln_ches_I: Floats
    means_I2D: np.ndarray[Any, np.dtype[np.float32]]
    seconds: float = 0.0
    extra: float = 0.0


@torch.no_grad()
def _one_pass(policy: Policy, items: Sequence[Item], budget: int, listen: Listener) -> _Pass:
    """Log-probs, ln-CHES and mean states of every item, in slices as `study.score` takes them."""
    count, start_time = len(items), perf_counter()
    found: _Pass | None = None
    for start in range(0, count, PART):
        part = items[start : start + PART]
        for row in pack(part, budget):
            output = policy(row, with_states=True)
            logps_B2 = _pairs_of(output.logps_S)
            before = perf_counter()
            means_B2D = _means(output)
            short_B2D = _narrow(means_B2D)
            if found is None:
                found = _room(count, short_B2D.shape[-1])
            index = start + np.array(row.items)
            found.logps_I2[index] = logps_B2
            found.first_logps_I2[index] = _pairs_of(_first(output))
            found.ln_ches_I[index] = ln_ches(means_B2D)
            found.means_I2D[index] = short_B2D
            found.extra += perf_counter() - before
        listen(Working("pairs", min(start + PART, count), count))
    assert found is not None
    found.seconds = perf_counter() - start_time
    return found


def ln_ches(means_B2D: Tensor) -> Floats:
    """Length-normalised CHES of pairs (B,) from mean states, chosen first.

    <H+, H-> / (T+ T-) - ||H+||^2 / T+^2 with H the sum of a side's T states: the inner product of
    the chosen mean with (rejected mean - chosen mean).  Razin et al. 2024, arXiv 2410.08847.
    """
    chosen_BD, rejected_BD = means_B2D.unbind(1)
    score_B: Floats = (chosen_BD * (rejected_BD - chosen_BD)).sum(-1).numpy()
    return score_B


def _means(output: Output) -> Tensor:
    """Mean state of each side (B,2,D), float64, on the CPU."""
    counts_S = np.bincount(output.row.seq_E, minlength=output.row.sequences)
    sums_SD = output.state_sums().cpu().double()
    means_SD = sums_SD / torch.from_numpy(counts_S)[:, None]
    return means_SD.view(-1, 2, means_SD.shape[-1])


def _narrow(means_B2D: Tensor) -> Tensor:
    """A fixed random projection where states are wide: distances hold, memory stays flat."""
    size = means_B2D.shape[-1]
    if size <= WIDTH:
        return means_B2D
    return means_B2D @ _projection(size)


def _projection(size: int) -> Tensor:
    """(size, WIDTH), the same in every run."""
    if size not in _PROJECTIONS:
        drawn = torch.randn(size, WIDTH, generator=torch.Generator().manual_seed(0))
        _PROJECTIONS[size] = drawn.double() / WIDTH**0.5
    return _PROJECTIONS[size]


_PROJECTIONS: dict[int, Tensor] = {}


def _first(output: Output) -> Tensor:
    """Log-prob of each sequence's first scored token (S,); every sequence has one, its end."""
    row = output.row
    at_S = np.searchsorted(row.seq_E, np.arange(row.sequences))
    return output.logps_K[torch.from_numpy(row.token_E[at_S]).to(output.logps_K.device)]


def _pairs_of(values_S: Tensor) -> Floats:
    found_B2: Floats = values_S.view(-1, 2).double().cpu().numpy()
    return found_B2


def _room(count: int, size: int) -> _Pass:
    return _Pass(
        np.zeros((count, 2)),
        np.zeros((count, 2)),
        np.zeros(count),
        np.zeros((count, 2, size), np.float32),
    )


def _spread(values_I: Any, kept_I: Ints, count: int) -> Any:
    """Values of the items at the places of their pairs; NaN where there is none."""
    found_P = np.full((count, *values_I.shape[1:]), np.nan, values_I.dtype)
    found_P[kept_I] = values_I
    return found_P
