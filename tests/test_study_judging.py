"""The judging study: it runs, goes on where it stopped, and its page says what was measured."""

import importlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    """The script's modules, as they import each other when it is run."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("study_judging")
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        for name in [n for n in sys.modules if n.split(".")[0] in ("study", "study_judging")]:
            del sys.modules[name]


def invented(study: Any, path: Path, *, ahead: float) -> Any:
    """A store of results in which active is ahead by so many points."""
    found: list[dict[str, Any]] = []
    for seed in range(5):
        rng = random.Random(seed)
        points = [rng.uniform(0, 6) for _ in range(10)]
        about = {"seed": seed, "figures": {"points": sum(points) / 10}}
        found.append(about | {"key": f"{seed}/sft", "arm": "sft", "points": points})
        for arm in ("random", "active"):
            for place, size in enumerate((25, 50, 100, 200, 400)):
                more = place * 0.5 + (ahead if arm == "active" else 0) + rng.uniform(0, 0.1)
                told = {"arm": arm, "size": size, "pairs": round(size * 0.9)}
                up = [each + more for each in points]
                found.append(about | told | {"key": f"{seed}/{arm}/{size}", "points": up})
    (path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return study.Store(path / "results.jsonl")


@pytest.mark.parametrize("ahead", [0.0, 1.0, -1.0])
def test_the_page_says_what_was_measured(study: Any, tmp_path: Path, ahead: float) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    page = importlib.import_module("study.judging_page")
    store = invented(study, tmp_path, ahead=ahead)
    (tmp_path / "judging.md").write_text(
        "# Judging\n\nthe lead's\n\n## How many judgements do I need?\n\nan earlier page\n\n"
        "<!-- by hand -->\nenough\n<!-- end of by hand -->\n"
    )
    page.write(store, tmp_path)
    told = (tmp_path / "judging.md").read_text()
    assert told.startswith("# Judging\n\nthe lead's\n\n## How many")
    assert "<!-- by hand -->\nenough\n<!-- end of by hand -->" in told
    assert "an earlier page" not in told
    assert ("are better than random" in told) is (ahead > 0)
    assert ("are worse than random" in told) is (ahead < 0)
    row = next(line for line in told.splitlines() if line.startswith("| 400 |"))
    gap = float(row.split("|")[4].split("[")[0].replace("−", "-"))
    assert gap == pytest.approx(ahead, abs=0.06)
    page.write(store, tmp_path)
    assert (tmp_path / "judging.md").read_text() == told
    assert (tmp_path / "judging.svg").stat().st_size > 5000


@pytest.mark.slow
def test_the_study_runs_and_goes_on(study: Any, tmp_path: Path) -> None:
    judging = importlib.import_module("study.judging")
    base = ROOT / "src" / "palate" / "demo" / "base"
    store = study.Store(tmp_path / "results.jsonl")
    scale = judging.Scale(budgets=(6, 10), prompts=16, answers=2, unseen=2, tokens=32)
    judging.Bench(base, store, tmp_path / "work", scale).seed(0)
    lines = store.path.read_text().splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    sized = [f"0/{arm}/{size}" for arm in ("random", "active") for size in (6, 10)]
    assert keys == ["0/pool", "0/sft", *sized]
    for arm in ("random", "active"):
        small, large = (store.records[f"0/{arm}/{size}"]["picks"] for size in (6, 10))
        assert [tuple(each) for each in large[:6]] == [tuple(each) for each in small]
        assert len({each[0].partition("a")[0] for each in large}) == 10
    sure = [each[3] for each in store.records["0/active/10"]["picks"]]
    assert not any(sure[:6]) and all(sure[6:]), "the first budget has no policy to ask yet"
    store.path.write_text("\n".join(lines[:-1]) + "\n")  # killed before the last line
    again = study.Store(store.path)
    judging.Bench(base, again, tmp_path / "work", scale).seed(0)
    before, after = (
        json.loads(each) for each in (lines[-1], again.path.read_text().split("\n")[-2])
    )
    assert before | {"seconds": 0} == after | {"seconds": 0}
