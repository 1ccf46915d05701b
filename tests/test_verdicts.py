"""Rows that hold more, or less, than a pair: weighted rows, single verdicts, ranked lists."""

import json
from pathlib import Path
from typing import Any

import pytest

from palate.data.rows import Example, Pair, Ranking
from palate.data.sources import read
from palate.errors import DataError

VERDICTS = [
    {"prompt": "a", "completion": "one", "label": True},
    {"prompt": "b", "completion": "two", "label": False},
    {"prompt": "c", "completion": "three", "label": 1},
    {"prompt": "d", "completion": "four", "label": 0},
    {"prompt": "e", "completion": "five", "label": -1},
]
RANKED = [{"prompt": "a", "completions": ["best", "fine", "poor"]}]


def write(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def problems(folder: Path, kind: Any, rows: list[dict[str, Any]]) -> str:
    with pytest.raises(DataError) as caught:
        read(write(folder, rows), kind=kind)
    return str(caught.value)


def test_a_verdict_is_one_or_minus_one(tmp_path: Path) -> None:
    rows = read(write(tmp_path, VERDICTS), kind="labelled").rows
    assert [row.value for row in rows] == [1.0, -1.0, 1.0, -1.0, -1.0]
    assert all(isinstance(row, Example) for row in rows)


def test_a_weight_may_be_negative_and_stands_beside_any_form(tmp_path: Path) -> None:
    rows = [{"text": "one", "weight": 0.5}, {"text": "two", "weight": -2}]
    assert [row.value for row in read(write(tmp_path, rows), kind="weighted").rows] == [0.5, -2.0]


def test_a_ranked_list_keeps_its_order(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, RANKED), kind="ranked").rows
    assert isinstance(row, Ranking) and row.completions == ("best", "fine", "poor")


def test_a_ranked_list_read_as_pairs_gives_every_two(tmp_path: Path) -> None:
    rows = read(write(tmp_path, RANKED), kind="pairs").rows
    assert all(isinstance(row, Pair) for row in rows)
    found = [(row.chosen, row.rejected) for row in rows]
    assert found == [("best", "fine"), ("best", "poor"), ("fine", "poor")]
    assert {row.origin.line for row in rows} == {1}


def test_the_digest_knows_weights_and_verdicts(tmp_path: Path) -> None:
    turned = [{**row, "label": not row["label"]} for row in VERDICTS[:2]]
    one = read(write(tmp_path, VERDICTS[:2]), kind="labelled").digest
    assert read(write(tmp_path, turned), kind="labelled").digest != one


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("labelled", {"prompt": "a", "completion": "b", "label": "yes"}, "expected true or false"),
        ("labelled", {"prompt": "a", "completion": "b", "label": 2}, "expected true or false"),
        ("labelled", {"prompt": "a", "completion": "b", "thumb": True}, "--map label=thumb"),
        ("labelled", {"prompt": "a", "chosen": "b", "rejected": "c"}, "holds pairs"),
        ("weighted", {"prompt": "a", "completion": "b", "weight": "1"}, "expected a finite number"),
        (
            "weighted",
            {"prompt": "a", "completion": "b", "weight": True},
            "expected a finite number",
        ),
        ("weighted", {"prompt": "a", "completion": "b"}, "'weight' is missing"),
        ("ranked", {"prompt": "a", "completions": ["one"]}, "has 1 of at least 2"),
        ("ranked", {"prompt": "a", "completions": ["one", "one"]}, "1 and 2 are identical"),
        ("ranked", {"prompt": "a", "completions": ["one", ""]}, "number 2 is empty"),
        ("ranked", {"prompt": "a", "completions": "one"}, "expected a list of texts"),
        ("ranked", {"prompt": "a", "chosen": "b", "rejected": "c"}, "holds pairs"),
        ("pairs", {"prompt": "a", "completion": "b", "label": True}, "--objective kto"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, kind: Any, row: dict[str, Any], said: str
) -> None:
    assert said in problems(tmp_path, kind, [row])
