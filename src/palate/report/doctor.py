"""The doctor's page: the near-miss map, the pairs to rewrite first, and every finding.

Figures were measured by the library and are carried as data; the page's scripts place and draw.
Texts of the pairs that matter are carried in full, the others are cut, and the page says so.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from palate.report.page import embedded, indices, render
from palate.study import near_miss
from palate.study.checks.base import Finding, PairText
from palate.study.checks.distance import HAIRLINE, STRANGERS
from palate.study.doctor import ORDER, Report, as_json, is_share, measured, summary_line
from palate.study.rewrite import Rewrite, ranked

FULL: Final = 400
LONG, CUT = 6000, 120
BUDGET: Final = 2_000_000
STEPS: Final = 10_000
NOWHERE: Final = 0xFFFFFFFF

Json = dict[str, Any]


def page(report: Report) -> str:
    """The whole page."""
    return render(
        "doctor.html",
        styles=["explain.css", "doctor.css"],
        scripts=["marks.js", "map.js", "doctor.js"],
        source=PurePath(report.case.path).name or report.case.path,
        facts=_facts(report),
        verdict=report.verdict,
        summary=f"{summary_line(report.case)}.",
        data=embedded(_told(report)),
    )


def _facts(report: Report) -> str:
    told = ["palate doctor"]
    asked = report.case.measured
    if asked is not None:
        told += [PurePath(asked.model).name or asked.model, f"beta {asked.beta:g}"]
    else:
        told.append("text alone, no model was asked")
    return " · ".join(told)


def _told(report: Report) -> Json:
    pairs = report.case.pairs
    findings = sorted(report.findings, key=lambda each: ORDER.index(each.severity))
    order = ranked([pair.line for pair in pairs], findings, report.places)
    full = _full(pairs, order)
    where: dict[int, int] = {}
    for index, pair in enumerate(pairs):
        where.setdefault(pair.line, index)
    return {
        "count": len(pairs),
        "line": indices([pair.line for pair in pairs], wide=True),
        "plausible": indices([_step(p.plausible) for p in report.places], wide=False),
        "apart": indices([_step(p.apart) for p in report.places], wide=False),
        "steps": STEPS,
        "zone": [_ZONE_NAMES.index(place.zone) for place in report.places],
        "zones": _zones(report),
        "limits": [near_miss.CARTOON, HAIRLINE, STRANGERS],
        "asked": report.case.measured is not None,
        "basis": list(dict.fromkeys(place.basis for place in report.places)),
        "texts": [_texts(pair, index in full) for index, pair in enumerate(pairs)],
        "full": len(full),
        "cut": CUT,
        "order": indices([each.index for each in order], wide=True),
        "findings": [_finding(each, where) for each in findings],
        "words": _words(report),
    }


_ZONE_NAMES: Final = tuple(near_miss.MEANING)


def _zones(report: Report) -> list[Json]:
    names = [place.zone for place in report.places]
    return [
        {"name": zone, "means": means, "count": names.count(zone)}
        for zone, means in near_miss.MEANING.items()
    ]


def _step(share: float) -> int:
    return round(min(max(share, 0.0), 1.0) * STEPS) if share == share else 0


def _full(pairs: Sequence[PairText], order: Sequence[Rewrite]) -> set[int]:
    """The pairs whose texts are carried in full: the first to rewrite, then those of the file."""
    found: set[int] = set()
    spent = 0
    first = [each.index for each in order]
    for index in dict.fromkeys([*first, *range(len(pairs))]):
        pair = pairs[index]
        spent += sum(min(len(text), LONG) for text in (pair.prompt, pair.chosen, pair.rejected))
        if len(found) == FULL or spent > BUDGET:
            break
        found.add(index)
    return found


def _texts(pair: PairText, full: bool) -> list[Any]:
    """Prompt, chosen, rejected, and how many characters of each are left out; then the tag."""
    limit = LONG if full else CUT
    texts = [pair.prompt, pair.chosen, pair.rejected]
    left = [max(0, len(text) - limit) for text in texts]
    told: list[Any] = [text[:limit] for text in texts]
    return [*told, left if any(left) else 0, *([pair.tag] if pair.tag else [])]


def _words(report: Report) -> dict[str, str]:
    """What each check asks and cannot see, and what the zones are."""
    found = {each.name: f"{each.asks} It cannot see: {each.blind}." for each in report.checks}
    return found | {f"{zone} (zone)": means for zone, means in near_miss.MEANING.items()}


def _finding(finding: Finding, where: Mapping[int, int]) -> Json:
    """`where`: line -> place of the pair."""
    rows = list(dict.fromkeys(finding.rows))
    interval = finding.interval
    shares = is_share(finding)
    scale = [interval.low, finding.value, interval.high] if interval and shares else None
    plain = as_json(finding)
    kept = ("check", "severity", "message", "threshold", "source", "todo")
    return {name: plain[name] for name in kept} | {
        "measured": measured(finding),
        "scale": scale,
        "lines": indices(rows, wide=True),
        "at": indices([where.get(line, NOWHERE) for line in rows], wide=True),
    }
