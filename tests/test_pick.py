"""What to judge next: the orders by naive oracles, held-out never active, figures by naive sums."""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from palate.cli.failure import understood
from palate.cli.pick import pick as pick_command
from palate.config import PickOptions
from palate.data.judged import Answer, AskedPrompt, Said, Showing, Verdict
from palate.errors import PalateError, StoreError, UsageError
from palate.judge import pick
from palate.judge.pick import Candidate, couples, plan
from palate.judge.store import Pick, Store

Plan = Callable[..., list[Pick]]


def cases(
    seed: int, prompts: int = 40, *, held: float = 0.2, ties: bool = False
) -> list[Candidate]:
    """Prompts with two to four answers and figures drawn at random; `ties`: many are equal."""
    rng = random.Random(seed)
    found: list[Candidate] = []
    for number in range(prompts):
        name, split = f"p{number}", "heldout" if rng.random() < held else "train"
        entropy = float(rng.randint(1, 4)) if ties else rng.uniform(5, 60)
        for each in couples(name, [f"{name}a{n}" for n in range(rng.randint(2, 4))]):
            sure = float(rng.randint(0, 2)) if ties else rng.uniform(0, 2)
            found.append(replace(each, split=split, entropy=entropy, certainty=sure))  # type: ignore[arg-type]
    return found


def couple(picked: Pick | Candidate) -> frozenset[str]:
    return frozenset((picked.one, picked.other))


def prompt_of(picked: Pick) -> str:
    return picked.one.partition("a")[0]


# ---- the order of active


def naive_active(candidates: Sequence[Candidate], wanted: int) -> list[frozenset[str]]:
    """By removal, one at a time, as the paper says it; figures must be distinct."""
    left = list(candidates)
    chosen: list[frozenset[str]] = []
    rounds: dict[str, int] = {}
    while left and len(chosen) < wanted:
        least = min(rounds.get(each.prompt, 0) for each in left)
        open_now = [each for each in left if rounds.get(each.prompt, 0) == least]
        need = wanted - len(chosen)
        entropies = sorted({each.entropy for each in open_now}, reverse=True)[: 4 * need]
        batch: list[Candidate] = []
        for entropy in entropies:
            of_prompt = [each for each in open_now if each.entropy == entropy]
            batch.append(max(of_prompt, key=lambda each: each.certainty))
        while batch and len(chosen) < wanted:
            best = batch[0]
            for each in batch:
                if each.certainty > best.certainty:
                    best = each
            batch.remove(best)
            left.remove(best)
            rounds[best.prompt] = rounds.get(best.prompt, 0) + 1
            chosen.append(couple(best))
    return chosen


def follows(made: Plan, seed: int, count: int) -> bool:
    """Whether a plan without held-out prompts is the oracle's."""
    candidates = cases(seed, held=0)
    found = made(candidates, how="active", count=count)
    return [couple(each) for each in found] == naive_active(candidates, count)


@given(st.integers(0, 10_000), st.integers(1, 200))
def test_active_is_the_oracles_order(seed: int, count: int) -> None:
    assert follows(plan, seed, count)


def bent(**wrong: Callable[[Candidate], float]) -> Plan:
    """The same plan from figures that were bent first."""

    def made(candidates: Sequence[Candidate], **more: Any) -> list[Pick]:
        figures: list[dict[str, Any]] = [
            {name: change(each) for name, change in wrong.items()} for each in candidates
        ]
        return plan([replace(c, **f) for c, f in zip(candidates, figures, strict=True)], **more)

    return made


@pytest.mark.parametrize(
    "wrong",
    [
        bent(certainty=lambda each: -each.certainty),  # the least sure first
        bent(entropy=lambda each: -each.entropy),  # the prompts it is sure to answer
        bent(certainty=lambda each: 0.0),  # entropy alone
        bent(entropy=lambda each: 0.0),  # certainty alone
    ],
)
def test_a_wrong_order_is_seen(wrong: Plan) -> None:
    assert not follows(wrong, seed=1, count=5)


def test_a_longer_shortlist_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pick, "SHORTLIST", 6)
    assert not follows(plan, seed=1, count=5)


def test_without_a_reference_entropy_alone_decides() -> None:
    candidates = [replace(each, certainty=0.0) for each in cases(3, held=0)]
    found = plan(candidates, how="active", count=10)
    entropy = {each.prompt: each.entropy for each in candidates}
    highest = sorted(entropy, key=lambda name: -entropy[name])[:10]
    assert [prompt_of(each) for each in found] == highest
    assert {each.score for each in found} == {0.0}


def test_the_score_is_the_certainty() -> None:
    candidates = cases(4)
    sure = {couple(each): each.certainty for each in candidates}
    for each in plan(candidates, how="active", count=60):
        assert each.score == (sure[couple(each)] if each.selector == "active" else None)


# ---- held-out prompts


@given(st.integers(0, 10_000), st.integers(1, 300), st.sampled_from(["active", "random"]))
def test_held_out_is_every_fifth_and_never_active(seed: int, count: int, how: Any) -> None:
    candidates = cases(seed)
    held = {couple(each) for each in candidates if each.split == "heldout"}
    found = plan(candidates, how=how, count=count)
    assert all(each.selector == "random" for each in found if couple(each) in held)
    places = [place for place, each in enumerate(found, start=1) if couple(each) in held]
    wanted = [place for place in range(1, len(found) + 1) if place % 5 == 0][: len(held)]
    train = len(candidates) - len(held)
    if len(found) - len(wanted) <= train and len(found) == count:  # neither kind ran out
        assert places[: len(wanted)] == wanted
    assert len(found) == min(count, len(candidates))
    assert len({couple(each) for each in found}) == len(found)


def test_a_held_out_figure_changes_nothing() -> None:
    candidates = cases(5)
    other = [
        replace(each, entropy=1e9, certainty=1e9) if each.split == "heldout" else each
        for each in candidates
    ]
    assert plan(candidates, how="active", count=50) == plan(other, how="active", count=50)


# ---- determinism and the control


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from(["active", "random"]))
def test_a_plan_is_a_function_of_content(seed: int, ties: bool, how: Any) -> None:
    candidates = cases(seed, ties=ties)
    mixed = [replace(each, one=each.other, other=each.one) for each in candidates]
    random.Random(seed).shuffle(mixed)
    plans = [plan(each, how=how, count=70, seed=1) for each in (candidates, mixed)]
    assert [couple(each) for each in plans[0]] == [couple(each) for each in plans[1]]


def test_another_seed_is_another_order() -> None:
    candidates = cases(6)
    one, other = (plan(candidates, how="random", count=20, seed=seed) for seed in (1, 2))
    assert one != other


@given(st.integers(0, 10_000))
def test_random_is_blind_to_every_figure(seed: int) -> None:
    candidates = cases(seed)
    rng = random.Random(seed)
    other = [replace(c, entropy=rng.random(), certainty=rng.random()) for c in candidates]
    assert plan(candidates, how="random", count=90) == plan(other, how="random", count=90)


def test_random_goes_on_where_it_was_and_takes_one_pair_a_prompt_first() -> None:
    candidates = cases(7, held=0)
    whole = plan(candidates, how="random", count=len(candidates))
    assert plan(candidates, how="random", count=15) == whole[:15]
    assert {prompt_of(each) for each in whole[:40]} == {f"p{n}" for n in range(40)}


def test_random_is_random() -> None:
    """Each answer of a prompt is drawn about as often as any other."""
    candidates = list(couples("p", ["a", "b", "c", "d"]))
    firsts = [plan(candidates, how="random", count=1, seed=seed)[0] for seed in range(600)]
    counts = [sum(name in couple(each) for each in firsts) for name in "abcd"]
    assert all(250 < count < 350 for count in counts)  # 300, sd 12


@pytest.mark.parametrize("how", ["active", "random"])
def test_prompts_that_were_judged_come_later(how: Any) -> None:
    candidates = cases(8, held=0)
    seen = {f"p{number}": 1 for number in range(30)}
    found = plan(candidates, how=how, count=20, judged=seen)
    assert {prompt_of(each) for each in found[:10]} == {f"p{n}" for n in range(30, 40)}
    later = [prompt_of(each) for each in found[10:]]
    assert len(set(later)) == 10 and set(later) & set(seen), "then a second pair of any prompt"


# ---- the figures


TEXTS = {
    "the flat": ("is near the station", "is near the river bank", "has a lift"),
    "this one": ("has two baths", "has a garden in the back"),
}


def asked() -> list[tuple[AskedPrompt, tuple[Answer, ...]]]:
    found = []
    for prompt, texts in TEXTS.items():
        answers = tuple(Answer(f"{prompt}:{t}", prompt, t, "sample") for t in texts)
        found.append((AskedPrompt(prompt, prompt, "train"), answers))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and a short DPO run from it."""
    from palate import api
    from palate.config import DpoConfig

    root = tmp_path_factory.mktemp("pick")
    tiny.folder(root / "model", "llama", seed=1)
    pairs = [
        {"prompt": prompt, "chosen": texts[0], "rejected": texts[1]}
        for prompt, texts in TEXTS.items()
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    made = DpoConfig(
        model=str(root / "model"), data=str(root / "pairs.jsonl"), out=root / "dpo",
        max_steps=3, lr=1e-2, beta=0.3,
    )  # fmt: skip
    api.dpo(made)
    return root


def inform(model: Path, given: Any = None) -> dict[str, Any]:
    from palate.study.informative import inform
    from palate.train.events import silent

    return inform(str(model), given or asked(), silent)


def test_entropy_is_the_mean_of_naive_sums_and_nothing_is_certain(place: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(place / "model").double().eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(place / "model")
    found = inform(place / "model")
    for prompt, texts in TEXTS.items():
        sums = []
        for text in texts:
            before = tokenizer(prompt + "\n")["input_ids"]
            ids = tokenizer(prompt + "\n" + text)["input_ids"] + [tokenizer.eos_token_id]
            assert ids[: len(before)] == before
            with torch.no_grad():
                rows = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            places = range(len(before), len(ids))
            sums.append(sum(float(rows[n - 1, ids[n]]) for n in places))
        assert found[prompt].entropy == pytest.approx(-sum(sums) / len(sums), rel=1e-4)
        assert set(found[prompt].rewards.values()) == {0.0}


def test_rewards_of_a_run_are_the_margins_of_score(place: Path, tmp_path: Path) -> None:
    from palate import api

    rows = [
        {"prompt": prompt, "chosen": one, "rejected": other}
        for prompt, texts in TEXTS.items()
        for one, other in itertools.pairwise(texts)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = inform(place / "dpo")
    for row, scored in zip(rows, api.score(str(place / "dpo"), str(data)), strict=True):
        names = [f"{row['prompt']}:{row[side]}" for side in ("chosen", "rejected")]
        rewards = [found[row["prompt"]].rewards[name] for name in names]
        assert scored.margin is not None and abs(scored.margin) > 1e-3
        assert rewards[0] - rewards[1] == pytest.approx(scored.margin, abs=1e-4)
        assert found[row["prompt"]].certainty(*names) == pytest.approx(abs(scored.margin), abs=1e-4)


def test_edits_tell_nothing_of_the_entropy_and_what_does_not_fit_is_left_out(place: Path) -> None:
    plain = inform(place / "model")
    (prompt, answers), *rest = asked()
    edit = Answer("e", prompt.id, "is very near the river bank and the park", "edit")
    long = Answer("l", prompt.id, "a lift " * 400, "sample")
    found = inform(place / "model", [(prompt, (*answers, edit, long)), *rest])
    assert found[prompt.id].entropy == pytest.approx(plain[prompt.id].entropy, rel=1e-5)
    assert found[prompt.id].rewards.keys() == {*(each.id for each in answers), "e"}
    candidates = list(couples(prompt.id, [each.id for each in (*answers, edit, long)]))
    kept = list(pick.informed(candidates, found))
    assert len(kept) == 6 and not any("l" in (each.one, each.other) for each in kept)


# ---- the store and the command


def fill(path: Path, prompts: int = 30, answers: int = 3) -> Path:
    with Store.open(path) as store:
        for number in range(prompts):
            asked = store.add_prompt(f"prompt {number}")
            for place in range(answers):
                store.add_answer(asked.id, f"answer {place} to {number}", "sample")
    return path


def say(store: Store, one: str, other: str, verdict: Verdict, judge: str = "me") -> None:
    shown = store.present(one, other, Showing(judge, "pair", "random"))
    store.judge(f"{judge} {shown.id}", shown.id, Said(verdict, ms=4000))


def test_the_pool_is_what_nobody_judged(tmp_path: Path) -> None:
    with Store.open(fill(tmp_path / "s.db")) as store:
        store.add_judge("me", "person")
        store.add_judge("machine", "model")
        whole = pick.pool(store)
        assert len(whole.candidates) == 90 and not whole.judged
        verdicts: list[Verdict] = ["left", "tie", "both_bad", "skip"]
        for each, verdict in zip(whole.candidates[::3], verdicts):
            say(store, each.one, each.other, verdict)
        say(store, *(whole.candidates[40].one, whole.candidates[40].other), "left", "machine")
        edit = store.add_answer(whole.candidates[0].prompt, "better", "edit")
        left = pick.pool(store)
        assert len(left.candidates) == 87, "a skip and a model's verdict leave a pair to judge"
        assert sum(left.judged.values()) == 3
        assert not any(edit.id in (each.one, each.other) for each in left.candidates)
        assert len(pick.pool(store, ["machine"]).candidates) == 89


def told(run: Callable[[], object]) -> PalateError:
    """What a user is told instead of a traceback."""
    with pytest.raises(PalateError) as caught:
        run()
    known = understood(caught.value)
    assert known is not None and known.hint
    return known


def test_the_command_writes_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fill(tmp_path / "s.db")
    pick_command(path, options=PickOptions(how="random", n=20))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "20 pairs to judge next: 16 at random, 4 held out, at random"
    assert said[-1] == f"next: palate judge {path}"
    with Store.open(path) as store:
        assert len(store.plan("me", 100)) == 20
        splits = [store.prompt(store.answer(e.one).prompt_id).split for e in store.plan("me", 100)]
        assert [n for n, split in enumerate(splits, start=1) if split == "heldout"] == [
            5,
            10,
            15,
            20,
        ]


def test_the_command_asks_the_model(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        for number in range(12):
            prompt = store.add_prompt(f"the flat {number}")
            for text in TEXTS["the flat"]:
                store.add_answer(prompt.id, text, "sample")
    pick_command(path, options=PickOptions(model=str(place / "dpo"), n=6))
    said = capsys.readouterr().out
    assert said.startswith("6 pairs to judge next: 5 most informative, 1 held out, at random\n")
    assert "surest about" in said
    with Store.open(path) as store:
        scores = [each.score for each in store.plan("me") if each.score is not None]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True) and scores[-1] > 0
    pick_command(path, options=PickOptions(model=str(place / "model"), n=6))
    assert "highest entropy" in capsys.readouterr().out


def test_mistakes_are_told_and_leave_the_plan_alone(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.db")
    pick_command(path, options=PickOptions(how="random", n=3))
    assert isinstance(told(lambda: pick_command(path)), UsageError)
    missing = tmp_path / "none.db"
    assert "no such store" in str(
        told(lambda: pick_command(missing, options=PickOptions(model="x")))
    )
    assert not missing.exists()
    told(lambda: pick_command(path, options=PickOptions(model=str(tmp_path / "nothing"))))
    with Store.open(path) as store:
        assert len(store.plan("me")) == 3
    single = fill(tmp_path / "single.db", answers=1)
    error = told(lambda: pick_command(single, options=PickOptions(how="random")))
    assert isinstance(error, StoreError) and "two answers" in error.message
    done = fill(tmp_path / "done.db", prompts=1, answers=2)
    with Store.open(done) as store:
        store.add_judge("me", "person")
        (only,) = pick.pool(store).candidates
        say(store, only.one, only.other, "left")
    error = told(lambda: pick_command(done, options=PickOptions(how="random")))
    assert "every pair" in error.message
