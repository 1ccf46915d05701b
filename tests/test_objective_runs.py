"""Objectives from command to `final/`: every kind of row trains, and what does not fit is not."""

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from palate import api
from palate.config import DpoConfig, SftConfig
from palate.errors import DataError, PalateError, UsageError
from palate.train.events import Evaluation, silent

WORDS = ("river", "station", "lift", "bath")
COUNT = 12


def prompts(n: int) -> str:
    return f"place {n}: the flat near the {WORDS[n % 4]}"


PAIRS = [
    {
        "prompt": prompts(n),
        "chosen": f"It has {n} baths.",
        "rejected": f"Lovely, the {WORDS[n % 4]}",
    }
    for n in range(COUNT)
]
FILES: dict[str, list[dict[str, Any]]] = {
    "pairs": PAIRS,
    "verdicts": [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in PAIRS
        for side in ("chosen", "rejected")
    ],
    "ranked": [
        {"prompt": row["prompt"], "completions": [row["chosen"], "It is small.", row["rejected"]]}
        for row in PAIRS
    ],
    "weighted": [
        {"prompt": row["prompt"], "completion": row["chosen"], "weight": 1.5 - n % 3}
        for n, row in enumerate(PAIRS)
    ],
}
FREE = ("simpo", "orpo", "cpo", "unlikelihood")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("objectives")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    for name, rows in FILES.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def options(place: Path, out: Path, data: str, **changes: Any) -> dict[str, Any]:
    return {
        "model": str(place / "model"),
        "data": str(place / f"{data}.jsonl"),
        "out": out / "run",
        "batch_size": 4,
        "max_steps": 3,
        "lr": 1e-3,
    } | changes


def prefer(place: Path, out: Path, data: str, **changes: Any) -> dict[str, Any]:
    api.dpo(DpoConfig(**options(place, out, data, **changes)), silent)
    record: dict[str, Any] = json.loads((out / "run" / "run.json").read_text())
    return record


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("ipo", "pairs"),
        ("bco", "pairs"),
        ("aot", "pairs"),
        ("ld_dpo", "pairs"),
        ("dpop", "ranked"),
        ("kto", "verdicts"),
        ("plackett_luce", "ranked"),
        *((name, "pairs") for name in FREE),
    ],
)
def test_every_kind_of_objective_trains(
    place: Path, tmp_path: Path, cache: Path, name: str, data: str
) -> None:
    record = prefer(place, tmp_path, data, objective=name)
    assert record["stage"] == "dpo" and record["finished"]
    assert record["objective"]["name"] == name and record["objective"]["options"]
    computed = "reference" in record or cache.exists()
    assert computed is (name not in FREE), "a reference-free objective never computes one"


def test_what_is_mixed_in_is_written_down(place: Path, tmp_path: Path) -> None:
    words = {"sft_weight": 0.5, "option": ("wpo=true",), "beta": 0.2, "label_smoothing": 0.1}
    record = prefer(place, tmp_path, "pairs", **words)
    found = record["objective"]["options"]
    assert found == {"beta": 0.2, "label_smoothing": 0.1, "sft_weight": 0.5, "wpo": True}


def test_weights_of_rows_train(place: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    config = SftConfig(**options(place, tmp_path, "weighted", objective="weighted_sft"))
    api.sft(config, heard.append)
    assert [event for event in heard if isinstance(event, Evaluation)]


@pytest.mark.parametrize(
    ("data", "changes", "error", "said"),
    [
        ("verdicts", {}, DataError, "use --objective kto"),
        ("pairs", {"objective": "kto"}, DataError, "holds pairs"),
        ("pairs", {"objective": "plackett_luce"}, DataError, "holds pairs"),
        ("pairs", {"objective": "nope"}, UsageError, "no objective 'nope'"),
        ("pairs", {"objective": "sft"}, UsageError, "palate sft --objective sft"),
        ("pairs", {"objective": "simpo", "label_smoothing": 0.1}, UsageError, "label_smoothing"),
        ("pairs", {"option": ("gamma=1",)}, UsageError, "no option 'gamma'"),
        ("pairs", {"objective": "simpo", "option": ("gamma=x",)}, UsageError, "gamma x"),
        ("verdicts", {"objective": "kto", "sft_weight": 1.0}, UsageError, "sft_weight has no eff"),
    ],
)
def test_what_does_not_fit_is_refused(
    place: Path, tmp_path: Path, data: str, changes: Any, error: type[PalateError], said: str
) -> None:
    with pytest.raises(error) as caught:
        prefer(place, tmp_path, data, **changes)
    assert said in f"{caught.value} {caught.value.hint}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option", [("gamma",), ("=1",), ("beta=1",), ("gamma=1", "gamma=2")], ids=str
)
def test_an_option_is_named_once(place: Path, tmp_path: Path, option: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"NAME=VALUE|twice"):
        DpoConfig(**options(place, tmp_path, "pairs", option=option))
