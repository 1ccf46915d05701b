"""Files into the store and out of it: all that was judged, nothing twice, nothing invented."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palate.data import sources
from palate.data.judged import Mode, Presentation, Said, Showing, Verdict
from palate.errors import DataError, UsageError
from palate.judge.arrivals import Added, add_file
from palate.judge.departures import as_lines, pairs, undecided, write_export
from palate.judge.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "taste.db", clock=lambda: 1_700_000_000.0) as opened:
        opened.add_judge("me", "person")
        yield opened


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def samples(prompts: int = 6, n: int = 3) -> list[dict[str, Any]]:
    return [
        {"id": f"s{p}-{k}", "prompt": f"prompt {p}", "completion": f"answer {k} to {p}", "seed": 7,
         "index": k, "model": "runs/sft", "logp": -3.5, "line": p + 1, "ended": True}
        for p in range(prompts)
        for k in range(n)
    ]  # fmt: skip


def counted(added: Added) -> tuple[int, int, int, int]:
    return added.prompts, added.answers, added.judgements, added.repeated


def judged(
    store: Store, left: str, right: str, verdict: Verdict, *, mode: Mode = "pair", **more: Any
) -> Presentation:
    """Show two answers of the first prompt that has both, and judge them."""
    by_text = {a.text: a.id for p in store.prompts() for a in store.answers(p.id)}
    judge, again = more.get("judge", "me"), more.get("again")
    at = store.present(by_text[left], by_text[right], Showing(judge, mode, "random", again))
    said = Said(
        verdict, more.get("strength", 1), more.get("reason", ""), more.get("tags", ()), 4000
    )
    store.judge(more.get("id", f"j{store.size('judgement')}"), at.id, said)
    return at


def train_prompt(store: Store) -> int:
    """A prompt of the samples that is for training."""
    return next(n for n in range(100) if store.add_prompt(f"prompt {n}").split == "train")


# ---- in


def test_samples_become_answers_with_what_made_them(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "drawn.jsonl", samples())
    added = add_file(store, path)
    assert counted(added) == (6, 18, 0, 0) and added.notes == []
    answer = store.answers(store.prompts()[0].id)[1]
    assert answer.origin == "sample"
    assert answer.made == {"seed": 7, "index": 1, "model": "runs/sft", "logp": -3.5}
    assert counted(add_file(store, path)) == (0, 0, 0, 18)
    assert counted(add_file(store, write(tmp_path / "two.jsonl", samples() * 2))) == (0, 0, 0, 36)


def test_pairs_become_verdicts_of_a_file(store: Store, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "shown": "right", "seconds": 2.5,
         "tag": "tone", "reason": "warmer", "judge": "Ann", "id": "one"},
        {"prompt": "p", "chosen": "b", "rejected": "a", "judge": "Ann", "id": "2", "again": "one"},
        {"prompt": "q", "chosen": "c", "rejected": "d"},
    ]  # fmt: skip
    path = write(tmp_path / "pairs.jsonl", rows)
    assert counted(add_file(store, path)) == (2, 4, 3, 0)
    assert counted(add_file(store, path)) == (0, 0, 0, 3)
    one, two, three = store.standing()
    assert one.verdict == "right" and one.chosen and one.chosen.text == "a"
    assert (one.tags, one.reason, one.ms, one.of.judge) == (("tone",), "warmer", 2500, "Ann")
    assert two.of.again == one.of.id and three.of.judge == "import"
    assert store.judges() == {"me": "person", "Ann": "file", "import": "file"}


def test_a_file_is_never_taken_for_the_person_it_names(store: Store, tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "judge": "me"}
    add_file(store, write(tmp_path / "pairs.jsonl", [row]))
    assert store.standing("me") == [] and store.judges()["me (file)"] == "file"


def test_sides_of_a_file_that_does_not_say_are_a_toss(store: Store, tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(200)]
    add_file(store, write(tmp_path / "pairs.jsonl", rows))
    assert 70 < sum(each.verdict == "left" for each in store.standing()) < 130


def test_ranked_lists_and_bare_prompts_come_in(store: Store, tmp_path: Path) -> None:
    ranked = write(tmp_path / "r.jsonl", [{"prompt": "p", "completions": ["a", "b", "c"]}])
    assert counted(add_file(store, ranked)) == (1, 3, 3, 0)
    won = [(e.chosen.text, e.rejected.text) for e in store.standing() if e.chosen and e.rejected]
    assert won == [("a", "b"), ("a", "c"), ("b", "c")]
    bare = write(tmp_path / "p.jsonl", [{"prompt": "q"}, {"prompt": "q"}, {"prompt": "r"}])
    assert counted(add_file(store, bare)) == (2, 0, 0, 0)


def test_single_verdicts_are_told(store: Store, tmp_path: Path) -> None:
    row = {"prompt": "p", "completion": "a", "label": True}
    added = add_file(store, write(tmp_path / "k.jsonl", [row]))
    assert added.answers == 1 and "1 single verdicts" in added.notes[-1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "c"}], ":2 "),
        ([{"prompt": "p", "chosen": "a"}, {"prompt": "q", "chosen": "c"}], "rejected"),
        ([{"text": "no prompt at all"}], "no prompt of its own"),
        ([{"prompt": "p", "completion": [
            {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"},
            {"role": "assistant", "content": "c"}]}], "several turns"),
    ],
)  # fmt: skip
def test_a_bad_file_adds_nothing(
    store: Store, tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    path = write(tmp_path / "bad.jsonl", rows)
    with pytest.raises(DataError, match=message):
        add_file(store, path)
    assert store.size("prompt") == store.size("answer") == store.size("judgement") == 0


def test_plain_and_conversational_prompts_do_not_mix(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "a.jsonl", samples()))
    turns = [{"role": "user", "content": "hi"}]
    talk = [{"prompt": turns, "chosen": "a", "rejected": "b"}]
    with pytest.raises(DataError, match=r"holds conversations, and .* holds plain prompts"):
        add_file(store, write(tmp_path / "b.jsonl", talk))
    assert store.size("prompt") == 6


def test_a_missing_file_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        add_file(store, str(tmp_path / "nowhere.jsonl"))


# ---- out


def test_the_export_is_what_was_judged_and_reads_back(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(40)))
    told = []
    for n, verdict in enumerate(["left", "right", "tie", "both_bad", "skip"] * 8):
        left, right = f"answer 0 to {n}", f"answer 1 to {n}"
        judged(store, left, right, verdict, tags=("grounded", "tone"), reason="why", id=f"id{n}")  # type: ignore[arg-type]
        sides = {"left": (left, right), "right": (right, left)}
        if verdict in sides:
            told.append((f"prompt {n}", *sides[verdict], verdict, f"id{n}"))
    rows = pairs(store, split=None)
    assert [(r["prompt"], r["chosen"], r["rejected"], r["shown"], r["id"]) for r in rows] == told
    assert rows[0] | {"created": ""} == rows[0] | {
        "tag": "grounded", "tags": ["grounded", "tone"], "reason": "why", "seconds": 4.0,
        "strength": 1, "judge": "me", "selector": "random", "created": "",
    }  # fmt: skip
    train, held = pairs(store), pairs(store, split="heldout")
    assert train and held and len(train) + len(held) == len(told)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held}
    ties = undecided(store, split=None)
    assert [row["verdict"] for row in ties] == ["tie", "both_bad"] * 8

    done = write_export(store, tmp_path / "pairs.jsonl", include={"ties"})
    read = sources.read(str(done.path), kind="pairs")
    assert [(row.prompt, row.chosen, row.tag) for row in read.rows] == [
        (row["prompt"], row["chosen"], "grounded") for row in train
    ]
    assert read.notes == () and done.pairs == len(train)
    assert [(path.name, count) for path, count in done.beside] == [
        ("pairs.heldout.jsonl", len(held)),
        ("pairs.ties.jsonl", sum(row["split"] == "train" for row in ties)),
    ]
    first = done.path.read_bytes()
    write_export(store, done.path)
    assert done.path.read_bytes() == first == as_lines(train).encode()

    with Store.open(tmp_path / "copy.db") as copy:  # and it comes in again, once
        assert add_file(copy, str(done.path)).judgements == len(train)
        assert [r["id"] for r in pairs(copy)] == [r["id"] for r in train]
    assert add_file(store, str(done.path)).judgements == 0


def test_conversations_go_out_as_they_came_in(store: Store, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    rows = [{"prompt": turns, "chosen": "a", "rejected": "b"}]
    path = write(tmp_path / "talk.jsonl", rows)
    add_file(store, path)
    out = write_export(store, tmp_path / "out.jsonl", split="all").path
    assert sources.read(str(out), kind="pairs").digest == sources.read(path, kind="pairs").digest


def test_programs_and_models_are_never_mixed_in_silence(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(30)))
    store.add_judge("gpt", "model")
    for n in range(20):
        sides = f"answer 0 to {n}", f"answer 1 to {n}"
        judged(store, *sides, "left", judge="gpt", id=f"g{n}")
        if n < 5:
            judged(store, *sides, "right", id=f"m{n}")
    assert {row["judge"] for row in pairs(store, split=None)} == {"me"}
    assert len(pairs(store, judges=["gpt"], split=None)) == 20
    assert len(pairs(store, judges=["gpt", "me"], split=None)) == 25
    done = write_export(store, tmp_path / "out.jsonl", split="all")
    assert done.pairs == 5 and done.left_out == {"gpt": 20}
    with pytest.raises(UsageError, match="no judge 'nobody'") as error:
        pairs(store, judges=["nobody"])
    assert "me, gpt" in error.value.hint


def test_re_asks_measure_and_make_no_pair(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(30)))
    n = train_prompt(store)
    first = judged(store, f"answer 0 to {n}", f"answer 1 to {n}", "left", id="first")
    judged(store, f"answer 1 to {n}", f"answer 0 to {n}", "left", id="second", again=first.id)
    assert [row["id"] for row in pairs(store)] == ["first"]
    rows = pairs(store, include={"reasks"})
    assert [(row["id"], row.get("again")) for row in rows] == [("first", None), ("second", "first")]


@pytest.mark.parametrize(("verdict", "chosen"), [("left", 1), ("right", 0), ("tie", None)])
def test_a_second_look_replaces_the_first(
    store: Store, tmp_path: Path, verdict: Verdict, chosen: int | None
) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(30)))
    n = train_prompt(store)
    first = judged(store, f"answer 0 to {n}", f"answer 1 to {n}", "left")
    swapped = f"answer 1 to {n}", f"answer 0 to {n}"
    judged(store, *swapped, verdict, mode="resolve", again=first.id)
    texts = [row["chosen"] for row in pairs(store)]
    assert texts == ([] if chosen is None else [f"answer {chosen} to {n}"])


def test_a_person_overrules_a_file_on_the_same_two(store: Store, tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "c", "rejected": "d"}
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}, row]
    add_file(store, write(tmp_path / "pairs.jsonl", rows))
    (first, _) = store.standing()
    judged(store, "b", "a", "left", mode="recheck", again=first.of.id)
    found = [(row["chosen"], row["judge"]) for row in pairs(store, split=None)]
    assert sorted(found) == [("b", "me"), ("c", "import")]


def test_contradictions_of_a_file_stay_for_the_doctor(store: Store, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": a, "rejected": b} for a, b in (("a", "b"), ("b", "a"))]
    add_file(store, write(tmp_path / "pairs.jsonl", rows))
    assert [row["chosen"] for row in pairs(store, split=None)] == ["a", "b"]


def test_what_follows_from_winner_stays_is_marked(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(30, n=4)))
    n = train_prompt(store)
    text = [f"answer {k} to {n}" for k in range(4)]
    judged(store, text[0], text[1], "left", mode="rank")
    judged(store, text[2], text[0], "left", mode="rank")
    assert len(pairs(store)) == 2
    rows = pairs(store, include={"inferred"})
    more = [(row["chosen"], row["rejected"]) for row in rows if row.get("inferred")]
    assert more == [(text[2], text[1])]
    judged(store, text[1], text[2], "left", mode="rank")  # a circle: nothing follows
    assert len(pairs(store, include={"inferred"})) == len(pairs(store)) == 3


def test_an_audit_marks_the_pair_whose_chosen_side_it_was(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(30)))
    n = train_prompt(store)
    text = [f"answer {k} to {n}" for k in range(3)]
    judged(store, text[0], text[1], "left")
    assert "audit" not in pairs(store)[0]
    at = judged(store, text[2], text[0], "left", mode="audit", id="audit")
    assert [(row["chosen"], row["audit"]) for row in pairs(store)] == [(text[0], "sample")]
    store.undo("undo", "audit", judge="me")
    store.judge("again", at.id, Said("right"))
    assert pairs(store)[0]["audit"] == "chosen"


def test_an_edited_answer_says_so(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(30)))
    n = train_prompt(store)
    prompt = store.add_prompt(f"prompt {n}")
    parent = store.answers(prompt.id)[0]
    better = store.add_answer(prompt.id, "far better", "edit", parent=parent.id)
    at = store.present(better.id, parent.id, Showing("me", "edit", "given"))
    store.judge("e", at.id, Said("left"))
    (row,) = pairs(store)
    assert (row["chosen"], row["rejected"], row["edited"]) == ("far better", parent.text, True)


def test_the_same_from_python(tmp_path: Path) -> None:
    from palate import api

    rows = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(20)]
    with api.Store.open(tmp_path / "taste.db") as store:
        api.add_file(store, write(tmp_path / "pairs.jsonl", rows))
        done = api.write_export(store, tmp_path / "out.jsonl", split="all")
    assert done.pairs == 20


def test_an_export_leaves_no_earlier_held_out_pairs_beside_it(store: Store, tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(20)]
    add_file(store, write(tmp_path / "pairs.jsonl", rows))
    done = write_export(store, tmp_path / "out.jsonl")
    ((held, count),) = done.beside
    assert count and held.read_text()
    for n, each in enumerate(store.standing()):
        store.undo(f"undo{n}", each.id, judge="import")
    assert write_export(store, tmp_path / "out.jsonl").beside == ((held, 0),)
    assert held.read_text() == done.path.read_text() == ""


def test_a_second_look_counts_above_all_later_plain_verdicts(store: Store, tmp_path: Path) -> None:
    add_file(store, write(tmp_path / "drawn.jsonl", samples(30)))
    n = train_prompt(store)
    texts = f"answer 0 to {n}", f"answer 1 to {n}"
    first = judged(store, *texts, "left")
    judged(store, *texts, "right", mode="resolve", again=first.id)
    judged(store, *texts, "left")
    assert [row["chosen"] for row in pairs(store)] == [texts[1]]
