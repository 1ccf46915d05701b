"""docs/objectives.md is what its script makes of the table; `palate objectives` says the same."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from palate import cli
from palate.objectives import OBJECTIVES
from palate.objectives.describe import OF_PAIRS, described

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "objectives_docs.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("objectives_docs", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes(script: Any) -> None:
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    assert page == script.text(), "run: python scripts/objectives_docs.py"


def test_the_page_has_every_objective(script: Any) -> None:
    page = script.text()
    for name in OBJECTIVES:
        found = described(name)
        assert f"\n## {name}\n" in page and f"    {found.formula}\n" in page
        assert found.paper in page and all(f"`{option}`" in page for option in found.options)


def test_the_picture_is_there_and_has_every_pair() -> None:
    picture = (ROOT / "docs" / "objectives.svg").read_text(encoding="utf-8")
    for name, spec in OBJECTIVES.items():
        assert (f">{name}<" in picture) is (spec.items in ("pair", "ranked"))
    assert "<dc:date>" not in picture


def test_the_curves_are_the_weights(script: Any) -> None:
    from palate.objectives import build

    gap, found = script.curve(build("dpo"))
    want = 0.1 / (1 + (0.1 * gap).exp())
    assert float((found[:, 0] - want).abs().max()) < 1e-12
    assert float((found[:, 1] + want).abs().max()) < 1e-12


# ------------------------------------------------------------------ palate objectives


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert cli.run(["objectives", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_list_has_one_aligned_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines, _, after = said(capsys)
    assert [line.split()[0] for line in lines] == list(OBJECTIVES)
    columns = [head.index(word) for word in ("rows", "reference", "when")]
    for line, name in zip(lines, OBJECTIVES, strict=True):
        found = described(name)
        assert line[columns[0] :].startswith(found.rows)
        assert line[columns[1] :].startswith("yes" if found.reference else "no")
        assert line[columns[2] :] == found.when
    assert after == "next: palate objectives NAME"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_objective_in_full(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines, found = said(capsys, name), described(name)
    page = " ".join(" ".join(lines).split())
    assert lines[0] == f"{name}: {found.when}"
    for part in (found.formula, found.paper, found.rows, *map(str, found.options)):
        assert " ".join(part.split()) in page
    assert all((str(option) in page) is found.pairs for option in OF_PAIRS)
    assert max(map(len, lines)) <= 100
    assert lines[-1].startswith(f"next: palate {found.stage} ")
    assert (f"--objective {name}" in lines[-1]) is (name not in ("sft", "dpo"))


def test_json_is_one_object_each(capsys: pytest.CaptureFixture[str]) -> None:
    found = [json.loads(line) for line in said(capsys, "--json")]
    assert [each["name"] for each in found] == list(OBJECTIVES)
    (dpo,) = [json.loads(line) for line in said(capsys, "dpo", "--json")]
    assert dpo["options"][0] == {"name": "beta", "default": 0.1, "allowed": "> 0"}
    assert [option["name"] for option in dpo["options"]][-2:] == ["sft_weight", "wpo"]
    assert dpo["reference"] is True and dpo["lengths"] is False


def test_an_unknown_name_is_said_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["objectives", "dop"]) == 2
    told = capsys.readouterr().err
    assert "there is no objective 'dop'" in told and "plackett_luce" in told
