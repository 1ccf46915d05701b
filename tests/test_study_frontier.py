"""The frontier study: its arithmetic, its page, its jobs, and the whole path in a small form."""

import importlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palate.stats import Interval

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    """Gives a module of the study by name, as the script imports it."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield lambda name: importlib.import_module(f"study.{name}")
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        for name in [n for n in sys.modules if n.split(".")[0] == "study"]:
            del sys.modules[name]


# ---------------------------------------------------------------------- arithmetic


def test_a_point_is_beaten_by_one_that_is_no_worse_on_either_axis(study: Any) -> None:
    dominated = study("frontier_results").dominated
    assert dominated((2.0, 1.0), [(1.0, 1.0)]), "as much reward for less KL"
    assert dominated((2.0, 1.0), [(2.0, 1.5)]), "more reward for the same KL"
    assert not dominated((2.0, 1.0), [(2.0, 1.0)]), "not by its equal"
    assert not dominated((2.0, 1.0), [(1.0, 0.9), (2.1, 9.0)]), "each is worse on one axis"
    assert not dominated((2.0, 1.0), [])


def test_the_gap_is_taken_at_equal_kl(study: Any) -> None:
    at_equal_kl = study("frontier_results").at_equal_kl
    steep, flat = [(0.0, 0.0), (1.0, 2.0), (4.0, 2.0)], [(0.0, 0.0), (2.0, 2.0)]
    # up to KL 2: 2k and then 2, less k: the areas are 1 - 0.5 and 2 - 1.5, over a width of 2
    assert at_equal_kl(steep, flat) == pytest.approx(0.5, abs=0.01)
    assert at_equal_kl(flat, steep) == pytest.approx(-0.5, abs=0.01)
    back = [(0.0, 0.0), (1.0, 1.0), (0.5, 9.0)]
    assert at_equal_kl(back, back) == 0
    assert at_equal_kl(back, [(0.0, 0.0), (9.0, 0.0)]) == pytest.approx(0.5, abs=0.01)


def test_near_the_best_means_near_the_best_mean(study: Any) -> None:
    results = study("frontier_results")
    gains = {1.0: (0.5, 3.0, 2.5), 2.0: (1.79, 1.81, 2.4), 4.0: (-1.0, 0.0, 1.9)}
    cells = [results.Cell(r, s, g) for r, found in gains.items() for s, g in enumerate(found)]
    # the means are 2, 2 and 0.3, so that 1.8 or more counts: 3.0, 2.5, 1.81, 2.4 and 1.9
    assert results.close(cells) == 5
    lost = [results.Cell(1.0, seed, -1.0) for seed in range(3)]
    assert results.close(lost) == 0, "near a best that is worse than SFT there is nothing to win"


def test_orders_of_equal_values_say_nothing(study: Any) -> None:
    spearman = study("frontier_results").spearman
    assert spearman([1, 2, 3], [2, 4, 9]) == pytest.approx(1)
    assert spearman([1, 2, 3], [9, 4, 2]) == pytest.approx(-1)
    assert spearman([1, 1, 1], [9, 4, 2]) == 0


def test_random_labels_keep_the_pairs_and_toss_the_sides(study: Any) -> None:
    shuffled = study("frontier_data").shuffled
    pairs = [{"prompt": f"{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(400)]
    found = shuffled(pairs, 3)
    assert found == shuffled(pairs, 3) != shuffled(pairs, 4)
    both = [{row["chosen"], row["rejected"]} for row in found]
    assert both == [{f"a{n}", f"b{n}"} for n in range(400)]
    kept = sum(row["chosen"].startswith("a") for row in found)
    assert 160 < kept < 240, "a fair coin, four standard errors"


def test_a_judge_who_likes_length_picks_the_longer(study: Any) -> None:
    from palate.demo.sheets import sheets

    data = study("frontier_data")
    about = sheets(1, "a test")
    short, long = "A home.", "A home. " + "It is as it is. " * 8
    (row,) = data.preferred(about, [[short, long]], data.long_liked)
    assert row["chosen"] == long and row["rejected"] == short
    assert data.preferred(about, [[short, short]], data.long_liked) == []


def test_every_figure_that_is_expected_has_a_name(study: Any, tmp_path: Path) -> None:
    expected = study("frontier_expected").EXPECTED
    results = study("frontier_results").Results(study("store").Store(tmp_path / "none.jsonl"))
    named = results.figures()
    for each in expected:
        assert set(each.about) <= named.keys(), each.says
        assert each.judged(named) is None, "nothing was measured"


def test_expectations_are_judged_by_their_figures(study: Any) -> None:
    expected = {each.says: each for each in study("frontier_expected").EXPECTED}
    (noise,) = [each for says, each in expected.items() if says.startswith("Random labels")]
    assert noise.judged({"gain random labels": Interval(0.2, -0.1, 0.5, 3)}) is True
    assert noise.judged({"gain random labels": Interval(-0.9, -1.1, -0.5, 3)}) is False
    (older,) = [each for says, each in expected.items() if says.startswith("PPO with the true")]
    figures = {"gain ppo": Interval(1.0, 0, 2, 3), "gain best dpo": Interval(1.1, 0, 2, 3)}
    assert older.judged(figures) is False
    assert older.judged(figures | {"gain best dpo": Interval(1.0, 0, 2, 3)}) is True
    assert older.judged(figures | {"gain ppo": None}) is None


# ---------------------------------------------------------------------- jobs


def test_jobs_wait_for_what_they_need_and_a_failure_stops_no_other(
    study: Any, tmp_path: Path
) -> None:
    jobs, store = study("jobs"), study("store").Store(tmp_path / "results.jsonl")

    def broken() -> dict[str, Any]:
        raise ValueError("as planned")

    def made(name: str, *needs: str) -> Any:
        return jobs.Job(name, lambda: {"by": os.getpid(), "made": name}, needs)

    listed = [made("c", "a", "b"), made("a"), made("b"), jobs.Job("x", broken), made("y", "x")]
    failed = jobs.run(listed, store, 2)
    assert set(failed) == {"x", "y"} and "as planned" in failed["x"]
    assert list(store.records)[-1] == "c" and set(store.records) == {"a", "b", "c"}
    assert len({os.getpid(), *(each["by"] for each in store.records.values())}) == 4
    before = store.path.read_text()
    again = study("store").Store(store.path)
    assert not jobs.run([*listed[:3], made("x"), listed[4]], again, 1)
    assert store.path.read_text().startswith(before)
    assert set(again.records) == {"a", "b", "c", "x", "y"}


def test_a_job_whose_need_nobody_makes_is_named(study: Any, tmp_path: Path) -> None:
    jobs, store = study("jobs"), study("store").Store(tmp_path / "results.jsonl")
    with pytest.raises(ValueError, match="lonely"):
        jobs.run([jobs.Job("lonely", dict, ("nobody",))], store, 1)


def test_memory_is_what_a_piece_of_work_took(study: Any) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux to say how much memory was held")
    usage = study("jobs").Usage()
    held = bytearray(96_000_000)
    told = usage.told()
    assert 80 < told["memory"] < 140, told
    del held
    assert study("jobs").Usage().told()["memory"] < 40, "the mark starts again"


# ---------------------------------------------------------------------- the page


def invented(study: Any, folder: Path, *, ppo: float, without: str = "") -> Any:
    """A store with every arm of three seeds, in which PPO gains `ppo` and DPO 1."""
    found: list[dict[str, Any]] = []
    frontier = study("frontier")
    names = [arm.name for arm in frontier.arms() if arm.name not in ("reward", without)]
    for seed in range(3):
        rng = random.Random(seed)
        start = [rng.uniform(0, 6) for _ in range(10)]
        for name in ("base", *names, "prompted 1", "prompted 3", "prompted 5"):
            gain = {"sft": 0.0, "ppo": ppo}.get(name, 1.0 if name.startswith("dpo") else 0.3)
            points = []
            for part in (1, 2, 3):
                more = gain * part / 3 + (rng.uniform(0, 0.05) if gain else 0)
                points.append(_point(start, more, part * 0.7, rng))
            about = {"seed": seed, "arm": name, "what": "measured", "points": points}
            found.append({"key": f"{name} measured/{seed}", **about})
        for name in (*names, "reward"):
            cost = {"cpu": 30.0, "memory": 200.0, "models": 1, "lines": 6, "own": 3}
            found.append({"key": f"{name}/{seed}", "seed": seed, "arm": name, **cost})
        texts = [[rng.uniform(0, 6) for _ in range(16)] for _ in range(10)]
        found.append(
            {"key": f"best of n/{seed}", "seed": seed, "arm": "best of n", "rewards": texts}
        )
        found.append({"key": f"examples/{seed}", "seed": seed, "arm": "examples", "points": 7.1})
        runs = {"people": 4.0, "sft": 4.1, "dpo 0.1": 4.2}
        about = {"seed": seed, "arm": "copied", "words": runs, "share": dict.fromkeys(runs, 0.0)}
        found.append({"key": f"copied/{seed}", **about})
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps({**row, "seconds": 30.0}) + "\n" for row in found))
    return study("store").Store(path)


def _point(start: list[float], more: float, kl: float, rng: random.Random) -> dict[str, Any]:
    figures = {"kl": kl, "words": 25.0, "distinct_2": 0.6, "accuracy": rng.uniform(0.5, 0.7)}
    rewards = [each + more for each in start]
    return {"step": 1, "rewards": rewards, "chosen": -1.0, "rejected": -2.0, **figures}


@pytest.mark.parametrize("ppo", [0.2, 2.0])
def test_the_page_says_what_was_measured(study: Any, tmp_path: Path, ppo: float) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    page = study("frontier_page")
    store = invented(study, tmp_path, ppo=ppo)
    path = tmp_path / "dpo-or-rlhf.md"
    path.write_text("<!-- by hand -->\nkept\n<!-- end of by hand -->\nan earlier page\n")
    page.write(store, tmp_path)
    told = path.read_text()
    assert "<!-- by hand -->\nkept\n<!-- end of by hand -->" in told
    assert "an earlier page" not in told and "not measured" not in told
    row = next(line for line in told.splitlines() if line.startswith("| PPO, true reward | "))
    assert float(row.split("|")[2].split("[")[0].replace("−", "-")) == pytest.approx(ppo, abs=0.06)
    (held,) = [line for line in told.splitlines() if line.startswith("| PPO with the true")]
    assert held.split("|")[2].strip() == ("yes" if ppo > 1 else "**no**")
    assert ("more than DPO, by" in " ".join(told.split())) is (ppo > 1)
    page.write(store, tmp_path)
    assert path.read_text() == told
    assert (tmp_path / "frontier.svg").stat().st_size > 10_000


def test_what_is_missing_is_marked(study: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    store = invented(study, tmp_path, ppo=1.0, without="ppo")
    study("frontier_page").write(store, tmp_path)
    told = (tmp_path / "dpo-or-rlhf.md").read_text()
    assert "| PPO, true reward | not measured |" in told
    (row,) = [line for line in told.splitlines() if line.startswith("| PPO with the true")]
    assert row.split("|")[2].strip() == "not measured"


# ---------------------------------------------------------------------- the whole path


def _tiny(out: Path, only: str) -> subprocess.CompletedProcess[str]:
    words = ["--tiny", "--seeds", "1", "--workers", "1", "--out", str(out), "--only", only]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    script = str(ROOT / "scripts" / "study_frontier.py")
    return subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, env=env, check=False
    )


def _records(out: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {row["key"]: row for row in rows}


def test_the_study_runs(tmp_path: Path) -> None:
    arms = "examples,sft,pool,dpo 0.1"
    done = _tiny(tmp_path, arms)
    assert done.returncode == 0, done.stderr
    found = _records(tmp_path)
    assert json.loads((tmp_path / "expected.json").read_text())["says"]
    measured = [key for key in found if "measured" in key]
    assert measured == ["sft measured/0", "dpo 0.1 measured/0"]
    start, end = found[measured[0]]["points"][-1], found[measured[1]]["points"][-1]
    assert start["kl"] == 0 and end["kl"] > 0
    assert len(end["rewards"]) == 3 == len(end["texts"])
    assert len(found[measured[1]]["points"]) == 2, "at two moments"
    assert found["dpo 0.1/0"]["cpu"] > 0


@pytest.mark.slow
def test_every_arm_runs(study: Any, tmp_path: Path) -> None:
    done = _tiny(tmp_path, "")
    assert done.returncode == 0, done.stderr
    found = _records(tmp_path)
    for arm in study("frontier").arms():
        assert f"{arm.name}/0" in found
        if arm.name != "reward":
            end = found[f"{arm.name} measured/0"]["points"][-1]
            assert end["kl"] >= 0 and len(end["rewards"]) == 3
    assert found["copied/0"]["words"].keys() == {"people", "sft", "dpo 0.1"}


@pytest.mark.slow
def test_a_run_that_is_gone_before_its_points_were_stored_is_done_again(tmp_path: Path) -> None:
    arms = "examples,sft,pool,dpo 0.1"
    assert _tiny(tmp_path, arms).returncode == 0
    found, declared = _records(tmp_path), (tmp_path / "expected.json").read_text()
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    (tmp_path / "results.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    done = _tiny(tmp_path, arms)
    assert done.returncode == 0, done.stderr
    last = "dpo 0.1 measured/0"
    assert _records(tmp_path)[last]["points"] == found[last]["points"]
    assert (tmp_path / "expected.json").read_text() == declared
