"""Defects planted into pairs that are sound or real, and what the checks named of them.

A family is looked for by its home checks alone: a finding of another check is no sight of it.
Truth on real pairs is a lower bound: some of what is named there was bad before anything was
planted.  What a check names on the file as it was is therefore not counted as wrong.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planters import NAMES, RATES, Planted, plant

from palate.study.checks.base import Case, Check, Finding, Measured, PairText
from study.store import Store
from study.training import Demo, Row

log = logging.getLogger("study_doctor")
LOUD = ("error", "warning")
CLEAN_PART = 0.8  # of the clean rows, drawn without replacement: a bootstrap holds copies
SHOWN = 2
MORE_RATES = {"same_kind": (0.4, 0.6), "invented": (0.4,)}  # checks of the file as a whole
HOMES: Mapping[str, tuple[str, ...]] = {
    "flip": ("suspects",),
    "length": ("length", "appended"),
    "appended": ("appended", "length"),
    "shortcut_rare": ("shortcuts",),
    "shortcut_common": ("shortcuts", "surface"),
    "near_duplicate": ("duplicates",),
    "contradiction": ("contradictions",),
    "leak": ("leakage",),
    "cartoon": ("shortcuts", "same kind"),
    "off_topic": ("distance",),
    "wrong_language": ("shortcuts", "distance"),
    "truncation_only": ("appended",),
    "same_kind": ("same kind",),
    "invented": ("grounding",),
}
WITH_MODEL: Mapping[str, tuple[str, ...]] = {
    "cartoon": ("cartoon",),
    "off_topic": ("cartoon",),
    "wrong_language": ("cartoon",),
    "same_kind": ("displacement", "cartoon"),
    "truncation_only": ("displacement",),
    "flip": ("suspects",),
}
# The detector looks for exactly what the planter makes: a perfect figure says little.
TAUTOLOGICAL = ("appended", "truncation_only", "same_kind")

FIRST = 100  # the checks were mended after a look at figures of seeds 0 to 19


@dataclass(frozen=True, slots=True)
class Corpus:
    """Rows to plant into, and whose they are."""

    name: str
    rows: tuple[Row, ...]


def corpora(demo: Demo, shared: Path) -> Iterator[Corpus]:
    """The demo's pairs, and the real ones if their folder is there."""
    yield Corpus("demo", demo.pairs)
    human = shared / "human-ratings" / "pairs.jsonl"
    general = shared / "llamafactory" / "dpo_en_demo.json"
    if not human.exists() or not general.exists():
        log.info("no real pairs in %s: that part is left out", shared)
        return
    lines = human.read_text(encoding="utf-8").splitlines()
    yield Corpus("human ratings", tuple(_sides(json.loads(line)) for line in lines))
    talks = json.loads(general.read_text(encoding="utf-8"))
    yield Corpus("llamafactory", tuple(map(_talk, talks)))


def _sides(row: Mapping[str, Any]) -> Row:
    return {name: row[name] for name in ("prompt", "chosen", "rejected")}


def _talk(row: Mapping[str, Any]) -> Row:
    """A ShareGPT pair with its turns as one prompt."""
    prompt = "\n".join(turn["value"] for turn in row["conversations"])
    return {"prompt": prompt, **{side: row[side]["value"] for side in ("chosen", "rejected")}}


def as_case(rows: Sequence[Row], heldout: Sequence[Row] = ()) -> Case:
    """Rows as the checks read them, lines from 1."""
    held = _texts(heldout)
    return Case("planted", _texts(rows), heldout=held, heldout_path="heldout" if held else None)


def _texts(rows: Sequence[Row]) -> tuple[PairText, ...]:
    return tuple(
        PairText(line, row["prompt"], row["chosen"], row["rejected"])
        for line, row in enumerate(rows, start=1)
    )


def found_by(case: Case, names: Sequence[str]) -> list[Finding]:
    """What these checks say."""
    return [finding for check in _checks() if check.name in names for finding in check.run(case)]


def _checks() -> Sequence[Check]:
    from palate.study.checks.table import CHECKS

    return CHECKS


def version() -> str:
    """A digest of the checks as they are, to tell old results from new ones."""
    from palate.study import checks

    total = hashlib.sha256()
    for path in sorted(Path(next(iter(checks.__path__))).glob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


# ------------------------------------------------------------------ one file


def judged(planted: Planted, found: Sequence[Finding], before: Sequence[Finding]) -> dict[str, Any]:
    """What of the truth was named.  `before`: what the same checks said of the clean file.

    `seen`: a warning or error that the clean file did not have, or had less severely.
    """
    known = {(each.check, each.key): each.severity for each in before}
    new = [
        each
        for each in found
        if each.severity in LOUD and known.get((each.check, each.key)) not in _as_bad(each)
    ]
    return {
        "planted": len(planted.lines),
        "total": len(planted.pairs),
        "drawn": planted.drawn,
        "seen": bool(new),
        "already": sorted({each.check for each in before if each.severity in LOUD}),
        "by": sorted({f"{each.check}: {each.key}" if each.key else each.check for each in new}),
        "loud": _rows(planted, found, before, LOUD),
        "listed": _rows(planted, found, before, (*LOUD, "info")),
        "missed": _missed(planted, found),
    }


def _as_bad(finding: Finding) -> tuple[str, ...]:
    return ("error",) if finding.severity == "error" else LOUD


def _named(findings: Sequence[Finding], severities: Sequence[str]) -> set[int]:
    return {line for each in findings if each.severity in severities for line in each.rows}


def _rows(
    planted: Planted, found: Sequence[Finding], before: Sequence[Finding], kinds: Sequence[str]
) -> dict[str, int]:
    """`hit`: defects with a line named; `right`, `wrong`: lines named, and not named before."""
    named = _named(found, kinds)
    truth = set().union(*planted.groups)
    wrong = named - truth - _named(before, kinds)
    hit = sum(bool(group & named) for group in planted.groups)
    return {"hit": hit, "named": len(named), "right": len(named & truth), "wrong": len(wrong)}


def _missed(planted: Planted, found: Sequence[Finding]) -> list[dict[str, str]]:
    """The first few planted rows that nothing named."""
    named = _named(found, (*LOUD, "info"))
    lost = [line for line, group in zip(planted.lines, planted.groups) if not group & named]
    rows = [planted.pairs[line - 1] for line in lost[:SHOWN]]
    return [{side: row[side][:160] for side in ("prompt", "chosen", "rejected")} for row in rows]


# ------------------------------------------------------------------ the text tier


def text(store: Store, found: Sequence[Corpus], seeds: int) -> None:
    """Every family, rate and seed, in every corpus; and clean parts of it for false alarms."""
    for corpus in found:
        everything = [check.name for check in _checks() if check.tier == 0]
        for seed in range(FIRST, FIRST + seeds):
            _clean(store, corpus, seed, everything)
        for family in NAMES:
            before = found_by(as_case(corpus.rows), HOMES[family])
            for rate in (*RATES, *MORE_RATES.get(family, ())):
                for seed in range(FIRST, FIRST + seeds):
                    _planted(store, corpus, (family, rate, seed), before)
            log.info("%s, %s: done", corpus.name, family)


def _planted(
    store: Store, corpus: Corpus, what: tuple[str, float, int], before: Sequence[Finding]
) -> None:
    family, rate, seed = what
    about = {"tier": "text", "corpus": corpus.name, "family": family, "rate": rate, "seed": seed}

    def make() -> Mapping[str, Any]:
        planted = plant(corpus.rows, family, rate, seed)
        found = found_by(as_case(planted.pairs, planted.heldout), HOMES[family])
        return {**about, "version": version(), **judged(planted, found, before)}

    store.get(f"text/{corpus.name}/{family}/{rate:g}/{seed}", make)


def _clean(store: Store, corpus: Corpus, seed: int, names: Sequence[str]) -> None:
    """What is said of four fifths of the clean rows."""

    def make() -> Mapping[str, Any]:
        rng = random.Random(f"clean {seed}")
        kept = sorted(rng.sample(range(len(corpus.rows)), round(CLEAN_PART * len(corpus.rows))))
        start = time.monotonic()
        found = found_by(as_case([corpus.rows[n] for n in kept]), names)
        return {
            "tier": "clean",
            "corpus": corpus.name,
            "seed": seed,
            "version": version(),
            "pairs": len(kept),
            "seconds": round(time.monotonic() - start, 2),
            "looked": sorted({each.check for each in found}),
            "loud": [_said(each) for each in found if each.severity in LOUD],
        }

    store.get(f"clean/{corpus.name}/{seed}", make)


def _said(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "key": finding.key,
        "severity": finding.severity,
        "rows": len(finding.rows),
        "message": finding.message,
    }


# ------------------------------------------------------------------ with a model

Measure = Callable[[Sequence[Row], str | None], Measured]
FEW = "4"  # prompts sampled for rows that are patched in: their texts are not looked at


def measurer(demo: Demo, work: Path) -> Measure:
    """What the demo's SFT model says of rows, by the doctor's own pass."""
    from palate.config import DoctorOptions
    from palate.study.case import load
    from palate.study.measured import measure
    from palate.train.events import silent

    def measured(rows: Sequence[Row], samples: str | None) -> Measured:
        work.mkdir(parents=True, exist_ok=True)
        path = work / "measured.jsonl"
        path.write_text("".join(json.dumps(_sides(row)) + "\n" for row in rows), encoding="utf-8")
        options = DoctorOptions(model=str(demo.sft), samples=samples)
        return measure(load(str(path), options), options, silent)[0]

    return measured


def patched(base: Measured, new: Measured, lines: Sequence[int]) -> Measured:
    """`base` with the rows of `new` at these lines: a pair's figures are its own."""
    import numpy as np

    places = np.asarray(lines) - 1

    def put(old: Any, other: Any) -> Any:
        if old is None or other is None:
            return old
        merged = old.copy()
        merged[places] = other[: len(places)]
        return merged

    arrays = ("logps_P2", "tokens_P2", "first_P", "ln_ches_P", "states_P2D", "empty_P2")
    sides = {name: put(getattr(base, name), getattr(new, name)) for name in arrays}
    cut = {line: why for line, why in base.cut.items() if line not in lines}
    moved = {lines[line - 1]: why for line, why in new.cut.items() if line <= len(lines)}
    return replace(base, cut=cut | moved, **sides)


def model(store: Store, demo: Demo, work: Path, seeds: int) -> None:
    """The families that only a model can see, in the demo's pairs."""
    measure = measurer(demo, work)
    everything = [check.name for check in _checks()]
    base = measure(demo.pairs, None)
    clean = replace(as_case(demo.pairs), measured=base)
    alarms = [_said(each) for each in found_by(clean, everything) if each.severity in LOUD]
    store.get("model/clean", lambda: {"tier": "model clean", "loud": alarms, "version": version()})
    for family, homes in WITH_MODEL.items():
        before = found_by(clean, homes)
        for seed in range(FIRST, FIRST + seeds):
            _with_model(store, (demo.pairs, base, measure), (family, seed), before)
        log.info("with the model, %s: done", family)


def _with_model(
    store: Store,
    given: tuple[Sequence[Row], Measured, Measure],
    what: tuple[str, int],
    before: Sequence[Finding],
) -> None:
    """Every rate of one seed: the rows of a lower rate are among those of the highest."""
    (rows, base, measure), (family, seed) = given, what
    keys = {rate: f"model/{family}/{rate:g}/{seed}" for rate in RATES}
    if all(key in store.records for key in keys.values()):
        return
    most = plant(rows, family, max(RATES), seed)
    new = measure([most.pairs[line - 1] for line in most.lines], FEW)
    whole = patched(base, new, most.lines)
    for rate, key in keys.items():
        planted = plant(rows, family, rate, seed)
        undone = [line for line in most.lines if line not in planted.lines]
        measured = whole if not undone else patched(whole, _rows_of(base, undone), undone)
        case = replace(as_case(planted.pairs), measured=measured)
        found = found_by(case, WITH_MODEL[family])
        about = {"tier": "model", "corpus": "demo", "family": family, "rate": rate, "seed": seed}
        told = {**about, "version": version(), **judged(planted, found, before)}
        store.get(key, lambda told=told: told)  # type: ignore[misc]


def _rows_of(base: Measured, lines: Sequence[int]) -> Measured:
    """The figures of these lines alone, in their order."""
    import numpy as np

    places = np.asarray(lines) - 1
    arrays = ("logps_P2", "tokens_P2", "first_P", "ln_ches_P", "states_P2D")
    sides = {name: getattr(base, name)[places] for name in arrays}
    empty = None if base.empty_P2 is None else base.empty_P2[places]
    cut = {n: base.cut[line] for n, line in enumerate(lines, start=1) if line in base.cut}
    return replace(base, empty_P2=empty, cut=cut, **sides)
