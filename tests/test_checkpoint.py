"""Checkpoints are whole or absent, at every crash point, on a full disk, and after any damage."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faults import Crash, Disk, NoFlush, When
from palate.errors import CheckpointError, DiskError, NumericsError, UsageError
from palate.runs import atomic, checkpoint
from palate.runs.checkpoint import commit_folder, newest, save

Tree = dict[str, bytes]


def tensors_at(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors that differ at each step, and have the same sizes at each."""
    draw = torch.Generator().manual_seed(step)
    weights = {name: torch.randn(8, 9, generator=draw) for name in ("a", "b")}
    half = {"a": torch.randn(8, 9, generator=draw).bfloat16(), "count": torch.tensor(step)}
    state = torch.randint(0, 256, (32,), dtype=torch.uint8, generator=draw)
    return {"weights": weights, "moments": half, "rng": {"cpu": state}}


def state_at(step: int) -> dict[str, Any]:
    return {"lr": 0.1 / (step + 1), "cursor": [step, 3], "note": "é", "best": None}


def save_at(run: Path, step: int, keep: int = 2) -> None:
    save(run, step, tensors_at(step), state_at(step), keep=keep)


def found_step(run: Path) -> int | None:
    """The step of the newest checkpoint; its content is exactly what was saved then."""
    found = newest(run)
    if found is None:
        return None
    assert found.state == state_at(found.step)
    wanted = tensors_at(found.step)
    assert found.tensors.keys() == wanted.keys()
    for group, named in wanted.items():
        assert found.tensors[group].keys() == named.keys()
        for name, tensor in named.items():
            got = found.tensors[group][name]
            assert got.dtype == tensor.dtype and torch.equal(got, tensor)
    return found.step


def tree(path: Path) -> Tree:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def names(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").iterdir()}


@pytest.fixture(autouse=True)
def no_real_fsync(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests simulate what fsync gives; the real one only takes time."""
    monkeypatch.setattr(atomic, "os", NoFlush())
    yield


def write_in_pieces(path: Path, named: dict[str, torch.Tensor]) -> None:
    """The same bytes as the library writes, through the simulated disk."""
    data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in named.items()})
    disk: Disk = vars(atomic)["os"]
    handle = disk.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        for start in range(0, len(data), 200):
            disk.write(handle, data[start : start + 200])
    finally:
        os.close(handle)


def save_on(disk: Disk, run: Path, step: int) -> bool:
    """Save on a disk that may fail or die; whether the save came to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", disk)
        patch.setattr(checkpoint, "write_tensors", write_in_pieces)
        try:
            save_at(run, step)
        except Crash:
            return False
    return True


# -- the good way


def test_the_saved_is_what_is_found(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for step in (0, 2, 10, 9):
        save_at(tmp_path, step)
    assert found_step(tmp_path) == 10
    found = newest(tmp_path)
    assert found is not None and found.skipped == ()


def test_as_many_are_kept_as_asked(tmp_path: Path) -> None:
    for step in range(1, 12):
        save_at(tmp_path, step, keep=3)
    assert names(tmp_path) == {"step-9", "step-10", "step-11"}
    assert checkpoint.last_good(tmp_path) == 11


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    save_at(tmp_path / "a", 3)
    save_at(tmp_path / "b", 3)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_step_is_saved_again_over_an_intact_one(tmp_path: Path) -> None:
    save_at(tmp_path, 5)
    save(tmp_path, 5, tensors_at(6), state_at(6), keep=2)
    found = newest(tmp_path)
    assert found is not None and found.state == state_at(6) and names(tmp_path) == {"step-5"}


def test_changing_what_was_found_leaves_the_file_alone(tmp_path: Path) -> None:
    save_at(tmp_path, 5)
    found = newest(tmp_path)
    assert found is not None
    for tensor in found.tensors["weights"].values():
        tensor.zero_()
        assert tensor.data_ptr() % 64 == 0
    assert found_step(tmp_path) == 5


def test_parameters_and_strided_views_are_saved_by_value(tmp_path: Path) -> None:
    matrix = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    save(tmp_path, 1, {"weights": {"t": matrix.t(), "empty": torch.zeros(0)}}, {}, keep=2)
    found = newest(tmp_path)
    assert found is not None and torch.equal(found.tensors["weights"]["t"], matrix.detach().t())


def test_there_is_no_pickle_in_a_checkpoint(tmp_path: Path) -> None:
    save_at(tmp_path, 5)
    endings = {Path(name).suffix for name in tree(tmp_path)}
    assert endings == {".safetensors", ".json"}


# -- crashes


def operations(base: Path, scratch: Path, step: int) -> int:
    run = scratch / "count"
    shutil.copytree(base, run)
    disk = Disk()
    assert save_on(disk, run, step)
    shutil.rmtree(run)
    return len(disk.log)


def violations(base: Path, scratch: Path, step: int, allowed: set[int]) -> Iterator[str]:
    """Every crash point of saving `step` after which the promise does not hold."""
    whens: tuple[When, ...] = ("before", "torn", "after")
    for at in range(1, operations(base, scratch, step) + 2):
        for when in whens:
            for power in (False, True):
                run = scratch / "run"
                shutil.copytree(base, run)
                disk = Disk(at, when)
                done = save_on(disk, run, step)
                if power:
                    disk.lose_power()
                where = str(disk.log[at - 1]) if disk.crashed else "the end"
                try:
                    good = found_step(run) in ({step} if done else {step, *allowed})
                    save_at(run, step + 1)
                    good &= found_step(run) == step + 1
                    good &= not any(name.startswith(".") for name in names(run))
                except (CheckpointError, AssertionError) as error:
                    good = False
                    where += f": {error}"
                disk.let_go()
                shutil.rmtree(run)
                if not good:
                    yield f"{when} {where}, {power=}"


def a_base(kind: str, path: Path) -> tuple[Path, int, set[int]]:
    """A run before the save that is going to be killed, the step, and what may be found instead."""
    if kind == "first of all":
        path.mkdir()
        return path, 5, set()
    if kind == "one more":
        save_at(path, 5)
        save_at(path, 10)
        return path, 15, {10}
    if kind == "over a damaged one":
        save_at(path, 10)
        save_at(path, 15)
        (path / "checkpoints" / "step-15" / "weights.safetensors").unlink()
        return path, 15, {10}
    save_at(path, 15)
    return path, 15, set()


KINDS = ("one more", "over a damaged one", "over the only one")


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_crash_anywhere_the_newest_is_whole(kind: str, tmp_path: Path) -> None:
    base, step, allowed = a_base(kind, tmp_path / "base")
    assert operations(base, tmp_path, step) >= 25
    assert list(violations(base, tmp_path, step, allowed)) == []


def test_after_a_crash_in_the_first_save_there_is_none_or_all_of_it(tmp_path: Path) -> None:
    base, step, _ = a_base("first of all", tmp_path / "base")
    for at in range(1, operations(base, tmp_path, step) + 1):
        for when in ("before", "torn", "after"):
            run = tmp_path / "run"
            run.mkdir()
            disk = Disk(at, when)
            assert not save_on(disk, run, step)
            disk.lose_power()
            disk.let_go()
            assert found_step(run) in (None, 5)
            shutil.rmtree(run)


def delete_then_rename(temp: Path, target: Path, *, replace: bool) -> None:
    if target.exists():
        atomic._remove(target)
    vars(atomic)["os"].rename(temp, target)
    atomic.flush(target.parent)


def rename_then_flush(folder: Path, note: Any) -> atomic.Manifest:
    """A seal that forgets the data files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "flush", lambda path: None)
        return SEAL(folder, note)


SEAL = atomic._seal
FLUSH = atomic.flush


def flush_files_only(path: Path) -> None:
    if path.is_file():
        FLUSH(path)


@pytest.mark.parametrize(
    ("kind", "name", "bug"),
    [
        ("one more", "flush", lambda path: None),
        ("one more", "flush", flush_files_only),
        ("one more", "_seal", rename_then_flush),
        ("over the only one", "_put", delete_then_rename),
    ],
)
def test_the_crash_test_finds_seeded_bugs(
    kind: str, name: str, bug: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, step, allowed = a_base(kind, tmp_path / "base")
    monkeypatch.setattr(atomic, name, bug)
    assert any(violations(base, tmp_path, step, allowed))


def test_the_order_is_write_flush_manifest_flush_rename_flush_prune(tmp_path: Path) -> None:
    base, step, _ = a_base("one more", tmp_path / "run")
    disk = Disk()
    assert save_on(disk, base, step)
    temp = disk.log[0][1]

    def places(name: str, path: str) -> list[int]:
        return [n for n, (op, p) in enumerate(disk.log) if op == name and p.startswith(path)]

    files = [f"{temp}/{group}.safetensors" for group in tensors_at(0)]
    manifest = places("create", f"{temp}/manifest.json")[0]
    for file in files:
        assert places("write", file)[-1] < places("fsync", file)[0] < manifest
    written = places("write", f"{temp}/manifest.json")[-1]
    flushed = places("fsync", f"{temp}/manifest.json")[0]
    folder = next(n for n, entry in enumerate(disk.log) if entry == ("fsync", temp))
    renamed = places("rename", f"{temp} -> ")[0]
    parent = [n for n, e in enumerate(disk.log) if e == ("fsync", str(base / "checkpoints"))][-1]
    pruned = places("rename", f"{base}/checkpoints/step-5 -> ")[0]
    order = [manifest, written, flushed, folder, renamed, parent, pruned]
    assert order == sorted(order) and min(places("unlink", "")) > pruned


def test_the_new_one_is_read_back_before_an_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_base("one more", tmp_path / "run")
    put = atomic._put

    def put_on_a_bad_disk(temp: Path, target: Path, *, replace: bool) -> None:
        put(temp, target, replace=replace)
        flip(target / "moments.safetensors", 100)

    monkeypatch.setattr(atomic, "_put", put_on_a_bad_disk)
    with pytest.raises(DiskError, match=r"does not read back: moments.safetensors .* is step-10"):
        save_at(tmp_path / "run", 15)
    assert names(tmp_path / "run") == {"step-5", "step-10", "step-15"}
    assert found_step(tmp_path / "run") == 10


def kill_during_saves(run: Path, seconds: float) -> None:
    """Fork a child that saves without end, and kill it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: it only saves
        child = os.fork()
    if child == 0:
        step = checkpoint.last_good(run) or 0
        while True:
            step += 1
            save_at(run, step)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_real_kill_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "os", os)
    seed, before = 20, 0
    draw = random.Random(seed)
    save_at(tmp_path, 0)
    for _ in range(15):
        kill_during_saves(tmp_path, draw.uniform(0.01, 0.1))
        step = found_step(tmp_path)
        assert step is not None and step >= before
        before = step
    assert before > 0


# -- damage


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << (place % 8)
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES = ("weights.safetensors", "moments.safetensors", "rng.safetensors", "manifest.json")
DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "deleted": lambda path, other: path.unlink(),
    "empty": lambda path, other: cut(path, 0),
    "half": lambda path, other: cut(path, path.stat().st_size // 2),
    "last byte cut": lambda path, other: cut(path, path.stat().st_size - 1),
    "one byte more": lambda path, other: path.write_bytes(path.read_bytes() + b"\0"),
    "of another step": lambda path, other: shutil.copy(other, path),
    "a folder": lambda path, other: replace_by_folder(path),
}


def bit_flip(number: int) -> Callable[[Path, Path], object]:
    """One bit, at one of 20 places spread over the file."""
    return lambda path, other: flip(path, number * path.stat().st_size // 20 + number)


DAMAGE |= {f"bit {number}": bit_flip(number) for number in range(20)}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints 5, 10 and 15."""
    run = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", NoFlush())
        for step in (5, 10, 15):
            save_at(run, step, keep=3)
    return run


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_newest_falls_back_and_says_why(
    file: str, damage: str, three: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(three, run)
    folder = run / "checkpoints"
    DAMAGE[damage](folder / "step-15" / file, folder / "step-10" / file)
    before = tree(run)
    found = newest(run)
    assert found is not None and found_step(run) == 10
    assert len(found.skipped) == 1 and found.skipped[0].startswith("step-15: ")
    assert file in found.skipped[0] or (file, damage) == ("manifest.json", "of another step")
    assert tree(run) == before
    save_at(run, 15)
    assert found_step(run) == 15 and names(run) == {"step-10", "step-15"}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_is_ever_loaded(three: Path, data: st.DataObject) -> None:
    file = three / "checkpoints" / "step-15" / data.draw(st.sampled_from(FILES))
    whole = file.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    broken = bytearray(whole)
    broken[bit // 8] ^= 1 << bit % 8
    try:
        file.write_bytes(broken)
        assert found_step(three) == 10
    finally:
        file.write_bytes(whole)


def test_a_whole_folder_of_another_step_is_not_taken(three: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(three, run)
    shutil.rmtree(run / "checkpoints" / "step-15")
    shutil.copytree(run / "checkpoints" / "step-5", run / "checkpoints" / "step-15")
    found = newest(run)
    assert found is not None and found.step == 10
    assert found.skipped == ("step-15: it holds step 5, not 15.",)


def test_when_all_are_damaged_each_is_named(three: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(three, run)
    folder = run / "checkpoints"
    (folder / "step-5" / "manifest.json").unlink()
    cut(folder / "step-10" / "rng.safetensors", 10)
    flip(folder / "step-15" / "weights.safetensors", 50)
    with pytest.raises(CheckpointError) as caught:
        newest(run)
    size = (three / "checkpoints" / "step-10" / "rng.safetensors").stat().st_size
    assert caught.value.exit_code == 3
    assert str(caught.value).splitlines() == [
        f"{run} has no checkpoint that can be used.",
        "step-15: weights.safetensors does not hold what was written (sha256 differs).",
        f"step-10: rng.safetensors has 10 bytes instead of {size:,}.",
        "step-5: manifest.json is missing. Nothing was deleted. Restore one of them, "
        "or start again with another --out.",
    ]


def test_a_temporary_folder_is_never_taken_and_goes_at_the_next_save(tmp_path: Path) -> None:
    save_at(tmp_path, 5)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "step-5", folder / ".tmp-step-9-0123abcd")
    shutil.copytree(folder / "step-5", folder / ".tmp-step-5-0123abcd")
    assert found_step(tmp_path) == 5
    save_at(tmp_path, 10)
    assert names(tmp_path) == {"step-5", "step-10"}


def test_pruning_counts_no_damaged_one_and_deletes_none(tmp_path: Path) -> None:
    """Flipped bits at 15 and 20, so that the run went back to 10, with another save interval."""
    for step in (10, 15, 20):
        save_at(tmp_path, step, keep=3)
    for step in (15, 20):
        flip(tmp_path / "checkpoints" / f"step-{step}" / "weights.safetensors", 60)
    (tmp_path / "checkpoints" / "step-3").mkdir()
    for step in (12, 14, 16):
        save_at(tmp_path, step)
        assert found_step(tmp_path) == step
    assert names(tmp_path) == {"step-3", "step-14", "step-15", "step-16", "step-20"}


def test_pruning_only_looks_back(tmp_path: Path) -> None:
    for step in (20, 25, 10, 12, 14):
        save_at(tmp_path, step)
    assert names(tmp_path) == {"step-12", "step-14", "step-20", "step-25"}


def test_the_damage_test_needs_the_hashes_and_the_seal(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them a flipped bit goes unseen, so the tests above can fail."""
    run = tmp_path / "run"
    shutil.copytree(three, run)
    flip(run / "checkpoints" / "step-15" / "weights.safetensors", -1)
    manifest = atomic.read_folder(run / "checkpoints" / "step-15", hashes=False)
    right = {name: content.sha256 for name, content in manifest.files.items()}
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_digest", lambda path: right[path.name])
        with pytest.raises(AssertionError):
            found_step(run)
    text = json.loads((run / "checkpoints" / "step-10" / "manifest.json").read_bytes())
    text["note"]["state"]["lr"] = 0.5
    (run / "checkpoints" / "step-10" / "manifest.json").write_text(json.dumps(text))
    assert found_step(run) == 5


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_manifest_cannot_name_a_file_outside(name: str, tmp_path: Path) -> None:
    content = atomic.Content(0, "")
    text = atomic._dump(atomic.Manifest({name: content}, {}))
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(atomic.Damaged, match="outside"):
        atomic.read_folder(tmp_path)


def test_a_manifest_of_a_newer_palate_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "SCHEMA", 2)
    save_at(tmp_path, 5)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="newer palate"):
        newest(tmp_path)


# -- refusals of the disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_error_anywhere_costs_nothing(kind: str, code: int, tmp_path: Path) -> None:
    base, step, allowed = a_base(kind, tmp_path / "base")
    refused = 0
    for at in range(1, operations(base, tmp_path, step) + 1):
        run = tmp_path / "run"
        shutil.copytree(base, run)
        before = tree(run)
        disk = Disk(at, code=code)
        try:
            save_on(disk, run, step)
        except DiskError as error:
            refused += 1
            assert error.exit_code == 5 and os.strerror(code).lower() in error.message
            assert ("needs" in error.message) == (code in (errno.ENOSPC, errno.EDQUOT))
            good = "No checkpoint exists" if kind == "over the only one" else "is step-10"
            assert good in error.hint
            assert not any(".tmp" in name for name in names(run))
            has_its_name = disk.log[at - 1] == ("fsync", str(run / "checkpoints"))
            assert has_its_name or tree(run) == before
        else:
            assert found_step(run) == step
        assert found_step(run) in {step, *allowed}
        disk.let_go()
        shutil.rmtree(run)
    assert refused >= 20


def test_the_message_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_at(tmp_path, 5)
    before = tree(tmp_path)
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 900)
    with pytest.raises(DiskError) as caught:
        save(tmp_path, 6, {"weights": {"a": torch.zeros(2000)}}, {}, keep=2)
    assert str(caught.value) == (
        f"{tmp_path}/checkpoints/step-6 could not be written: no space left on device "
        "(it needs 8.0 kB, 900 bytes free). The last good checkpoint is step-5. "
        "What was there before is untouched. Free some space, then repeat the same command."
    )
    assert tree(tmp_path) == before


def test_a_disk_error_inside_the_library_is_told_as_one(tmp_path: Path) -> None:
    """A real refusal: files may not grow beyond 64 kB."""
    save_at(tmp_path, 5)
    before = tree(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        with pytest.raises(DiskError, match=r"file too large \(it needs 800.0 kB"):
            save(tmp_path, 6, {"weights": {"a": torch.zeros(200_000)}}, {}, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tree(tmp_path) == before


def test_what_cannot_be_removed_is_tried_again(tmp_path: Path) -> None:
    base, step, _ = a_base("one more", tmp_path / "run")
    disk = Disk()
    save_on(disk, base, step)
    first = next(n for n, entry in enumerate(disk.log, 1) if entry[0] == "unlink")
    shutil.rmtree(base)
    base, step, _ = a_base("one more", tmp_path / "run")
    save_on(Disk(first, code=errno.EBUSY), base, step)
    assert any(name.startswith(".tmp-step-5-") for name in names(base))
    save_at(base, 20)
    assert names(base) == {"step-15", "step-20"}


# -- non-finite values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("group", ["weights", "moments"])
def test_a_non_finite_value_is_never_saved(group: str, value: float, tmp_path: Path) -> None:
    save_at(tmp_path, 5)
    before = tree(tmp_path)
    tensors = tensors_at(6)
    tensors[group]["a"][3, 4] = value
    with pytest.raises(NumericsError, match=f"step 6 .*'a' of {group} has 1 of 72 values not"):
        save(tmp_path, 6, tensors, state_at(6), keep=2)
    with pytest.raises(NumericsError, match="'lr' of the state"):
        save(tmp_path, 6, tensors_at(6), {"lr": value}, keep=2)
    assert tree(tmp_path) == before


# -- other folders


def fill(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "model.txt").write_text("weights")
    (folder / "sub" / "deep.txt").write_text("more")


def test_a_folder_is_committed_with_its_manifest(tmp_path: Path) -> None:
    target = tmp_path / "new" / "final"
    commit_folder(target, fill, note={"best_step": 7})
    manifest = atomic.read_folder(target)
    assert set(manifest.files) == {"model.txt", "sub/deep.txt"} and manifest.note["best_step"] == 7
    assert list((tmp_path / "new").iterdir()) == [target]
    flip(target / "sub" / "deep.txt", 1)
    with pytest.raises(atomic.Damaged, match=r"sub/deep\.txt"):
        atomic.read_folder(target)


def test_a_folder_of_the_user_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="not empty"):
        commit_folder(tmp_path / "mine", fill)
    with pytest.raises(UsageError, match="is a file"):
        commit_folder(tmp_path / "mine" / "thesis.txt", fill, replace=True)
    assert tree(tmp_path) == {"mine/thesis.txt": b"years"}
    commit_folder(tmp_path / "mine", fill, replace=True)
    assert set(tree(tmp_path)) == {"mine/model.txt", "mine/sub/deep.txt", "mine/manifest.json"}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    commit_folder(tmp_path / "out", fill)
    assert (tmp_path / "out" / "model.txt").exists()


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise ValueError("a bug, not the disk")

    with pytest.raises(ValueError, match="a bug"):
        commit_folder(tmp_path / "out", fail)
    assert list(tmp_path.iterdir()) == []


def test_tidying_one_folder_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    for name in (".tmp-final-x-01234567", ".tmp-finale-01234567", ".tmp-final-01234567"):
        (tmp_path / name).mkdir()
    commit_folder(tmp_path / "final", fill)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".tmp-final-x-01234567", ".tmp-finale-01234567", "final"}


def test_a_replacement_that_was_killed_halfway_is_undone(tmp_path: Path) -> None:
    commit_folder(tmp_path / "final", fill, note={"best_step": 1})
    count = Disk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", count)
        commit_folder(tmp_path / "final", fill, replace=True, note={"best_step": 2})
    for at in range(1, len(count.log) + 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(atomic, "os", Disk(at, "after"))
            with pytest.raises(Crash):
                commit_folder(tmp_path / "final", fill, replace=True, note={"best_step": 3})
        atomic.tidy(tmp_path / "final")
        assert atomic.read_folder(tmp_path / "final").note["best_step"] in (2, 3)
        assert [path.name for path in tmp_path.iterdir()] == ["final"]
