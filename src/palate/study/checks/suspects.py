"""Labels that disagree with everything the other pairs teach: a list to look at, never to flip.

A linear probe is cross-fitted in two halves with three seeds (prompts stay together, after
SelectiveDPO's averaging, arXiv 2502.09650).  A suspect is on the wrong side in all three fits.  It
reads the bag of words, the surface, and how much of the prompt each answer keeps; where a model
was asked, its states and log-probs as well.  Of 100 labels of the demo turned over, lists of 100
held 39 by the text alone, 21 by the states alone, 46 by all of it.

Such a list is long on any file, because hard and odd pairs disagree as well.  So the same
procedure is run once more after one label in twenty was turned over on purpose, and the finding
says how many of those came up.  A list on which turned labels are not at least twice as frequent
as in the file is not shown.  At most one pair in twenty is named, the surest first.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from palate.study.checks import probe
from palate.study.checks.base import (
    ENOUGH,
    Case,
    Check,
    Finding,
    Floats,
    Ints,
    Measured,
    PairText,
    too_few,
)
from palate.study.checks.surface import features
from palate.study.checks.words import percent, words

NAME: Final = "suspects"
SEEDS, PLANTED, LIFT = 3, 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Labels turned over on purpose: how many, how many of them listed, the length of the list."""

    planted: int
    found: int
    listed: int

    @property
    def precision(self) -> float:
        return self.found / self.listed if self.listed else 0.0


def run(case: Case) -> Iterable[Finding]:
    """The suspects, and what such a list is worth on this file."""
    if not case.pairs:
        return
    if len(case.pairs) < ENOUGH:
        yield too_few(NAME, len(case.pairs))
        return
    group_P = probe.groups(case.pairs)
    if int(group_P.max()) + 1 < 4:
        yield too_few(NAME, int(group_P.max()) + 1, "prompts", enough=4)
        return
    read_PD, kept, told = _features(case)
    group_P = group_P[kept]
    trial = attempt(read_PD, group_P)
    listed = suspects(read_PD, group_P)
    rows = tuple(case.pairs[int(kept[place])].line for place in listed)
    yield _finding(rows, trial, told, len(kept))


def suspects(read_PD: Any, group_P: Ints) -> Ints:
    """Places of the suspects, the surest first, at most one pair in twenty."""
    fits = np.stack([probe.margins(read_PD, group_P, folds=2, seed=seed) for seed in range(SEEDS)])
    wrong = np.flatnonzero((fits < 0).all(axis=0))
    order = wrong[np.argsort(fits.mean(axis=0)[wrong], kind="stable")]
    return order[: max(1, round(PLANTED * len(group_P)))]


def attempt(read_PD: Any, group_P: Ints) -> Trial:
    """The same procedure with one label in twenty turned over (seeded).

    Repeated, up to five times, until a hundred labels were turned.
    """
    count = max(1, round(PLANTED * len(group_P)))
    found = length = 0
    times = min(5, -(-100 // count))
    for seed in range(times):
        flip = np.zeros(len(group_P), dtype=np.bool_)
        flip[np.random.default_rng(seed).choice(len(flip), count, replace=False)] = True
        listed = suspects(probe.turned(read_PD, flip), group_P)
        found, length = found + int(flip[listed].sum()), length + len(listed)
    return Trial(times * count, found, length)


def _features(case: Case) -> tuple[Any, Ints, str]:
    """What the probe reads (P, D), which pairs that covers, and its name."""
    from scipy.sparse import csr_array, hstack

    plain = np.hstack([features(case.pairs), probe.scaled(_grounds(case.pairs))])
    measured, every = case.measured, np.arange(len(case.pairs))
    if measured is None or len(measured.states_P2D) != len(case.pairs):
        joined = hstack([csr_array(_level(plain)), probe.bag(case.pairs)]).tocsr()
        return joined, every, "words and surface"
    states_PD = (measured.states_P2D[:, 0] - measured.states_P2D[:, 1]).astype(np.float64)
    seen_PD = _log_probs(measured)
    kept = np.flatnonzero(np.isfinite(np.hstack([states_PD, seen_PD])).all(axis=1))
    if len(kept) < ENOUGH:
        return _features(replace(case, measured=None))
    figures = np.hstack([plain[kept], probe.scaled(seen_PD[kept])])
    parts = (_level(figures), probe.bag([case.pairs[int(place)] for place in kept]))
    states = _level(probe.scaled(states_PD[kept]))
    joined = hstack([csr_array(parts[0]), parts[1], csr_array(states)]).tocsr()
    return joined, kept, "words, surface and the model's states and log-probs"


def _level(features_PD: Floats) -> Floats:
    """Rows of about length 1, as those of the bag of words are, so that no group drowns another."""
    return np.asarray(features_PD / max(features_PD.shape[1], 1) ** 0.5)


def _log_probs(measured: Measured) -> Floats:
    """Chosen minus rejected (P, 2): log-prob per token, and summed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_P2 = measured.logps_P2 / measured.tokens_P2
    sums_P2 = measured.logps_P2
    return np.stack([mean_P2[:, 0] - mean_P2[:, 1], sums_P2[:, 0] - sums_P2[:, 1]], axis=1)


def _grounds(pairs: Iterable[PairText]) -> Floats:
    """Per pair, chosen minus rejected: share of the prompt kept, and of words from elsewhere."""
    return np.array(
        [
            np.subtract(_ground(pair.prompt, pair.chosen), _ground(pair.prompt, pair.rejected))
            for pair in pairs
        ]
    )


def _ground(prompt: str, answer: str) -> tuple[float, float]:
    asked, said = set(words(prompt)), set(words(answer))
    shared = len(asked & said)
    return shared / max(len(asked), 1), 1 - shared / max(len(said), 1)


def _finding(rows: tuple[int, ...], trial: Trial, told: str, count: int) -> Finding:
    worth = (
        f"of {trial.planted} labels turned over on purpose, {trial.found} came up in lists of "
        f"{trial.listed}"
    )
    threshold = f"shown if a list holds {LIFT:g} times as many turned labels as the file"
    if trial.precision < LIFT * PLANTED or not rows:
        return Finding(
            NAME,
            "ok",
            f"No list of suspect labels: by {told} they cannot be told from hard pairs ({worth}).",
            trial.precision,
            threshold=threshold,
        )
    return Finding(
        NAME,
        "info",
        f"These {len(rows)} labels ({percent(len(rows) / count)}) disagree with what the other "
        f"pairs teach, by {told}. Most may be right: {worth}.",
        trial.precision,
        threshold=threshold,
        source="our default, after arXiv 2502.09650",
        rows=rows,
        todo="Look at them again, surest first; some may be your best pairs. Nothing was changed.",
    )


CHECK = Check(
    NAME,
    0,
    "Which labels disagree with what the other pairs teach?",
    "most wrong labels: by words alone about twice chance, and what is listed may be right",
    run,
)
