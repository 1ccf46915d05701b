"""Files made to hurt: refused in seconds, in bounded memory, with a line; and any bytes at all.

Each file is checked by a process of its own, whose peak memory and time are measured.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.arrays import read_array
from palate.data.decode import NESTING_LIMIT, PATIENCE, Found, Record
from palate.data.jsonl import Tally, is_array, read_objects
from palate.data.sources import survey
from palate.data.tables import read_csv, read_parquet
from palate.errors import Problem

MB = 1 << 20
GOOD = b'{"prompt": "p", "chosen": "c", "rejected": "r"}\n'
MEMORY = 512 * MB
SECONDS = 30.0  # each takes a second or two alone; a busy machine is slower
_CHECK = """
import sys
from palate import cli
code = cli.run(["check", sys.argv[1], "--json"])
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
sys.exit(code)
"""


@dataclass(frozen=True)
class Seen:
    """What `palate check` said, its peak memory in bytes, and the seconds it took."""

    told: list[str]
    peak: int
    seconds: float


def check(path: Path) -> Seen:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, str(path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 2 and not done.stderr, done.stderr
    said, peak = done.stdout.splitlines()
    told = [f"{p['line']} {p['field']} {p['what']}" for p in json.loads(said)["problems"]]
    return Seen(told, int(peak) * 1024, time.monotonic() - started)


def numbered(count: int, distinct: int) -> bytes:
    return b",".join(b'"k%d": 1' % (n % distinct) for n in range(count))


TEXTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "deep line": (
        "x.jsonl",
        lambda: GOOD + b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        "2  is nested too deep (limit 64)",
    ),
    "deep and open": (
        "x.jsonl",
        lambda: GOOD + b'{"x": ' + b"[" * 8 * MB + b"\n",
        "2  is nested too deep (limit 64)",
    ),
    "deep over lines": (
        "x.jsonl",
        lambda: GOOD + b'{"x":\n' + b"[\n" * 200_000,
        "2  is nested too deep (limit 64)",
    ),
    "deep array": (
        "x.json",
        lambda: b'[{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        "1  is nested more than 640 deep (limit 64)",
    ),
    "a million objects": (
        "x.jsonl",
        lambda: GOOD + b'{"x": [' + b'{"":0},' * 1_100_000 + b"0]}\n",
        "2  holds more than 1,000,000 lists and objects",
    ),
    "escapes": (
        "x.jsonl",
        lambda: GOOD + b'{"prompt": "' + b"\\n" * 7 * MB + b'"}\n',
        "2 rejected is missing (found: prompt)",
    ),
    "many keys": (
        "x.jsonl",
        lambda: b"{" + numbered(300_000, 300_000) + b"}\n",
        "1  has 300,000 fields (limit 1,000)",
    ),
    "many keys twice": (
        "x.jsonl",
        lambda: GOOD + b"{" + numbered(300_000, 150_000) + b"}\n",
        "2 k19 appears twice",
    ),
    "a million NaN": (
        "x.jsonl",
        lambda: GOOD + b'{"x": [' + b"NaN," * 1_000_000 + b"0]}\n",
        "2  holds NaN, which JSON does not have",
    ),
    "a number of 100,000 digits": (
        "x.jsonl",
        lambda: GOOD + b'{"x": ' + b"1" * 100_000 + b"}\n",
        "2  holds a number of too many digits",
    ),
    "surrogates in names": (
        "x.jsonl",
        lambda: GOOD + b'{"x\\ud800": 1, "x\\ud800": 2}\n',
        "2 x? appears twice",
    ),
    "an over-long form": (
        "x.jsonl",
        lambda: GOOD + b'{"x": "\xc0\x80"}\n',
        "2  byte 0xC0 at column 8 is not UTF-8 (a form that UTF-8 forbids)",
    ),
    "a tail of NUL": (
        "x.jsonl",
        lambda: GOOD + b"\0" * 5000,
        "2  holds NUL bytes from column 1 on: it was not written to its end",
    ),
    "nothing but NUL": (
        "x.jsonl",
        lambda: b"\0" * 5000,
        "0  begins with NUL bytes: it was never written",
    ),
    "blank lines": (
        "x.jsonl",
        lambda: b"\n" * 1_100_000,
        "0  has 1,000,000 blank or comment lines before its first object",
    ),
    "the wrong file": (
        "x.jsonl",
        lambda: b"x\n" * 5 * MB,
        "0  has 10,000 faults by now; the rest was not read",
    ),
    "commas": (
        "x.json",
        lambda: b"[" + b"," * 5 * MB,
        "0  has 10,000 faults by now; the rest was not read",
    ),
    "a million columns": (
        "x.csv",
        lambda: b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n",
        "1  has 1,000,000 fields (limit 1,000)",
    ),
    "a giant cell": (
        "x.csv",
        lambda: b"prompt,completion\np," + b"x" * 40 * MB + b"\n",
        "2  is 40.0 MB (limit 16 MB)",
    ),
    "an open quote": (
        "x.csv",
        lambda: b'prompt,completion\np,"' + b"x\n" * 5 * MB,
        "2  is not CSV: a quoted cell goes on for more than 10,000 lines",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_refused_in_seconds(tmp_path: Path, name: str) -> None:
    file, content, told = TEXTS[name]
    (tmp_path / file).write_bytes(content())
    seen = check(tmp_path / file)
    assert told in seen.told
    assert seen.peak < MEMORY and seen.seconds < SECONDS
    (tmp_path / file).unlink()


@pytest.mark.parametrize(
    ("name", "start", "told"),
    [
        ("x.jsonl", GOOD, "2  holds NUL bytes from column 1 on: it was not written to its end"),
        ("x.json", b"[" + GOOD.strip() + b",", "1  holds an element of more than 16 MB"),
    ],
)
def test_a_gigabyte_on_one_line(tmp_path: Path, name: str, start: bytes, told: str) -> None:
    """Sparse: it takes no room on the disk."""
    with (tmp_path / name).open("wb") as file:
        file.write(start)
        file.truncate(1 << 30)
    seen = check(tmp_path / name)
    assert seen.told == [told] and seen.peak < MEMORY and seen.seconds < SECONDS
    (tmp_path / name).unlink()


# ------------------------------------------------------------------ Parquet


def bomb(path: Path) -> None:
    """20 GB of text in a dictionary of one entry."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    big = pa.DictionaryArray.from_arrays(
        pa.array([0] * 2000, pa.int32()), pa.array(["x" * 10 * MB])
    )
    rest = [str(n) for n in range(2000)]
    pq.write_table(pa.table({"prompt": rest, "chosen": big, "rejected": rest}), path)


def nested_bomb(path: Path) -> None:
    """300 MB of messages in one row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array(["y" * MB]))
    turns = pa.StructArray.from_arrays(
        [pa.array(["user"] * 300), content.cast(pa.string())], ["role", "content"]
    )
    rows = pa.ListArray.from_arrays(pa.array([0, 300], pa.int32()), turns)
    pq.write_table(pa.table({"messages": rows}), path, dictionary_pagesize_limit=64 * MB)


def zeros(path: Path) -> None:
    """200 MB of one letter."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"prompt": ["p"] * 8, "completion": ["x" * 25 * MB] * 8})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def nulls(path: Path) -> None:
    """Ten million rows of nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt": pa.nulls(10_000_000, pa.string())}), path)


GROWS = "grows to more than 100 times its size and 64 MB"


@pytest.mark.parametrize(
    ("make", "told"),
    [(bomb, GROWS), (nested_bomb, GROWS), (zeros, GROWS), (nulls, GROWS)],
)
def test_a_parquet_bomb(tmp_path: Path, make: Callable[[Path], None], told: str) -> None:
    path = tmp_path / "x.parquet"
    make(path)
    assert path.stat().st_size < 2 * MB
    seen = check(path)
    assert any(told in line for line in seen.told), seen.told
    assert seen.peak < MEMORY and seen.seconds < SECONDS


def test_parquet_that_is_damaged_or_too_deep(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    deep = pa.string()
    for _ in range(120):
        deep = pa.list_(deep)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"prompt": pa.array([None], deep)}), path)
    (problem,) = survey(str(path)).problems
    assert "cannot be read as Parquet: Parquet schema too deeply nested" in problem.what
    offsets = pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    bad = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    good = pa.array(["p"])
    prompts = pa.concat_arrays([good, bad, good])
    pq.write_table(pa.table({"prompt": prompts, "completion": ["c"] * 3}), path)
    found = survey(str(path))
    assert [str(p) for p in found.problems] == [
        f"{path}:2 holds a text that is not UTF-8. Mend or remove the row."
    ]
    assert [row.origin.line for row in found.rows] == [1, 3]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"PAR1")
    assert "cannot be read as Parquet" in survey(str(path)).problems[0].what


def test_a_parquet_row_over_the_limit_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    texts = ["c", "x" * 17 * MB, *(str(n) for n in range(600)), "y" * 9 * MB, "z" * 9 * MB]
    pq.write_table(pa.table({"prompt": ["p"] * len(texts), "completion": texts}), path)
    found = survey(str(path))
    assert [(p.line, p.what) for p in found.problems] == [(2, "is 17.0 MB (limit 16 MB)")]
    assert [row.sides["completion"] for row in found.rows] == [texts[0], *texts[2:]]


# ------------------------------------------------------------------ limits from both sides


def test_the_nesting_limit_is_one_limit(tmp_path: Path) -> None:
    """Line, lines and array agree on what is too deep."""
    for depth in (NESTING_LIMIT - 1, NESTING_LIMIT, NESTING_LIMIT + 1, NESTING_LIMIT + 2):
        value = '{"prompt": "p", "completion": "c", "x": ' + "[" * depth + "]" * depth + "}"
        spread = value.replace("[", "[\n")
        found = []
        for name, text in (("a.jsonl", value), ("b.jsonl", spread), ("c.json", f"[{value}]")):
            (tmp_path / name).write_text(text)
            found.append(len(survey(str(tmp_path / name)).problems))
        assert found == [int(depth > NESTING_LIMIT)] * 3, depth


def test_rows_of_the_wrong_form_are_not_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 3 * PATIENCE)
    assert len(survey(str(path)).problems) == PATIENCE + 1


def test_a_file_with_more_sound_rows_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes((GOOD + b"[1]\n") * (PATIENCE + 1) + GOOD)
    found = list(read_objects(path, Tally()))
    assert sum(isinstance(one, Problem) for one in found) == PATIENCE + 1
    assert sum(isinstance(one, Record) for one in found) == PATIENCE + 2


# ------------------------------------------------------------------ any lines, any bytes

LINES = 200  # of each example: 60 examples are 12,000 lines
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
_NAMES = st.sampled_from(["prompt", "chosen", "rejected", "messages", "completion", "label"])
_ROW = st.dictionaries(_NAMES, _JSON | st.just("text"), max_size=4)
_LINE = (_JSON | _ROW).map(json.dumps).map(str.encode) | st.binary(max_size=30)


def placed(found: list[Found], lines: int) -> None:
    """Records and problems alone, each at a line of the file."""
    assert all(isinstance(one, Record | Problem) for one in found)
    assert all(0 <= one.line <= lines + 1 for one in found)
    for one in found:
        str(one).encode()  # what is said can be printed


@settings(max_examples=60)
@given(seeds=st.lists(_LINE, min_size=8, max_size=8), turn=st.randoms(use_true_random=False))
def test_any_lines_end_in_rows_or_in_placed_problems(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[bytes], turn: Random
) -> None:
    """10,000 lines: arbitrary JSON, arbitrary bytes, and pieces of both put together."""
    lines = [turn.choice(seeds) for _ in range(LINES)]
    cut = [line[: turn.randrange(len(line) + 1)] if turn.random() < 0.3 else line for line in lines]
    raw = b"\n".join(cut)
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(raw)
    count = raw.count(b"\n") + 1
    tally = Tally()
    is_array(path, tally)
    placed(list(read_objects(path, tally)), count)
    placed(list(read_array(path, Tally())), count)
    placed(list(read_csv(path)), count)
    found = survey(str(path))
    assert all(problem.path.startswith(str(path)) for problem in found.problems)


@settings(max_examples=100)
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_no_parquet(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    path.write_bytes(b"PAR1" + raw + b"PAR1")
    found = list(read_parquet(path))
    assert all(isinstance(one, Problem) for one in found)
