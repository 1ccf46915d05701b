"""`palate teach`: the rounds, their figures against a naive count, and any kill in between."""

import hashlib
import itertools
import json
import random
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from fork_server import Trial
from palate.cli import run
from palate.config import TeachOptions
from palate.data.judged import Said, Showing
from palate.errors import CheckpointError, UsageError
from palate.judge.store import Pick, Store
from palate.judge.values import prompt_of
from palate.stats import Interval, share
from palate.teach.figures import RoundFigures, Wins, from_json, sentence
from palate.teach.loop import Taught, teach
from palate.teach.prompts import divide
from palate.teach.voices import Asked, AtThePage, Task
from palate.train.events import Event, Listener, Note
from teach_trials import Letters, TeachServer, rows, worth

PROMPTS = 36
SETTINGS: dict[str, Any] = {
    "pick": "active",
    "judgements": 20,
    "n": 3,
    "max_new_tokens": 8,
    "lr": 0.02,
    "epochs": 1,
    "seed": 4,
}


@dataclass(frozen=True)
class Place:
    """A model, its prompts, a teaching that was asked for one round, for one again, then for two,
    what those three starts passed through, and the process that can be killed."""

    root: Path
    server: TeachServer
    logs: tuple[tuple[str, ...], ...] = ()
    seconds: float = 0.0

    @property
    def out(self) -> Path:
        return self.root / "truth"

    def trial(self, out: Path, **options: Any) -> Trial:
        given = {"model": str(self.root / "model"), "prompts": str(self.root / "prompts.jsonl")}
        cache = str(out.with_name(f"{out.name}-cache"))
        return Trial("teach", {**given, **SETTINGS, "out": str(out), **options}, cache=cache)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("teach")
    tiny.folder(root / "model", "llama", num_hidden_layers=1)
    texts = [{"prompt": f"place {number}: the flat near the river"} for number in range(PROMPTS)]
    (root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    with TeachServer() as server:
        found = Place(root, server)
        starts = [server.run(found.trial(found.out, rounds=rounds)) for rounds in (1, 1, 2)]
        assert [done.exit_code for done in starts] == [0, 0, 0], [done.error for done in starts]
        logs = tuple(tuple(done.log) for done in starts)
        yield replace(found, logs=logs, seconds=sum(done.seconds for done in starts))


def left(out: Path) -> dict[str, Any]:
    """What counts of a finished teaching: figures, pairs, plans, texts, weights, verdicts."""
    found: dict[str, Any] = {}
    for path in sorted([*out.glob("*.jsonl"), *out.glob("round-*/*.jsonl")]):
        found[str(path.relative_to(out))] = [
            {key: value for key, value in row.items() if key not in ("created", "model")}
            for row in rows(path)
        ]
    for folder in sorted(out.glob("round-*")):
        for name in ("plan.json", "compare.json", "wins.json"):
            found[f"{folder.name}/{name}"] = (folder / name).read_text()
        weights = sorted((folder / "dpo" / "final").glob("*.safetensors"))
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights]
        found[f"{folder.name}/dpo"] = digests
    return found | {"verdicts": verdicts(out)}


def verdicts(out: Path) -> Counter[tuple[str, str, str]]:
    """Every verdict in the file, whether it stands or not, read without the store's code."""
    query = """SELECT left_id, right_id, verdict FROM judgement
        JOIN presentation ON presentation.id = presentation_id"""
    with sqlite3.connect(out / "store.db") as database:
        return Counter(tuple(row) for row in database.execute(query))


def ids(path: Path) -> set[str]:
    return {prompt_of(row["prompt"], ()).id for row in rows(path)}


# ---- what a round is


def test_two_rounds_leave_what_they_should(place: Place) -> None:
    first, second = (place.out / f"round-{number}" for number in (1, 2))
    for folder in (first, second):
        record = json.loads((folder / "dpo" / "run.json").read_text())
        assert record["finished"] and record["config"]["model"] == str(place.root / "model")
        assert record["reference"] == record["base_identity"]
        assert len(json.loads((folder / "plan.json").read_text())) == SETTINGS["judgements"]
    told = [json.loads((folder / "wins.json").read_text()) for folder in (first, second)]
    assert [each["judged"] for each in told] == [SETTINGS["judgements"]] * 2
    assert told[0]["pairs"] < told[1]["pairs"]
    kept = {row["id"] for row in rows(first / "pairs.jsonl")}
    assert kept < {row["id"] for row in rows(second / "pairs.jsonl")}


def test_held_out_prompts_are_never_trained_on_and_the_measured_choose_nothing(
    place: Place,
) -> None:
    measured, judged = ids(place.out / "measured.jsonl"), ids(place.out / "prompts.jsonl")
    assert measured and judged and not measured & judged
    assert all(prompt_of(row["prompt"], ()).split == "heldout" for row in _measured(place))
    for folder in place.out.glob("round-*"):
        trained, chose = ids(folder / "pairs.jsonl"), ids(folder / "heldout.jsonl")
        assert trained and not trained & (measured | chose)
        assert chose and not chose & measured
        assert ids(folder / "samples.jsonl") == judged
        assert ids(folder / "after.jsonl") == measured


def _measured(place: Place) -> list[dict[str, Any]]:
    return rows(place.out / "measured.jsonl")


def test_every_fifth_verdict_of_a_round_is_on_a_held_out_prompt(place: Place) -> None:
    with Store.open(place.out / "store.db") as store:
        for folder in place.out.glob("round-*"):
            picks = [Pick(**each) for each in json.loads((folder / "plan.json").read_text())]
            splits = [store.prompt(store.answer(pick.one).prompt_id).split for pick in picks]
            assert [n for n, split in enumerate(splits, 1) if split == "heldout"] == [5, 10, 15, 20]
            chosen = {pick.selector for pick, split in zip(picks, splits) if split == "train"}
            assert chosen == ({"random"} if folder.name == "round-1" else {"active"})


def test_the_win_rate_is_what_a_count_of_the_texts_gives(place: Place) -> None:
    """The oracle reads the two files of texts and applies the taste; it knows no store."""
    start = {row["prompt"]: row["completion"] for row in rows(place.out / "start.jsonl")}
    decided = 0
    for folder in place.out.glob("round-*"):
        after = {row["prompt"]: row["completion"] for row in rows(folder / "after.jsonl")}
        assert after.keys() == start.keys()
        gaps = [worth(after[prompt]) - worth(start[prompt]) for prompt in start]
        won, lost = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        told = json.loads((folder / "wins.json").read_text())
        assert (told["wins"]["won"], told["wins"]["lost"]) == (won, lost)
        assert told["wins"]["same"] == sum(after[prompt] == start[prompt] for prompt in start)
        expected = share(won + (len(gaps) - won - lost) / 2, len(gaps))
        assert Interval(**told["win_rate"]) == expected
        decided += won + lost
    assert decided > 3, "the two models write the same: nothing is tested"


def test_the_seeds_of_both_models_are_the_same_and_not_those_of_the_judged(place: Place) -> None:
    seeds = {row["seed"] for row in rows(place.out / "start.jsonl")}
    for folder in place.out.glob("round-*"):
        assert {row["seed"] for row in rows(folder / "after.jsonl")} == seeds
        assert not seeds & {row["seed"] for row in rows(folder / "samples.jsonl")}


# ---- kills


STOPS = (
    ("Working", 2),
    ("store", 20),
    ("judge", 6),
    ("store", 31),
    ("replace", 4),
    ("Step", 1),
    ("Evaluation", 3),
    ("rename", 2),
    ("store", 9),
    ("judge", 4),
    ("write", 2),
    ("judge", 9),
    ("replace", 3),
    ("judge", 2),
)


def test_killed_at_every_kind_of_point_the_same_command_gives_the_same(place: Place) -> None:
    """SIGKILL between two questions, in a write, in training, before a file is in its place."""
    out, kinds = place.root / "killed", set()
    for name, count in STOPS:
        if place.server.run(replace(place.trial(out), kill_on=name, kill_at=count)).killed:
            kinds.add(name)
    assert kinds == {name for name, _ in STOPS}
    done = place.server.run(place.trial(out))
    assert done.exit_code == 0, done.error
    assert left(out) == left(place.out)
    assert not list(out.rglob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_anywhere(place: Place, seed: int) -> None:
    """Chains of kills at random points; every start goes a little further."""
    rng, out, kills = random.Random(f"teach {seed}"), place.root / f"killed{seed}", 0
    while True:
        trial = place.trial(out)
        if rng.random() < 0.5:
            trial = replace(trial, kill_at=rng.randint(1, len(place.logs[0])))
        else:
            trial = replace(trial, kill_after=rng.uniform(0.1, 0.7 * place.seconds))
        done = place.server.run(trial)
        if not done.killed:
            break
        kills += 1
        assert kills < 100, "no progress"
    assert done.exit_code == 0, f"{done.error}\nafter {kills} kills"
    assert left(out) == left(place.out)
    assert not list(out.rglob(".*"))


def test_a_finished_teaching_does_nothing_and_one_round_more_goes_on(place: Place) -> None:
    first, again, more = map(set, place.logs)
    working = {"judge", "store", "Step"}
    assert working < first and not working & again and working < more


# ---- refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": 4}, "begun with n 3; you ask for 4"),
        ({"lr": 0.5}, "begun with lr 0.02; you ask for 0.5"),
        ({"seed": 7}, "begun with seed 4; you ask for 7"),
        ({"pick": "random"}, "begun with pick active; you ask for random"),
    ],
)
def test_other_settings_are_refused(place: Place, change: dict[str, Any], said: str) -> None:
    before = left(place.out)
    done = place.server.run(place.trial(place.out, **change))
    assert done.exit_code == CheckpointError.exit_code and said in done.error
    assert left(place.out) == before


def test_other_prompts_another_model_another_judge_are_refused(place: Place) -> None:
    other = place.root / "other.jsonl"
    other.write_text("".join(f'{{"prompt": "street {n}"}}\n' for n in range(40)))
    done = place.server.run(replace(place.trial(place.out, prompts=str(other))))
    assert done.exit_code == 3 and "begun with prompts" in done.error
    person = AtThePage("ann", lambda *words: False)
    with pytest.raises(CheckpointError, match="begun with judge letters; you ask for ann"):
        _teach(place, person, place.out)


def test_a_folder_of_another_kind_is_left_alone(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not made by palate teach"):
        _teach(place, Asked(Letters()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_too_few_prompts_are_refused_before_anything_is_made(place: Place, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text('{"prompt": "one"}\n{"prompt": "one"}\n')
    with pytest.raises(UsageError, match="1 different prompts are too few"):
        _teach(place, Asked(Letters()), tmp_path / "out", prompts=few)
    assert not (tmp_path / "out").exists()


def _teach(
    place: Place,
    voice: Any,
    out: Path,
    *,
    prompts: Path | None = None,
    listen: Any = lambda event: None,
    **options: Any,
) -> Taught:
    asked = TeachOptions(out=out, **{**SETTINGS, **options})
    source = str(prompts or place.root / "prompts.jsonl")
    return teach(str(place.root / "model"), source, asked, voice, listen)


# ---- a person at the page


class Page:
    """Stands in for the page: gives so many verdicts at a visit, then the person leaves."""

    def __init__(self, visits: Sequence[int]) -> None:
        self.visits = iter(visits)
        self.tasks: list[tuple[str, str, int]] = []

    def __call__(self, store: Store, task: Task, more: int, listen: Listener) -> bool:
        self.tasks.append((task.title, task.mode, more))
        patience = next(self.visits)
        for _ in range(min(patience, more)):
            self._one(store, task)
        return patience >= more

    def _one(self, store: Store, task: Task) -> None:
        if task.mode == "audit":
            shown = store.pending("ann", "audit")[0]
        else:
            pick = store.plan("ann", 1)[0]
            shown = store.present(pick.one, pick.other, Showing("ann", "pair", pick.selector))
        gap = worth(shown.left.text) - worth(shown.right.text)
        verdict = "left" if gap > 0 else "right" if gap < 0 else "tie"
        store.judge(f"v-{shown.id}", shown.id, Said(verdict, ms=4000))  # type: ignore[arg-type]


def test_a_person_may_leave_and_come_back_and_the_verdicts_are_a_persons(
    place: Place, tmp_path: Path
) -> None:
    out, page, notes = tmp_path / "out", Page([6, 100, 3, 100]), _Notes()
    voice, once = AtThePage("ann", page), 1
    done = _teach(place, voice, out, rounds=once)
    assert done.waiting == 1 and not done.rounds
    assert not (out / "round-1" / "pairs.jsonl").exists()
    done = _teach(place, voice, out, rounds=once)
    assert done.waiting == 1 and (out / "round-1" / "dpo" / "final").is_dir()
    done = _teach(place, voice, out, listen=notes, rounds=once)
    assert done.waiting is None and done.rounds[0].judged == SETTINGS["judgements"]
    assert notes.texts[-1] == sentence(done.rounds[0])
    asked = done.rounds[0].wins.count - done.rounds[0].wins.same
    assert page.tasks == [
        ("round 1", "pair", 20),
        ("round 1", "pair", 14),
        ("round 1, measuring", "audit", asked),
        ("round 1, measuring", "audit", asked - 3),
    ]
    with Store.open(out / "store.db") as store:
        assert store.judges() == {"ann": "person"}
        assert {each.of.mode for each in store.standing()} == {"pair", "audit"}
    same = json.loads((place.out / "round-1" / "wins.json").read_text())
    assert json.loads((out / "round-1" / "wins.json").read_text())["wins"] == same["wins"]


def test_the_real_page_gives_a_round_its_verdicts(place: Place, tmp_path: Path) -> None:
    """The command's own server, and a client in place of a browser, twice: pairs, then audits."""
    from palate.cli.teach import _person

    visits: list[tuple[str, int]] = []
    guests: list[threading.Thread] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note) and "http://" in event.text:
            url = event.text.split()[-1]
            guests.append(threading.Thread(target=_guest, args=(url, visits)))
            guests[-1].start()

    done = _teach(place, _person(), tmp_path / "out", listen=listen, rounds=1)
    for guest in guests:
        guest.join()
    figures = done.rounds[0]
    asked = figures.wins.count - figures.wins.same
    assert done.waiting is None and visits == [("pair", 20), ("audit", asked)]
    assert figures.judged == SETTINGS["judgements"] and figures.wins.skipped == 0
    same = json.loads((place.out / "round-1" / "wins.json").read_text())
    assert json.loads((tmp_path / "out" / "round-1" / "wins.json").read_text()) == same


def _guest(url: str, visits: list[tuple[str, int]]) -> None:
    """Judges by the letters until the goal, then ends the page."""
    import httpx2

    base, _, token = url.partition("#t=")
    client = httpx2.Client(base_url=f"{base}api/1/", headers={"Authorization": f"Bearer {token}"})
    with client:
        told = client.get("session").json()
        for number in range(told["goal"]):
            words = {"n": "1", "mode": told["mode"], "tab": "a-tab-of-mine"}
            item = client.get("next", params=words).json()["items"][0]
            gap = worth(item["left"]) - worth(item["right"])
            verdict = "left" if gap > 0 else "right" if gap < 0 else "tie"
            form = {"id": f"verdict-{number}-{told['mode']}", "presentation": item["presentation"]}
            saved = client.post("judgement", json={**form, "verdict": verdict, "ms": 4000})
            assert saved.json()["saved"], saved.text
        visits.append((told["mode"], told["goal"]))
        client.post("quit", json={})


class _Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            self.texts.append(event.text)


# ---- values


def test_the_division_holds_every_prompt_once_and_a_quarter_is_watched() -> None:
    texts = [f"prompt {number}" for number in range(400)]
    found = divide([*texts, *texts[:30]], most=1000)
    parts = (found.train, found.watched, found.measured)
    assert sorted(itertools.chain(*parts)) == sorted(texts)
    held = len(found.watched) + len(found.measured)
    assert 60 <= held <= 100 and len(found.watched) == held // 4
    fewer = divide(texts, most=10)
    assert fewer.watched == found.watched and fewer.measured == found.measured[:10]


def test_the_sentence_of_a_round_says_rate_interval_ties_and_what_cannot_be_told() -> None:
    figures = RoundFigures(1, 100, 5, 76, 19, 7, 70, None, Wins(55, 33, 12, 4, 2))
    assert sentence(figures) == (
        "round 1: wins 61% [51%, 70%] of 100 held-out prompts against the starting model "
        "(12 ties, half a win each; 2 skipped)"
    )
    even = replace(figures, wins=Wins(5, 4, 1, 0, 0))
    assert sentence(even).endswith("(1 tie, half a win): indistinguishable from it")
    assert sentence(replace(figures, wins=Wins(0, 0, 0, 0, 9))) == (
        "round 1: nothing was compared with the starting model"
    )
    assert from_json(json.loads(json.dumps(figures.as_json()))) == figures


# ---- the command


def _command(place: Place, out: Path, *more: str) -> list[str]:
    given = [[f"--{name.replace('_', '-')}", str(value)] for name, value in SETTINGS.items()]
    files = [str(place.root / "model"), str(place.root / "prompts.jsonl")]
    return ["teach", *files, "--out", str(out), *itertools.chain(*given), *more]


def test_the_command_says_the_verdict_the_rounds_and_what_comes_next(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("palate.cli.teach._demo", Letters)
    out = place.root / "told"
    shutil.copytree(place.out, out)
    assert run(_command(place, out, "--judge-with", "demo")) == 0
    told = capsys.readouterr().out.splitlines()
    figures = [json.loads((out / f"round-{n}" / "wins.json").read_text()) for n in (1, 2)]
    rates = [Interval(**each["win_rate"]).percent() for each in figures]
    notes = [line for line in told if line.startswith("round ")]
    assert [line.split(": wins ")[1].split(" of ")[0] for line in notes] == rates
    start = place.root / "model"
    assert any(
        line.startswith("after 40 judgements in 2 rounds the policy ")
        and line.endswith(f"{start}: it wins {rates[1]} of 9 held-out prompts")
        for line in told
    )
    head = next(n for n, line in enumerate(told) if line.split()[:2] == ["round", "judged"])
    assert [line.split()[0] for line in told[head + 1 : head + 3]] == ["1", "2"]
    assert all(rate in line for rate, line in zip(rates, told[head + 1 :]))
    assert told[-1].startswith(f"      palate teach {start} ") and "--rounds 3" in told[-1]
    assert "--judge-with demo" in told[-1] and "--lr 0.02" in told[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--judge-model", "m"], "--judge-model has no effect here"),
        (["--judge-with", "demo", "--judge-model", "m"], "--judge-model has no effect here"),
        (["--judge-with", "http://127.0.0.1:9"], "--judge-model is needed"),
        (["--rounds", "0"], "--rounds 0"),
        (["--n", "1"], "--n 1"),
    ],
)
def test_words_that_make_no_sense_are_refused_before_anything(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    files = [str(place.root / "model"), str(place.root / "prompts.jsonl")]
    assert run(["teach", *files, "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
