"""The negative control, the half of the held-out rows that chooses, and what a run has cost."""

import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from palate import api
from palate.config import DpoConfig, RowOptions
from palate.data.render import Renderer, render
from palate.engine.model import load
from palate.engine.policy import Policy
from palate.errors import UsageError
from palate.objectives import build
from palate.runs import cost
from palate.runs.cost import Meter
from palate.runs.folder import Run
from palate.train import loop
from palate.train.events import Evaluation, silent
from palate.train.measure import Heldout, evaluation
from palate.train.prepare import divided, read_rows
from palate.train.step import Batch

WORDS = ("river", "station", "lift", "bath")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("control")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    rows = [
        {
            "prompt": f"place {n}: the flat near the {WORDS[n % 4]}",
            "chosen": f"It has {n % 7} baths.",
            "rejected": f"Lovely, the {WORDS[n % 3]}.",
        }
        for n in range(300)
    ]
    for name, part in (("pairs", rows), ("few", rows[:200])):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (root / f"{name}.jsonl").write_text(text)
    return root


def config(place: Path, name: str, **changes: Any) -> DpoConfig:
    fixed: dict[str, Any] = {"model": str(place / "model"), "data": str(place / "pairs.jsonl")}
    sizes = {"max_steps": 4, "eval_every": 1, "batch_size": 8, "lr": 5e-3, "token_budget": 256}
    return DpoConfig(**(fixed | {"out": place / name} | sizes | changes))


def test_a_coin_swaps_half_of_the_pairs_and_always_the_same(place: Path) -> None:
    plain, tossed, again, other = (
        read_rows(config(place, "x", **options), "pairs", silent)
        for options in (
            {},
            {"random_labels": True},
            {"random_labels": True},
            {"random_labels": True, "seed": 1},
        )
    )
    assert tossed == again
    swapped = [a != b for a, b in zip(plain.train, tossed.train, strict=True)]
    assert all(a in (b, b.swapped()) for a, b in zip(plain.train, tossed.train, strict=True))
    assert 0.4 < sum(swapped) / len(swapped) < 0.6
    assert {row.origin: row for row in tossed.train} != {row.origin: row for row in other.train}


def test_the_coin_does_not_know_which_answer_was_chosen(place: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    (tmp_path / "turned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in turned))
    found = read_rows(config(place, "x", random_labels=True), "pairs", silent)
    other = config(place, "x", random_labels=True, data=str(tmp_path / "turned.jsonl"))
    back = read_rows(other, "pairs", silent)
    first, second = ({row.origin.line: row.chosen for row in each.train} for each in (found, back))
    assert all(first[line] != second[line] for line in first)


def test_random_labels_without_pairs_are_refused(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "kto.jsonl"
    rows = [{"prompt": f"p {n}", "completion": "a", "label": n % 2 == 0} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = config(place, "kto", data=str(path), objective="kto", random_labels=True)
    with pytest.raises(UsageError, match="needs pairs"):
        api.dpo(asked)
    assert not (place / "kto").exists()


def test_the_loss_that_chooses_is_that_of_its_half(place: Path) -> None:
    rows = read_rows(config(place, "x"), "pairs", silent)
    loaded = load(str(place / "model"))
    renderer = Renderer(loaded.tokenizer, RowOptions(), context=loaded.context)
    items = list(render(rows.heldout, renderer, RowOptions()).items)
    places = tuple(i for i, item in enumerate(items) if item.origin in rows.choosing)
    assert 0 < len(places) < len(items)
    policy, objective = Policy(loaded.model).eval(), build("simpo")
    whole = Heldout(Batch(items), places)
    found = evaluation(policy, whole, objective, budget=256, step=1)
    half = Heldout(Batch([items[i] for i in places]))
    alone = evaluation(policy, half, objective, budget=256, step=1)
    assert found.items == len(items) and alone.items == len(places)
    assert found.choosing_loss == pytest.approx(alone.loss, rel=1e-5)
    assert alone.choosing_loss == alone.loss != pytest.approx(found.loss, rel=1e-3)


def test_the_reporting_half_does_not_choose(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of all falls to the end; that of the half that chooses is lowest after step 2."""

    def said(*words: Any, step: int, **options: Any) -> Evaluation:
        return Evaluation(step, 1.0 - step / 10, 30, choosing_loss=abs(step - 2) / 10)

    monkeypatch.setattr(loop, "evaluation", said)
    done = api.dpo(config(place, "chosen"))
    assert done.best_step == 2 and done.steps == 4
    assert done.evaluation is not None and done.evaluation.loss == 0.8


def test_few_held_out_prompts_all_choose(place: Path) -> None:
    asked = config(place, "x", data=str(place / "few.jsonl"), heldout=str(place / "few.jsonl"))
    assert len(read_rows(asked, "pairs", silent).choosing) == 100
    few = divided(config(place, "x", data=str(place / "few.jsonl")), "pairs", silent)
    rows = read_rows(config(place, "x", data=str(place / "few.jsonl")), "pairs", silent)
    assert len(few.heldout) == 20 and len(rows.choosing) == 10


def test_what_a_run_cost_adds_up_over_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "peak_bytes", lambda: 7_000)
    now = [100.0]
    with Run.open(tmp_path / "run", {}, frozen={}) as run:
        meter = Meter(run, models=2, clock=lambda: now[0])
        now[0] = 130.0
        meter.write()
    monkeypatch.setattr(cost, "peak_bytes", lambda: 5_000)
    with Run.open(tmp_path / "run", {}, frozen={}) as run:
        meter = Meter(run, models=2, clock=lambda: now[0])
        now[0] = 140.0
        meter.write()
    found = Run.read(tmp_path / "run")["cost"]
    assert found == {"seconds": 40.0, "peak_bytes": 7_000, "models": 2}


def test_the_peak_of_this_process_is_plausible() -> None:
    assert 50 * 2**20 < cost.peak_bytes() < 2**40
    held = bytearray(80 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    assert cost.peak_bytes() > len(held)


def test_a_run_writes_down_its_rows_and_its_cost(place: Path) -> None:
    api.dpo(config(place, "written"))
    record = Run.read(place / "written")
    assert record["rows"] == {"train": 270, "heldout": 30}
    assert record["cost"]["models"] == 1 and record["cost"]["seconds"] > 0
    assert record["cost"]["peak_bytes"] > 50 * 2**20
    assert record["overridden"] and all(": " in each for each in record["overridden"])
