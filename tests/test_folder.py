"""A run is created once, continued as it was made, held by one process; a step is logged once."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults import Crash, Disk, NoFlush
from palate import __version__
from palate.errors import CheckpointError, DiskError, PalateError, UsageError
from palate.runs import atomic, folder
from palate.runs.folder import Metrics, Run

CONFIG: dict[str, Any] = {"beta": 0.1, "rank": None, "full": False, "map": [], "save_every": 10}
FROZEN = {"beta": 0.1, "rank": None, "full": False, "map": (), "data_digest": "a" * 64}
RECORD = {"stage": "dpo", "config": CONFIG, "versions": {"torch": "2.13"}}


@pytest.fixture(autouse=True)
def no_real_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests simulate what fsync gives; the real one only takes time."""
    monkeypatch.setattr(atomic, "os", NoFlush())
    monkeypatch.setattr(folder, "os", NoFlush())


def make(path: Path, **frozen: Any) -> Run:
    return Run.open(path, RECORD, frozen={**FROZEN, **frozen})


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# -- run.json


def test_a_new_run_writes_down_what_it_was_made_with(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a"
    with make(path) as run:
        assert run.is_new and not run.finished
        run.update(finished=True, best_step=7)
        assert run.finished
    record = Run.read(path)
    assert record["palate"] == __version__ and record["best_step"] == 7
    assert record["created"].endswith("+00:00") and record["config"] == CONFIG
    assert record["frozen"] == {**FROZEN, "map": []}
    assert {p.name for p in path.iterdir()} == {"run.json", "lock"}


def test_the_same_command_continues(tmp_path: Path) -> None:
    with make(tmp_path) as run:
        run.update(best_step=3)
    with Run.open(tmp_path, {"stage": "other"}, frozen=FROZEN) as again:
        assert not again.is_new and again.record["best_step"] == 3
        assert again.record["stage"] == "dpo"


def test_one_changed_option_is_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path).close()
    before = tree(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        make(tmp_path, beta=0.5)
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        f"{tmp_path} was made with beta 0.1; you ask for 0.5. "
        "Use another --out, or pass --beta 0.1."
    )
    assert tree(tmp_path).keys() == before.keys()
    assert tree(tmp_path)["run.json"] == before["run.json"]
    make(tmp_path).close()


@pytest.mark.parametrize(
    ("changed", "said", "todo"),
    [
        ({"rank": 8}, "was made without rank; you ask for 8.", "or leave --rank out."),
        ({"beta": None}, "was made with beta 0.1; you leave it out.", "or pass --beta 0.1."),
        ({"full": True}, "was made with full off; you ask for on.", "or leave --full out."),
        ({"map": ("a=b", "c=d")}, "was made without map; you ask for a=b,c=d.", "leave --map out."),
        (
            {"data_digest": "b" * 64},
            "was made with data digest aaaaaaaaaaaa; you ask for bbbbbbbbbbbb.",
            "or go back to the same data digest.",
        ),
        ({"new_field": 1}, "was made without new field; you ask for 1.", "the same new field."),
    ],
)
def test_each_kind_of_change_has_its_words(
    changed: dict[str, Any], said: str, todo: str, tmp_path: Path
) -> None:
    make(tmp_path).close()
    with pytest.raises(CheckpointError) as caught:
        make(tmp_path, **changed)
    assert said in caught.value.message and caught.value.hint.endswith(todo)


def test_every_change_is_listed(tmp_path: Path) -> None:
    make(tmp_path, full=True).close()
    with pytest.raises(CheckpointError) as caught:
        Run.open(tmp_path, RECORD, frozen={"beta": 0.5, "full": False})
    assert str(caught.value).splitlines() == [
        f"{tmp_path} was made with beta 0.1; you ask for 0.5.",
        f"{tmp_path} was made with full on; you ask for off.",
        f"{tmp_path} was made with data digest aaaaaaaaaaaa; you leave it out. "
        "Use another --out, or pass --beta 0.1 and pass --full "
        "and go back to the same data digest.",
    ]


json_values = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(-1, 1), st.text(max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(was=st.dictionaries(st.sampled_from("abcd"), json_values), data=st.data())
def test_a_run_opens_if_and_only_if_nothing_differs(
    was: dict[str, Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    asked = data.draw(
        st.one_of(st.just(was), st.dictionaries(st.sampled_from("abcd"), json_values))
    )
    path = tmp_path_factory.mktemp("run")
    Run.open(path, RECORD, frozen=was).close()
    changed = {name for name in {**was, **asked} if was.get(name) != asked.get(name)}
    try:
        Run.open(path, RECORD, frozen=asked).close()
    except CheckpointError as error:
        assert len(error.message.split(f"{path} was made ")) - 1 == len(changed) > 0
    else:
        assert not changed


@pytest.mark.parametrize("file", ["notes.txt", "sub/deep.txt", ".hidden"])
def test_a_folder_that_is_no_run_is_left_alone(file: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    with pytest.raises(UsageError, match="not empty and is not a run of palate") as caught:
        make(tmp_path)
    assert caught.value.exit_code == 2 and tree(tmp_path) == {file: b"mine"}
    with pytest.raises(UsageError, match=r"has no run\.json"):
        Run.read(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        make(tmp_path / "a")
    with pytest.raises(UsageError, match=r"has no run\.json"):
        Run.read(tmp_path / "a")


def damaged(text: bytes) -> bytes:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    "change", [damaged, lambda text: b"", lambda text: b"[]", lambda text: b"{}"]
)
def test_a_damaged_record_stops_the_run(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    make(tmp_path).close()
    file = tmp_path / "run.json"
    file.write_bytes(change(file.read_bytes()))
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read"):
        make(tmp_path)
    assert file.read_bytes() == before


def test_a_run_of_a_newer_palate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "SCHEMA", 2)
    make(tmp_path).close()
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="was made by palate"):
        make(tmp_path)


def test_after_a_crash_anywhere_the_record_is_old_or_new(tmp_path: Path) -> None:
    def change(disk: Disk, path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch, make(path) as run:
            patch.setattr(atomic, "os", disk)
            run.update(best_step=2)

    with make(tmp_path / "base") as run:
        run.update(best_step=1)
    count = Disk()
    change(count, tmp_path / "base")
    for at in range(1, len(count.log) + 1):
        for when in ("before", "torn", "after"):
            path = tmp_path / "run"
            shutil.copytree(tmp_path / "base", path)
            disk = Disk(at, when)
            with pytest.raises(Crash):
                change(disk, path)
            disk.lose_power()
            disk.let_go()
            with make(path) as run:
                assert run.record["best_step"] in (1, 2)
            assert {p.name for p in path.iterdir()} == {"run.json", "lock"}
            shutil.rmtree(path)


def test_a_run_that_was_killed_while_created_can_be_created(tmp_path: Path) -> None:
    count = Disk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", count)
        make(tmp_path / "count").close()
    assert len(count.log) > 4
    for at in range(1, len(count.log) + 1):
        path = tmp_path / f"run-{at}"
        disk = Disk(at, "after")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
            patch.setattr(atomic, "os", disk)
            make(path)
        disk.let_go()
        with make(path) as run:
            assert run.record["frozen"]["beta"] == 0.1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS])
def test_a_disk_error_keeps_the_record(code: int, tmp_path: Path) -> None:
    with make(tmp_path) as run:
        before = (tmp_path / "run.json").read_bytes()
        for at in range(1, 5):
            with pytest.MonkeyPatch.context() as patch, pytest.raises(DiskError):
                patch.setattr(atomic, "os", Disk(at, code=code))
                run.update(best_step=2)
            left = {p.name for p in tmp_path.iterdir()}
            assert left == {"run.json", "lock"} and (tmp_path / "run.json").read_bytes() == before


# -- the lock

HOLD = """
    import sys, time
    from pathlib import Path
    from palate.runs.folder import Run
    run = Run.open(Path(sys.argv[1]), {}, frozen={})
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_held_run_is_refused_and_a_killed_holder_lets_go(tmp_path: Path) -> None:
    code = [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path)]
    holder = subprocess.Popen(code, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        said = rf"is in use: locked by pid {holder.pid} on host \S+ since 20\d\d-.*another --out"
        with pytest.raises(CheckpointError, match=said) as caught:
            Run.open(tmp_path, {}, frozen={})
        assert caught.value.exit_code == 3
        assert Run.read(tmp_path)["frozen"] == {}
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with Run.open(tmp_path, {}, frozen={}) as run:
        assert not run.is_new


def test_the_lock_is_let_go_on_close_and_on_refusal(tmp_path: Path) -> None:
    with make(tmp_path), pytest.raises(CheckpointError, match=f"pid {os.getpid()} "):
        make(tmp_path)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="beta"):
            make(tmp_path, beta=1)
    make(tmp_path).close()


def test_a_lock_without_words_is_a_lock(tmp_path: Path) -> None:
    with make(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(CheckpointError, match="locked by another process"):
            make(tmp_path)


def test_nothing_here_imports_torch() -> None:
    code = "import sys, palate.runs.folder, palate.runs.signals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- metrics


def steps(metrics: Metrics) -> list[int]:
    return [row["step"] for row in metrics.rows()]


def test_each_step_is_logged_once(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    for step in range(4):
        metrics.append({"step": step, "loss": 1 / (step + 1), "text": "é\n"})
    for late in (3, 0):
        with pytest.raises(ValueError, match="comes too late"):
            metrics.append({"step": late})
        with pytest.raises(ValueError, match="comes too late"):
            Metrics(metrics.path).append({"step": late})
    assert steps(metrics) == [0, 1, 2, 3]
    assert metrics.rows()[1] == {"step": 1, "loss": 0.5, "text": "é\n"}


def test_non_finite_numbers_stay_valid_json(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.append({"step": 1, "loss": float("nan"), "norms": [float("inf"), 1.0]})
    assert json.loads(metrics.path.read_text(), parse_constant=pytest.fail) == {
        "step": 1,
        "loss": "nan",
        "norms": ["inf", 1.0],
    }


@settings(max_examples=80, deadline=None)
@given(
    logged=st.integers(0, 12),
    back=st.integers(-1, 13),
    torn=st.integers(0, 14),
    more=st.integers(0, 4),
)
def test_a_resumed_log_has_no_gap_no_repeat_and_no_torn_line(
    logged: int, back: int, torn: int, more: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    metrics = Metrics(path)
    for step in range(1, logged + 1):
        metrics.append({"step": step, "loss": 0.5})
    if torn:
        with path.open("ab") as file:
            file.write(b'{"step": 99, "loss": 0.5}\n'[:torn])
    resumed = Metrics(path)
    assert resumed.rewind(back) == ()
    at = max(0, min(logged, back))
    assert steps(resumed) == list(range(1, at + 1))
    for step in range(at + 1, at + more + 1):
        resumed.append({"step": step, "loss": 0.5})
    assert steps(Metrics(path)) == list(range(1, at + more + 1))
    if path.exists():
        assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_torn_line_goes_at_the_first_append(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    Metrics(path).append({"step": 2})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_a_damaged_line_inside_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\xffp": 2}\n{"step": 3}\n{"step": 3}\n[4]\n{"step": 5}\n')
    metrics = Metrics(path)
    assert metrics.rewind(5) == (
        f"{path}:2 is damaged and was left out",
        f"{path}:5 is damaged and was left out",
    )
    assert steps(metrics) == [1, 3, 5]


def test_a_rewind_is_whole_or_not_done(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    text = b"".join(b'{"step": %d}\n' % step for step in range(1, 6))
    count = Disk()
    for at in range(8):
        path.write_bytes(text)
        disk = Disk(at, "torn") if at else count
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(atomic, "os", disk)
            try:
                Metrics(path).rewind(3)
            except Crash:
                disk.lose_power()
        assert path.read_bytes() in (text, text[:36])
    assert len(count.log) == 5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_error_leaves_no_torn_line(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.append({"step": 1})
    before = metrics.path.read_bytes()
    for at in (1, 2, 3):
        disk = Disk(at, code=code)
        with monkeypatch.context() as patch, pytest.raises(DiskError) as caught:
            patch.setattr(atomic, "os", disk)
            patch.setattr(folder, "os", disk)
            metrics.append({"step": 2, "text": "x" * 3000})
        assert caught.value.exit_code == 5
        assert metrics.path.read_bytes() == before
    metrics.append({"step": 2})
    assert steps(metrics) == [1, 2]


def test_errors_are_palates_own() -> None:
    assert issubclass(atomic.Damaged, PalateError) and atomic.Damaged.exit_code == 3
