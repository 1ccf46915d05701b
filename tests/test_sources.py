"""Files to rows: every format gives the same rows, real files read, mistakes show a way out."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data import arrays
from palate.data.rows import Example, Message, Pair
from palate.data.sources import parse_map, read, read_prompts, sniff
from palate.errors import DataError, UsageError

SFT = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d\né — 😀"}]
MAP = {"prompt": "mr", "completion": "human"}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def plain(rows: tuple[Example, ...]) -> list[dict[str, Any]]:
    return [{"prompt": row.prompt, "completion": row.completion} for row in rows]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


# ------------------------------------------------------------------ layouts of one content

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
ROWS = st.lists(
    st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT.filter(str.strip)}),
    min_size=1,
    max_size=6,
)


def by_hand(rows: list[dict[str, str]]) -> str:
    """Objects over several lines, with comments and blank lines between and inside."""
    shown = "\n\n# a comment {\n".join(json.dumps(row, indent=1) for row in rows)
    return "# first\n" + shown.replace('",\n', '",\n  # inside "\n')


LAYOUTS: dict[str, Callable[[list[dict[str, str]]], str]] = {
    "lines": lambda rows: "\n".join(json.dumps(row) for row in rows),
    "unescaped": lambda rows: "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
    "array": lambda rows: json.dumps(rows, indent=2),
    "one line": lambda rows: json.dumps(rows, ensure_ascii=False),
    "commented array": lambda rows: "# [\n" + json.dumps(rows, indent=1).replace("},", "}, # x\n"),
    "by hand": by_hand,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(rows=ROWS)
@settings(max_examples=40)
def test_every_layout_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, layout: str, rows: list[dict[str, str]]
) -> None:
    if layout == "commented array":
        rows = [row for row in rows if "}," not in row["prompt"] + row["completion"]] or SFT
    path = tmp_path_factory.mktemp("layout") / "x.json"
    path.write_bytes(LAYOUTS[layout](rows).encode())
    assert plain(read(str(path), kind="sft").rows) == rows


@given(rows=ROWS, chunk=st.integers(1, 40))
@settings(max_examples=60)
def test_an_array_is_the_same_however_it_is_cut_into_chunks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("chunks") / "x.json"
    path.write_bytes(json.dumps(rows, ensure_ascii=False, indent=1).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_CHUNK", chunk)
        found = read(str(path), kind="sft")
    assert plain(found.rows) == rows
    lines = path.read_text("utf-8").split("\n")
    assert all(lines[row.origin.line - 1].strip() == "{" for row in found.rows)


def test_lines_keep_the_numbers_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    text = (
        '\ufeff# how\r\n{"prompt": "a", "completion": "b"}\r\n\r\n'
        '{"prompt": "a",\r\n # why\r\n "completion": "c"}\r\n'
    )
    path.write_bytes(text.encode())
    found = read(str(path), kind="sft")
    assert [row.origin.line for row in found.rows] == [2, 4]
    assert found.notes == (
        f"{path}: read as written by hand"
        " (2 comment lines skipped, 1 blank line skipped, 1 object over several lines)",
        f"{path}: 6 lines end in CRLF, which is fine",
        f"{path}: starts with a UTF-8 byte order mark, skipped",
    )


def test_the_example_written_by_hand_reads(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        """# one pair: the same prompt, two answers, one verdict
{"prompt": "Describe this 2bd condo near downtown. Facts: 2 bath; fees $310.",
 "chosen":   "Two-bedroom, two-bath condo near downtown, fees of $310 a month.",
 "rejected": "A lovely condo in a great spot, with plenty of charm."}
"""
    )
    found = read(str(path), kind="pairs")
    assert found.rows[0].chosen.startswith("Two-bedroom")  # type: ignore[union-attr]
    assert found.rows[0].origin.line == 2
    assert len(found.notes) == 1


def test_an_array_is_noted_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(SFT))
    found = read(str(path), kind="sft")
    assert found.notes == (f"{path}: read as one JSON array of 2 rows",)
    assert [str(row.origin) for row in found.rows] == [f"{path}:1", f"{path} row 2:1"]


# ------------------------------------------------------------------ tables and data sets


def test_csv_with_quotes_line_breaks_and_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes('\ufeffmr;human;n\r\n"a ""x""\r\nb";c;1\r\n\r\nd;"e;f";2\r\n'.encode())
    found = read(str(path), kind="sft", mapping=MAP)
    assert plain(found.rows) == [
        {"prompt": 'a "x"\r\nb', "completion": "c"},
        {"prompt": "d", "completion": "e;f"},
    ]
    assert [row.origin.line for row in found.rows] == [2, 5]
    assert found.notes == (f"{path}: fields without use here: n",)


def test_parquet_is_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    rows = [
        {"messages": [turn("user", f"q{n}"), turn("assistant", f"a{n}")], "id": n}
        for n in range(1000)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    sizes: list[int] = []
    whole = parquet.ParquetFile.iter_batches

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        for batch in whole(self, *args, **options):
            sizes.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    found = read(str(tmp_path / "x.parquet"), kind="sft")
    assert max(sizes) <= 256
    assert found.rows[999].completion == (Message("user", "q999"), Message("assistant", "a999"))
    assert found.rows[999].origin.line == 1000


def test_damaged_parquet_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"cannot be read as Parquet: .* Copy the file again"):
        read(str(path), kind="sft")


def test_a_folder_is_read_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "train.jsonl", *SFT)
    assert plain(read(str(folder), kind="sft").rows) == SFT
    datasets.DatasetDict({"other": datasets.Dataset.from_list(SFT)}).save_to_disk(
        tmp_path / "saved"
    )
    with pytest.raises(DataError, match=r"has no split 'train' \(found: other\)"):
        read(str(tmp_path / "saved"), kind="sft")


def test_a_hub_id_without_datasets_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs the package datasets. pip install 'palate\[hub\]'"):
        read("some/set", kind="sft")


def test_a_hub_id_that_cannot_be_reached_is_one_error() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match="'nobody/nothing' cannot be loaded as a data set"):
        read("nobody/nothing", kind="sft")


def test_a_missing_file_names_a_near_one(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", *SFT)
    with pytest.raises(DataError, match=r"pairs.jsnol does not exist. Near: .*/pairs.jsonl"):
        read(str(tmp_path / "pairs.jsnol"), kind="sft")


# ------------------------------------------------------------------ forms


def test_conversations_and_texts(tmp_path: Path) -> None:
    talk = [turn("user", "q"), turn("assistant", "a")]
    found = read(write(tmp_path / "m.jsonl", {"messages": talk}), kind="sft").rows[0]
    assert (found.prompt, found.completion) == (
        None,
        (Message("user", "q"), Message("assistant", "a")),
    )
    assert read(write(tmp_path / "t.jsonl", {"text": "once"}), kind="sft").rows[0].prompt is None


USER, GOOD, BAD = turn("user", "q"), turn("assistant", "good"), turn("assistant", "bad")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "q", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    ],
)
def test_every_form_of_a_preference_means_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read(write(tmp_path / "x.jsonl", row), kind="pairs").rows[0]
    assert found.prompt == (Message("user", "q"),)
    assert found.chosen == (Message("assistant", "good"),)
    assert found.rejected == (Message("assistant", "bad"),)


def test_what_two_conversations_share_is_the_prompt(tmp_path: Path) -> None:
    shared = [turn("system", "s"), USER, turn("assistant", "a"), turn("user", "more")]
    row = {"chosen": [*shared, GOOD], "rejected": [*shared, BAD]}
    found = read(write(tmp_path / "x.jsonl", row), kind="pairs").rows[0]
    assert len(found.prompt) == 4
    assert found.swapped().chosen == (Message("assistant", "bad"),)


def test_a_system_turn_before_a_text_prompt_is_kept(tmp_path: Path) -> None:
    start = [turn("system", "s"), USER]
    row = {"prompt": "q", "chosen": [*start, GOOD], "rejected": [*start, BAD]}
    found = read(write(tmp_path / "x.jsonl", row), kind="pairs").rows[0]
    assert found.prompt == (Message("system", "s"), Message("user", "q"))


def test_prompts_of_any_form(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "p": {"prompt": "q", "chosen": "a", "rejected": "b"},
        "m": {"messages": [USER, GOOD]},
        "u": {"messages": [USER]},
        "i": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    }
    found = {n: read_prompts(write(tmp_path / n, row)).rows[0] for n, row in rows.items()}
    assert found["p"].prompt == "q"
    assert found["p"].completion == ""
    assert {found[n].prompt for n in "mui"} == {(Message("user", "q"),)}


def test_sniff(tmp_path: Path) -> None:
    pairs = write(tmp_path / "p.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"})
    assert sniff(pairs) == "pairs"
    assert sniff(write(tmp_path / "s.jsonl", *SFT)) == "sft"
    assert sniff(pairs, {"completion": "chosen"}) == "sft"
    assert sniff(pairs, {"chosen": "rejected", "rejected": "chosen"}) == "pairs"


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    one = read(write(tmp_path / "a.jsonl", *SFT), kind="sft")
    (tmp_path / "b.json").write_text(json.dumps([{**row, "id": 1} for row in SFT], indent=3))
    renamed = [{"mr": row["prompt"], "human": row["completion"]} for row in SFT]
    mapped = read(write(tmp_path / "c.jsonl", *renamed), kind="sft", mapping=MAP)
    assert one.digest == read(str(tmp_path / "b.json"), kind="sft").digest == mapped.digest
    assert one.digest != read(write(tmp_path / "d.jsonl", *SFT[::-1]), kind="sft").digest


# ------------------------------------------------------------------ --map


def test_parse_map() -> None:
    assert parse_map(["prompt=mr,completion=human"]) == MAP
    assert parse_map(["prompt=mr", " completion = human "]) == MAP
    for flags, message in {
        ("prompt",): "is not FIELD=COLUMN",
        ("promt=mr",): "'promt' is no field of palate. .* Did you mean prompt?",
        ("mr=prompt",): "Did you mean prompt=mr?",
        ("prompt=a,prompt=b",): "names prompt twice",
    }.items():
        with pytest.raises(UsageError, match=message):
            parse_map(flags)


def test_a_map_that_nothing_reads_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *SFT)
    with pytest.raises(UsageError, match="--map chosen=prompt has no effect here"):
        read(path, kind="sft", mapping={"chosen": "prompt"})


# ------------------------------------------------------------------ real files


def test_real_files_read(shared_data: Path) -> None:
    hotel = read(str(shared_data / "rnnlg/hotel.train.jsonl"), kind="sft", mapping=MAP)
    assert len(hotel.rows) == 3223
    assert hotel.notes[0].endswith("fields without use here: baseline")
    ratings = read(str(shared_data / "human-ratings/pairs.jsonl"), kind="pairs")
    assert len(ratings.rows) == 511
    assert isinstance(ratings.rows[0], Pair)
    e2e = str(shared_data / "e2e/devel-fixed.no-ol.csv")
    assert len(read(e2e, kind="sft", mapping={"prompt": "mr", "completion": "ref"}).rows) == 4299
    kto = str(shared_data / "llamafactory/kto_en_demo.json")
    assert len(read(kto, kind="labelled").rows) == 300


@pytest.mark.parametrize(
    ("file", "kind", "proposal"),
    [
        ("rnnlg/hotel.train.jsonl", "sft", "--map prompt=mr,completion=human"),
        ("rnnlg/hotel.train.jsonl", "pairs", "--map prompt=mr,chosen=human,rejected=baseline"),
        ("e2e/devel-fixed.no-ol.csv", "sft", "--map prompt=mr,completion=ref"),
        ("llamafactory/alpaca_en_demo.json", "sft", "--map prompt=instruction,completion=output"),
        (
            "stack-exchange/stack_exchange_paired_tiny.json",
            "pairs",
            "--map prompt=question,chosen=response_j,rejected=response_k",
        ),
        ("human-ratings/pairs.jsonl", "sft", "--map completion=chosen"),
    ],
)
def test_the_error_proposes_a_map_that_reads(
    shared_data: Path, file: str, kind: Any, proposal: str
) -> None:
    path = str(shared_data / file)
    with pytest.raises(DataError) as caught:
        read(path, kind=kind, format="palate")
    assert proposal in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4
    mapping = parse_map([proposal.removeprefix("--map ")])
    try:
        assert read(path, kind=kind, mapping=mapping).rows
    except DataError as error:
        assert "missing" not in str(error)


def test_an_array_of_lists_is_refused_once(shared_data: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(str(shared_data / "rnnlg/hotel.valid.raw.json"), kind="sft")
    (problem,) = caught.value.problems
    assert problem.line == 7
    assert problem.what == "is a list, expected an object, in all 1075 rows"


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A line of 40 MB is passed over, not held; the rows around it are judged."""
    import tracemalloc

    path = tmp_path / "x.jsonl"
    with path.open("w") as file:
        file.write('{"prompt": "a", "completion": "b"}\n{"prompt": "')
        for _ in range(40):
            file.write("x" * 2**20)
        file.write('"}\n{"prompt": "a"}\n')
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read(str(path), kind="sft")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [problem.line for problem in caught.value.problems] == [2, 3]
    assert "is 40.0 MB (limit 16 MB). Is a newline missing?" in str(caught.value)
    assert peak < 60 * 2**20


def test_an_array_on_one_line_larger_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    row = json.dumps({"prompt": "a", "completion": "b" * 2**20})
    path.write_text(f"[{', '.join([row] * 20)}]")
    assert len(read(str(path), kind="sft").rows) == 20


def test_garbage_never_escapes_as_another_error(tmp_path: Path) -> None:
    """Bytes of a good file, damaged at random, are rows or a DataError."""
    good = "\n".join(json.dumps(row) for row in SFT * 3).encode()
    draw = random.Random(0)
    for trial in range(300):
        damaged = bytearray(good if trial % 2 else json.dumps(SFT * 3, indent=1).encode())
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(damaged))
            damaged[at : at + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
        path = tmp_path / "x.json"
        path.write_bytes(damaged)
        try:
            read(str(path), kind="sft")
        except (DataError, UsageError) as error:
            assert str(error)
