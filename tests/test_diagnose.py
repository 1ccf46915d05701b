"""`palate diagnose`: its rules on figures made up, its measures against plain ones, its page."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from palate import api, cli
from palate.config import DpoConfig, SftConfig
from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Tokens
from palate.engine.policy import Policy
from palate.stats import Interval, share
from palate.study.diagnose import diagnose, spikes
from palate.study.findings import (
    Curves,
    Evaluated,
    Live,
    Mass,
    Texts,
    chosen_question,
    findings,
    verdict,
)
from palate.study.look import alike, follows, repetition, tell
from palate.train.events import silent


def near(value: float, half: float = 0.02) -> Interval:
    return Interval(value, value - half, value + half, 64)


def evaluated(step: int, loss: float, margin: float, hits: int = 45) -> Evaluated:
    return Evaluated(step, loss, share(hits, 64), margin, -1.0 if step else 0.0, 0.0)


CURVES = Curves(
    steps=60,
    best_step=60,
    lr=1e-3,
    beta=0.1,
    objective="dpo",
    evaluations=(
        evaluated(0, 0.693, 0.0),
        evaluated(30, 0.66, 0.2),
        evaluated(60, 0.62, 0.4),
    ),
    spikes=(),
    chosen_longer=share(100, 200),
    chosen_tokens=30.0,
    first=share(18, 32),
    first_until=3,
    last=share(150, 200),
    last_margin=0.5,
    met_again=True,
)
TEXTS = Texts(near(30, 2), share(30, 32), near(0.02), near(0.9))
LIVE = Live(
    pairs=64,
    prompts=32,
    held_out=True,
    chosen=near(-0.1),
    rejected=near(-0.3),
    accuracy=share(45, 64),
    margin=near(0.4),
    alike=0.3,
    follows_length=near(0.05, 0.2),
    start=Mass(0.8, 0.7, 0.9),
    final=Mass(0.7, 0.75, 0.9),
    start_texts=TEXTS,
    final_texts=TEXTS,
    stranger=near(0.05),
    longer=near(1.02),
    drift=near(0.1),
    fell_most=(("held.jsonl:3", -0.4),),
)


def called(curves: Curves = CURVES, live: Live | None = LIVE) -> str:
    return verdict(findings(curves, live))


# ---- the rules


def test_a_sound_run_is_healthy() -> None:
    assert called() == "healthy"
    assert called(live=None) == "healthy"


def test_each_trouble_is_called_by_its_name() -> None:
    strange = replace(LIVE, stranger=near(2.0, 0.3), chosen=near(-0.8), rejected=near(-1.0))
    assert called(live=strange) == "displaced"
    stammers = replace(LIVE, final_texts=replace(TEXTS, repetition=near(0.3)))
    assert called(live=stammers) == "displaced"
    collapsed = replace(evaluated(60, 0.9, 0.2), chosen_change=-60.0, rejected_change=-66.0)
    fell = replace(CURVES, best_step=30, evaluations=(*CURVES.evaluations[:2], collapsed))
    assert called(fell) == "displaced"
    coin = evaluated(60, 0.9, 0.0, hits=33)
    by_heart = replace(CURVES, last=share(190, 200), evaluations=(*CURVES.evaluations[:2], coin))
    assert called(by_heart) == "random labels"
    assert called(replace(CURVES, first=share(32, 32))) == "too easy"
    still = tuple(evaluated(step, 0.693, 0.001) for step in (0, 30, 60))
    assert called(replace(CURVES, last_margin=0.002, evaluations=still)) == "no learning"
    leaning = replace(CURVES, chosen_longer=share(190, 200))
    assert called(leaning, replace(LIVE, longer=near(1.4, 0.1))) == "length-biased"
    assert called(leaning) == "healthy", "pairs may lean if nothing follows"
    worse = (*CURVES.evaluations[:2], evaluated(60, 0.72, 0.1))
    assert called(replace(CURVES, evaluations=worse)) == "overfit"
    shifted = replace(CURVES.evaluations[0], chosen_change=1.0)
    moved = replace(CURVES, evaluations=(shifted, *CURVES.evaluations[1:]))
    assert called(moved) == "reference mismatch"
    assert called(replace(CURVES, spikes=(3, 9, 20))) == "loss spikes"


def test_both_sides_may_fall_while_the_texts_are_sound() -> None:
    assert "yes, it is normal" in chosen_question(LIVE)
    assert called(live=replace(LIVE, chosen=near(-0.5), rejected=near(-0.9))) == "healthy"


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (replace(LIVE, chosen=near(0.2)), "went up here"),
        (replace(LIVE, chosen=near(0.0)), "did not clearly fall"),
        (replace(LIVE, stranger=near(2.0)), "is not normal"),
    ],
)
def test_the_question_is_answered_with_figures(live: Live, words: str) -> None:
    said = chosen_question(live)
    assert words in said and "nats per token" in said and said.count(".\n") == 0


def test_every_finding_has_figure_bound_source_and_remedy() -> None:
    for finding in findings(CURVES, LIVE):
        assert finding.measured and finding.bound and finding.source and finding.todo
    assert len(findings(CURVES, LIVE)) == 8


# ---- the measures


def test_spikes_stand_out_of_their_neighbours() -> None:
    calm = [0.7 - 0.001 * n for n in range(60)]
    assert spikes(calm) == ()
    wild = list(calm)
    wild[30] = 2.5
    assert spikes(wild) == (31,)
    assert spikes([*calm[:40], math.nan, *calm[41:]]) == (41,)


def test_repetition_and_likeness_by_hand() -> None:
    assert repetition([1, 2, 3, 4, 5]) == 0
    assert repetition([7] * 8) == pytest.approx(4 / 5)
    assert repetition([1, 2]) == 0
    one, other = (
        Tokens((0, *ids), ((1, 1 + len(ids)),), 1) for ids in ([1, 2, 3, 4], [1, 9, 3, 4])
    )
    assert alike(one, other) == pytest.approx(3 / 4)
    assert alike(one, one) == 1


def test_a_margin_that_follows_length_does_so_both_ways_round() -> None:
    gaps = [float(n % 7 + 1) for n in range(40)]
    assert follows([0.0] * 40, gaps) is None
    noisy = [0.1 * gap + 0.1 * (-1) ** n for n, gap in enumerate(gaps)]
    found = follows(noisy, gaps)
    assert found is not None and 0.8 < found.low < found.value < found.high <= 1
    turned = follows([-x for x in noisy[:9]] + noisy[9:], [-g for g in gaps[:9]] + gaps[9:])
    assert turned is not None and turned.value == pytest.approx(found.value)
    none = follows([(-1.0) ** n for n in range(40)], [3.0] * 40)
    assert none is not None and none.low < 0 < none.high


@torch.no_grad()
def test_what_a_model_says_is_what_its_logits_say() -> None:
    model, plain = tiny.model("llama"), tiny.model("llama")
    sides = [Tokens((5, 6, 7, *tail), ((3, 3 + len(tail)),), 3) for tail in ([8, 9, 1], [8, 4])]
    items = [Item(tuple(sides), n, Origin("x", n)) for n in range(3)]
    told = tell(Policy(model), items, budget=16)
    for sequences in told:
        for found, side in zip(sequences, sides, strict=True):
            logits = plain(input_ids=torch.tensor([side.ids])).logits[0, 2:-1]
            logps = logits.double() - logits.double().logsumexp(-1, keepdim=True)
            mine = logps.gather(-1, torch.tensor(side.ids[3:])[:, None]).squeeze(-1)
            assert found.logp == pytest.approx(float(mine.sum()), abs=1e-5)
            assert found.entropy == pytest.approx(float(-(logps.exp() * logps).sum()), abs=1e-5)
            assert found.top == pytest.approx(float(logps.exp().amax(-1).sum()), abs=1e-5)
            assert found.end_p == pytest.approx(float(mine[-1].exp()), abs=1e-5)
            assert found.tokens == len(side.ids) - 3


# ---- a run

WORDS = ("river", "station", "lift", "bath")
PAIRS = [
    {
        "prompt": f"place {n}: the flat near the {WORDS[n % 4]}",
        "chosen": f"It has {n} baths.",
        "rejected": f"Lovely, the {WORDS[n % 4]}.",
    }
    for n in range(40)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("diagnose")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALATE_CACHE", str(root / "cache"))
        api.dpo(
            DpoConfig(
                model=str(root / "model"),
                data=str(root / "pairs.jsonl"),
                out=root / "run",
                lr=3e-4,
                full=True,
                epochs=3,
                batch_size=4,
                eval_every=6,
                token_budget=64,
            )
        )
        yield root


def test_the_live_look_agrees_with_the_metrics(place: Path) -> None:
    found = diagnose(place / "run", 3, silent)
    assert found.why == "" and found.live is not None
    record = json.loads((place / "run" / "run.json").read_text())
    assert found.live.pairs == record["evaluation"]["items"]
    assert found.live.margin.value == pytest.approx(record["evaluation"]["margin"], abs=1e-4)
    assert found.live.accuracy.value == pytest.approx(record["evaluation"]["accuracy"]["value"])
    assert found.live.held_out and found.live.prompts == 3


def test_it_is_the_same_twice(place: Path) -> None:
    assert diagnose(place / "run", 2, silent) == diagnose(place / "run", 2, silent)


def test_the_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["diagnose", str(place / "run"), "--prompts", "2"]) == 0
    said = capsys.readouterr().out
    assert ": " in said.splitlines()[0]
    assert "my chosen log-prob goes down, is that normal?" in said
    assert "where the mass went" in said and "next: palate history" in said


def test_json_is_one_object(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["diagnose", str(place / "run"), "--prompts", "2", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["verdict"] and found["chosen"] and len(found["findings"]) == 8
    assert found["measures"]["live"]["pairs"] > 0


def test_without_its_data_the_curves_are_read(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = place / "pairs.jsonl"
    kept = data.read_text()
    try:
        data.write_text(kept.replace("Lovely", "Nice"))
        assert cli.run(["diagnose", str(place / "run")]) == 0
        said = capsys.readouterr()
        assert "has changed since the run was made" in said.err
        assert "where the mass went" not in said.out
    finally:
        data.write_text(kept)


def test_sft_is_refused_with_a_reason(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in PAIRS]
    (place / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, data = str(place / "model"), str(place / "sft.jsonl")
    api.sft(SftConfig(model=model, data=data, out=place / "sft", max_steps=1, token_budget=64))
    assert cli.run(["diagnose", str(place / "sft")]) == 2
    assert "has no history" in capsys.readouterr().err
