"""`palate evaluate` from runs to record, on tiny runs: what is measured, and what is not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation_cases import Letters, LettersJudge, World, options, pair, world
from palate.errors import ModelError, StoreError, UsageError
from palate.evaluation import texts
from palate.evaluation.contestants import contestants
from palate.evaluation.evaluate import Done, evaluate, read_record
from palate.evaluation.heldout import held_out, key, own_rows
from palate.evaluation.judging import Means
from palate.judge.store import Store
from palate.stats import bootstrap_mean, share
from palate.train.events import Note, silent

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("evaluate")
    patch = pytest.MonkeyPatch()
    patch.setenv("PALATE_CACHE", str(folder / "cache"))
    yield world(folder)
    patch.undo()


@pytest.fixture(scope="module")
def whole(cases: World) -> Done:
    """The plain command, with a reward."""
    return evaluate([str(cases.dpo)], options(), Means(reward=Letters()), silent)


def test_the_record_is_whole_and_kept_in_the_run(cases: World, whole: Done) -> None:
    record = whole.record
    assert read_record(cases.dpo) == record and whole.run == str(cases.dpo)
    assert {each.name: each.role for each in record.models} == {
        "dpo": "candidate",
        "sft": "baseline",
        "base": "other",
    }
    assert [(each.ours, each.theirs) for each in record.wins] == [
        ("dpo", "sft"),
        ("dpo", "base"),
        ("sft", "base"),
    ]
    assert {each.model for each in record.accuracy} == {"dpo", "sft", "base"}
    assert [each.model for each in record.divergence] == ["dpo"]
    assert record.divergence[0].reference == "sft" and record.divergence[0].per_text.value > 0
    assert [each.model for each in record.frontier] == ["sft", "dpo"]
    assert [each.step for each in record.displacement] == [0, 1, 2, 3]
    assert {each.model for each in record.regression} == {"dpo", "sft"}
    assert record.copied[-1].model == "people"
    assert {each.model for each in record.diversity} == {"dpo", "sft", "base"}
    assert record.reward == "letters" and record.headline and record.plain


def test_it_is_measured_on_the_half_that_chose_nothing(cases: World, whole: Done) -> None:
    (candidate,) = contestants([str(cases.dpo)], options())[:1]
    own = own_rows(candidate)
    assert len(own.choosing) == len(own.reporting) == 24
    heldout = whole.record.heldout
    assert (heldout.prompts, heldout.pairs) == (24, 24)
    assert "the half that chose nothing" in heldout.source
    sets = held_out([candidate], options(), None, silent)
    asked = {key(each) for each in sets.report.prompts}
    assert asked == {row.prompt for row in own.reporting}
    assert not asked & {row.prompt for row in own.choosing}


def test_its_figures_are_those_of_the_texts(cases: World, whole: Done) -> None:
    """Wins, points and words counted again, from the files that the texts are in."""
    files = list((cases.dpo / "evaluation" / "texts").glob("*.jsonl"))
    rows = {path.name.split("-")[0]: _rows(path) for path in files}
    reward = Letters()
    points = {name: [_points(reward, row) for row in found] for name, found in rows.items()}
    gaps = [a - b for a, b in zip(points["dpo"], points["sft"], strict=True)]
    (found,) = [w for w in whole.record.wins if (w.ours, w.theirs) == ("dpo", "sft")]
    assert found.wins == sum(gap > 0 for gap in gaps)
    assert found.losses == sum(gap < 0 for gap in gaps)
    assert found.ties == sum(gap == 0 for gap in gaps)
    assert found.raw.value == pytest.approx((found.wins + found.ties / 2) / len(gaps))
    lines = [row["line"] for row in rows["dpo"]]
    (mine,) = [each for each in whole.record.models if each.name == "dpo"]
    assert mine.points == bootstrap_mean(points["dpo"], lines)
    words = [float(len(row["completion"].split())) for row in rows["dpo"]]
    assert mine.words == bootstrap_mean(words, lines)
    assert mine.gain is not None
    assert mine.gain.value == pytest.approx(sum(gaps) / len(gaps))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _points(reward: Letters, row: dict[str, Any]) -> float:
    from palate.data.rewards import Answered

    return reward.score([Answered(row["prompt"], row["completion"])])[0]


def test_the_reasons_given_are_slices(whole: Done) -> None:
    (found,) = whole.record.wins[0].slices
    assert found.tag == "calm" and found.wins.value == whole.record.wins[0].raw.value


def test_the_same_command_draws_nothing_twice(
    cases: World, whole: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: object) -> None:
        raise AssertionError("drawn twice")

    monkeypatch.setattr(texts, "draw", never)
    again = evaluate([str(cases.dpo)], options(), Means(reward=Letters()), silent)
    same = {"seconds": 0.0}
    assert again.record.model_copy(update=same) == whole.record.model_copy(update=same)


def test_a_torn_file_of_texts_is_gone_on_with(cases: World, whole: Done) -> None:
    path = next((cases.dpo / "evaluation" / "texts").glob("sft-*.jsonl"))
    before = path.read_bytes()
    path.write_bytes(before[: len(before) * 2 // 3])
    evaluate([str(cases.dpo)], options(), Means(reward=Letters()), silent)
    assert path.read_bytes() == before


def test_looks_are_counted_by_question(cases: World, whole: Done) -> None:
    assert whole.record.heldout.looks == 1
    other = evaluate([str(cases.dpo)], options(seed=5, n=1), Means(), silent).record
    assert other.heldout.looks == 2 and other.heldout.digest == whole.record.heldout.digest
    again = evaluate([str(cases.dpo)], options(seed=5, n=1), Means(), silent).record
    assert again.heldout.looks == 2
    assert other.wins == () and "not known" in other.headline


def test_a_judge_and_named_models(cases: World) -> None:
    given = options(against=(str(cases.base),), n=1)
    record = evaluate([str(cases.dpo)], given, Means(judge=LettersJudge()), silent).record
    assert [each.role for each in record.models] == ["candidate", "baseline"]
    assert [(w.theirs, w.judge, w.kind) for w in record.wins] == [("base", "by letters", "program")]
    assert record.diversity == () and record.shown
    assert {each.model for each in record.divergence} == {"dpo"}


def test_of_several_runs_one_is_chosen_on_other_rows(cases: World) -> None:
    twin = cases.folder / "twin"
    shutil.copytree(cases.dpo, twin)
    notes: list[str] = []
    runs = [str(twin), str(cases.dpo)]
    given = options(n=1, prompts=str(cases.folder / "held.jsonl"))
    done = evaluate(runs, given, Means(reward=Letters()), lambda e: _note(e, notes))
    record = done.record
    assert "is chosen by points" in record.settings["chosen"]
    assert "the half that chose nothing" in record.heldout.source
    assert record.heldout.prompts == 24 and done.run in runs
    assert [each.role for each in record.models].count("candidate") == 1


def _note(event: object, notes: list[str]) -> None:
    if isinstance(event, Note):
        notes.append(event.text)


def test_the_baselines_that_need_no_training(cases: World) -> None:
    given = options(baselines=True)
    record = evaluate([str(cases.dpo)], given, Means(reward=Letters()), silent).record
    roles = {each.name: each.role for each in record.models}
    assert roles["base, 1 example"] == roles["base, 3 examples"] == "prompted"
    assert roles["sft, best of 2"] == "best-of-n"
    points = {each.name: each.points for each in record.models}
    best, usual = points["sft, best of 2"], points["sft"]
    assert best is not None and usual is not None and best.value > usual.value


def test_kept_checkpoints_on_the_frontier(cases: World) -> None:
    given = options(frontier=True, reward="letters", n=1)
    record = evaluate([str(cases.dpo)], given, Means(reward=Letters()), silent).record
    steps = [each.step for each in record.frontier if each.model == "dpo"]
    assert steps == [0, 1, 2, 3, None]
    assert record.frontier[-2].kl.value > 0


# -- the control


def test_the_control_is_named_and_judged(cases: World) -> None:
    from palate import api
    from palate.config import DpoConfig
    from palate.runs.folder import Run

    config = DpoConfig(**Run.read(cases.dpo)["config"])
    out = cases.folder / "control"
    api.dpo(config.model_copy(update={"random_labels": True, "out": out}))
    given = options(control=str(out), n=1)
    record = evaluate([str(cases.dpo)], given, Means(reward=Letters()), silent).record
    (found,) = [each for each in record.wins if each.ours == "control"]
    assert found.theirs == "sft" and record.control == found.verdict
    assert any("random labels" in sentence for sentence in record.plain)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"control": "nowhere"}, "--control: nowhere is not a run of palate"),
        ({"control": "{sft}"}, "--control: {sft} was not trained on random labels"),
        ({"against": ("{dpo}",)}, "{dpo} is named twice: as candidate and as baseline"),
        ({"prompts": "{folder}/pairs.jsonl"}, "Every one of the 24 prompts was trained on"),
        ({"prompts": "{folder}/nothing.jsonl"}, "nothing.jsonl"),
        ({"ask": True}, "--ask has no effect without --store"),
        ({"frontier": True}, "--frontier needs points"),
        ({"temperature": 0.0, "n": 3}, "--n has no effect at temperature 0"),
        ({"judge_model": "x"}, "--judge-model has no effect without --judge-with"),
    ],
)
def test_what_cannot_be_measured_is_said(cases: World, given: dict[str, Any], says: str) -> None:
    from palate.errors import PalateError

    (cases.folder / "nothing.jsonl").write_text("")
    where = {"sft": cases.sft, "dpo": cases.dpo, "folder": cases.folder}
    filled = {name: _filled(value, where) for name, value in given.items()}
    before = read_record(cases.dpo)
    with pytest.raises(PalateError) as error:
        evaluate([str(cases.dpo)], options(**filled), Means(), silent)
    assert says.format(**where) in str(error.value)
    assert read_record(cases.dpo) == before


def _filled(value: Any, where: dict[str, Path]) -> Any:
    if isinstance(value, str):
        return value.format(**where)
    return tuple(each.format(**where) for each in value) if isinstance(value, tuple) else value


def test_what_is_no_run_or_holds_nothing_out_is_said(cases: World) -> None:
    with pytest.raises(UsageError, match="is not a run of palate"):
        evaluate([str(cases.base)], options(), Means(), silent)
    from palate import api
    from palate.config import DpoConfig

    data = cases.write("few.jsonl", [pair(n) for n in range(5)])
    few = cases.folder / "few"
    api.dpo(DpoConfig(model=str(cases.sft), data=data, out=few, max_steps=1, batch_size=4))
    with pytest.raises(UsageError, match=r"no held-out prompts.*--prompts FILE"):
        evaluate([str(few)], options(), Means(), silent)


def test_prompts_that_were_trained_on_are_left_out(cases: World) -> None:
    rows = [{"prompt": pair(n)["prompt"]} for n in (100, 101, 300, 301)]
    notes: list[str] = []
    given = options(prompts=cases.write("mixed.jsonl", rows), n=1)
    record = evaluate([str(cases.dpo)], given, Means(), lambda e: _note(e, notes)).record
    assert record.heldout.prompts == 2
    assert "2 prompts and 0 pairs were trained on, and are left out" in notes


# -- a person


@pytest.fixture
def store(cases: World, tmp_path: Path) -> Path:
    """A store with verdicts on held-out prompts, some of them asked twice."""
    path = tmp_path / "taste.db"
    from palate.data.judged import Said, Showing

    with Store.open(path) as opened:
        opened.add_judge("me", "person")
        for n in range(200, 320):
            row = pair(n)
            asked = opened.add_prompt(row["prompt"])
            good = opened.add_answer(asked.id, row["chosen"], "sample").id
            bad = opened.add_answer(asked.id, row["rejected"], "sample").id
            first = opened.present(good, bad, Showing("me"), id=f"p{n}")
            opened.judge(f"j{n}", first.id, Said("left", tags=("grounded",)))
            if n % 4 == 0:
                again = Showing("me", "pair", "reask", first.id)
                second = opened.present(bad, good, again, id=f"a{n}")
                opened.judge(f"k{n}", second.id, Said("right" if n % 20 else "left"))
    return path


def test_the_headline_of_a_persons_data_is_agreement(cases: World, store: Path) -> None:
    record = evaluate([str(cases.dpo)], options(store=store, n=1), Means(), silent).record
    assert record.person is not None and record.person.itself is not None
    assert record.person.itself == share(24, 30)
    assert f"of {record.heldout.pairs} (" in record.headline
    assert record.headline.startswith("dpo agrees with you on ")
    assert "you agree with yourself on 80%" in record.headline
    assert record.accuracy[0].ceiling is not None and record.accuracy[0].ceiling.value < 1
    assert str(store) in record.heldout.source
    assert record.person.before is not None


def test_texts_are_asked_for_and_counted_at_the_next_call(cases: World, store: Path) -> None:
    from palate.data.judged import Said

    given = options(store=store, n=1)
    asked = evaluate([str(cases.dpo)], given.model_copy(update={"ask": True}), Means(), silent)
    assert asked.asked is not None and asked.asked.judge == "me"
    count = asked.record.heldout.prompts
    assert 0 < asked.asked.waiting <= count
    names = {(each.ours, each.judge) for each in asked.record.wins}
    assert ("dpo", "you") not in names
    mine = {each.prompt: each.texts["dpo"] for each in asked.record.shown}
    with Store.open(store) as opened:
        waiting = opened.pending("me", "audit")
        for n, each in enumerate(waiting[:-1]):
            side = "left" if each.left.text == mine.get(each.prompt.text) else "right"
            opened.judge(f"v{n}", each.id, Said(side))  # type: ignore[arg-type]
        assert len(opened.pending("me", "audit")) == 1
    record = evaluate([str(cases.dpo)], given, Means(), silent).record
    (found,) = [each for each in record.wins if each.judge == "you"]
    assert found.kind == "person" and (found.ours, found.theirs) == ("dpo", "sft")
    same = count - asked.asked.waiting
    assert found.wins + found.losses == len(waiting) - 1 and found.ties == same
    assert "your blind verdicts" in record.headline
    asked_again = evaluate(
        [str(cases.dpo)], given.model_copy(update={"ask": True}), Means(), silent
    )
    assert asked_again.asked is not None and asked_again.asked.waiting == 1


def test_a_store_without_held_out_verdicts_is_said(cases: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    with Store.open(empty) as opened:
        opened.add_prompt("say something")
    with pytest.raises(UsageError, match="no verdict on a held-out prompt"):
        evaluate([str(cases.dpo)], options(store=empty), Means(), silent)
    with pytest.raises(StoreError, match="there is no store"):
        evaluate([str(cases.dpo)], options(store=tmp_path / "none.db"), Means(), silent)


# -- a model that judges


class Asked:
    """A judge that is a model, and may prefer a side."""

    name = "m"
    kind = "model"

    def __init__(self, *, always_left: float = 0.0, silent_: bool = False) -> None:
        self.calls, self._left, self._silent = 0, always_left, silent_

    def compare(self, prompt: Any, left: str, right: str) -> Any:
        from palate.judge.verdicts import Opinion

        self.calls += 1
        if self._silent:
            return Opinion("skip")
        if (hash((min(left, right), max(left, right))) % 100) / 100 < self._left:
            return Opinion("left")
        return LettersJudge().compare(prompt, left, right)


def test_a_model_is_asked_in_both_orders_and_once(cases: World, store: Path) -> None:
    judge: Any = Asked()
    given = options(store=store, n=1, seed=11)
    record = evaluate([str(cases.dpo)], given, Means(judge=judge), silent).record
    found = record.wins[0]
    assert found.consistency is not None and found.consistency.value == 1
    assert found.trusted and found.agreement is not None and found.agreement.count > 5
    assert judge.calls > 2 * found.consistency.count
    fresh: Any = Asked()
    again = evaluate([str(cases.dpo)], given, Means(judge=fresh), silent).record
    assert fresh.calls == 0 and again.wins == record.wins


def test_a_model_that_likes_a_side_is_not_trusted(cases: World) -> None:
    judge: Any = Asked(always_left=1.0)
    judge.name = "left"
    record = evaluate([str(cases.dpo)], options(n=1), Means(judge=judge), silent).record
    found = record.wins[0]
    assert not found.trusted and found.wins == found.losses == 0
    assert record.verdict is None and record.headline.startswith("No finding: left")


def test_a_model_that_says_nothing_is_an_error(cases: World) -> None:
    judge: Any = Asked(silent_=True)
    judge.name = "mute"
    with pytest.raises(ModelError, match="mute gave a verdict that could be read on 0 of"):
        evaluate([str(cases.dpo)], options(n=1), Means(judge=judge), silent)
