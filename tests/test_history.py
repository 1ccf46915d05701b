"""`rows.jsonl` and `history.jsonl`: each step once, and what `palate history` makes of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from palate import api, cli
from palate.config import DpoConfig, SftConfig
from palate.errors import CheckpointError, UsageError
from palate.study.history import (
    classify,
    export_rows,
    original_rows,
    read_history,
    spread,
    with_tags,
)
from palate.train.events import Event, Step

STEPS = 12
WORDS = ("river", "station", "lift", "bath")
PAIRS = [
    {
        "prompt": f"place {n // 2}: the flat near the {WORDS[n // 2 % 4]}",
        "chosen": f"It has {n} baths.",
        "rejected": f"Lovely, the {WORDS[n % 4]}.",
        "tag": WORDS[n % 2],
        "judge": "me",
    }
    for n in range(24)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(root: Path, name: str, **changes: Any) -> DpoConfig:
    made = DpoConfig(
        model=str(root / "model"),
        data=str(root / "pairs.jsonl"),
        out=root / name,
        batch_size=4,
        max_steps=STEPS,
        epochs=3,
        save_every=2,
        eval_every=6,
        token_budget=64,
        lr=3e-3,
        full=True,
    )
    return made.model_copy(update=changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("history")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    write(root / "pairs.jsonl", PAIRS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALATE_CACHE", str(root / "cache"))
        api.dpo(config(root, "run"))
        yield root


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- what is written


def test_each_step_stands_there_once_with_its_rows(place: Path) -> None:
    rows, steps = lines(place / "run" / "rows.jsonl"), lines(place / "run" / "history.jsonl")
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    seen = [item for line in steps for item in line["items"]]
    assert set(seen) == set(range(len(rows)))
    for line in steps:
        assert len(line["items"]) == len(line["margin"]) == len(line["weight"])
    for row in rows:
        pair = PAIRS[row["line"] - 1]
        assert row["path"].endswith("pairs.jsonl") and len(row["group"]) == 12
        assert row["tokens"][0] > 0 and pair["prompt"]


def test_a_pair_starts_with_no_margin_and_half_its_weight(place: Path) -> None:
    first = lines(place / "run" / "history.jsonl")[0]
    assert first["margin"] == pytest.approx([0] * 4, abs=1e-5)
    assert first["weight"] == pytest.approx([0.05] * 4, abs=1e-5)


def test_the_step_and_its_history_tell_the_same_margin(place: Path) -> None:
    metrics = {row["step"]: row for row in lines(place / "run" / "metrics.jsonl")}
    for line in lines(place / "run" / "history.jsonl"):
        mean = sum(line["margin"]) / len(line["margin"])
        assert mean == pytest.approx(metrics[line["step"]]["margin"], rel=1e-4, abs=1e-4)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("at", [1, 7, 8, STEPS])
def test_a_killed_run_has_the_same_history(place: Path, at: int) -> None:
    def heard(event: Event) -> None:
        if isinstance(event, Step) and event.step == at:
            raise Killed

    name = f"killed-{at}"
    with pytest.raises(Killed):
        api.dpo(config(place, name), heard)
    path = place / name / "history.jsonl"
    assert len(lines(path)) == at, "the step was written before it was told"
    with path.open("ab") as file:
        file.write(b'{"step": 99, "items"')
    api.dpo(config(place, name))
    for file_name in ("history.jsonl", "rows.jsonl"):
        assert (place / name / file_name).read_bytes() == (place / "run" / file_name).read_bytes()


def test_sft_writes_none(place: Path) -> None:
    data = write(
        place / "sft.jsonl", [{"prompt": p["prompt"], "completion": p["chosen"]} for p in PAIRS]
    )
    model, out = str(place / "model"), place / "sft"
    api.sft(SftConfig(model=model, data=str(data), out=out, max_steps=2, token_budget=64))
    assert not (out / "history.jsonl").exists() and not (out / "rows.jsonl").exists()
    with pytest.raises(UsageError, match="SFT gives every row the same weight"):
        read_history(out)


VERDICTS = [
    {"prompt": p["prompt"], "completion": p[side], "label": side == "chosen"}
    for p in PAIRS
    for side in ("chosen", "rejected")
]
LISTS = [
    {"prompt": p["prompt"], "completions": [p["chosen"], p["rejected"], "Yes."]} for p in PAIRS
]


@pytest.mark.parametrize(
    ("objective", "rows", "ranks"),
    [
        ("ipo", PAIRS, True),
        ("simpo", PAIRS, True),
        ("aot", PAIRS, True),
        ("dpo", LISTS, True),
        ("kto", VERDICTS, False),
        ("plackett_luce", LISTS, False),
    ],
)
def test_other_objectives(
    place: Path,
    objective: str,
    rows: list[dict[str, Any]],
    ranks: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"{objective}-{len(rows)}"
    data = write(place / f"{name}.jsonl", rows)
    api.dpo(config(place, name, objective=objective, data=str(data), max_steps=4))
    found = read_history(place / name)
    assert found.ranks is ranks and found.steps == 4
    assert not isinstance(original_rows(found), str)
    assert cli.run(["history", str(place / name)]) == 0
    said = capsys.readouterr().out
    assert ("gives no margins" in said) is not ranks
    assert cli.run(["diagnose", str(place / name), "--prompts", "1"]) == (0 if ranks else 2)


# ---- what is read


@pytest.mark.parametrize(
    ("margins", "kind"),
    [
        ([0.0], "once"),
        ([0.0, 2.5], "at-once"),
        ([2.5, 0.5], "at-once"),
        ([0.0, 0.5, 3.0], "gained"),
        ([0.05, -0.05, 0.2], "gained"),
        ([-0.3, 0.2], "flipped"),
        ([3.0, -0.3, 0.2], "flipped"),
        ([0.0, 0.05], "never"),
        ([-1.0, -2.0], "never"),
        ([0.2, -0.2], "lost"),
        ([0.2, 0.05], "lost"),
    ],
)
def test_classes(margins: list[float], kind: str) -> None:
    assert classify(margins) == kind


def test_spread_in_figures_that_can_be_checked_by_hand() -> None:
    even = spread([2.0] * 10)
    assert (even.top_tenth, even.half, even.gini) == pytest.approx((0.1, 0.5, 0.0))
    one = spread([0.0] * 9 + [1.0])
    assert (one.top_tenth, one.half, one.gini) == pytest.approx((1.0, 0.1, 0.9))
    assert spread([0.0, 0.0]).gini == 0


def test_the_history_adds_up(place: Path) -> None:
    found = read_history(place / "run")
    assert found.ranks and len(found.met) == len(found.rows)
    assert found.push_of(found.rows) == pytest.approx(1)
    kinds = ("at-once", "gained", "flipped", "never", "lost", "once")
    assert sum(len(found.of([kind])) for kind in kinds) == len(found.rows)
    heavy = found.heaviest(3)
    assert heavy[0].push >= heavy[1].push >= heavy[2].push


def test_tags_and_fields_come_from_the_file(place: Path) -> None:
    found = read_history(place / "run")
    fields = original_rows(found)
    assert not isinstance(fields, str)
    tagged = with_tags(found, fields)
    assert set(tagged.tags()) == set(WORDS[:2])
    (row, *_) = export_rows(tagged.rows, fields)
    pair = PAIRS[row["line"] - 1]
    assert {name: row[name] for name in pair} == pair
    assert {"line", "path", "class", "margins", "weights"} <= row.keys()


def test_a_changed_file_is_not_trusted(place: Path, tmp_path: Path) -> None:
    found = read_history(place / "run")
    data = Path(found.record["config"]["data"])
    kept = data.read_text()
    try:
        write(data, [*PAIRS[1:], PAIRS[0]])
        assert "has changed" in str(original_rows(found))
        data.unlink()
        assert "cannot be read" in str(original_rows(found))
        assert "prompt" not in export_rows(found.rows, original_rows(found))[0]
    finally:
        data.write_text(kept)


def test_a_damaged_history_says_so(place: Path, tmp_path: Path) -> None:
    for name in ("run.json", "rows.jsonl"):
        (tmp_path / name).write_bytes((place / "run" / name).read_bytes())
    wrong = {"step": 1, "items": [99], "margin": [0.1], "weight": [0.1]}
    write(tmp_path / "history.jsonl", [wrong])
    with pytest.raises(CheckpointError, match="does not belong to"):
        read_history(tmp_path)


# ---- the command


def test_the_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["history", str(place / "run")]) == 0
    said = capsys.readouterr().out
    assert "pairs ended ranked right" in said.splitlines()[0]
    assert "half of it came from" in said and "next: palate" in said
    assert "river" in said and "station" in said


def test_json_is_one_object_per_pair(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["history", str(place / "run"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == len(read_history(place / "run").rows)
    assert sum(row["push"] for row in rows) == pytest.approx(1)


def test_export_can_be_trained_on_again(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "repair.jsonl"
    kinds = "at-once,gained,flipped,never,lost"
    words = ["history", str(place / "run"), "--export", str(out), "--only", kinds]
    assert cli.run(words) == 0
    rows = lines(out)
    assert f"{len(rows)} pairs" in capsys.readouterr().out
    from palate.data.sources import read

    assert len(read(str(out), kind="pairs").rows) == len(rows) > 0


def test_an_unknown_class_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["history", str(place / "run"), "--only", "best"]) == 2
    assert "no such class" in capsys.readouterr().err


def test_no_torch_is_imported(place: Path) -> None:
    code = (
        "import sys\nfrom palate.cli import run\n"
        f"assert run(['history', {str(place / 'run')!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
