"""`palate convert`: what is written reads back as the same rows; nothing is lost in silence."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate import cli
from palate.cli.convert import convert
from palate.data.rows import Origin, Row
from palate.data.sources import scan, survey
from palate.data.written import lines, written
from palate.errors import DataError, DiskError, UsageError
from palate.runs import atomic

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
SAME = {"prompt": "q", "chosen": "a", "rejected": "a"}


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def bare(rows: tuple[Row, ...]) -> list[Row]:
    """Rows without their places."""
    return [replace(row, origin=Origin("", 0)) for row in rows]


def refused(error: type[Exception], *call: Any, **options: Any) -> str:
    with pytest.raises(error) as caught:
        convert(*call, **options)
    return str(caught.value)


# ------------------------------------------------------------------ reading back

CHARACTERS = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
ANY_TEXT = st.text(CHARACTERS, max_size=8)
TEXT = ANY_TEXT.filter(str.strip)


def turns(*roles: str) -> st.SearchStrategy[list[dict[str, str]]]:
    return st.tuples(*(TEXT for _ in roles)).map(
        lambda texts: [{"role": r, "content": t} for r, t in zip(roles, texts)]
    )


OPENING = st.one_of(
    turns("user"), turns("system", "user"), turns("user", "assistant", "user"), turns("assistant")
)
SIDE = st.one_of(turns("assistant"), turns("assistant", "user", "assistant"))
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "tag": st.one_of(TEXT, st.lists(TEXT, max_size=2)),
        "reason": ANY_TEXT,
        "shown": st.sampled_from(["left", "right"]),
        "seconds": st.floats(0, 100),
        "judge": TEXT,
        "id": TEXT,
        "again": TEXT,
        "audit": st.sampled_from(["chosen", "sample", "tie"]),
        "created": st.one_of(TEXT, st.integers(0, 9)),
    },
)


def differs(row: Mapping[str, Any]) -> bool:
    return bool(row["chosen"] != row["rejected"])


def merged(rows: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(rows, EXTRAS).map(lambda two: two[1] | two[0])


def whole(two: tuple[list[Any], list[Any], list[Any]]) -> dict[str, Any]:
    return {"chosen": two[0] + two[1], "rejected": two[0] + two[2]}


def row_kinds() -> dict[str, st.SearchStrategy[dict[str, Any]]]:
    fixed = st.fixed_dictionaries
    text_pair = fixed({"prompt": ANY_TEXT, "chosen": TEXT, "rejected": TEXT}).filter(differs)
    talk_pair = fixed({"prompt": OPENING, "chosen": SIDE, "rejected": SIDE}).filter(differs)
    ranked = st.lists(TEXT, min_size=2, max_size=4, unique=True)
    number = st.floats(-9, 9)
    return {
        "text": fixed({"text": TEXT}),
        "messages": fixed({"messages": turns("system", "user", "assistant")}),
        "completion": fixed({"prompt": ANY_TEXT, "completion": TEXT}),
        "talk": fixed({"prompt": OPENING, "completion": SIDE}),
        "weighted": fixed({"prompt": ANY_TEXT, "completion": TEXT, "weight": number}),
        "labelled": fixed({"prompt": ANY_TEXT, "completion": TEXT, "label": st.booleans()}),
        "pairs": merged(text_pair),
        "talk pairs": merged(talk_pair),
        "implicit": st.tuples(OPENING, SIDE, SIDE).map(whole).filter(differs),
        "repeated": talk_pair.map(
            lambda row: {**row, **{s: row["prompt"] + row[s] for s in ("chosen", "rejected")}}
        ),
        "ranked": fixed({"prompt": ANY_TEXT, "completions": ranked}),
    }


@pytest.mark.parametrize("kind", row_kinds())
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_written_reads_back_as_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(row_kinds()[kind], min_size=1, max_size=4))
    folder = tmp_path_factory.mktemp("convert")
    source, out = write(folder / "in.jsonl", *rows), folder / "out.jsonl"
    before = survey(source)
    if before.problems:
        return
    out.write_bytes(lines(written(scan(source)).objects))
    after = survey(str(out))
    assert after.problems == () and after.kind == before.kind
    assert bare(after.rows) == bare(before.rows)
    kept = [{n: v for n, v in row.items() if n in EXTRA_NAMES} for row in rows]
    assert [{n: v for n, v in row.items() if n in EXTRA_NAMES} for row in objects(out)] == kept
    assert lines(written(scan(str(out))).objects) == out.read_bytes()


EXTRA_NAMES = {"tag", "reason", "shown", "seconds", "judge", "id", "again", "audit", "created"}


def test_hardly_any_drawn_row_is_bad(tmp_path: Path) -> None:
    """The test above skips files with problems: most must not have any."""
    drawn = []

    @given(row=st.one_of(*row_kinds().values()))
    @settings(max_examples=60, database=None)
    def draw(row: dict[str, Any]) -> None:
        drawn.append(row)

    draw()
    good = [row for row in drawn if not survey(write(tmp_path / "x.jsonl", row)).problems]
    assert len(good) > 0.8 * len(drawn)


@pytest.mark.parametrize(
    "file",
    [
        "llamafactory/dpo_en_demo.json",
        "llamafactory/kto_en_demo.json",
        "llamafactory/alpaca_en_demo.json",
        "stack-exchange/stack_exchange_paired_tiny.json",
        "human-ratings/pairs.jsonl",
    ],
)
def test_real_files_read_back(shared_data: Path, tmp_path: Path, file: str) -> None:
    source, out = str(shared_data / file), tmp_path / "out.jsonl"
    convert(source, out)
    before, after = survey(source), survey(str(out))
    assert bare(after.rows) == bare(before.rows)
    assert (after.dialect, after.problems, after.kind) == (None, (), before.kind)
    assert [row.origin.line for row in after.rows] == list(range(1, len(after.rows) + 1))


def test_text_among_conversations_becomes_turns_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """palate's own rows have one form per file."""
    plain = {"instruction": "i", "output": "o"}
    source = write(tmp_path / "x.jsonl", plain, {**plain, "system": "S"})
    convert(source, tmp_path / "out.jsonl")
    first, second = objects(tmp_path / "out.jsonl")
    assert first == {
        "prompt": [{"role": "user", "content": "i"}],
        "completion": [{"role": "assistant", "content": "o"}],
    }
    assert [turn["role"] for turn in second["prompt"]] == ["system", "user"]
    assert len(survey(str(tmp_path / "out.jsonl")).rows) == 2
    assert "one user and one assistant turn, as other rows are conversations: 1 (line 1)" in (
        capsys.readouterr().out
    )


# ------------------------------------------------------------------ what is said


def test_what_was_read_written_and_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": "q", "responses": list("abc"), "scores": [1, 2, 2]}] * 7
    source, out = write(tmp_path / "x.jsonl", *rows), tmp_path / "new" / "out.jsonl"
    convert(source, out)
    assert capsys.readouterr().out.splitlines() == [
        f"{source}: read as answers with scores: every two answers with different scores"
        " -> a pair, the higher one chosen",
        f"read 7 records of {source}",
        f"wrote 14 pairs to {out}",
        "two answers with equal scores make no pair: 7 (lines 1, 2, 3, 4, 5 ...)",
    ]
    assert len(objects(out)) == 14


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "x.jsonl", PAIR, SAME)
    convert(source, tmp_path / "out.jsonl", skip_bad=True, json=True)
    about = json.loads(capsys.readouterr().out)
    assert about["kind"] == "pairs" and about["format"] == "palate"
    assert (about["records"], about["written"], about["left_out"]) == (2, 1, [])
    assert [(bad["line"], bad["field"]) for bad in about["bad_rows"]] == [(2, "rejected")]


def test_values_that_json_does_not_have_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow
    import pyarrow.parquet

    source, out = tmp_path / "x.parquet", tmp_path / "out.jsonl"
    columns = {name: [value] * 2 for name, value in PAIR.items()}
    table = pyarrow.table({**columns, "seconds": [1.5, float("nan")], "tag": [None, "tone"]})
    pyarrow.parquet.write_table(table, source)
    convert(str(source), out)
    assert objects(out) == [{**PAIR, "seconds": 1.5}, {**PAIR, "tag": "tone"}]
    assert "a field that JSON cannot hold left out: 1 (line 2)" in capsys.readouterr().out


# ------------------------------------------------------------------ what is refused


def test_one_bad_row_stops_everything(tmp_path: Path) -> None:
    source, out = write(tmp_path / "x.jsonl", PAIR, SAME, PAIR), tmp_path / "a" / "out.jsonl"
    text = refused(DataError, source, out)
    assert "x.jsonl:2 field 'rejected' and 'chosen' are identical" in text
    assert "leave them out with --skip-bad (2 rows are sound)" in text
    assert not out.parent.exists()


def test_skip_bad_leaves_rows_out_and_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "x.jsonl", PAIR, SAME), tmp_path / "out.jsonl"
    with Path(source).open("a") as file:
        file.write('{"prompt": "q", "chosen": "a",}\n' + json.dumps(PAIR) + "\n")
    convert(source, out, skip_bad=True)
    assert objects(out) == [PAIR, PAIR]
    told = capsys.readouterr().out.splitlines()
    assert told[-3] == "left out by --skip-bad: 2 rows with 2 problems"
    assert told[-2].startswith(f"  {source}:2 field 'rejected' and 'chosen' are identical")
    assert told[-1].startswith(f"  {source}:3 col ") and "trailing comma" in told[-1]


def test_rows_of_an_array_on_one_line_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "x.json"
    source.write_text(json.dumps([PAIR, SAME, PAIR, SAME]))
    convert(str(source), tmp_path / "out.jsonl", skip_bad=True)
    told = capsys.readouterr().out.splitlines()
    assert told[-3] == "left out by --skip-bad: 2 rows with 2 problems"
    assert f"{source} row 4:1 field 'rejected'" in told[-1]


def test_skip_bad_does_not_hide_that_nothing_is_left(tmp_path: Path) -> None:
    source, out = write(tmp_path / "x.jsonl", SAME), tmp_path / "out.jsonl"
    assert "are identical" in refused(DataError, source, out, skip_bad=True)
    both = {"instruction": "i", "output": "o", "text": "t"}
    source = write(tmp_path / "y.jsonl", both)
    assert "fits 2 formats" in refused(DataError, source, out, skip_bad=True)
    (tmp_path / "z.jsonl").write_text("")
    assert "has 0 rows" in refused(DataError, str(tmp_path / "z.jsonl"), out, skip_bad=True)
    assert not out.exists()


def test_what_exists_is_never_overwritten(tmp_path: Path) -> None:
    source, out = write(tmp_path / "x.jsonl", PAIR), tmp_path / "out.jsonl"
    out.write_text("mine")
    assert "exists; it is never overwritten" in refused(UsageError, source, out)
    assert out.read_text() == "mine"
    assert "exists" in refused(UsageError, source, Path(source))
    assert "exists" in refused(UsageError, source, tmp_path)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere")
    assert "exists" in refused(UsageError, source, tmp_path / "link.jsonl")


@pytest.mark.parametrize("name", ["out.csv", "out.PARQUET", "out.jsonl.gz"])
def test_a_name_that_would_not_read_back_is_refused(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "x.jsonl", PAIR)
    assert "writes JSON Lines" in refused(UsageError, source, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = write(tmp_path / "x.jsonl", PAIR), tmp_path / "new"

    def full(handle: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "write_all", full)
    refused(DiskError, source, folder / "out.jsonl")
    assert list(folder.iterdir()) == []


def test_format_and_map_are_passed_on(tmp_path: Path) -> None:
    source = write(tmp_path / "x.jsonl", {"instruction": "i", "output": "o", "text": "t"})
    convert(source, tmp_path / "a.jsonl", format="alpaca")
    convert(source, tmp_path / "b.jsonl", format="palate")
    convert(source, tmp_path / "c.jsonl", map=("prompt=output,completion=text",))
    found = [objects(tmp_path / f"{name}.jsonl") for name in "abc"]
    assert found == [
        [{"prompt": "i", "completion": "o"}],
        [{"text": "t"}],
        [{"prompt": "o", "completion": "t"}],
    ]
    assert "Did you mean alpaca" in refused(
        UsageError, source, tmp_path / "d.jsonl", format="alpacca"
    )


def test_the_command_line_and_its_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "x.jsonl", {"messages": [USER, ANSWER]})
    words = ["palate", "convert", source, str(tmp_path / "out.jsonl"), "--map", "messages=messages"]
    monkeypatch.setattr("sys.argv", words)
    assert [cli.run(), cli.run()] == [0, 2]
    assert "never overwritten" in capsys.readouterr().err


def test_nothing_is_kept_that_palate_does_not_know(tmp_path: Path) -> None:
    source = write(tmp_path / "x.jsonl", {**PAIR, "quality_margin": 1.0, "reason": "r"})
    found = written(scan(source))
    assert found.objects == [{**PAIR, "reason": "r"}]
    assert lines(found.objects).count(b"\n") == 1
