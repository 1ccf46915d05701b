"""Every likely mistake in a file of examples: the exact words, the line, the field, all at once."""

import gzip
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from palate.data.sources import read
from palate.errors import DataError

Kind = Literal["sft", "pairs"]
GOOD: dict[Kind, dict[str, Any]] = {
    "sft": {"prompt": "p", "completion": "c"},
    "pairs": {"prompt": "p", "chosen": "c", "rejected": "r"},
}
USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


def problems(path: Path, kind: Kind) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(str(path), kind=kind)
    assert caught.value.exit_code == 2
    return [str(p).replace(str(path), path.name) for p in caught.value.problems]


def bad(tmp_path: Path, kind: Kind, *rows: str | bytes) -> list[str]:
    """Problems of a file of a good row, then these rows."""
    raw = [row.encode("utf-8", "surrogatepass") if isinstance(row, str) else row for row in rows]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join([json.dumps(GOOD[kind]).encode(), *raw]) + b"\n")
    return problems(path, kind)


# ------------------------------------------------------------------ fields

PAIRS = {
    '{"prompt": "p", "chosen": "c", "reject": "r"}': "field 'rejected' is missing"
    " (found: prompt, chosen, reject). Did you mean 'reject' -> 'rejected'?"
    " Use --map rejected=reject.",
    '{"prompt": "p", "chosen": 3, "rejected": "r"}': "field 'chosen' is int 3, expected text or"
    ' a list of messages. Quote it: "3".',
    '{"prompt": "p", "chosen": null, "rejected": "r"}': "field 'chosen' is null, expected text or"
    " a list of messages. Write the text, or remove the row.",
    '{"prompt": "p", "chosen": {"a": 1}, "rejected": "r"}': "field 'chosen' is an object, expected"
    " text or a list of messages. Write the text, or remove the row.",
    '{"prompt": "p", "chosen": true, "rejected": "r"}': "field 'chosen' is true or false, expected"
    " text or a list of messages. Write the text, or remove the row.",
    '{"prompt": "p", "chosen": [], "rejected": "r"}': "field 'chosen' is a list, but line 1 has"
    " text. Use one form per file.",
    '{"prompt": "p", "chosen": " \\n", "rejected": "r"}': "field 'chosen' is empty (0 characters"
    " after trimming). Remove the row.",
    '{"prompt": "p", "chosen": "same", "rejected": "same"}': "field 'rejected' and 'chosen' are"
    " identical (sha d816...): no preference to learn. Remove the row.",
    '{"prompt": "p", "chosen": "c", "rejected": "r", "chosen": "d"}': "field 'chosen' appears"
    " twice. JSON keeps only one; remove the other.",
    '{"prompt": "p", "chosen": "c", "rejected": "r", "w": NaN}': "holds NaN, which JSON does not"
    " have. Write a finite number, or null.",
    '{"prompt": "p", "chosen": "c", "rejected": "r", "w": -Infinity}': "holds -Infinity, which JSON"
    " does not have. Write a finite number, or null.",
    '{"prompt": "p\\ud800", "chosen": "c", "rejected": "r"}': "field 'prompt' contains the lone"
    " surrogate U+D800, which no tokenizer accepts. Remove or repair the text.",
    '{"prompt": "p\\u0000", "chosen": "c", "rejected": "r"}': "field 'prompt' contains NUL at"
    " character 2. Remove it.",
    "3": 'is int 3, expected an object. Write objects: {"prompt": "...", "completion": "..."}.',
}


@pytest.mark.parametrize("row", PAIRS)
def test_a_bad_preference(tmp_path: Path, row: str) -> None:
    assert bad(tmp_path, "pairs", row) == [f"x.jsonl:2 {PAIRS[row]}"]


def test_a_type_that_changes_names_the_lines_before(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "p", "completion": [ANSWER]})
    good = json.dumps(GOOD["sft"])
    assert bad(tmp_path, "sft", good, good, row) == [
        "x.jsonl:4 field 'completion' is a list, but lines 1-3 have text. Use one form per file."
    ]


# ------------------------------------------------------------------ JSON

SYNTAX = {
    '{"prompt": "p", "completion": "c",}': "col 35 is not JSON: trailing comma before '}'."
    " Remove the comma.",
    "{'prompt': 'p', 'completion': 'c'}": "col 2: looks like a Python dict (single quotes, None,"
    " True). Write it with json.dumps, not str().",
    '{"prompt": "p", "completion": None}': "col 31: looks like a Python dict (single quotes, None,"
    " True). Write it with json.dumps, not str().",
    '{"prompt": "p", "completion": "c"},': "col 35: a comma follows the object."
    " Remove it: one object, no comma between.",
    '{"prompt": "p"} {"prompt": "p"}': "col 17: a second object on the same line."
    " Put each object on a line of its own.",
    '{"prompt": "a\tb", "completion": "c"}': "col 14 is not JSON: a raw line break, tab or control"
    " character in a text. Write it as \\n or \\t.",
    '{"prompt": p, "completion": "c"}': "col 12 is not JSON: expecting value."
    " Write it with json.dumps.",
    '{"prompt": "p", "completion": "c': "(last line) ends inside a string; the file was cut off."
    " Copy the file again, or close the object.",
    '{"prompt": "p", "completion": ': "is cut off: the file ends inside an object."
    " Copy the file again, or close the object.",
    "hello": "col 1 is not JSON: expecting value. Write it with json.dumps.",
}


@pytest.mark.parametrize("row", SYNTAX)
def test_what_is_not_json(tmp_path: Path, row: str) -> None:
    assert bad(tmp_path, "sft", row) == [f"x.jsonl:2 {SYNTAX[row]}"]


def test_a_digit_limit_and_a_nesting_limit(tmp_path: Path) -> None:
    deep, number = "[" * 100_000 + "]" * 100_000, "1" * 5000
    shallow = "[" * 70 + "]" * 70
    rows = [f'{{"prompt": "p", "completion": "c", "x": {x}}}' for x in (deep, number, shallow)]
    assert bad(tmp_path, "sft", *rows) == [
        "x.jsonl:2 is nested too deep (limit 64). Flatten it to text or messages.",
        "x.jsonl:3 holds a number of too many digits. Quote it as text.",
        "x.jsonl:4 is nested too deep (limit 64). Flatten it to text or messages.",
    ]
    fine = f'{{"prompt": "p", "completion": "c", "x": {"[" * 62}{"]" * 62}}}'
    (tmp_path / "fine.jsonl").write_text(fine)
    assert len(read(str(tmp_path / "fine.jsonl"), kind="sft").rows) == 1


def test_one_fault_does_not_hide_the_next(tmp_path: Path) -> None:
    """An object that is not closed, a raw line break, and good rows between bad ones."""
    good = json.dumps(GOOD["sft"])
    rows = (
        '{"prompt": "p",',
        '  "completion": "c"',
        good,
        '{"prompt": "p", "completion": "two',
        'lines"}',
        '{"prompt": "p", "completion": ""}',
        '{"prompt": "p",',
        '  "completion": oops',
        "}",
        '{"completion": "c"}',
    )
    assert bad(tmp_path, "sft", *rows) == [
        "x.jsonl:2 is not closed: the next object starts before its '}'. Close the object.",
        'x.jsonl:5 ends inside a string. Write a line break as \\n, and close each text with ".',
        "x.jsonl:7 field 'completion' is empty (0 characters after trimming). Remove the row.",
        "x.jsonl:9 col 17 is not JSON: expecting value. Write it with json.dumps.",
        "x.jsonl:11 field 'prompt' is missing (found: completion). Name it: --map prompt=FIELD.",
    ]


def test_faults_in_an_array_do_not_hide_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        '[{"prompt": "p", "completion": "c"},\n {"prompt": },\n\n {"prompt": "p"},\n'
        ' {"prompt": "p", "completion": ""}'
    )
    assert problems(path, "sft") == [
        "x.json:2 col 12 is not JSON: expecting value. Write it with json.dumps.",
        "x.json:4 field 'completion' is missing (found: prompt). Name it: --map completion=FIELD.",
        "x.json:5 is cut off: the file ends inside the array. Copy the file again, or add ']'.",
    ]


def test_nothing_follows_an_array(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"prompt": "p", "completion": "c"}]\n\n[]')
    assert problems(path, "sft") == [
        "x.json:3 text follows the array. Write one array, or one object per line."
    ]


# ------------------------------------------------------------------ containers and bytes

BYTES = {
    "gzip": (
        gzip.compress(b"{}"),
        "x.jsonl is gzip data. Unpack it first: gunzip < x.jsonl > unpacked.jsonl",
    ),
    "zip": (b"PK\x03\x04....", "x.jsonl is zip data. Unpack it first: unzip x.jsonl"),
    "zstd": (
        b"\x28\xb5\x2f\xfd..",
        "x.jsonl is zstd data. Unpack it first: unzstd < x.jsonl > unpacked.jsonl",
    ),
    "parquet": (b"PAR1....", "x.jsonl is Parquet data. Rename it to x.parquet."),
    "utf-16": (
        '{"prompt": "p"}'.encode("utf-16"),
        "x.jsonl starts with a UTF-16 mark. Convert it to UTF-8: iconv -f utf16 -t utf8 x.jsonl",
    ),
    "utf-16 bare": (
        ('{"prompt": "p", "completion": "c"}\n' * 3).encode("utf-16-le"),
        "x.jsonl looks like UTF-16 without a mark."
        " Convert it to UTF-8: iconv -f utf16le -t utf8 x.jsonl",
    ),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        "x.jsonl is a Git LFS pointer, not the data. Fetch the data itself: git lfs pull",
    ),
    "html": (
        b"<!DOCTYPE html><html>",
        "x.jsonl is a web page (HTML), not data. Download the raw file.",
    ),
    "empty": (b"", "x.jsonl has 0 rows. Give a file with at least one row."),
    "comments": (b"# nothing\n\n", "x.jsonl has 0 rows. Give a file with at least one row."),
    "empty array": (b"[ ]", "x.jsonl has 0 rows. Give a file with at least one row."),
}


@pytest.mark.parametrize("name", BYTES)
def test_the_wrong_container(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(BYTES[name][0])
    assert problems(path, "sft") == [BYTES[name][1]]


def test_json_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_text(json.dumps(GOOD["sft"]))
    assert problems(path, "sft") == ["x.parquet is not Parquet data. Rename it to x.jsonl."]


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    row = '{"prompt": "p\u00e9\u00e9", "completion": "c"}'
    cut = '{"prompt": "p", "completion": "\u00e9"}'.encode()[:-3]
    rows = (row, row.encode("latin-1"), cut + b'"}')
    assert bad(tmp_path, "sft", *rows) == [
        "x.jsonl:3 byte 0xE9 at column 14 is not UTF-8 (looks like Latin-1)."
        " Convert it: iconv -f latin1 -t utf8.",
        "x.jsonl:4 byte 0xC3 at column 32 is not UTF-8 (looks like Latin-1)."
        " Convert it: iconv -f latin1 -t utf8.",
    ]
    path = tmp_path / "y.json"
    path.write_bytes(b'[\n{"prompt": "p", "completion": "\xe9"}]')
    assert problems(path, "sft") == [
        "y.json:2 byte 0xE9 at column 32 is not UTF-8 (looks like Latin-1)."
        " Convert it: iconv -f latin1 -t utf8."
    ]


def test_csv_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'prompt,completion,prompt\na,b,c\na,b\n"a\nb",,x\n\xff,b,c\na,"b')
    assert problems(path, "sft") == [
        "x.csv:1 field 'prompt' names two columns. Rename one of them.",
        "x.csv:3 has 2 columns, the header has 3."
        " Put quotes around a text that holds the delimiter.",
        "x.csv:4 field 'completion' is empty (0 characters after trimming). Remove the row.",
        "x.csv:6 byte 0xFF at column 1 is not UTF-8 (looks like Latin-1)."
        " Convert it: iconv -f latin1 -t utf8.",
        'x.csv:7 is not CSV: unexpected end of data. Close each quoted cell; write " inside as "".',
    ]


# ------------------------------------------------------------------ conversations

MESSAGES: list[tuple[Any, str]] = [
    ([USER], "has no assistant message: nothing to train on. Remove the row."),
    (
        [USER, ANSWER, USER],
        "ends with a user message. The last turn must be the assistant's.",
    ),
    ([], "is an empty list. Remove the row."),
    (
        [{"from": "human", "value": "q"}, ANSWER],
        "message 1 has 'from' and 'value' (ShareGPT)."
        " Use --format sharegpt, or rename from -> role (human -> user, gpt -> assistant)"
        " and value -> content.",
    ),
    (
        [{"role": "human", "content": "q"}, ANSWER],
        "message 1 has role 'human'. Allowed: system, user, assistant, tool."
        " ShareGPT file? Use --format sharegpt.",
    ),
    (
        [USER, {"content": "a"}],
        "message 2 has no role (found: content). Give it one of: system, user, assistant, tool.",
    ),
    (
        [USER, {"role": ["assistant"], "content": "a"}],
        "message 2 has no role (found: role, content)."
        " Give it one of: system, user, assistant, tool.",
    ),
    (
        [USER, {"role": "assistant", "content": None}],
        "message 2 content is null (tool call?). Text is required here.",
    ),
    (
        [USER, {"role": "assistant", "content": [{"type": "image_url", "image_url": {}}]}],
        "message 2 holds a part of type 'image_url'. palate reads text alone; remove the row.",
    ),
    ([USER, {"role": "assistant"}], "message 2 has no content. Text is required here."),
    (
        [USER, {"role": "assistant", "content": " "}],
        "message 2 (assistant) is empty. Remove the row.",
    ),
    (
        [USER, "a"],
        'message 2 is text, expected role and content. Write {"role": "user", "content": "..."}.',
    ),
    ("q a", "is text, expected a list of messages. Use --map text=messages."),
]


@pytest.mark.parametrize(("messages", "message"), MESSAGES)
def test_a_bad_conversation(tmp_path: Path, messages: Any, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"messages": messages}))
    assert problems(path, "sft") == [f"x.jsonl:1 field 'messages' {message}"]


def test_all_faults_of_one_conversation(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "human", "content": "q"}, {}]}))
    assert len(problems(path, "sft")) == 2


SIDES: list[tuple[dict[str, Any], str]] = [
    (
        {"chosen": [USER, ANSWER], "rejected": [{"role": "user", "content": "qu"}, OTHER]},
        "field 'rejected' and 'chosen' start from different prompts (first difference: message 1,"
        " character 2). The two sides of a pair share their prompt.",
    ),
    (
        {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER, USER, OTHER]},
        "field 'chosen' is only the start of the other side. Remove the row.",
    ),
    (
        {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]},
        "field 'rejected' and 'chosen' are identical (sha 7557...): no preference to learn."
        " Remove the row.",
    ),
    (
        {"chosen": [USER, ANSWER, USER], "rejected": [USER, OTHER]},
        "field 'chosen' ends with a user message. The last turn must be the assistant's.",
    ),
    (
        {"chosen": [ANSWER], "rejected": [OTHER]},
        "field 'rejected' and 'chosen' start from different prompts (first difference: message 1,"
        " character 1). The two sides of a pair share their prompt.",
    ),
    (
        {"chosen": "User: q\nAssistant: a", "rejected": "User: q\nAssistant: b"},
        "field 'prompt' is missing, and two texts do not say where it ends."
        " Add the prompt, or give two lists of messages.",
    ),
    (
        {"prompt": [USER], "chosen": [USER, USER, ANSWER], "rejected": [USER, OTHER]},
        "field 'chosen' goes on from the prompt with a user message."
        " A side starts with the assistant's turn, or repeats the prompt.",
    ),
    (
        {"prompt": "another", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        "field 'prompt' is not the user's text at the start of 'chosen' and 'rejected'."
        " Leave it out, or start 'chosen' with the assistant's turn.",
    ),
    (
        {"prompt": "q", "chosen": "a", "rejected": [OTHER]},
        "field 'rejected' and 'chosen' differ in form: text and messages. Use one form per file.",
    ),
]


@pytest.mark.parametrize(("row", "message"), SIDES)
def test_bad_sides(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row))
    assert problems(path, "pairs") == [f"x.jsonl:1 {message}"]


# ------------------------------------------------------------------ the wrong file, and the counts


def test_each_kind_of_file_names_the_other_command(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD["pairs"]))
    assert problems(path, "sft") == [
        "x.jsonl is a preference file: it has 'chosen' and 'rejected'. To imitate the chosen side,"
        " use --map completion=chosen; to prefer it, use palate dpo."
    ]
    assert read(str(path), kind="sft", mapping={"completion": "chosen"}).rows[0].completion == "c"
    path.write_text(json.dumps(GOOD["sft"]))
    assert problems(path, "pairs") == [
        "x.jsonl is an SFT file: it has 'prompt' and 'completion'."
        " Preferences need 'chosen' and 'rejected'; to imitate, use palate sft."
    ]


def test_every_bad_row_is_counted_and_twenty_are_shown(tmp_path: Path) -> None:
    good, blank = json.dumps(GOOD["sft"]), json.dumps({"prompt": "p", "completion": ""})
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([good] * 10 + [blank] * 50 + ["[1]"]))
    with pytest.raises(DataError) as caught:
        read(str(path), kind="sft")
    lines = str(caught.value).splitlines()
    assert len(caught.value.problems) == 51
    assert "... and 30 more of this kind" in lines
    assert lines[-1] == "51 problems; nothing was started."
    assert any("x.jsonl:61 is a list" in line for line in lines)
