"""The doctor's command: cases from files, exit codes, JSON, baseline, own checks, the one line."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from palate import api, cli
from palate.config import DoctorOptions, DpoConfig, SftConfig
from palate.errors import DataError
from palate.stats import share
from palate.study import doctor as study
from palate.study.baseline import read_baseline, worse
from palate.study.case import flat, load
from palate.study.checks.base import Case, Check, Finding, PairText, Severity
from palate.study.checks.table import CHECKS
from palate.study.near_miss import Place
from palate.study.rewrite import ranked
from palate.train.events import Event, Note

Record = dict[str, Any]
NOUNS = ("loft", "cabin", "duplex", "bungalow", "cottage", "condo", "townhouse", "flat")
STREETS = ("Olive", "Maple", "Cedar", "Birch", "Aspen", "Holly", "Linden", "Walnut", "Elm", "Pine")
ROOMS = ("two bedrooms", "a walled garden", "solar panels", "oak floors", "a slate roof")


def sound(count: int) -> list[Record]:
    """Pairs with nothing to mend: both answers keep to the prompt, neither is longer as a rule."""
    found = []
    for n in range(count):
        noun, street = NOUNS[n % 8], f"{STREETS[n % 10]} {STREETS[(n // 10) % 10]} {n}"
        one, other = ROOMS[n % 5], ROOMS[(n + 1 + n // 5 % 4) % 5]
        sides = [f"The {noun} has {one} and {other}.", f"With {other}, {one}: the {noun}."]
        chosen, rejected = sides if (n * 7) % 3 % 2 else sides[::-1]
        prompt = f"Describe the {noun} on {street}. Facts: {one}; {other}."
        found.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return found


def write(path: Path, records: Iterable[Record | str]) -> str:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def said(name: str, severity: Severity, *rows: int, key: str = "") -> Finding:
    rate = share(len(rows), 20)
    return Finding(name, severity, f"{name} speaks.", rate.value, rate, "5%", rows=rows, key=key)


def check(*findings: Finding) -> Check:
    return Check("own", 0, "?", "nothing", lambda case: findings)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the command run these findings alone."""

    def set_checks(*findings: Finding) -> None:
        assert study.doctor.__kwdefaults__ is not None
        monkeypatch.setitem(study.doctor.__kwdefaults__, "checks", (check(*findings),))

    return set_checks


# ---- from a file to a case


def test_conversations_are_flat_and_extras_are_kept(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    turns.append({"role": "user", "content": "Describe it."})
    sides = {name: [{"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    extra = {"tag": ["tone", "x"], "reason": "warmer", "seconds": 3.5, "judge": "me", "other": 1}
    path = write(tmp_path / "p.jsonl", [{"prompt": turns, **sides, **extra}])
    (pair,) = load(path, DoctorOptions()).case.pairs
    assert pair.prompt == "user: Hi\nassistant: Yes?\nuser: Describe it."
    assert (pair.chosen, pair.rejected, pair.tag) == ("chosen", "rejected", "tone")
    assert set(pair.extra) == {"tag", "reason", "seconds", "judge"}
    assert flat(None) == "" and flat("as it is") == "as it is"


def test_rows_and_texts_are_in_the_same_order(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ["# a comment", *sound(5), "", *sound(3)])
    found = load(path, DoctorOptions())
    assert [pair.line for pair in found.case.pairs] == [2, 3, 4, 5, 6, 8, 9, 10]
    for text, pair in zip(found.case.pairs, found.pairs, strict=True):
        assert (text.line, text.chosen) == (pair.origin.line, pair.chosen)


def test_rows_that_share_a_line_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(sound(4)))
    found = load(str(path), DoctorOptions())
    assert [pair.line for pair in found.case.pairs] == [1, 2, 3, 4]
    assert any("counted from 1" in note for note in found.notes)


def test_a_ranking_is_each_answer_against_the_next(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [{"prompt": "p", "completions": ["a b", "b c", "c d"]}])
    pairs = load(path, DoctorOptions()).case.pairs
    assert [(pair.line, pair.chosen, pair.rejected) for pair in pairs] == [
        (1, "a b", "b c"), (1, "b c", "c d"),
    ]  # fmt: skip


def test_examples_and_heldout_are_read(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": f"{n} said"} for n in range(60)]
    path = write(tmp_path / "e.jsonl", rows)
    held = write(tmp_path / "h.jsonl", rows[:2])
    found = api.doctor(path, DoctorOptions(heldout=held))
    assert len(found.case.examples) == 60 and not found.case.pairs and not found.places
    assert len(found.case.heldout) == 2
    assert any(each.check == "leakage" and each.severity == "error" for each in found.findings)


def test_faulty_rows_are_one_finding_and_the_rest_is_examined(tmp_path: Path) -> None:
    rows: list[Record | str] = [*sound(20)]
    rows[3] = '{"prompt": "x", "chosen": "y"'
    rows[7] = {"prompt": "x", "chosen": "", "rejected": "z"}
    found = api.doctor(write(tmp_path / "p.jsonl", rows))
    (faulty,) = [each for each in found.findings if each.check == study.SOUND]
    assert faulty.severity == "error" and faulty.rows == (4, 8)
    assert faulty.value == pytest.approx(2 / 20) and "line 4" in faulty.message
    assert found.findings[0] is faulty and len(found.case.pairs) == 18
    assert "palate check" in faulty.todo


def test_a_file_without_a_sound_row_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ['{"prompt": 1}'])
    with pytest.raises(DataError):
        api.doctor(path)


# ---- what is said of it


def test_findings_are_sorted_and_their_order_is_kept() -> None:
    kinds: Sequence[Severity] = ("ok", "too few", "warning", "info", "error", "warning")
    found = study.examine(Case("f"), [check(*(said(f"c{i}", s) for i, s in enumerate(kinds)))])
    assert [each.check for each in found] == ["c4", "c2", "c5", "c3", "c1", "c0"]


def test_a_check_of_ones_own(tmp_path: Path) -> None:
    def shouts(case: Case) -> Iterable[Finding]:
        rows = tuple(pair.line for pair in case.pairs if pair.rejected.isupper())
        if rows:
            message = f"{len(rows)} rejected answers shout."
            yield Finding("shouting", "warning", message, value=float(len(rows)), rows=rows)

    rows = sound(10)
    rows[4]["rejected"] = "BUY IT NOW"
    own = Check("shouting", 0, "Does anybody shout?", "a lower-case shout", shouts)
    found = api.doctor(write(tmp_path / "p.jsonl", rows), checks=(*CHECKS, own))
    (finding,) = [each for each in found.findings if each.check == "shouting"]
    assert finding.rows == (5,) and found.exit_code >= 1


def test_every_check_is_in_the_table() -> None:
    folder = Path(study.__file__).parent / "checks"
    with_check = {p.stem for p in folder.glob("*.py") if "\nCHECK = Check(" in p.read_text("utf-8")}
    listed = {each.run.__module__.rpartition(".")[2] for each in CHECKS}
    assert listed == with_check
    assert len({each.name for each in CHECKS}) == len(CHECKS)


def test_the_summary_says_what_the_heldout_part_can_tell() -> None:
    pairs = [PairText(n, f"p{n}", "a", "b", "tone" if n % 2 else None) for n in range(100)]
    case = Case("f", pairs, heldout=[PairText(n, f"h{n}", "a", "b") for n in range(256)])
    found = study.summary(replace(case, heldout_path="h"))
    assert found.tagged == 0.5 and found.heldout == 256
    # (1.96 + 0.84) sqrt(p q / n), the usual normal approximation
    assert found.detectable == pytest.approx(2.8016 * (0.25 / 256) ** 0.5, rel=1e-3)
    assert "9 points" in study.summary_line(replace(case, heldout_path="h"))


def test_what_few_rows_name_comes_first() -> None:
    lines = list(range(1, 21))
    findings = [said("some", "warning", *lines[:5]), said("rare", "warning", 20, 18)]
    findings += [said("shown", "info", 19), said("of the file", "error", *lines[:15])]
    places = [Place(n, 0.5, 0.5, "near miss") for n in lines]
    places[18] = Place(19, 0.5, 0.95, "strangers")
    found = ranked(lines, findings, places)
    assert [each.line for each in found[:2]] == [20, 18]
    assert {each.line for each in found} == {*lines[:5], 18, 19, 20}
    assert found[0].named == (1,)


# ---- the command


@pytest.mark.parametrize(
    ("severities", "code"),
    [((), 0), (("ok", "too few", "info"), 0), (("warning", "ok"), 1), (("warning", "error"), 2)],
)
def test_exit_codes(
    tmp_path: Path, only: Any, severities: tuple[Severity, ...], code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    only(*(said(f"c{n}", each, 1) for n, each in enumerate(severities)))
    assert cli.run(["doctor", write(tmp_path / "p.jsonl", sound(20))]) == code
    shown = capsys.readouterr().out
    assert ("No warning" in shown) == (code == 0)


def test_json_is_one_object_per_finding_and_nothing_else(
    tmp_path: Path, only: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    only(replace(said("bad", "error", 3, 1), value=float("nan")), said("fine", "ok"))
    assert cli.run(["doctor", write(tmp_path / "p.jsonl", sound(9)), "--json"]) == 2
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["check"] for each in found] == ["bad", "fine"]
    wanted = "check key severity value low high threshold source rows message todo"
    assert set(found[0]) == set(wanted.split())
    assert found[0]["rows"] == [3, 1] and found[0]["value"] is None
    assert found[0]["low"] == pytest.approx(share(2, 20).low)


def test_the_terminal_shows_measured_threshold_source_lines_and_what_to_do(
    tmp_path: Path, only: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = replace(said("length", "warning", *range(1, 16)), todo="Write others.", source="me")
    only(finding, replace(said("few", "too few"), message="3 are too few."))
    cli.run(["doctor", write(tmp_path / "p.jsonl", sound(20))])
    shown = capsys.readouterr().out
    assert shown.startswith("1 warning in 20 pairs: length.")
    for part in (
        "measured    75% [53%, 89%]",
        "5% (me)",
        "and 7 more",
        "Write others.",
        "3 are too",
    ):
        assert part in shown
    for zone in ("near miss", "cartoon", "hairline", "strangers"):
        assert zone in shown
    assert "too few to tell" in shown and "next: palate doctor" in shown
    text = shown.partition("next: ")[0]
    assert max(map(len, text.splitlines())) <= 100 and "\x1b" not in shown


def test_options_of_the_model_need_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "p.jsonl", sound(9))
    assert cli.run(["doctor", path, "--samples", "8", "--beta", "0.1", "--max-length", "64"]) == 2
    assert "--samples and --beta and --max-length without --model" in capsys.readouterr().err


def test_a_model_fills_the_second_tier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.folder(tmp_path / "model")
    path = write(tmp_path / "p.jsonl", sound(12))
    found = api.doctor(path, DoctorOptions(model=str(model), samples="2"))
    assert found.case.measured is not None and found.cost is not None and found.cost >= 1
    assert {"truncation", "learnable"} <= {each.check for each in found.findings}
    assert len(found.places) == 12 and found.seconds[1] > 0
    assert cli.run(["doctor", path, "--model", str(model), "--samples", "2"]) in (0, 1, 2)
    assert "times the scoring pass" in capsys.readouterr().out


def test_a_terminal_is_not_commanded_by_a_file(
    tmp_path: Path, only: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    only(replace(said("bad", "warning", 1), message="a \x1b[31mred\x07 word"))
    cli.run(["doctor", write(tmp_path / "p.jsonl", sound(9))])
    assert "\x1b" not in capsys.readouterr().out


def test_text_alone_needs_no_torch_and_few_pairs_no_sklearn(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", sound(30))
    code = (
        f"import sys\nfrom palate.cli import run\nrun(['doctor', {path!r}, '--html', "
        f"{str(tmp_path / 'p.html')!r}])\nprint('|', *({{'torch', 'sklearn'}} & {{*sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rpartition("|")[2].split() == []
    assert (tmp_path / "p.html").exists()


# ---- baseline


def as_lines(*findings: Finding) -> list[Record]:
    return [study.as_json(each) for each in findings]


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ([said("a", "warning", 1)], [said("a", "warning", 2)], 0),
        ([said("a", "warning", 1)], [said("a", "warning", 1, 2)], 1),
        ([said("a", "warning", 1)], [said("a", "error", 1)], 1),
        ([said("a", "error", 1)], [said("a", "warning", 1)], 0),
        ([said("a", "warning", 1)], [said("a", "warning", 1, key="k")], 1),
        ([said("a", "ok")], [said("a", "warning", 1)], 1),
        ([said("a", "error", 1, 2), said("a", "error", 3)], [said("a", "error", 3)], 0),
        ([said("a", "error", 1)], [said("a", "error", 1), said("a", "error", 2)], 1),
        ([said("a", "ok", 1)], [said("a", "ok", 1, 2), said("b", "too few")], 0),
    ],
)
def test_worse_is_new_severer_or_more(
    tmp_path: Path, before: list[Finding], after: list[Finding], count: int
) -> None:
    path = Path(write(tmp_path / "b.jsonl", as_lines(*before)))
    assert len(worse(after, read_baseline(path))) == count


def test_only_regressions_count_and_the_known_are_told(
    tmp_path: Path, only: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "p.jsonl", sound(20))
    only(said("old", "error", 1), said("same", "ok"))
    assert cli.run(["doctor", path, "--json"]) == 2
    baseline = tmp_path / "b.jsonl"
    baseline.write_text(capsys.readouterr().out)
    assert cli.run(["doctor", path, "--baseline", str(baseline)]) == 0
    shown = capsys.readouterr().out
    assert "nothing is worse, 1 known, 0 gone" in shown and "error · old (known)" in shown
    only(said("old", "error", 1), said("new", "warning", 4))
    assert cli.run(["doctor", path, "--baseline", str(baseline)]) == 1
    shown = capsys.readouterr().out
    assert "1 finding new or worse, 1 known" in shown and "warning · new\n" in shown


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"check": "a"}', '{"severity": "odd"}'])
def test_a_malformed_baseline_is_one_clear_error(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "b.jsonl"
    baseline.write_text(text)
    path = write(tmp_path / "p.jsonl", sound(9))
    assert cli.run(["doctor", path, "--baseline", str(baseline)]) == 2
    told = capsys.readouterr()
    assert "b.jsonl" in told.err and "--json" in told.err and not told.out
    assert len(told.err.splitlines()) == 1


# ---- one line before a run


def lines_of(events: list[Event]) -> list[Note]:
    return [e for e in events if isinstance(e, Note) and e.text.startswith("doctor:")]


def sft_config(folder: Path, **changes: Any) -> SftConfig:
    data = folder / "e.jsonl"
    if not data.exists():
        write(data, [{"prompt": f"say {n}", "completion": f"{n} ok"} for n in range(6)])
    base = {"model": str(folder / "model"), "data": str(data), "out": folder / "run"}
    return SftConfig(**{**base, "max_steps": 1, "batch_size": 2, "rank": 2, **changes})


def test_dpo_prints_one_line_and_a_resume_none(tmp_path: Path) -> None:
    tiny.folder(tmp_path / "model")
    rows = sound(6)
    data = write(tmp_path / "p.jsonl", rows)
    held = write(tmp_path / "h.jsonl", rows[:1])
    config = DpoConfig(
        model=str(tmp_path / "model"), data=data, heldout=held, out=tmp_path / "run",
        max_steps=1, batch_size=2, rank=2,
    )  # fmt: skip
    events: list[Event] = []
    api.dpo(config, events.append)
    (line,) = lines_of(events)
    assert line.warning and "error in p.jsonl (leakage: " in line.text
    assert f"palate doctor {data} shows it" in line.text
    assert events.index(line) == 0
    again: list[Event] = []
    api.dpo(config, again.append)
    assert lines_of(again) == []


def test_sft_says_that_there_is_nothing_to_mend(tmp_path: Path) -> None:
    config = sft_config(tmp_path)
    seen = study.glance(config, "sft")
    assert seen is not None and not seen.note.warning and not seen.overridden
    assert seen.note.text.startswith("doctor: no warning in the 6 examples of e.jsonl")


def test_what_cannot_be_read_is_left_to_the_stage(tmp_path: Path) -> None:
    config = sft_config(tmp_path, data=str(tmp_path / "none.jsonl"))
    assert study.glance(config, "sft") is None
    bad = write(tmp_path / "bad.jsonl", [*sound(3), {"prompt": "p", "chosen": "c"}])
    assert study.glance(sft_config(tmp_path, data=bad), "pairs") is None
