"""`palate check`: every fault at once, what meets again in a file, and what it says of it."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palate import cli
from palate.data.overview import SHOWN, Overview, kind_of_fault, look
from palate.errors import Problem

PAIRS = [{"prompt": f"p{n}", "chosen": f"yes {n}", "rejected": "no"} for n in range(6)]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.run(["check", *words])
    said = capsys.readouterr()
    assert said.err == ""
    return code, said.out


def doubts(found: Overview) -> dict[str, Any]:
    return {doubt.kind: doubt for doubt in found.doubts}


# ------------------------------------------------------------------ faults


def test_all_problems_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*PAIRS, {"prompt": "p", "chosen": "c"}, '{"prompt": "p",}', PAIRS[0] | {"chosen": ""}]
    file = write(tmp_path / "x.jsonl", rows)
    code, page = run(capsys, file)
    assert code == 2
    lines = page.splitlines()
    assert lines[0] == f"{file} cannot be used as it is: 3 problems of 3 kinds"
    assert "1 × 'rejected' is missing" in lines and "1 × 'chosen' is empty" in lines
    assert all(f"  {file}:{n} " in page for n in (7, 8, 9))
    assert lines[-1] == f"next: palate check {file}    # once these rows are mended"


def test_twenty_of_a_kind_and_the_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [{"prompt": f"p{n}", "chosen": "", "rejected": "r"} for n in range(30)]
    file = write(tmp_path / "x.jsonl", [*PAIRS, *bad])
    code, page = run(capsys, file)
    assert code == 2 and "30 × 'chosen' is empty" in page
    assert page.count(f"  {file}:") == SHOWN and "  ... and 10 more of this kind" in page
    code, said = run(capsys, file, "--json")
    found = json.loads(said)
    assert code == 2 and len(found["problems"]) == SHOWN
    assert found["problem_counts"] == {"'chosen' is empty": 30}
    assert found["problems"][0] == {
        "path": file,
        "line": 7,
        "field": "chosen",
        "what": "is empty (0 characters after trimming)",
        "todo": "Remove the row.",
        "kind": "'chosen' is empty",
    }


def test_what_is_wrong_with_every_row_is_said_once_and_the_flag_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": "p", "chosen": f"c{n}", "reject": "r"} for n in range(9)]
    file = write(tmp_path / "x.jsonl", rows)
    code, page = run(capsys, file)
    assert code == 2 and page.count(f"  {file}:") == 1 and "  ... and so in all 9 rows" in page
    assert page.splitlines()[-1] == f"next: palate check {file} --map rejected=reject"
    code, page = run(capsys, file, "--map", "rejected=reject")
    assert code == 0
    assert page.splitlines()[-1] == f"next: palate doctor {file} --map rejected=reject"


def test_kinds_leave_out_what_differs() -> None:
    same = ["is 812.0 MB (limit 16 MB)", "is 17.5 MB (limit 16 MB)"]
    assert len({kind_of_fault(Problem("x", 1, "", what, "")) for what in same}) == 1
    told = "byte 0xE9 at column 15 is not UTF-8 (looks like Latin-1)"
    assert kind_of_fault(Problem("x", 1, "", told, "")) == "byte N at column N is not UTF-8"


def test_a_file_with_many_kinds_keeps_few(tmp_path: Path) -> None:
    rows = [{"prompt": "p", f"k{'x' * n}": 1, "chosen": [{"role": "r" * n, "content": "c"}],
             "rejected": [{"role": "a", "content": "c"}]} for n in range(1, 400)]  # fmt: skip
    found = look(write(tmp_path / "x.jsonl", rows), mapping={})
    assert len(found.groups) <= 201 and found.problems == 2 * 399


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", str(tmp_path / "no.jsonl")]) == 2
    assert "no.jsonl does not exist" in capsys.readouterr().err


# ------------------------------------------------------------------ rows that meet again


def naive(rows: list[dict[str, str]]) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Sets of lines of equal pairs, and of pairs that contradict each other: by comparing all."""
    same: dict[Any, list[int]] = {}
    either: dict[Any, list[tuple[int, bool]]] = {}
    for line, row in enumerate(rows, start=1):
        prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
        same.setdefault((prompt, chosen, rejected), []).append(line)
        key = (prompt, frozenset((chosen, rejected)))
        either.setdefault(key, []).append((line, chosen < rejected))
    both = {tuple(n for n, _ in v) for v in either.values() if len({way for _, way in v}) == 2}
    return {tuple(v) for v in same.values() if len(v) > 1}, both


@pytest.mark.parametrize("seed", range(20))
def test_repeats_and_contradictions_are_those_of_a_plain_comparison(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    two = list(itertools.permutations("abcd", 2))
    rows = []
    for _ in range(draw.choice([1, 5, 30])):
        chosen, rejected = draw.choice(two)
        rows.append({"prompt": draw.choice("pq"), "chosen": chosen, "rejected": rejected})
    found = doubts(look(write(tmp_path / "x.jsonl", rows), mapping={}))
    same, both = naive(rows)
    assert set(found["duplicates"].lines if same else ()) == same
    assert set(found["contradictions"].lines if both else ()) == both
    assert ("duplicates" in found) == bool(same) and ("contradictions" in found) == bool(both)
    if same:
        assert found["duplicates"].count == sum(len(lines) - 1 for lines in same)


def test_overlap_is_by_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "x.jsonl", PAIRS)
    other = write(tmp_path / "e.jsonl", [PAIRS[4] | {"chosen": "x"}, {**PAIRS[0], "prompt": "q"},
                                         PAIRS[1] | {"prompt": " p1 "}])  # fmt: skip
    (doubt,) = look(file, other, mapping={}).doubts
    assert (doubt.kind, doubt.count, doubt.lines) == ("overlap", 2, ((1, 5), (3, 2)))
    code, page = run(capsys, file, "--heldout", other)
    assert code == 1 and f"{other}:1 has the same prompt as {file}:5 (2 of 3)" in " ".join(
        page.split()
    )
    faulty = write(tmp_path / "f.jsonl", [PAIRS[5] | {"prompt": "new"}, {"prompt": "p"}])
    code, page = run(capsys, file, "--heldout", faulty)
    assert code == 2 and f"{faulty}:2 " in page


def test_verdicts_that_disagree(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "c", "label": label} for label in (True, False)]
    found = look(write(tmp_path / "x.jsonl", rows), mapping={})
    assert found.kind == "labelled"
    assert doubts(found)["contradictions"].lines == ((1, 2),)


def test_examples_that_repeat(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "c"}, {"prompt": "p", "completion": "d"}] * 2
    (doubt,) = look(write(tmp_path / "x.jsonl", rows), mapping={}).doubts
    assert doubt.kind == "duplicates" and doubt.lines == ((1, 3), (2, 4))
    assert doubt.text.startswith("lines 1 and 3 are the same example; 2 of 4 rows")


# ------------------------------------------------------------------ what it is read as


def test_a_sound_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf# by hand\r\n" + b"\r\n".join(json.dumps(p).encode() for p in PAIRS) + b"\n\n"
    )
    code, page = run(capsys, str(path))
    assert code == 0
    assert page.splitlines()[0] == f"{path} is sound: 6 pairs on 6 prompts"
    assert "6 lines end in CRLF" in page and "byte order mark" in page
    assert "1 comment line skipped, 1 blank line skipped" in " ".join(page.split())
    found = look(str(path), mapping={})
    assert [(c.records, c.rows, c.prompts) for c in found.counts] == [(6, 6, 6)]


@pytest.mark.parametrize(
    ("row", "kind", "following"),
    [
        ({"prompt": "p", "completion": "c"}, "sft", "palate sft --model MODEL"),
        ({"prompt": "p", "completion": "c", "label": True}, "labelled", "--objective kto"),
        ({"prompt": "p", "completions": ["a", "b"]}, "ranked", "--objective plackett_luce"),
        (PAIRS[0], "pairs", "palate doctor"),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            "sft",
            "palate sft --model MODEL",
        ),
    ],
)
def test_what_the_rows_are_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: Any, kind: str, following: str
) -> None:
    file = write(tmp_path / "x.jsonl", [row])
    code, said = run(capsys, file, "--json")
    assert code == 0 and json.loads(said)["kind"] == kind
    code, page = run(capsys, file)
    assert code == 0 and following in page.splitlines()[-1]


def test_no_torch_and_bounded(tmp_path: Path) -> None:
    """20,000 rows of 1 kB: the rows are not held."""
    path = tmp_path / "x.jsonl"
    line = '{"prompt": "%d", "chosen": "c' + "x" * 1000 + '", "rejected": "r"}\n'
    with path.open("w") as file:
        file.writelines(line % n for n in range(20_000))
    code = (
        "import sys; from palate import cli; assert cli.run(['check', sys.argv[1]]) == 0;"
        "assert not {'torch', 'transformers'} & sys.modules.keys();"
        "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 80 * 1024
