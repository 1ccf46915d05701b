"""The example tastes: read, complete, near misses, not given away by length, and clean."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from palate.data.sources import read, records
from palate.study.checks.base import Case, Finding, PairText
from palate.study.checks.distance import HAIRLINE, STRANGERS, apart
from palate.study.checks.table import CHECKS
from palate.study.checks.words import normalised, words

ROOT = Path(__file__).parent.parent / "examples" / "tastes"
TASTES = ("grounded", "no-hedging", "not-pushy", "tone")
each = pytest.mark.parametrize("taste", TASTES)


def pairs_of(*tastes: str) -> list[PairText]:
    """The pairs of these tastes as one file, lines counted on."""
    paths = [ROOT / taste / "pairs.jsonl" for taste in tastes]
    rows = [row for path in paths for row in read(str(path), kind="pairs").rows]
    return [
        PairText(line, str(row.prompt), str(row.chosen), str(row.rejected))
        for line, row in enumerate(rows, 1)
    ]


def alarms(case: Case) -> list[Finding]:
    """What any check has against the pairs."""
    found = [finding for check in CHECKS for finding in check.run(case)]
    return [finding for finding in found if finding.severity in ("error", "warning")]


def test_the_folder_holds_these_tastes() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("*/pairs.jsonl")) == list(TASTES)


@each
def test_twenty_pairs_with_twenty_prompts(taste: str) -> None:
    found = read(str(ROOT / taste / "pairs.jsonl"), kind="pairs")
    assert len(found.rows) == 20
    assert len({normalised(str(row.prompt)) for row in found.rows}) == 20
    assert len({normalised(str(row.chosen)) for row in found.rows}) == 20


@each
def test_every_pair_has_a_reason_and_a_tag_of_the_rubric(taste: str) -> None:
    rows = [record.fields for record in records(str(ROOT / taste / "pairs.jsonl"))]
    tags = {row["tag"] for row in rows}
    assert all(list(row) == ["prompt", "chosen", "rejected", "reason", "tag"] for row in rows)
    assert len({row["reason"] for row in rows}) == 20
    assert all(row["reason"].endswith(".") and len(words(row["reason"])) >= 5 for row in rows)
    assert 2 <= len(tags) <= 5
    assert all(re.fullmatch("[a-z]+", tag) for tag in tags)
    rubric = (ROOT / taste / "rubric.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z]+)` \|", rubric, re.MULTILINE)) == tags
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next(line for line in table.splitlines() if line.startswith(f"| [{taste}]"))
    assert set(line.split("|")[3].replace(" ", "").split(",")) == tags


@each
def test_length_does_not_tell_the_better_answer(taste: str) -> None:
    """In 35 to 65% of the pairs the chosen answer has more words; the totals are alike."""
    counts = [(len(words(pair.chosen)), len(words(pair.rejected))) for pair in pairs_of(taste)]
    longer = sum(chosen > rejected for chosen, rejected in counts)
    shorter = sum(chosen < rejected for chosen, rejected in counts)
    assert 7 <= longer <= 13
    assert 7 <= shorter <= 13
    chosen, rejected = (sum(side) for side in zip(*counts, strict=True))
    assert 0.8 <= chosen / rejected <= 1.25


@each
def test_every_pair_is_an_edit_and_not_another_text(taste: str) -> None:
    far = {pair.line: apart(pair.chosen, pair.rejected) for pair in pairs_of(taste)}
    assert {line: gap for line, gap in far.items() if not HAIRLINE <= gap <= STRANGERS} == {}


@each
def test_openings_vary(taste: str) -> None:
    """No first two words open more than a quarter of the chosen answers."""
    first = [words(pair.chosen)[:2] for pair in pairs_of(taste)]
    assert max(first.count(opening) for opening in first) <= 5


@each
def test_no_check_complains(taste: str) -> None:
    assert alarms(Case(taste, pairs_of(taste))) == []


def test_no_check_complains_of_all_eighty() -> None:
    """Twenty pairs are too few for some checks, so all four files go in as one."""
    pairs = pairs_of(*TASTES)
    assert len(pairs) == 80
    assert alarms(Case("all", pairs)) == []


def test_the_checks_would_complain() -> None:
    """The same pairs, but every better answer begins alike: this must not pass."""
    pairs = pairs_of(*TASTES)
    marked = [replace(pair, chosen=f"In my reading, {pair.chosen}") for pair in pairs]
    assert alarms(Case("all", marked)) != []
