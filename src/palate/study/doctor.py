"""The doctor: is this preference data worth training on?  Shows and never edits.

Three tiers: text alone; one pass of a model, if one is named; verdicts and a training history, if
there are any.  No torch here: the model's tier is imported when it is asked for.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Final

from palate.config import DoctorOptions, TrainConfig
from palate.data.forms import Kind
from palate.errors import PalateError, Problem, UsageError
from palate.runs.folder import METRICS
from palate.stats import share
from palate.study.case import Material, load
from palate.study.checks.base import OURS, Case, Check, ExampleText, Finding, PairText
from palate.study.checks.table import CHECKS
from palate.study.checks.words import normalised, percent, plural
from palate.study.history import RunHistory, read_history
from palate.study.near_miss import Place, places
from palate.train.defaults import HELDOUT_SHARE
from palate.train.events import Listener, Note, Working, silent
from palate.train.history import HISTORY

OF_MODEL = (
    "samples",
    "beta",
    "join",
    "plain",
    "chat_template",
    "max_length",
    "truncate",
    "drop_long",
)
BAD: Final = ("error", "warning")
ORDER: Final = (*BAD, "info", "too few", "ok")
SOUND: Final = "well formed rows"
_POWER = 1.959963984540054 + 0.8416212335729143  # two-sided 5%, power 80%


@dataclass(frozen=True, slots=True)
class Summary:
    """The file in figures.  `detectable`: how far from a tie a win rate must be to be told."""

    pairs: int
    prompts: int
    tagged: float
    reasons: float
    heldout: int
    detectable: float | None


@dataclass(frozen=True, eq=False)
class Report:
    """What the doctor found, worst first, and the map.  `places` are in the order of the pairs.

    `seconds` is time per tier.  `cost` is the model's tier over its scoring pass alone.
    """

    case: Case
    findings: tuple[Finding, ...]
    places: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: Mapping[int, float] = field(default_factory=dict)
    cost: float | None = None
    checks: tuple[Check, ...] = CHECKS

    def of(self, *severities: str) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity in severities)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 warnings, 2 errors."""
        return exit_code(self.findings)

    @property
    def verdict(self) -> tuple[str, str, str]:
        """The first sentence in three pieces; the middle one is to be stressed."""
        return verdict(self)


def examine(
    case: Case, checks: Sequence[Check] = CHECKS, listen: Listener = silent
) -> tuple[Finding, ...]:
    """Everything that these checks say of a case: errors, warnings, information, the rest."""
    return _examined(case, checks, listen)[0]


def doctor(
    path: str,
    options: DoctorOptions | None = None,
    listen: Listener = silent,
    *,
    checks: Sequence[Check] = CHECKS,
) -> Report:
    """Examine a file.  Faulty rows are a finding.  Raises PalateError if there is no sound row."""
    options = options or DoctorOptions()
    _check_options(options)
    material = load(path, options, heldout=options.heldout)
    for note in material.notes:
        listen(Note(note))
    case, cost, spent = _measured(material, options, listen)
    found, seconds = _examined(case, checks, listen)
    seconds[1] = seconds.get(1, 0.0) + spent
    faulty = [_faulty(material)] if material.problems else []
    start = time.perf_counter()
    mapped = places(case) if case.pairs else ()
    seconds[0] = seconds.get(0, 0.0) + time.perf_counter() - start
    findings = _sorted([*faulty, *found])
    return Report(case, findings, mapped, material.notes, seconds, cost, tuple(checks))


def exit_code(findings: Sequence[Finding]) -> int:
    """0 clean, 1 warnings, 2 errors."""
    found = {each.severity for each in findings}
    return 2 if "error" in found else 1 if "warning" in found else 0


def as_json(finding: Finding) -> dict[str, Any]:
    """One finding as plain values; what is not finite is null."""
    interval = finding.interval
    return {
        "check": finding.check,
        "key": finding.key,
        "severity": finding.severity,
        "value": _finite(finding.value),
        "low": _finite(interval.low if interval else None),
        "high": _finite(interval.high if interval else None),
        "threshold": finding.threshold,
        "source": finding.source,
        "rows": list(finding.rows),
        "message": finding.message,
        "todo": finding.todo,
    }


def is_share(finding: Finding) -> bool:
    """Whether the figure is a share, so that it is shown in percent."""
    value, interval = finding.value, finding.interval
    if value is None or not 0 <= value <= 1:
        return False
    if interval is not None:
        return interval.low >= 0 and interval.high <= 1
    return 0 < value < 1 and "%" in finding.threshold


def measured(finding: Finding) -> str:
    """The figure with its interval, as text; empty if there is none."""
    value, interval = finding.value, finding.interval
    if value is None or not math.isfinite(value):
        return ""
    write = percent if is_share(finding) else _plain
    around = f" [{write(interval.low)}, {write(interval.high)}]" if interval else ""
    return write(value) + around


def _plain(value: float) -> str:
    text = f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:#.3g}"
    return text.rstrip(".").replace("-", "\N{MINUS SIGN}")


# ---- one line before a run


@dataclass(frozen=True, slots=True)
class Glance:
    """One line before training, and the findings that training goes on in spite of."""

    note: Note
    overridden: tuple[str, ...] = ()


def glance(config: TrainConfig, kind: Kind, checks: Sequence[Check] = CHECKS) -> Glance | None:
    """What the text tier says of a run's data, in one line; None for a run that has begun.

    None too for what cannot be read: the stage itself says so.
    """
    steps = config.out / METRICS
    if steps.exists() and steps.stat().st_size:
        return None
    try:
        material = load(config.data, config, heldout=config.heldout, kind=kind)
    except PalateError:
        return None
    if material.problems:
        return None
    found = examine(material.case, [each for each in checks if not each.tier])
    bad = tuple(f"{each.check}: {each.message}" for each in found if each.severity in BAD)
    return Glance(_line(material.case, found), bad)


def _line(case: Case, found: Sequence[Finding]) -> Note:
    name = PurePath(case.path).name or case.path
    bad = [each for each in found if each.severity in BAD]
    if not bad:
        few = sum(each.severity == "too few" for each in found)
        tail = f", too few to tell for {plural(few, 'check')}" if few else ""
        return Note(f"doctor: no warning in the {_size(case)} of {name}{tail}")
    more = f"; {len(bad) - 1} more" if len(bad) > 1 else ""
    first = f"{bad[0].check}: {_lower(bad[0].message.rstrip('.'))}"
    shows = f"palate doctor {name if name == case.path else case.path} shows "
    return Note(
        f"doctor: {_counted(bad)} in {name} ({first}{more}); {shows}{'them' if more else 'it'}",
        warning=True,
    )


# ---- in words


def verdict(report: Report) -> tuple[str, str, str]:
    """The verdict before, in and after what is to be stressed."""
    found, size = report.of("error", "warning"), _size(report.case)
    looked = len({each.check for each in report.of("ok", "info")})
    few = len({each.check for each in report.of("too few")})
    if found:
        counts = Counter(each.check for each in found)
        named = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in counts.items())
        return "", _counted(found), f" in {size}: {named}."
    if few > looked:
        return "", size, " are too few for most checks; the others warn of nothing."
    tail = f"; {few} more had too little to tell" if few else ""
    return "No warning in ", size, f": {plural(looked, 'check')} looked{tail}."


def summary(case: Case) -> Summary:
    """Pairs, prompts, how many say why, and what the held-out part can tell."""
    rows: Sequence[PairText | ExampleText] = case.pairs or case.examples
    prompts = len({normalised(row.prompt) for row in rows})
    held = len({normalised(row.prompt) for row in case.heldout})
    held = held if case.heldout_path else round(HELDOUT_SHARE * prompts)
    count = max(len(case.pairs), 1)
    return Summary(
        len(case.pairs),
        prompts,
        sum(bool(pair.tag) for pair in case.pairs) / count,
        sum(bool(pair.extra.get("reason")) for pair in case.pairs) / count,
        held,
        min(0.5, _POWER * 0.5 / math.sqrt(held)) if held else None,
    )


def summary_line(case: Case) -> str:
    """The same as one sentence."""
    found = summary(case)
    parts = [f"{_size(case)}, {plural(found.prompts, 'prompt')}"]
    if case.pairs:
        parts.append(f"{found.tagged:.0%} with a tag, {found.reasons:.0%} with a reason")
    if case.pairs and found.detectable is not None:
        held = (
            f"{plural(found.heldout, 'prompt')} held out{'' if case.heldout_path else ' (a tenth)'}"
        )
        least = f"can tell a win rate {100 * found.detectable:.0f} points from a tie, or further"
        parts.append(f"{held} {least if found.detectable < 0.5 else 'cannot tell a winner'}")
    return "; ".join(parts)


def _size(case: Case) -> str:
    if case.pairs and case.examples:
        return f"{plural(len(case.pairs), 'pair')} and {plural(len(case.examples), 'example')}"
    return plural(len(case.pairs), "pair") if case.pairs else plural(len(case.examples), "example")


def _counted(findings: Sequence[Finding]) -> str:
    errors = sum(each.severity == "error" for each in findings)
    warnings = len(findings) - errors
    told = [plural(errors, "error")] if errors else []
    return " and ".join(told + ([plural(warnings, "warning")] if warnings else []))


def _lower(text: str) -> str:
    """Lower case at the start, unless the first word is more than a capital."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


# ---- how it is done


def _check_options(options: DoctorOptions) -> None:
    """Refuse what has no effect without a model.  Raises UsageError."""
    samples = options.samples
    if samples is not None and not samples.isdigit() and not Path(samples).is_file():
        raise UsageError(
            f"--samples {samples} is neither a number nor a file.",
            hint="Write one with palate sample MODEL PROMPTS --n 4 --out FILE.",
        )
    usual = DoctorOptions()
    asked = [name for name in OF_MODEL if getattr(options, name) != getattr(usual, name)]
    if asked and options.model is None:
        said = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise UsageError(f"{said} without --model has no effect here.", hint="Pass --model.")


def _examined(
    case: Case, checks: Sequence[Check], listen: Listener
) -> tuple[tuple[Finding, ...], dict[int, float]]:
    found: list[Finding] = []
    seconds: dict[int, float] = {}
    for place, check in enumerate(checks, start=1):
        start = time.perf_counter()
        found += check.run(case)
        spent = time.perf_counter() - start
        seconds[check.tier] = seconds.get(check.tier, 0.0) + spent
        listen(Working("checks", place, len(checks)))
    return _sorted(found), seconds


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda each: ORDER.index(each.severity)))


def _faulty(material: Material) -> Finding:
    """The rows that cannot be used, as one finding."""
    lines = tuple(sorted({problem.line for problem in material.problems if problem.line}))
    bad = max(len(lines), 1)
    count = max(material.records, bad)
    noun = "row is" if bad == 1 else "rows are"
    others = "; the others were examined" if material.case.pairs or material.case.examples else ""
    return Finding(
        SOUND,
        "error",
        f"{bad} of {count} {noun} faulty ({_told(material.problems[0])}){others}.",
        bad / count,
        share(bad, count),
        "error from one row on",
        OURS,
        lines,
        f"palate check {material.case.path} lists every problem; no training starts with them.",
    )


def _told(problem: Problem) -> str:
    where = f"line {problem.line}: " if problem.line else ""
    return f"{where}{problem.field and problem.field + ' '}{problem.what}"


def _measured(
    material: Material, options: DoctorOptions, listen: Listener
) -> tuple[Case, float | None, float]:
    """The case with the model's tier and its history, if a model was named."""
    case = material.case
    if options.model is None:
        return case, None, 0.0
    case = replace(case, history=_history(options.model, case.path))
    if not material.pairs:
        listen(Note("the model is asked about pairs only, and this file holds none"))
        return case, None, 0.0
    from palate.study.measured import measure

    start = time.perf_counter()
    measured, cost = measure(material, options, listen)
    return replace(case, measured=measured), cost, time.perf_counter() - start


def _history(model: str, path: str) -> RunHistory | None:
    """What a run wrote down while it learnt this very file."""
    if not (Path(model) / HISTORY).exists():
        return None
    found = read_history(Path(model))
    data = Path(str(found.record["config"]["data"]))
    return found if data.resolve() == Path(path).resolve() else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
