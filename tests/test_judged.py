"""Online DPO by a judge's verdicts: what is asked, what a verdict is worth, what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
from openai_server import Server, said
from palate import cli
from palate.data.rewards import Answered
from palate.rlhf.judged import Couple, Judged

SHEET = "Describe this 2bd loft on Hawthorn Lane. Facts: 3.5 bath; built in 1967; fees $430."
SHORT = ["--max-new-tokens", "8", "--max-steps", "2", "--batch-size", "4", "--lr", "1e-3"]


def shorter(couples: Sequence[Couple]) -> list[int]:
    return [(len(a) < len(b)) - (len(a) > len(b)) for _, a, b in couples]


def first(couples: Sequence[Couple]) -> list[int]:
    """A judge that sees nothing but the order."""
    return [1] * len(couples)


def texts(*answers: str) -> list[Answered]:
    return [Answered("p", each) for each in answers]


def test_the_better_of_two_gets_one_and_a_tie_a_half() -> None:
    judge = Judged("shorter", "program", shorter, both_orders=False)
    assert judge.score(texts("a", "bb", "cc", "d", "e", "f")) == [1.0, 0.0, 0.0, 1.0, 0.5, 0.5]
    assert judge.score([]) == []
    assert judge.identity == Judged("shorter", "program", first, both_orders=True).identity
    assert judge.identity != Judged("longer", "program", shorter, both_orders=False).identity


def test_a_verdict_that_turns_with_the_order_is_a_tie() -> None:
    for both, wanted in ((True, [0.5, 0.5]), (False, [1.0, 0.0])):
        assert Judged("first", "model", first, both_orders=both).score(texts("a", "b")) == wanted
    steady = Judged("shorter", "model", shorter, both_orders=True)
    assert steady.score(texts("a", "bb", "cc", "d")) == [1.0, 0.0, 0.0, 1.0]


# ------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("judged") / "model"
    return str(tiny.folder(folder, "llama", num_hidden_layers=1))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PALATE_API_KEY", raising=False)
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    prompts = [SHEET.replace("2bd", f"{n}bd") for n in range(1, 5)]
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))


def ppo(model: str, *more: str) -> list[str]:
    given = ["ppo", "--model", model, "--data", "prompts.jsonl", "--out", "run"]
    method = [] if "--method" in more else ["--method", "online_dpo"]
    return [*given, *method, *SHORT, *more]


def steps() -> list[dict[str, Any]]:
    rows = (Path("run") / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row) for row in rows if json.loads(row)["step"]]


def test_a_program_judges(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(ppo(model, "--judge-with", "demo")) == 0
    told = capsys.readouterr().out
    assert "nothing is held out" in told and "palate evaluate run --judge-with demo" in told
    assert [row["score"] for row in steps()] == [0.5, 0.5], "one of two wins"
    record = json.loads((Path("run") / "run.json").read_text())
    assert record["finished"] and record["reward"]["name"] == "demo"


def test_a_server_is_asked_in_both_orders(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It always likes the first, so every verdict turns with the order."""

    with Server(lambda path, body: said('{"verdict": "A"}')) as server:
        asked = ["--judge-with", server.url, "--judge-model", "m"]
        assert cli.run(ppo(model, *asked)) == 0
        assert len(server.asked) == 3 * 2 * 4, "start and steps, orders, prompts"
    assert all(row["grad_norm"] == 0 for row in steps()), "nothing but ties: nothing was learnt"
    assert f"--judge-with {server.url} --judge-model m" in capsys.readouterr().out


def test_what_has_no_effect_is_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("letters.toml").write_text(
        '[[check]]\nname = "e"\nkind = "contains"\nvalue = "e"\nwhy = "a test"\n'
    )
    for given, wanted in (
        ([], "neither --reward nor --judge-with is given"),
        (["--reward", "demo", "--judge-with", "demo"], "both --reward and --judge-with"),
        (["--reward", "letters.toml", "--judge-model", "m"], "--judge-model has no effect without"),
        (["--judge-with", "demo", "--judge-model", "m"], "--judge-model has no effect with demo"),
        (["--judge-with", "demo", "--insecure"], "--insecure has no effect with demo"),
        (["--judge-with", "http://127.0.0.1:1"], "--judge-model is needed"),
        (["--judge-with", "demo", "--method", "rloo"], "has no effect with --method rloo"),
        (["--judge-with", "demo", "--heldout", "prompts.jsonl"], "--heldout has no effect"),
    ):
        assert cli.run(ppo(model, *given)) == 2
        assert wanted in capsys.readouterr().err
        assert not Path("run").exists()


def test_a_server_that_answers_rubbish(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(lambda path, body: said("I would rather not say.")) as server:
        words = ["--judge-with", server.url, "--judge-model", "m"]
        code = cli.run(ppo(model, *words))
    told = capsys.readouterr().err
    assert code != 0 and "are no verdict" in told and "Traceback" not in told
