"""Mistakes on the command line of `palate ppo`: told in a sentence, and nothing is left behind."""

import json
from pathlib import Path

import pytest

import tiny
from foreign_reward import classifier
from palate import cli

CHECK = '[[check]]\nname = "e"\nkind = "contains"\nvalue = "e"\nwhy = "a test"\n'
SHORT = ["--max-new-tokens", "4", "--max-steps", "1", "--batch-size", "2", "--passes", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("online") / "model"
    return str(tiny.folder(folder, "llama", num_hidden_layers=1))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    prompts = ("the flat", "this one is by the river", "two baths")
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    Path("letters.toml").write_text(CHECK)


def ppo(model: str, *more: str, reward: str = "letters.toml") -> list[str]:
    given = ["ppo", "--model", model, "--data", "prompts.jsonl", "--out", "run"]
    return [*given, "--reward", reward, *more]


def refused(capsys: pytest.CaptureFixture[str], given: list[str], *, code: int = 2) -> str:
    """What is said, without line ends; no run folder is there afterwards."""
    assert cli.run(given) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said and not Path("run").exists()
    return " ".join(said.split())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--beta", "0.1"], "--beta has no effect with --method ppo"),
        (["--method", "rloo", "--beta", "0.1"], "--beta has no effect with --method rloo"),
        (["--method", "online_dpo", "--kl", "0.1"], "--kl has no effect with --method online_dpo"),
        (["--method", "online_dpo", "--kl-target", "3"], "--kl-target has no effect"),
        (["--method", "online_dpo", "--n", "3"], "--n 3: online_dpo takes 2 texts per prompt"),
        (["--method", "grpo", "--n", "1"], "--n 1: grpo takes 2 or more texts per prompt"),
        (["--method", "a2c"], "--method"),
        (["--lora-dropout", "0.1"], "--lora-dropout cannot be used"),
        (["--max-length", "9"], "--max-length has no effect here"),
        (["--kl", "-1"], "greater than or equal to 0"),
    ],
)
def test_options_without_effect_and_out_of_range(
    model: str, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert said in refused(capsys, ppo(model, *given))


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("dmeo", "--reward dmeo: there is no such file or folder. It is demo, a rubric"),
        ("gone.toml", "--reward gone.toml: there is no such file"),
        ("prompts.jsonl", "this file is no .toml"),
    ],
)
def test_a_reward_that_is_none(
    model: str, capsys: pytest.CaptureFixture[str], reward: str, said: str
) -> None:
    assert said in refused(capsys, ppo(model, reward=reward))


def test_a_policy_cannot_pay(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert model in refused(capsys, ppo(model, reward=model), code=2)


def test_an_unknown_check_of_a_rubric(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("letters.toml").write_text(CHECK.replace("contains", "cantains"))
    said = refused(capsys, ppo(model), code=2)
    assert "letters.toml" in said and "cantains" in said and "contains" in said


def test_a_reward_model_of_another_tokenizer(
    model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = str(classifier(tmp_path / "rm", start="<bos>"))
    said = refused(capsys, ppo(model, reward=other))
    assert other in said and f"policy {model}" in said and "palate reward" in said


def test_prompts_that_the_demos_taste_does_not_know(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*ppo(model, reward="demo"), *SHORT]) == 2
    assert "no fact sheet of the demo" in capsys.readouterr().err


def test_a_file_without_prompts(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("prompts.jsonl").write_text('{"completion": "no prompt here"}\n')
    assert "prompts.jsonl" in refused(capsys, ppo(model))


def test_a_run_is_not_continued_under_another_reward(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*ppo(model), *SHORT]) == 0
    before = (Path("run") / "run.json").read_bytes()
    Path("letters.toml").write_text(CHECK.replace('"e"', '"t"'))
    capsys.readouterr()
    assert cli.run([*ppo(model), *SHORT]) == 3
    assert "reward" in capsys.readouterr().err
    assert (Path("run") / "run.json").read_bytes() == before
