"""The report: its figures are those of the JSON, nothing runs, nothing is fetched or escapes."""

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import proof_cases as cases
from browser import Browser, needs_browser
from palate.cli import run as palate
from palate.config import DpoConfig, PpoConfig, RewardConfig, SftConfig
from palate.errors import CheckpointError, UsageError
from palate.report import curves, drawing, frontier, plots
from palate.report.figures import at, mean, place, tone
from palate.report.lineage import command, commands, facts, lineage, overridden
from palate.report.proof import page, recorded
from palate.stats import Interval, share
from palate.study.evaluated import RECORD, Evaluated
from payloads import PAYLOADS

ACTIVE = {"iframe", "object", "embed", "form", "input", "link", "base", "img", "video", "audio"}
HEARD = re.compile(r"^on|^(src|srcset|action|formaction|style|xlink:href)$")


@dataclass
class Found(HTMLParser):
    """What stands on a page: elements, headings, figures, texts."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    figures: list[dict[str, str]] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append((tag, told))
        if tag == "section":
            self.sections.append(str(told["id"]))
        if tag == "data":
            self._open = {name: value or "" for name, value in attrs} | {"text": ""}

    def handle_endtag(self, tag: str) -> None:
        if tag == "data" and self._open is not None:
            self.figures.append(self._open)
            self._open = None

    def handle_data(self, data: str) -> None:
        self.parts.append(data)
        if self._open is not None:
            self._open["text"] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())


def read(html: str) -> Found:
    found = Found()
    found.feed(html)
    return found


def shown(record: Evaluated, *stages: Any) -> Found:
    return read(page(record, cases.alone(*stages)))


def plain(record: Evaluated) -> Any:
    """What `palate evaluate --json` prints."""
    return json.loads(record.model_dump_json())


# ---- figures


def digits(text: str) -> tuple[float, float]:
    """The value of a figure's text, and half a unit of its last digit."""
    bare = text.replace("\N{MINUS SIGN}", "-").replace("+", "").replace(",", "")
    base, _, power = bare.partition("e")
    decimals = len(base.partition(".")[2])
    return float(bare), 0.5000001 * 10.0 ** (int(power or 0) - decimals)


def wrong(told: dict[str, str], record: Any) -> str | None:
    """What is wrong with a figure of the page; None if it is the record's."""
    truth = at(record, told["data-of"])
    text = told["text"]
    percent = told["data-form"] == "rate"
    if percent:
        text = text.replace("%", "")
    values = (
        [truth] if not isinstance(truth, dict) else [truth[n] for n in ("value", "low", "high")]
    )
    texts = re.findall(r"[^\s\[\],]+(?:,\d{3})*", text)
    if len(texts) != len(values):
        return f"{told}: not {values}"
    for said, value in zip(texts, values, strict=True):
        number, half = digits(said)
        if abs(number - value * (100 if percent else 1)) > half:
            return f"{told['data-of']}: {said} is not {value}"
    return None


@pytest.mark.parametrize("make", [cases.full, cases.even, cases.huge, cases.minimal])
def test_every_figure_is_the_json_s(make: Any) -> None:
    record = make()
    found, truth = shown(record).figures, plain(record)
    assert [each for each in (wrong(told, truth) for told in found) if each] == []
    assert all(float(told["value"]) == at_value(truth, told) for told in found)


def at_value(record: Any, told: dict[str, str]) -> float:
    truth = at(record, told["data-of"])
    return float(truth["value"] if isinstance(truth, dict) else truth)


def test_that_test_can_fail() -> None:
    record = cases.full()
    found, other = shown(record), plain(record)
    for interval in (other["wins"][0]["raw"], other["regression"][1]["change"]):
        interval["low"] -= 0.011
    bad = [each for each in (wrong(told, other) for told in found.figures) if each]
    assert {each.partition(":")[0] for each in bad} == {"/wins/0/raw", "/regression/1/change"}


def intervals(found: Any, *before: str | int) -> Iterator[str]:
    """The places of every interval in a record."""
    if isinstance(found, dict) and found.keys() == {"value", "low", "high", "count"}:
        yield place(*before)
    elif isinstance(found, dict):
        for name, each in found.items():
            yield from intervals(each, *before, name)
    elif isinstance(found, list):
        for index, each in enumerate(found):
            yield from intervals(each, *before, index)


def test_no_interval_is_left_out() -> None:
    record = cases.full()
    known = {told["data-of"] for told in shown(record).figures}
    left = {each for each in intervals(plain(record)) if each not in known}
    last = len(record.displacement) - 1
    drawn = re.compile(rf"/frontier/|/displacement/(?!{last}/)|/rubric/\d+/change")
    assert {each for each in left if not drawn.match(each)} == set()


def test_figures_of_one_interval_share_their_precision() -> None:
    told = mean("/x", Interval(0.001, -0.003, 12.34, 9))
    assert told.text == "0.0 [\N{MINUS SIGN}0.0, 12.3]"
    assert mean("/x", Interval(0.02, -0.001, 0.041, 9), sign=True).text == (
        "+0.0200 [\N{MINUS SIGN}0.0010, +0.0410]"
    )
    assert mean("/x", Interval(0.0, 0.0, 0.0, 9)).text == "0 [0, 0]"
    assert mean("/x", Interval(12345.6, 12000, 13000, 9)).text == "12,346 [12,000, 13,000]"


def test_a_place_may_hold_any_sign() -> None:
    record = {"points": {"a/b~c": 1.5}, "rows": [{"x": 2}]}
    assert at(record, place("points", "a/b~c")) == 1.5
    assert at(record, place("rows", 0, "x")) == 2


# ---- order, absence, honesty

ORDER = (
    "lineage", "wins", "agreement", "frontier", "curves", "margins", "displacement", "cost",
    "slices", "texts", "control", "again", "plain",
)  # fmt: skip


def test_sections_come_in_order_and_absent_ones_are_left_out() -> None:
    assert tuple(shown(cases.full(), cases.ppo_stage()).sections) == ORDER
    assert shown(cases.minimal()).sections == ["lineage", "control", "again"]


def test_it_begins_with_the_verdict_and_ends_in_plain_words() -> None:
    record = cases.full()
    said = shown(record).text
    assert said.index("74% [68%, 80%]") < said.index("How it came to be")
    assert said.rstrip().endswith(record.plain[-1] + " {}")  # the frame's own empty data


def test_the_contents_name_what_is_there() -> None:
    for record in (cases.full(), cases.minimal()):
        found = shown(record)
        links = [str(told["href"]) for tag, told in found.tags if tag == "a"]
        assert links == [f"#{name}" for name in found.sections]


def lines(html: str) -> list[tuple[str, str]]:
    """(tone, what is written) of each row of intervals."""
    found = re.findall(r'<div class="line tone-(\w+)[^>]*>(.*?)</p>\s*</div>\s*<div', html, re.S)
    return [(tone, read(each).text) for tone, each in found]


def test_no_colour_where_an_interval_covers_one_half() -> None:
    loud = cases.win("dpo", "sft", 52, 45, 23).model_copy(update={"verdict": "better"})
    html = page(cases.full(wins=(loud,), verdict="better", person=None, accuracy=()), cases.alone())
    colour, said = lines(html)[0]
    assert colour == "none" and "indistinguishable" in said and "better" not in said
    assert 'class="mine-none"' in html


def test_verdicts_have_their_colours() -> None:
    assert tone(share(80, 100), "better") == "up"
    assert tone(share(20, 100), "worse") == "down"
    assert tone(share(50, 100), "better") == "none"
    assert tone(Interval(-0.1, -0.2, 0.05, 9), "worse", nothing=0.0) == "none"
    html = page(cases.full(), cases.alone())
    assert 'class="mine-up"' in html
    assert 'class="mine-none"' in page(cases.even(), cases.alone())


def test_a_judge_that_is_not_trusted_is_grey_and_says_why() -> None:
    html = page(cases.full(), cases.alone())
    grey = [said for _, said in lines(html) if "tiny-judge-1b" in said]
    assert len(grey) == 1 and "not to be relied on" in grey[0] and "better" not in grey[0]
    assert 'tone-none dim"' in html
    assert re.search(r"tiny-judge-1b is a model; it says the same in both orders of 58%",
                     read(html).text)  # fmt: skip


def test_a_comparison_that_stands_twice_is_shown_once() -> None:
    one = cases.win("dpo", "sft", 70, 20, 10)
    twice, once = (page(cases.full(wins=wins), cases.alone()) for wins in ((one, one), (one,)))
    assert len(lines(twice)) == len(lines(once))


@pytest.mark.parametrize(
    ("control", "says"),
    [
        (None, "It was not run."),
        ("indistinguishable", "indistinguishable from the baseline, as it should be"),
        ("better", "and it should not be"),
        ("worse", "and it should not be"),
    ],
)
def test_the_control_is_never_silent(control: Any, says: str) -> None:
    said = shown(cases.full(control=control)).text
    assert says in said
    assert ("Do not trust the figures below." in said) == (control in ("better", "worse"))


def test_texts_stand_side_by_side_with_their_differences_marked() -> None:
    html = page(cases.full(), cases.alone())
    figures = re.findall(r'<figure class="shown">(.*?)</figure>', html, re.S)
    assert len(figures) == 16
    assert figures[0].index("<h4>sft") < figures[0].index("<h4>dpo")
    assert '<div class="answer won">' in figures[0] and '<div class="answer lost">' in figures[0]
    assert "A tie." in figures[3] and '<div class="answer even">' in figures[3]
    marked = [read(each).text for each in re.findall(r"<mark>(.*?)</mark>", figures[0])]
    assert "A lovely" in marked and not any("Hawthorn" in each for each in marked)
    assert "Where it lost most" in html


def test_the_number_of_looks_is_told() -> None:
    assert "looked at 3 times" in shown(cases.full()).text
    assert "looked at once" in shown(cases.even()).text


# ---- nothing escapes, nothing is fetched


def test_no_text_becomes_markup() -> None:
    clean = {tag for tag, _ in shown(cases.full()).tags}
    for text in (" ".join(PAYLOADS[n : n + 10]) for n in range(0, len(PAYLOADS), 10)):
        found = shown(cases.hostile(text), cases.stage(text, overridden=[text]))
        tags = {tag for tag, _ in found.tags}
        assert not tags & ACTIVE and tags <= clean | {"q", "ul", "li"}, text
        names = {name for _, told in found.tags for name in told}
        assert not [name for name in names if HEARD.match(name)], text
        assert " ".join(text.split()) in found.text


def test_signs_that_turn_text_are_shown_by_their_number() -> None:
    html = page(cases.hostile("a\u202eb\u200bc"), cases.alone())
    assert "\u202e" not in html and "\u200b" not in html and "⟨U+202E⟩" in html


def test_a_lone_surrogate_does_not_stop_the_page() -> None:
    record = cases.full(reward="half a sign")
    broken = record.shown[0].model_copy(update={"prompt": "half \ud83d"})
    html = page(record.model_copy(update={"shown": (broken,)}), cases.alone())
    html.encode("utf-8")


def test_nothing_is_fetched_and_nothing_runs() -> None:
    html = page(cases.full(), cases.alone(cases.stage("sft"), cases.ppo_stage()))
    found = read(html)
    assert all(str(told["href"])[0] == "#" for _, told in found.tags if "href" in told)
    assert not [told for _, told in found.tags if any(HEARD.match(name) for name in told)]
    assert not re.search(r"https?://|url\(|@import", html)
    (policy,) = [
        str(told["content"])
        for _, told in found.tags
        if told.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    style = re.findall(r"<style>(.*?)</style>", html, re.S)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert re.findall(r"<script>(.*?)</script>", html, re.S) == [""]


def test_the_page_is_small() -> None:
    assert len(page(cases.full(), cases.alone()).encode()) < 300_000
    assert len(page(cases.huge(), cases.alone()).encode()) < 500_000


# ---- how it came to be


def written(folder: Path, kind: str, **record: Any) -> Path:
    folder.mkdir(parents=True)
    told = dict(cases.stage(kind).record) | {"finished": True} | record
    (folder / "run.json").write_text(json.dumps(told))
    rows = [{"step": n, "loss": 1 / (n + 1)} for n in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_chain_is_followed_to_the_base(tmp_path: Path) -> None:
    sft = written(tmp_path / "sft", "sft")
    dpo = written(tmp_path / "dpo", "dpo", parent=str(sft))
    found = lineage(dpo)
    assert [each.name for each in found.stages] == ["sft", "dpo"]
    assert found.base == "models/base" and found.lost is None
    assert found.stages[0].steps == 2


def test_a_parent_that_is_gone_is_said(tmp_path: Path) -> None:
    dpo = written(tmp_path / "dpo", "dpo", parent=str(tmp_path / "gone"))
    found = lineage(dpo)
    assert found.lost == str(tmp_path / "gone") and len(found.stages) == 1
    assert "a run that is no longer at" in read(page(cases.full(), found)).text


def test_a_run_that_is_its_own_ancestor_ends_the_chain(tmp_path: Path) -> None:
    one = written(tmp_path / "one", "sft", parent=str(tmp_path / "two"))
    written(tmp_path / "two", "dpo", parent=str(one))
    assert [each.name for each in lineage(one).stages] == ["two", "one"]


def test_a_parent_that_cannot_be_read_is_lost(tmp_path: Path) -> None:
    sft = written(tmp_path / "sft", "sft")
    (sft / "run.json").write_text("{")
    assert lineage(written(tmp_path / "dpo", "dpo", parent=str(sft))).lost == str(sft)


def test_what_it_cost_is_told_where_it_is_known() -> None:
    told = dict(facts(cases.ppo_stage()))
    assert told["time"] == "12 min 11 s" and told["peak memory"] == "1.3 GB"
    assert told["models in memory"] == "3" and told["rows"] == "450, 50 held out"
    assert {"time", "peak memory"}.isdisjoint(dict(facts(cases.stage("dpo"))))


def test_findings_that_were_overridden_are_shown() -> None:
    stage = cases.stage("dpo", overridden=["length: chosen is longer in 81% of pairs."])
    assert overridden(stage) == ["length: chosen is longer in 81% of pairs."]
    said = read(page(cases.full(), cases.alone(stage))).text
    assert "trained in spite of the doctor" in said and "longer in 81%" in said


@pytest.mark.parametrize(
    "config",
    [
        SftConfig(model="m", data="a b.jsonl", out=Path("o"), mean="sequence", max_steps=7),
        DpoConfig(model="m", data="d", out=Path("o"), lr=8e-4, keep=12, random_labels=True),
        DpoConfig(model="m", data="d", out=Path("o"), objective="simpo", option=("gamma=0.5",)),
        RewardConfig(model="m", data="d", out=Path("o"), margin=0.5, seed=3),
        PpoConfig(model="m", data="d", out=Path("o"), reward="demo", kl=0.0, passes=2),
    ],
    ids=["sft", "dpo", "simpo", "reward", "ppo"],
)
def test_a_command_says_again_what_was_asked(config: Any) -> None:
    record = {"stage": config.stage, "config": config.model_dump(mode="json")}
    words = shlex.split(command(record, "/somewhere"))
    assert words[:2] == ["palate", config.stage]
    assert asked(type(config), words[2:]) == config


def asked(model: Any, words: list[str]) -> Any:
    """The options as the command line would read them."""
    from typing import Annotated

    from cyclopts import App, Parameter

    seen: list[Any] = []
    app = App(default_parameter=Parameter(negative=()), result_action="return_value")

    @app.default
    def take(*, config: Annotated[model, Parameter(name="*")]) -> None:
        seen.append(config)

    app(words, exit_on_error=False)
    return seen[0]


def test_paths_are_those_of_the_folder_that_holds_the_run(tmp_path: Path) -> None:
    sft = written(tmp_path / "sft", "sft")
    config = {
        "model": str(sft),
        "data": str(tmp_path / "data" / "p.jsonl"),
        "out": str(tmp_path / "dpo"),
    }
    dpo = written(tmp_path / "dpo", "dpo", parent=str(sft), config=config)
    settings = {"runs": [str(dpo)], "asked": {"baselines": True, "n": 2, "reward": "demo"}}
    assert commands(lineage(dpo), settings)[1:] == [
        "palate dpo --model sft --data data/p.jsonl --out dpo",
        "palate evaluate dpo --baselines --n 2 --reward demo",
        "palate report dpo",
    ]


# ---- curves


def test_online_stages_draw_what_they_wrote_down() -> None:
    titles = [each.title for each in curves.panels(cases.ppo_stage())]
    assert titles[:3] == [curves.ONLINE[name] for name in ("score", "reward", "kl")]
    assert curves.ONLINE["value_loss"] in titles and curves.ONLINE["clip_fraction"] in titles
    assert curves.ONLINE["entropy"] in titles and "Loss" not in titles


def test_values_that_are_no_numbers_are_left_out() -> None:
    rows = [{"step": n, "loss": "nan" if n == 2 else 1.0 / n} for n in range(1, 9)]
    (panel,) = curves.panels(cases.stage("sft", rows))
    assert panel.title == "Loss" and "nan" not in panel.drawn


def test_a_reward_model_shows_whether_it_is_as_right_as_it_is_sure() -> None:
    half = {"value": 0.6, "low": 0.3, "high": 0.8, "count": 11}
    found = {"bins": [{"low": 0.5, "high": 0.6, "said": 0.54, "right": half}]}
    stage = cases.stage("reward", reward={"mean": 0.0, "found": found})
    assert [each.title for each in curves.panels(stage)] == ["As often right as it is sure?"]


def test_long_runs_are_thinned_to_means_of_neighbours() -> None:
    xs = [float(n) for n in range(10_000)]
    few, ys = curves.thinned(xs, [2 * x for x in xs])
    assert len(few) <= curves.MOST and ys == [2 * x for x in few]
    assert sum(few) / len(few) == pytest.approx(sum(xs) / len(xs), rel=1e-2)
    assert curves.thinned([1.0], [2.0]) == ([1.0], [2.0])


# ---- plots


def heights(svg: str, kind: str) -> list[float]:
    bars = re.findall(rf'<rect class="pile {kind}"[^>]*height="([\d.]+)"', svg)
    return [float(each) for each in bars]


def test_histograms_count_every_pair_on_its_side() -> None:
    values = [-2.0] * 30 + [1.0] * 60 + [0.0] * 15
    svg = plots.histograms({"dpo": values}, label="", wide=True)
    assert heights(svg, "up") == [plots.TALLEST]
    assert heights(svg, "down") == [pytest.approx(plots.TALLEST / 2, abs=0.1)]
    assert heights(svg, "none") == [pytest.approx(plots.TALLEST / 4, abs=0.1)]


def test_histograms_of_nothing_but_ties_are_one_grey_bar() -> None:
    svg = plots.histograms({"sft": [0.0] * 50}, label="", wide=False)
    assert heights(svg, "none") == [plots.TALLEST] and not heights(svg, "up")


def test_outliers_are_counted_in_the_outer_bars_and_it_says_so() -> None:
    spread = [n / 100 for n in range(-500, 501)]
    assert "the outer bars" not in plots.histograms({"a": [-1.0, 1.0]}, label="", wide=True)
    svg = plots.histograms({"a": [*spread, 1e6]}, label="", wide=True)
    assert "the outer bars hold what lies beyond" in svg
    right = [float(x) for x in re.findall(r'<rect class="pile up" x="([\d.]+)"', svg)]
    assert max(right) < 900


def test_names_on_the_frontier_do_not_cover_each_other() -> None:
    near = Interval(1.0, 0.9, 1.1, 9)
    points = [frontier.Point(f"model {n}", Interval(0.02 * n, 0.0, 0.3, 9), near) for n in range(4)]
    svg = frontier.frontier(points, unit="points", wide=True)
    spots = [
        (float(x), float(y))
        for x, y in re.findall(r'<text class="name none" x="([\d.]+)" y="([\d.]+)"', svg)
    ]
    wide = drawing.width_of("model 0")
    for index, (x, y) in enumerate(spots):
        for other_x, other_y in spots[:index]:
            assert abs(x - other_x) >= wide - 1 or abs(y - other_y) >= 12


def test_labels_keep_their_distance_and_their_order() -> None:
    found = drawing.apart([50, 52, 51, 10], 8, 100)
    ranked = sorted(found)
    assert all(b - a >= drawing.LINE - 0.1 for a, b in pairwise(ranked))
    assert [found.index(each) for each in ranked] == [3, 0, 2, 1]
    assert max(drawing.apart([99, 99, 99], 8, 100)) <= 100
    assert drawing.apart([8, 8, 8], 8, 100) == [8, 21, 34]


def test_ticks_are_round_and_inside() -> None:
    assert drawing.Scale(0.3, 2.2, 0, 1).ticks(4) == [0.5, 1.0, 1.5, 2.0]
    assert drawing.Scale(-0.004, 0.04, 0, 1).ticks() == [0.0, 0.01, 0.02, 0.03, 0.04]
    assert drawing.Scale(1.0, 1.0, 0, 10)(1.0) == 5
    assert [drawing.tick(v) for v in (-3.0, 0.25, 1000.0, 0.0)] == ["−3", "0.25", "1,000", "0"]


# ---- the command


def ready(tmp_path: Path) -> Path:
    run = written(tmp_path / "dpo", "dpo")
    (run / RECORD).write_text(cases.full().model_dump_json())
    return run


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ready(tmp_path)
    assert palate(["report", str(run)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [cases.full().headline, f"page: {run / 'report.html'}"]
    assert (run / "report.html").read_text() == page(recorded(run), lineage(run))
    out = tmp_path / "new" / "told.html"
    assert palate(["report", str(run), "--out", str(out)]) == 0 and out.exists()
    assert palate(["report", str(run), "--out", str(out)]) == 0


def test_a_control_that_is_missing_is_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ready(tmp_path)
    (run / RECORD).write_text(cases.even().model_dump_json())
    assert palate(["report", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: palate evaluate ")


def test_no_other_file_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ready(tmp_path)
    for out in (run / "run.json", tmp_path):
        before = {path: path.read_bytes() for path in run.iterdir()}
        assert palate(["report", str(run), "--out", str(out)]) == 2
        assert f"--out {out}" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_run_that_was_not_evaluated_says_what_to_do(tmp_path: Path) -> None:
    run = written(tmp_path / "dpo", "dpo")
    with pytest.raises(UsageError, match=r"not been evaluated yet\. First: palate evaluate"):
        recorded(run)
    assert palate(["report", str(run)]) == 2 and not (run / "report.html").exists()
    assert palate(["report", str(tmp_path)]) == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"headline": 3}', '{"schema_version": 2}'])
def test_a_record_that_cannot_be_read_says_so(tmp_path: Path, text: str) -> None:
    run = written(tmp_path / "dpo", "dpo")
    (run / RECORD).write_text(text)
    with pytest.raises(CheckpointError, match=r"palate evaluate .* writes it again"):
        recorded(run)


# ---- in a browser

TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
OUTSIDE = """[...document.querySelectorAll('p, h1, h2, h3, td, dd, data, svg')].filter(e => {
  const box = e.getBoundingClientRect(), wide = document.documentElement.clientWidth;
  return box.width && !e.closest('.wide') && (box.right > wide + 1 || box.left < -1);
}).length"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


def opened(browser: Browser, tmp_path: Path, html: str, **how: Any) -> None:
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    browser.open(path, **how)
    assert browser.errors == []
    assert browser.requests == [path.resolve().as_uri()]


@needs_browser
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("make", [cases.full, cases.minimal, cases.huge])
def test_it_opens_in_silence_and_fits(
    browser: Browser, tmp_path: Path, make: Any, width: int
) -> None:
    html = page(make(), cases.alone(cases.stage("sft"), cases.ppo_stage()))
    opened(browser, tmp_path, html, width=width, prefers_color_scheme="dark")
    assert browser.value(TOO_WIDE) is False
    assert browser.value(OUTSIDE) == 0


@needs_browser
def test_hostile_texts_do_nothing(browser: Browser, tmp_path: Path) -> None:
    text = " ".join(PAYLOADS)
    html = page(cases.hostile(text), cases.alone(cases.stage("dpo", overridden=[text])))
    opened(browser, tmp_path, html, width=400)
    assert "learn the taste?" in browser.value("document.title")
    assert browser.value("document.querySelectorAll('iframe, img, object, form').length") == 0
    assert browser.value(TOO_WIDE) is False


@needs_browser
def test_it_prints_on_few_pages(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, page(cases.full(), cases.alone(cases.ppo_stage())))
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert 3 <= len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 16


def test_lineage_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run of palate"):
        lineage(tmp_path)
