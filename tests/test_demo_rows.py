"""The example's data: careless analysts, near-misses, and figures with their intervals."""

import json
import random
from pathlib import Path

import pytest
from rich.text import Text

from palate.demo import command, figures, page, rows
from palate.demo.prose import Style, describe, prompt
from palate.demo.sheets import sheets
from palate.demo.taste import judge
from palate.errors import PalateError

SHEETS = sheets(60, "rows")


def told(style: Style, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [describe(sheet, style, rng) for sheet in SHEETS]


def test_examples_are_mostly_grounded_and_a_little_careless() -> None:
    found = rows.examples(300, 0)
    assert found == rows.examples(300, 0) != rows.examples(300, 1)
    about = sheets(300, "examples 0")
    read = figures.figures(figures.read(about, [row["completion"] for row in found]))
    assert 0.75 < read["facts stated"].value < 0.95
    for name in ("wrong or invented", "vague phrases", "hype phrases"):
        assert 0 < read[name].value < 0.6, name


def test_a_pair_is_a_near_miss_and_never_a_tie() -> None:
    full, most = told(Style()), told(Style(keep=0.8))
    vague = told(Style(keep=0.1, vague=2))
    drawn = [list(texts) for texts in zip(vague, most, full)]
    made = rows.pairs(SHEETS, drawn)
    assert made.ties == 0 and len(made.rows) == len(SHEETS)
    nearest = 0
    for sheet, row, texts in zip(SHEETS, made.rows, drawn):
        scores = {text: judge(text, sheet).score for text in texts}
        assert row["prompt"] == prompt(sheet) and row["chosen"] in texts
        assert scores[row["chosen"]] == max(scores.values())
        assert scores[row["rejected"]] <= scores[row["chosen"]] - rows.NEAR
        nearest += row["rejected"] == texts[1]
    assert nearest > 40  # the grounded text that leaves a fact out, not the vague one


def test_prompts_whose_texts_are_equally_good_give_no_pair() -> None:
    made = rows.pairs(
        SHEETS, [[first, again] for first, again in zip(told(Style()), told(Style(), 1))]
    )
    assert made == rows.Pairs((), len(SHEETS))


def test_completions_follow_the_prompts_file() -> None:
    records = [{"line": line, "completion": f"{line}{n}"} for line in (1, 2, 3) for n in "ab"]
    assert list(rows.completions(records)) == [["1a", "1b"], ["2a", "2b"], ["3a", "3b"]]


def test_wins_count_ties_half_and_swapping_mirrors_them() -> None:
    full, most = figures.read(SHEETS, told(Style())), figures.read(SHEETS, told(Style(keep=0.6)))
    win, loss = figures.wins(full, most), figures.wins(most, full)
    assert win.value > 0.9 and win.value + loss.value == pytest.approx(1)
    assert figures.wins(full, full).value == 0.5 and figures.ties(full, full) == len(SHEETS)


def test_the_page_says_what_was_counted_in_plain_lines() -> None:
    judged = {
        "base": figures.read(SHEETS, told(Style(keep=0.3, vague=2))),
        "SFT": figures.read(SHEETS, told(Style(keep=0.7, wrong=1))),
        "DPO": figures.read(SHEETS, told(Style())),
    }
    found = {name: figures.figures(texts) for name, texts in judged.items()}
    win = figures.wins(judged["DPO"], judged["SFT"])
    shown = [line.plain for line in page.table({"drawn": (found, win)})]
    assert max(map(len, shown)) <= page.WIDTH
    assert any("facts stated" in line and "100% [100%, 100%]" in line for line in shown)
    assert any("wins against SFT" in line for line in shown)
    apart = [line.plain for line in page.table({"drawn": (found, None)})]
    assert apart == [line for line in shown if "wins against SFT" not in line]
    side = [line.plain for line in page.side_by_side({m: t[0] for m, t in judged.items()})]
    assert any("vague" in line for line in side) and any("wrong: " in line for line in side)
    same = [line.plain for line in page.worst(judged["DPO"][0], judged["DPO"][0])]
    assert same == ["DPO lost on no sheet."]


@pytest.mark.parametrize(
    ("verdict", "colour"),
    [("better", page.BLUE), ("worse", page.ORANGE), ("indistinguishable", ""), (None, "")],
)
def test_the_verdict_is_the_evaluations_and_is_blue_only_if_better(
    verdict: str | None, colour: str
) -> None:
    line = page.verdict({"headline": "dpo and sft.", "verdict": verdict})
    assert line.plain == "dpo and sft." and str(line.style) == f"bold {colour}".strip()


def test_a_command_that_fails_ends_the_demo_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_program", lambda: ["false"])
    said: list[Text] = []
    with pytest.raises(PalateError, match="`palate sft` ended with code 1") as caught:
        command.run(tmp_path / "demo", say=said.append, quick=True)
    assert caught.value.exit_code == 1 and said[0].plain.startswith("\n$ palate sft --model ")
    first = (tmp_path / "demo" / "data" / "examples.jsonl").read_text().splitlines()[0]
    assert set(json.loads(first)) == {"prompt", "completion"}
