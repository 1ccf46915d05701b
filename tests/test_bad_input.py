"""What a user gets wrong: one clear message, the right exit code, and nothing half-written.

Everything goes through the command line, on a real model folder and real files.
"""

import errno
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from faults import Disk
from palate import cli
from palate.runs import atomic, checkpoint, folder

PAIRS = [
    {
        "prompt": f"place {n}: the flat near the river",
        "chosen": f"It has {n} baths.",
        "rejected": "Lovely, the river.",
    }
    for n in range(12)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "m", "llama", num_hidden_layers=1)


@pytest.fixture(autouse=True)
def cold_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))


def lines(path: Path, rows: list[Any]) -> Path:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(text + "\n" for text in texts))
    return path


def command(stage: str, model: Path, data: Path, out: Path, *more: str) -> list[str]:
    """A command line as a user types it, small."""
    words = [stage, "--model", str(model), "--data", str(data), "--out", str(out)]
    sizes = ["--batch-size", "4", "--max-steps", "4", "--save-every", "2", "--token-budget", "64"]
    return [*words, *sizes, *more]


def failed(words: list[str], capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The message of a command that ends with `code`."""
    capsys.readouterr()
    assert cli.run(words) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.startswith("error: "), said
    return said


# ---- rows


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in PAIRS[3].items() if key != name}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (without("rejected"), "field 'rejected'"),
        (PAIRS[3] | {"chosen": ""}, "field 'chosen'"),
        (PAIRS[3] | {"chosen": "  \n"}, "field 'chosen'"),
        (PAIRS[3] | {"rejected": PAIRS[3]["chosen"]}, "identical"),
        (PAIRS[3] | {"chosen": 7}, "field 'chosen'"),
        ('{"prompt": "p", "chosen": "c"', "bad.jsonl:4"),
    ],
    ids=["missing field", "empty side", "blank side", "identical sides", "number", "broken JSON"],
)
def test_a_bad_pair_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: Any, told: str
) -> None:
    data = lines(tmp_path / "bad.jsonl", [*PAIRS[:3], row, *PAIRS[4:]])
    said = failed(command("dpo", model, data, tmp_path / "run"), capsys, 2)
    assert f"{data}:4" in said and told in said
    assert not (tmp_path / "run").exists()


def test_all_bad_rows_are_told_at_once(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*PAIRS, without("chosen"), PAIRS[0] | {"rejected": ""}]
    rows[5] = PAIRS[5] | {"rejected": PAIRS[5]["chosen"]}
    data = lines(tmp_path / "bad.jsonl", rows)
    said = failed(command("dpo", model, data, tmp_path / "run"), capsys, 2)
    assert all(f"{data}:{line} " in said for line in (6, 13, 14))
    assert "3 problems; nothing was started." in said
    assert not (tmp_path / "run").exists()


def test_a_missing_field_of_an_example_proposes_the_map(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lines(tmp_path / "bad.jsonl", [{"mr": "a place", "human": "A flat."}] * 3)
    said = failed(command("sft", model, data, tmp_path / "run"), capsys, 2)
    assert "--map" in said and "mr" in said
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_fills_the_context_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The context is 256 tokens; two rows are longer."""
    rows: list[Any] = list(PAIRS)
    rows[2] = PAIRS[2] | {"prompt": "x" * 400}
    rows[7] = PAIRS[7] | {"prompt": "y" * 400}
    data = lines(tmp_path / "long.jsonl", rows)
    said = failed(command("dpo", model, data, tmp_path / "run"), capsys, 2)
    assert f"{data}:3" in said and f"{data}:8" in said and "256" in said
    assert "--truncate" in said and "--drop-long" in said
    assert not (tmp_path / "run").exists()
    assert cli.run(command("dpo", model, data, tmp_path / "run", "--drop-long")) == 0


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing but a remark\n"])
def test_an_empty_file_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    data = tmp_path / "empty.jsonl"
    data.write_text(content)
    said = failed(command("dpo", model, data, tmp_path / "run"), capsys, 2)
    assert "empty.jsonl" in said
    assert not (tmp_path / "run").exists()


def test_a_file_of_the_other_kind_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lines(tmp_path / "sft.jsonl", [{"prompt": "p", "completion": "c"}] * 3)
    said = failed(command("dpo", model, data, tmp_path / "run"), capsys, 2)
    assert f"{data} is an SFT file" in said and "use palate sft" in said
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = failed(command("dpo", model, tmp_path / "no.jsonl", tmp_path / "run"), capsys, 2)
    assert "no.jsonl" in said
    assert not (tmp_path / "run").exists()


# ---- models


def test_a_model_with_pickled_weights_alone_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            (pickled / path.name).write_bytes(path.read_bytes())
    torch.save({"weight": torch.zeros(2)}, pickled / "pytorch_model.bin")
    data = lines(tmp_path / "pairs.jsonl", PAIRS)
    said = failed(command("dpo", pickled, data, tmp_path / "run"), capsys, 2)
    assert "safetensors" in said and str(pickled) in said
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lines(tmp_path / "pairs.jsonl", PAIRS)
    said = failed(command("dpo", tmp_path / "nowhere", data, tmp_path / "run"), capsys, 2)
    assert "nowhere" in said
    assert not (tmp_path / "run").exists()


# ---- runs


def test_a_run_with_another_beta_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = lines(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "run"
    words = command("dpo", model, data, out)
    assert cli.run([*words, "--beta", "0.1"]) == 0
    before = contents(out)
    said = failed([*words, "--beta", "0.2"], capsys, 3)
    assert f"{out} was made with beta 0.1; you ask for 0.2." in said
    assert "Use another --out, or pass --beta 0.1." in said
    assert contents(out) == before


def test_a_folder_of_somebody_else_is_left_alone(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = lines(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "run"
    out.mkdir()
    (out / "thesis.txt").write_text("chapter one")
    said = failed(command("dpo", model, data, out), capsys, 2)
    assert "is not a run of palate" in said
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def contents(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path): path.read_bytes() for path in files}


# ---- the disk

LINES = ("/metrics.jsonl", "/history.jsonl")  # written in place, line by line


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run on a good disk, and what it did there: the path of each operation."""
    root, disk = tmp_path_factory.mktemp("whole"), Disk()
    data = lines(root / "pairs.jsonl", PAIRS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALATE_CACHE", str(root / "cache"))
        _put(disk, patch)
        assert cli.run(command("dpo", model, data, root / "run")) == 0
    return root / "run", [path for _, path in disk.log]


def _put(disk: Disk, patch: pytest.MonkeyPatch) -> None:
    for module in (atomic, folder):
        patch.setattr(module, "os", disk)


@pytest.mark.parametrize(
    "at",
    ["/run.json", "cache/reference/", "/best", "/step-0", "/step-2", *LINES, "/final"],
)
def test_a_full_disk_during_a_save_costs_nothing(
    model: Path,
    whole: tuple[Path, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    """The first write of each kind of file fails; the same command then ends in the same bytes."""
    good, done = whole
    name = at.replace("/", "/.tmp-", 1) if at[0] == "/" and at not in LINES else at
    assert any(name in path for path in done)
    disk = Disk(file=name, code=errno.ENOSPC)
    data, out = lines(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "run"
    with monkeypatch.context() as patch:
        _put(disk, patch)
        said = failed(command("dpo", model, data, out), capsys, 5)
    disk.let_go()
    assert "no space left on device" in said and "repeat the same command" in said
    assert leftovers(out) == leftovers(tmp_path / "cache") == []
    assert all(atomic.is_whole(path) for path in (out / "checkpoints").glob("*"))
    assert not (out / "final").exists()
    assert cli.run(command("dpo", model, data, out)) == 0
    assert finals(out) == finals(good)


def leftovers(place: Path) -> list[str]:
    return [path.name for path in place.rglob(".*")]


def finals(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((out / "final").glob("*.safetensors"))]


def test_safetensors_that_meet_a_full_disk_are_understood(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library is written in Rust: its error has the code in its text alone."""
    right: Callable[..., None] = checkpoint.save_file  # type: ignore[attr-defined]

    def full(tensors: Any, path: Path) -> None:
        if "step-2" in str(path):
            path.write_bytes(b"half")
            raise RuntimeError("I/O error: No space left on device (os error 28)")
        right(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    data, out = lines(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "run"
    said = failed(command("dpo", model, data, out), capsys, 5)
    assert "no space left on device" in said and "The last good checkpoint is step-0." in said
    assert leftovers(out) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB, if this user may mount one."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_disk: Path
) -> None:
    data, out = lines(tmp_path / "pairs.jsonl", PAIRS), small_disk / "run"
    said = failed(command("dpo", model, data, out, "--full"), capsys, 5)
    assert "no space left" in said
    assert leftovers(out) == []
