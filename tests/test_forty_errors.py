"""The forty likeliest mistakes, by number: the words, the line, the exit code, and nothing written.

Number 40 is about the judging page, which never listens beyond this machine, whatever is asked.
"""

import errno
import fcntl
import gzip
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from faults import Disk
from palate import cli
from palate.runs import atomic, folder
from palate.train import stage as stages

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
PAIRS = [{"prompt": f"p{n}", "chosen": f"yes {n}", "rejected": "no"} for n in range(12)]
USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
TALK = {"messages": [USER, ANSWER]}
SIZES = ["--batch-size", "4", "--max-steps", "2", "--save-every", "1", "--token-budget", "64"]
ALTERNATE = (
    "{% for m in messages %}{% if loop.index0 % 2 != (0 if m.role == 'user' else 1) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_SYSTEM = ALTERNATE.replace("in messages %}", "in messages if m.role != 'system' %}")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "m", "llama", num_hidden_layers=1)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, so that messages name plain files."""
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def write(name: str, *rows: Any) -> None:
    """Rows as JSON lines; text and bytes stand as they are."""
    texts = [row if isinstance(row, str | bytes) else json.dumps(row) for row in rows]
    raw = [t if isinstance(t, bytes) else t.encode("utf-8", "surrogatepass") for t in texts]
    Path(name).write_bytes(b"".join(text + b"\n" for text in raw))


def train(stage: str, model: Path | str, *more: str, data: str = "x.jsonl") -> list[str]:
    return [stage, "--model", str(model), "--data", data, "--out", "run", *SIZES, *more]


def files() -> dict[Path, int]:
    """Everything here and when it was written, but for the lock of a run."""
    found = (path for path in Path.cwd().rglob("*") if path.name != "lock")
    return {path: path.stat().st_mtime_ns for path in found}


def said(words: list[str], capsys: pytest.CaptureFixture[str], *, code: int = 2) -> str:
    """What a refused command says; it must leave nothing behind."""
    before = files()
    capsys.readouterr()
    assert cli.run(words) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told and told.startswith("error: "), told
    assert files() == before
    return told.removeprefix("error: ").rstrip("\n")


# ------------------------------------------------------------------ 1 to 26: the file

MISSING = '{"prompt": "p", "chosen": "c", "reject": "r"}'
ROWS: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "01 missing field": (
        "dpo",
        (PAIR, MISSING),
        "x.jsonl:2 field 'rejected' is missing (found: prompt, chosen, reject)."
        " Did you mean 'reject' -> 'rejected'? Use --map rejected=reject.",
    ),
    "02 wrong type": (
        "dpo",
        (PAIR, PAIR | {"chosen": 3}),
        "x.jsonl:2 field 'chosen' is int 3, expected text or a list of messages. Quote it: \"3\".",
    ),
    "03 type changes": (
        "dpo",
        (PAIR, PAIR, PAIR | {"chosen": [ANSWER]}),
        "x.jsonl:3 field 'chosen' is a list, but lines 1-2 have text. Use one form per file.",
    ),
    "04 blank completion": (
        "dpo",
        (PAIR, PAIR | {"chosen": " \n"}),
        "x.jsonl:2 field 'chosen' is empty (0 characters after trimming). Remove the row.",
    ),
    "05 identical sides": (
        "dpo",
        (PAIR, PAIR | {"chosen": "r"}),
        "x.jsonl:2 field 'rejected' and 'chosen' are identical (sha 5bde...):"
        " no preference to learn. Remove the row.",
    ),
    "10 not UTF-8": (
        "dpo",
        (PAIR, b'{"prompt": "caf\xe9", "chosen": "c", "rejected": "r"}'),
        "x.jsonl:2 byte 0xE9 at column 16 is not UTF-8 (looks like Latin-1)."
        " Convert it: iconv -f latin1 -t utf8.",
    ),
    "11 UTF-16": (
        "dpo",
        ("\ufeff{}".encode("utf-16-le"),),
        "x.jsonl starts with a UTF-16 mark. Convert it to UTF-8: iconv -f utf16 -t utf8 x.jsonl",
    ),
    "12 CRLF and blank lines": (
        "dpo",
        (json.dumps(PAIR) + "\r", "\r", json.dumps(PAIR | {"chosen": ""}) + "\r"),
        "x.jsonl:3 field 'chosen' is empty (0 characters after trimming). Remove the row.",
    ),
    "13 JSON array": (
        "dpo",
        (json.dumps([PAIR, PAIR | {"chosen": ""}], indent=1),),
        "x.jsonl:7 field 'chosen' is empty (0 characters after trimming). Remove the row.",
    ),
    "14 trailing comma": (
        "dpo",
        (PAIR, '{"prompt": "p", "chosen": "c", "rejected": "r",}'),
        "x.jsonl:2 col 48 is not JSON: trailing comma before '}'. Remove the comma.",
    ),
    "14 Python dict": (
        "dpo",
        (PAIR, str(PAIR)),
        "x.jsonl:2 col 2: looks like a Python dict (single quotes, None, True)."
        " Write it with json.dumps, not str().",
    ),
    "15 cut-off last line": (
        "dpo",
        (PAIR, '{"prompt": "p", "chosen": "c'),
        "x.jsonl:2 (last line) ends inside a string; the file was cut off."
        " Copy the file again, or close the object.",
    ),
    "16 gzip": (
        "dpo",
        (gzip.compress(b"{}"),),
        "x.jsonl is gzip data. Unpack it first: gunzip < x.jsonl > unpacked.jsonl",
    ),
    "16 zip": ("dpo", (b"PK\x03\x04.",), "x.jsonl is zip data. Unpack it first: unzip x.jsonl"),
    "16 spreadsheet under its name": (
        "dpo",
        (b"prompt;chosen;rejected", b"p;c;r"),
        "x.jsonl looks like CSV, not JSON: its first line is prompt;chosen;rejected."
        " Rename it to x.csv.",
    ),
    "16 Parquet": ("dpo", (b"PAR1....",), "x.jsonl is Parquet data. Rename it to x.parquet."),
    "16 web page": (
        "dpo",
        (b"<!DOCTYPE html>",),
        "x.jsonl is a web page (HTML), not data. Download the raw file.",
    ),
    "16 Git LFS": (
        "dpo",
        (b"version https://git-lfs.github.com/spec/v1", b"oid sha256:1"),
        "x.jsonl is a Git LFS pointer, not the data. Fetch the data itself: git lfs pull",
    ),
    "17 empty file": ("dpo", (), "x.jsonl has 0 rows. Give a file with at least one row."),
    "18 duplicate key": (
        "dpo",
        (PAIR, '{"prompt": "p", "chosen": "c", "chosen": "d", "rejected": "r"}'),
        "x.jsonl:2 field 'chosen' appears twice. JSON keeps only one; remove the other.",
    ),
    "20 lone surrogate": (
        "dpo",
        (PAIR, '{"prompt": "\\ud800", "chosen": "c", "rejected": "r"}'),
        "x.jsonl:2 field 'prompt' contains the lone surrogate U+D800, which no tokenizer accepts."
        " Remove or repair the text.",
    ),
    "20 NUL": (
        "dpo",
        (PAIR, '{"prompt": "p\\u0000", "chosen": "c", "rejected": "r"}'),
        "x.jsonl:2 field 'prompt' contains NUL at character 2. Remove it.",
    ),
    "21 line too long": (
        "dpo",
        (PAIR, '{"prompt": "' + "x" * 17 * 2**20 + '"}'),
        "x.jsonl:2 is 17.0 MB (limit 16 MB). Is a newline missing?",
    ),
    "21 nested too deep": (
        "dpo",
        (PAIR, '{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        "x.jsonl:2 is nested too deep (limit 64). Flatten it to text or messages.",
    ),
    "22 unknown role": (
        "sft",
        (TALK, {"messages": [{"role": "human", "content": "q"}, ANSWER]}),
        "x.jsonl:2 field 'messages' message 1 has role 'human'. Allowed: system, user, assistant,"
        " tool. ShareGPT file? Use --format sharegpt.",
    ),
    "24 no assistant turn": (
        "sft",
        (TALK, {"messages": [USER]}),
        "x.jsonl:2 field 'messages' has no assistant message: nothing to train on. Remove the row.",
    ),
    "24 last turn not the assistant's": (
        "sft",
        (TALK, {"messages": [USER, ANSWER, USER]}),
        "x.jsonl:2 field 'messages' ends with a user message. The last turn must be the"
        " assistant's.",
    ),
    "25 content null": (
        "sft",
        (TALK, {"messages": [USER, {"role": "assistant", "content": None}]}),
        "x.jsonl:2 field 'messages' message 2 content is null (tool call?). Text is required here.",
    ),
    "26 prompts differ": (
        "dpo",
        (
            {
                "chosen": [USER, ANSWER],
                "rejected": [{"role": "user", "content": "qu"}, ANSWER],
            },
        ),
        "x.jsonl:1 field 'rejected' and 'chosen' start from different prompts (first difference:"
        " message 1, character 2). The two sides of a pair share their prompt.",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_file(base: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    stage, rows, told = ROWS[name]
    write("x.jsonl", *rows)
    assert said(train(stage, base), capsys) == told


def checked(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """What `palate check --json` says of sound rows: exit code 1, one object, nothing written."""
    capsys.readouterr()
    assert cli.run(["check", *words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    return found["warnings"][0]


def test_06_the_same_within_the_limit(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A completion is never cut here, so no difference can be cut off: the row is refused."""
    long = "x" * 60
    write("x.jsonl", *PAIRS[:11], PAIR | {"chosen": long + "a", "rejected": long + "b"})
    told = said(train("dpo", base, "--max-length", "32"), capsys).splitlines()
    assert told[1] == (
        "x.jsonl:12 needs 64 tokens, the limit is 32 (prompt 2 + completion 62)."
        " Shorten the completion, or use --drop-long."
    )


def test_07_duplicates(capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS, PAIRS[2])
    assert checked(["x.jsonl"], capsys)["what"] == (
        "lines 3 and 13 are the same pair; 1 of 13 rows repeat an earlier one (7.7%)"
    )


def test_08_contradictions(capsys: pytest.CaptureFixture[str]) -> None:
    swapped = PAIRS[2] | {"chosen": "no", "rejected": "yes 2"}
    write("x.jsonl", *PAIRS, swapped)
    assert checked(["x.jsonl"], capsys)["what"] == (
        "lines 3 and 13 prefer opposite answers to one prompt; 1 contradiction"
    )


def test_09_overlap(capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS)
    write("eval.jsonl", PAIR, PAIRS[3] | {"chosen": "other"})
    found = checked(["x.jsonl", "--heldout", "eval.jsonl"], capsys)
    assert found["what"] == "eval.jsonl:2 has the same prompt as x.jsonl:4 (1 of 2)"
    assert "leave --heldout out: palate divides by prompt" in found["todo"]


def test_17_all_rows_filtered(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS)
    told = said(train("dpo", base, "--max-length", "3", "--drop-long"), capsys)
    assert "longer than 3 tokens" in told and "the shortest 9): 0 usable rows" in told


@pytest.mark.parametrize(("weight", "told"), [("NaN", "holds NaN"), ("1e999", "is float inf")])
def test_19_a_weight_that_is_no_number(
    base: Path, capsys: pytest.CaptureFixture[str], weight: str, told: str
) -> None:
    row = '{"prompt": "p", "completion": "c", "weight": %s}'
    write("x.jsonl", row % 1.0, row % weight)
    found = said(train("sft", base, "--objective", "weighted_sft"), capsys)
    assert found.startswith("x.jsonl:2 ") and told in found


# ------------------------------------------------------------------ 23, 27 to 31: the tokenizer


def test_23_role_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.folder(tmp_path / "m", num_hidden_layers=1, chat_template=ALTERNATE)
    write("x.jsonl", TALK, {"messages": [USER, USER, ANSWER]})
    assert said(train("sft", model), capsys) == (
        "x.jsonl:2 is refused by the chat template: Conversation roles must alternate"
        " user/assistant. Bring the turns into an order that the model's template takes."
    )


def test_27_no_chat_template(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", TALK)
    assert said(train("sft", base), capsys) == (
        "These rows are conversations, and the model has no chat template."
        " Pass --chat-template plain-turns (or chatml, or a file)."
    )


def test_28_a_template_that_loses_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.folder(tmp_path / "m", num_hidden_layers=1, chat_template=NO_SYSTEM)
    write("x.jsonl", {"messages": [{"role": "system", "content": "be brief"}, USER, ANSWER]})
    assert said(train("sft", model), capsys) == (
        "x.jsonl:1 field 'messages' message 1 (system) is lost or changed by the chat template."
        " Remove the message, or use another template."
    )


def test_29_context_overflow(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS[:5], PAIRS[5] | {"prompt": "x" * 400})
    head, row, *_ = said(train("dpo", base), capsys).splitlines()
    assert head.startswith("1 of 6 rows longer than 256 tokens")
    assert row == (
        "x.jsonl:6 needs 407 tokens, the limit is 256 (prompt 401 + completion 6); the prompt alone"
        " fills it. Use --truncate prompt-left or --drop-long, or raise --max-length."
    )


def changed(base: Path, to: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a model folder with one JSON file changed."""
    shutil.copytree(base, to)
    found = json.loads((to / name).read_text())
    change(found)
    (to / name).write_text(json.dumps(found))
    return to


def test_30_no_eos(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = changed(base, tmp_path / "m", "tokenizer_config.json", lambda c: c.pop("eos_token"))
    write("x.jsonl", *PAIRS)
    assert said(train("dpo", to), capsys) == (
        "The tokenizer has no EOS token: answers would never end."
        " Set eos_token in the model's tokenizer_config.json."
    )


def test_31_vocabulary_mismatch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.folder(tmp_path / "m", num_hidden_layers=1, vocab_size=290)
    write("x.jsonl", *PAIRS)
    assert said(train("dpo", model), capsys).startswith(
        f"{model}: the tokenizer has ids up to 299, but the embedding has 290 rows;"
        " 10 tokens are past its end"
    )


# ------------------------------------------------------------------ 32 to 35: the model


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("./modle", "'./modle' is not a folder and not a hub id. Near: model"),
        (
            "modles/qwen",
            "'modles/qwen' is not a folder, and cannot be had from the hub: the hub cannot be"
            " reached, and the model was not downloaded before. Near: models/qwen",
        ),
    ],
)
def test_32_a_misspelt_model(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    (place / "model").mkdir()
    (place / "models" / "qwen").mkdir(parents=True)
    write("x.jsonl", *PAIRS)
    assert said(train("dpo", name), capsys) == told


def test_33_pickled_weights(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(base, tmp_path / "m")
    (model / "model.safetensors").unlink()
    torch.save({"w": torch.zeros(2)}, model / "pytorch_model.bin")
    write("x.jsonl", *PAIRS)
    told = said(train("dpo", model), capsys)
    assert told.startswith(f"{model} has only pickled weights (pytorch_model.bin), which can run")
    assert "Convert them once, where you trust them" in told


def test_33_remote_code(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C"}}
    model = changed(base, tmp_path / "m", "config.json", lambda c: c.update(own))
    (model / "mine.py").write_text("open('ran', 'w')")
    write("x.jsonl", *PAIRS)
    assert said(train("dpo", model), capsys) == (
        f"{model} brings its own Python code, which palate does not run."
        " Use a model whose architecture transformers knows."
    )


@pytest.fixture
def run(base: Path, place: Path) -> Path:
    """A finished run of two steps."""
    write("x.jsonl", *PAIRS)
    assert cli.run(train("dpo", base, "--beta", "0.1")) == 0
    return place / "run"


def test_34_an_adapter_of_another_base(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny.folder(tmp_path / "gpt", "gpt2")
    adapter = changed(
        run / "final",
        tmp_path / "a",
        "adapter_config.json",
        lambda c: c.update(base_model_name_or_path=str(other)),
    )
    shutil.rmtree(run)
    told = said(train("dpo", adapter), capsys)
    assert told.startswith(f"The adapter {adapter} does not fit its base {other}: Target modules")
    assert "correct base_model_name_or_path in its adapter_config.json" in told


def test_35_no_memory(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(stages, "load_for_training", full)
    write("x.jsonl", *PAIRS)
    assert said(train("dpo", base), capsys, code=6) == (
        "no memory left: CUDA out of memory. Tried to allocate 2 GiB"
        " Try a smaller --token-budget, --grad-checkpoint, or LoRA instead of --full."
    )


# ------------------------------------------------------------------ 36 to 39: the run


def test_36_disk_full(
    base: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("x.jsonl", *PAIRS)
    disk = Disk(file="/.tmp-step-1", code=errno.ENOSPC)
    for module in (atomic, folder):
        monkeypatch.setattr(module, "os", disk)
    capsys.readouterr()
    assert cli.run(train("dpo", base)) == 5
    told = capsys.readouterr().err
    assert "no space left on device" in told and "repeat the same command" in told
    assert not (place / "run" / "final").exists()
    assert not list((place / "run").rglob(".tmp*"))


def test_37_a_folder_of_somebody_else(
    base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.jsonl", *PAIRS)
    (place / "run").mkdir()
    (place / "run" / "thesis.txt").write_text("chapter one")
    assert said(train("dpo", base), capsys) == (
        "run is not empty and is not a run of palate: it has no run.json."
        " Use another --out; nothing in it was touched."
    )


def test_37_a_run_in_use(run: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (run / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        told = said(train("dpo", base, "--beta", "0.1"), capsys, code=3)
    assert "run is in use" in told


def test_38_other_options(run: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(train("dpo", base, "--beta", "0.5"), capsys, code=3) == (
        "run was made with beta 0.1; you ask for 0.5. Use another --out, or pass --beta 0.1."
    )


def test_38_other_data(run: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS[:11])
    told = said(train("dpo", base, "--beta", "0.1"), capsys, code=3)
    assert told.startswith("run was made with data digest ") and "Use another --out" in told


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--warmupp", "1"], "Unknown option: --warmupp. Did you mean --warmup?"),
        (["--lr", "-5"], "--lr -5: should be greater than 0."),
    ],
)
def test_39_flags(
    base: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    write("x.jsonl", *PAIRS)
    assert said(train("dpo", base, *flags), capsys) == f"{told} See `palate dpo --help`."


def test_39_a_key_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS)
    Path("t.toml").write_text('[model]\nmodel = "m"\n\n[dpo]\ndata = "x.jsonl"\nwarmpu = 1\n')
    told = said(["run", "t.toml"], capsys)
    assert told.startswith("t.toml:6: unknown key 'warmpu' in [dpo]. Did you mean 'warmup'?")


def test_40_a_port_that_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = ["judge", "t.db", "--add", "x.jsonl", "--port", str(port), "--no-browser"]
        assert cli.run(words) == 2
    assert capsys.readouterr().err == (
        f"error: port {port} is used by another program."
        " Name another --port, or none to have one chosen.\n"
    )


def test_40_no_option_opens_it_to_other_machines(capsys: pytest.CaptureFixture[str]) -> None:
    write("x.jsonl", *PAIRS)
    told = said(["judge", "t.db", "--add", "x.jsonl", "--host", "0.0.0.0"], capsys)
    assert told.startswith("Unknown option: --host.")
