"""The benchmark measures the same work on both sides, and says so when it does not.

Nothing is timed here.  What needs TRL runs in processes of its own, on a tiny model, and is skipped
where TRL is not installed (`pip install -e '.[bench]'`).
"""

import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = ("hh", "ultrafeedback", "ranked", "sft")
TINY = {"shape": "tiny", "batch": 12, "scale": 0.2}

needs_trl = pytest.mark.skipif(
    importlib.util.find_spec("trl") is None, reason="TRL is not installed (extra `bench`)"
)


@pytest.fixture(scope="module", autouse=True)
def on_path() -> Iterator[None]:
    """The benchmark's modules import one another by name, as a script's neighbours do."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _work(profile: str, **changes: Any) -> Any:
    return _module("workload").Workload(profile, **(TINY | changes))


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of the parity check, for TRL with the right beta and with a wrong one."""
    launcher = _module("launch").Launcher(tmp_path_factory.mktemp("bench"), 1)
    launcher.do("model", shape="tiny", seed=0)
    works = [{"profile": name} | TINY for name in ("hh", "ranked", "sft")]
    rows: list[dict[str, Any]] = launcher.do("parity", works=works, trl_betas=[0.1, 0.2])
    return rows


def _failed(row: dict[str, Any]) -> set[str]:
    return {check["name"] for check in row["checks"] if not check["holds"]}


@needs_trl
@pytest.mark.parametrize("profile", ["hh", "ranked", "sft"])
def test_palate_and_trl_compute_the_same(parity: list[dict[str, Any]], profile: str) -> None:
    rows = [row for row in parity if row["profile"] == profile and row["trl_beta"] == 0.1]
    assert [row["against"] for row in rows] == ["as shipped", "compact"]
    assert [_failed(row) for row in rows] == [set(), set()]


@needs_trl
def test_parity_fails_when_they_do_not(parity: list[dict[str, Any]]) -> None:
    rows = [row for row in parity if row["profile"] != "sft" and row["trl_beta"] == 0.2]
    assert len(rows) == 4
    assert all(
        {"gradient norm, relative", "loss over three steps of SGD"} <= _failed(r) for r in rows
    )


@needs_trl
@pytest.mark.parametrize("profile", ["hh", "ranked", "sft"])
def test_compact_trl_scores_completions_alone(parity: list[dict[str, Any]], profile: str) -> None:
    plain, compact = [row["positions"] for row in parity if row["profile"] == profile][:2]
    records = _module("workload").timed(_work(profile, batch=6))
    assert compact == sum(len(ids) for record in records for ids in record.completions)
    assert plain > 1.5 * compact


@needs_trl
@pytest.mark.slow
def test_the_whole_benchmark_runs_on_a_tiny_model(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, str(FOLDER / "against_trl.py"), "--quick", "--threads", "1"]
    done = subprocess.run([*command, "--json", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pairs/s" in done.stdout and "as shipped" in done.stdout
    runs = json.loads(out.read_text())["profiles"]["hh"]
    assert len(runs["palate"]) == 2 and len(runs["trl"]) >= 2


@pytest.mark.parametrize("profile", NAMES)
def test_lengths_are_those_of_the_profile(profile: str) -> None:
    workload = _module("workload")
    work, about = _work(profile, batch=480, scale=1.0), workload.PROFILES[profile]
    records = workload.timed(work)
    prompts = {record.group: len(record.prompt) for record in records}
    lengths = [len(ids) for record in records for ids in record.completions]
    assert len(records) == 480
    assert statistics.median(prompts.values()) == pytest.approx(about.prompt, rel=0.05)
    assert statistics.median(lengths) == pytest.approx(about.completion, rel=0.05)


def test_both_sides_draw_the_same_ids_and_another_seed_others() -> None:
    workload = _module("workload")
    first, again = (workload.timed(_work("hh")) for _ in range(2))
    other = workload.timed(_work("hh", seed=1))
    assert workload.digest(first) == workload.digest(again) != workload.digest(other)


def test_four_ranked_completions_make_six_pairs() -> None:
    records = _module("workload").timed(_work("ranked"))
    groups = [[r for r in records if r.group == group] for group in (0, 1)]
    for group in groups:
        assert len(group) == 6
        assert len({ids for record in group for ids in record.completions}) == 4
        assert len({record.prompt for record in group}) == 1


@pytest.mark.parametrize("profile", NAMES)
def test_useful_work_counts_every_token_path_once(profile: str) -> None:
    work = _work(profile, steps=2)
    records, shape = _module("workload").timed(work), _module("workload").SHAPES["tiny"]
    expected = 0
    for step in (records[:12], records[12:]):
        paths, scored = set(), set()
        for record in step:
            for completion in record.completions:
                ids = (*record.prompt, *completion)
                paths |= {ids[: i + 1] for i in range(len(ids))}
                scored |= {ids[: i + 1] for i in range(len(record.prompt), len(ids))}
        expected += 6 * shape.layer_parameters * len(paths)
        expected += 6 * shape.vocab * shape.hidden * len(scored)
        expected += 12 * shape.layers * shape.hidden * sum(len(path) for path in paths)
    assert _module("palate_side").useful_flop(work) == expected


def test_the_warm_up_step_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _module("machine")
    times = iter([0.0, 100.0, 101.0, 103.0])
    clocks = SimpleNamespace(perf_counter=lambda: next(times), process_time=lambda: 0.0)
    monkeypatch.setattr(machine, "time", clocks)
    clock = machine.StepClock()
    for _ in range(3):
        clock.tick()
    assert clock.measured()["seconds"] == [1.0, 2.0]


def test_rates_count_pairs_of_steps_and_the_reference_apart() -> None:
    run = {"seconds": [2.0, 4.0], "cpu_seconds": [3.0, 5.0], "reference_seconds": 2.0}
    found = _module("report").summary([run | {"peak_bytes": 7}], 12)
    assert found["rate"] == 4.0 and found["rate_with_reference"] == 3.0
    assert found["step"] == 3.0 and found["cpu"] == 4.0 and found["peak_bytes"] == 7
