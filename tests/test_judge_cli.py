"""`palate judge` as a command: files in, pairs out, and options that say when they do nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from palate import cli
from palate.data.judged import Said, Showing
from palate.judge.store import Store
from served import fill

Says = pytest.CaptureFixture[str]


def palate(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of a command of this process."""
    monkeypatch.setattr("sys.argv", ["palate", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Twenty prompts, of which twelve were judged."""
    path = tmp_path / "taste.db"
    with Store.open(path) as store:
        fill(store, 20)
        store.add_judge("me", "person")
        store.add_judge("gpt", "model")
        for number, prompt in enumerate(store.prompts()[:12]):
            one, two = store.answers(prompt.id)
            for who in ("me", "gpt"):
                shown = store.present(one.id, two.id, Showing(who), id=f"{who}-shown-{number}")
                verdict: Any = ("left", "right", "left", "tie")[number % 4]
                store.judge(f"{who}-said-{number}", shown.id, Said(verdict, ms=3000))
    return path


def test_samples_come_in_once_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    rows = [{"prompt": f"p{n // 2}", "completion": f"c{n}", "seed": n} for n in range(8)]
    data = tmp_path / "drawn.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    store, out = tmp_path / "taste.db", tmp_path / "pairs.jsonl"
    words = ("judge", str(store), "--add", str(data), "--export", str(out))
    assert palate(monkeypatch, *words) == 0
    assert "4 new prompts and 8 new answers" in capsys.readouterr().out
    assert palate(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "0 new prompts and 0 new answers; 8 were there already" in said
    assert f"next: palate judge {store}" in said and out.read_text() == ""


def test_several_files_may_be_added_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    for name in "ab":
        row = {"prompt": f"asked in {name}", "chosen": "yes, really", "rejected": "no, never"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    files = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
    out = tmp_path / "out.jsonl"
    store = tmp_path / "taste.db"
    assert palate(monkeypatch, "judge", str(store), "--add", *files, "--export", str(out)) == 0
    assert capsys.readouterr().out.count("1 judgement") == 2


def test_the_export_says_what_it_wrote_what_it_left_out_and_what_comes_next(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    out = judged.with_name("pairs.jsonl")
    assert palate(monkeypatch, "judge", str(judged), "--export", str(out)) == 0
    said = capsys.readouterr().out
    train = out.read_text().splitlines()
    heldout = judged.with_name("pairs.heldout.jsonl").read_text().splitlines()
    assert len(train) + len(heldout) == 9
    assert said.startswith(f"{len(train)} pairs in {out} and {len(heldout)} in ")
    assert "kept in the store: 3 ties" in said
    assert "left out: 9 pairs of gpt; --judge gpt exports them" in said
    assert f"next: palate doctor {out}" in said and "palate dpo --model runs/sft" in said
    assert {json.loads(line)["judge"] for line in train} == {"me"}


def test_one_judge_one_split_and_ties_may_be_asked_for(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    out = judged.with_name("all.jsonl")
    words = ("--judge", "gpt", "--split", "all", "--include", "ties,reasks")
    assert palate(monkeypatch, "judge", str(judged), "--export", str(out), *words) == 0
    assert len(out.read_text().splitlines()) == 9
    assert len(judged.with_name("all.ties.jsonl").read_text().splitlines()) == 3
    assert "left out: 9 pairs of me" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--split", "train"], "--split has no effect without --export"),
        (["--include", "ties"], "--include has no effect without --export"),
        (["--map", "prompt=q"], "--map has no effect without --add"),
        (["--n", "5"], "--n has no effect without --judge-with"),
        (["--rubric", "r.md"], "--rubric has no effect without --judge-with"),
        (["--json"], "--json has no effect without --judge-with"),
        (["--export", "x.jsonl", "--mode", "rank"], "--mode has no effect with --export"),
        (["--export", "x.jsonl", "--port", "8000"], "--port has no effect with --export"),
        (["--judge-with", "demo", "--goal", "5"], "--goal has no effect with --judge-with"),
        (["--judge-with", "demo", "--judge", "me"], "--judge has no effect with --judge-with"),
        (["--judge-with", "demo", "--export", "x.jsonl"], "two commands"),
        (["--include", "everything", "--export", "x"], "none of reasks, inferred, ties"),
        (["--port", "80"], "--port"),
        (["--mode", "quick"], "--mode"),
    ],
)
def test_an_option_without_effect_is_an_error(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says, words: list[str], says: str
) -> None:
    before = judged.read_bytes()
    assert palate(monkeypatch, "judge", str(judged), *words) == 2
    assert says in capsys.readouterr().err and judged.read_bytes() == before


def test_a_store_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    assert palate(monkeypatch, "judge", str(tmp_path / "no.db")) == 3
    assert "there is no store" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_an_unknown_judge_is_told_with_those_that_there_are(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    out = str(judged.with_name("x.jsonl"))
    assert palate(monkeypatch, "judge", str(judged), "--export", out, "--judge", "anna") == 2
    assert "no judge 'anna'" in capsys.readouterr().err
