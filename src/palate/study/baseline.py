"""What was known before: an earlier `--json` of the doctor, so that only what is worse counts."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palate.errors import DataError
from palate.study.checks.base import Finding

RANK = {"ok": 0, "too few": 0, "info": 1, "warning": 2, "error": 3}
_HINT = "Make one with: palate doctor FILE --json > baseline.jsonl"
Known = dict[tuple[str, str], list[tuple[int, int]]]


def read_baseline(path: Path) -> Known:
    """(check, key) -> (rank of the severity, count of rows) of each finding, worst first.

    Raises DataError if the file is no output of `palate doctor --json`.
    """
    known: Known = defaultdict(list)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", hint=_HINT) from None
    except (OSError, UnicodeDecodeError) as error:
        why = "it is a folder" if path.is_dir() else str(error)
        raise DataError(f"{path} cannot be read as a baseline: {why}.", hint=_HINT) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found = _parsed(line, f"{path}:{number}")
            known[found["check"], found["key"]].append(
                (RANK[found["severity"]], len(found["rows"]))
            )
    if not known:
        raise DataError(f"{path} holds no finding, so it is no baseline.", hint=_HINT)
    for findings in known.values():
        findings.sort(reverse=True)
    return dict(known)


def worse(findings: Sequence[Finding], known: Known) -> tuple[Finding, ...]:
    """Findings that are new, more severe, or name more rows than in the baseline.

    Several with one check and key are compared in order, the worst with the worst.
    """
    ranked = sorted(findings, key=lambda each: (-RANK[each.severity], -len(each.rows)))
    left = {name: list(each) for name, each in known.items()}
    found = set()
    for finding in ranked:
        before = left.get((finding.check, finding.key))
        severity, rows = before.pop(0) if before else (0, 0)
        rank = RANK[finding.severity]
        if rank > severity or (rank and rank == severity and len(finding.rows) > rows):
            found.add(id(finding))
    return tuple(each for each in findings if id(each) in found)


def gone_since(findings: Sequence[Finding], known: Known) -> int:
    """How many warnings and errors of the baseline are not there any more."""
    bad = RANK["warning"]
    before = {name: sum(rank >= bad for rank, _ in each) for name, each in known.items()}
    for finding in findings:
        if RANK[finding.severity] >= bad and before.get((finding.check, finding.key)):
            before[finding.check, finding.key] -= 1
    return sum(before.values())


def _parsed(line: str, where: str) -> dict[str, Any]:
    """One finding of the file.  Raises DataError if it is none."""
    try:
        found = json.loads(line)
        sound = found["severity"] in RANK and isinstance(found["rows"], list)
        sound = sound and isinstance(found["check"], str) and isinstance(found["key"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise DataError(f"{where} is no finding of palate doctor --json.", hint=_HINT)
    return dict(found)
