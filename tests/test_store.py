"""The store: ids from content, verdicts appended and never lost, undo as a row, migrations."""

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.judged import AskedPrompt, Presentation, Said, Showing, Verdict
from palate.data.rows import Message
from palate.errors import StoreError
from palate.judge import schema
from palate.judge.database import Locked
from palate.judge.store import Conflict, Pick, Store

LATEST = len(schema.MIGRATIONS)


class Clock:
    """Seconds that a test moves, backwards too."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(tmp_path / "taste.db", clock=clock) as opened:
        opened.add_judge("me", "person")
        yield opened


def filled(store: Store, prompts: int = 3, answers: int = 2) -> list[AskedPrompt]:
    found = [store.add_prompt(f"prompt {n}") for n in range(prompts)]
    for prompt in found:
        for k in range(answers):
            store.add_answer(prompt.id, f"answer {k} to {prompt.text}", "sample")
    return found


def shown(
    store: Store, prompt: AskedPrompt, judge: str = "me", id: str | None = None
) -> Presentation:
    one, other = store.answers(prompt.id)[:2]
    return store.present(one.id, other.id, Showing(judge), id=id)


# ---- content


def test_the_same_content_twice_is_there_once(store: Store) -> None:
    first = store.add_prompt("Describe it.")
    again = store.add_prompt("Describe it.")
    assert first == again
    one = store.add_answer(first.id, "A flat.", "sample", made={"seed": 1})
    same = store.add_answer(first.id, "A flat.", "import", made={"seed": 2})
    assert one == same and same.origin == "sample" and same.made == {"seed": 1}
    assert store.size("prompt") == store.size("answer") == 1


def test_a_conversation_keeps_its_turns(store: Store) -> None:
    turns = (Message("system", "Be brief."), Message("user", "Hi"))
    found = store.prompt(store.add_prompt(turns, tags=["tone"]).id)
    assert found.turns == turns and found.text == "system: Be brief.\nuser: Hi"
    assert found.tags == ("tone",)


def test_about_a_fifth_is_held_out_and_stays_so(store: Store, tmp_path: Path) -> None:
    filled(store, prompts=1000)
    held = {prompt.id for prompt in store.prompts("heldout")}
    assert 160 < len(held) < 240
    assert held | {prompt.id for prompt in store.prompts("train")} == {
        prompt.id for prompt in store.prompts()
    }
    with Store.open(tmp_path / "other.db") as other:  # a function of the text alone
        backwards = [other.add_prompt(f"prompt {n}") for n in reversed(range(1000))]
        assert {prompt.id for prompt in backwards if prompt.split == "heldout"} == held


def test_two_ways_of_writing_a_prompt_fall_on_one_side(store: Store) -> None:
    for n in range(50):
        plain, loud = (
            store.add_prompt(f"describe flat {n}"),
            store.add_prompt(f" Describe  FLAT {n}\n"),
        )
        assert plain.id != loud.id and plain.split == loud.split


# ---- verdicts


def test_a_verdict_stands_once_however_often_it_is_sent(store: Store) -> None:
    at = shown(store, filled(store)[0])
    said = Said("left", 2, "numbers", ("grounded", "shorter"), 4200)
    first = store.judge("a", at.id, said)
    assert store.judge("a", at.id, Said("right")) == first
    assert [each.id for each in store.standing()] == ["a"]
    assert first.chosen == at.left and first.rejected == at.right and not first.fast
    assert (first.strength, first.reason, first.tags, first.ms) == (2, "numbers", said.tags, 4200)
    assert store.counts("me") == {"left": 1}
    assert store.tally("me") == {"grounded": 1, "shorter": 1}


def test_another_tab_cannot_judge_the_same_pair(store: Store) -> None:
    at = shown(store, filled(store)[0])
    store.judge("a", at.id, Said("left"))
    with pytest.raises(Conflict, match="has a verdict already"):
        store.judge("b", at.id, Said("right"))
    assert [each.verdict for each in store.standing()] == ["left"]


def test_reasons_added_later_supersede(store: Store) -> None:
    at = shown(store, filled(store)[0])
    store.judge("a", at.id, Said("left"))
    store.judge("b", at.id, Said("left", tags=("tone",)), supersedes="a")
    with pytest.raises(Conflict):  # "a" stands no longer, so it cannot be replaced again
        store.judge("c", at.id, Said("right"), supersedes="a")
    assert [each.id for each in store.standing()] == ["b"]
    assert store.size("judgement") == 2


def test_undo_goes_back_as_far_as_one_likes(store: Store) -> None:
    places = [shown(store, prompt) for prompt in filled(store, prompts=12)]
    for n, at in enumerate(places):
        store.judge(f"j{n}", at.id, Said("left"))
    back = [store.undo(f"u{n}", judge="me") for n in range(12)]
    assert back == places[::-1]
    assert store.undo("u12", judge="me") is None
    assert store.standing() == [] and store.pending("me", "pair") == places
    assert store.undo("u3", judge="me") == back[3]  # the same undo again changes nothing
    for n, at in enumerate(places):
        store.judge(f"again{n}", at.id, Said("right"))
    assert store.counts("me") == {"right": 12}
    assert store.size("judgement") == 36


def test_undo_takes_back_the_reasons_too(store: Store) -> None:
    at = shown(store, filled(store)[0])
    store.judge("a", at.id, Said("left"))
    store.judge("b", at.id, Said("left", tags=("tone",)), supersedes="a")
    assert store.undo("u", judge="me") == at
    assert store.standing() == [] and store.tally("me") == {}


def test_one_judge_cannot_undo_another(store: Store) -> None:
    store.add_judge("you", "person")
    at = shown(store, filled(store)[0])
    store.judge("a", at.id, Said("left"))
    assert store.undo("u", judge="you") is None
    with pytest.raises(KeyError):
        store.undo("u", "no such judgement", judge="me")
    assert store.undo("u", "a", judge="you") is None
    assert len(store.standing("me")) == 1 and store.standing("you") == []


def test_unknown_presentations_and_answers_are_refused(store: Store) -> None:
    one, other = (store.answers(prompt.id)[0] for prompt in filled(store)[:2])
    with pytest.raises(KeyError):
        store.judge("a", "nowhere", Said("left"))
    with pytest.raises(KeyError):
        store.present(one.id, "nowhere", Showing("me"))
    with pytest.raises(ValueError, match="two different answers of one prompt"):
        store.present(one.id, other.id, Showing("me"))
    with pytest.raises(ValueError):
        store.present(one.id, one.id, Showing("me"))
    assert store.size("judgement") == store.size("presentation") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE judgement SET verdict = 'right'",
        "DELETE FROM judgement",
        "INSERT OR REPLACE INTO judgement(id, presentation_id, verdict, ms, created)"
        " SELECT id, presentation_id, 'right', 0, 0 FROM judgement",
        "INSERT INTO judgement(id, presentation_id, verdict, ms, created)"
        " SELECT 'b', presentation_id, 'right', 0, 0 FROM judgement",
        "INSERT INTO judgement(id, presentation_id, verdict, ms, created) VALUES"
        " ('b', 'nowhere', 'left', 0, 0)",
    ],
)
def test_the_file_itself_refuses_to_forget(store: Store, statement: str) -> None:
    at = shown(store, filled(store)[0])
    store.judge("a", at.id, Said("left"))
    with pytest.raises(sqlite3.IntegrityError):
        store._database.write(statement)
    assert [each.verdict for each in store.standing()] == ["left"]


def test_a_clock_that_goes_backwards_changes_no_order(store: Store, clock: Clock) -> None:
    for n, prompt in enumerate(filled(store)):
        clock.now -= 100
        store.judge(f"j{n}", shown(store, prompt).id, Said("left"))
    assert [each.id for each in store.standing()] == ["j0", "j1", "j2"]
    assert [each.id for each in store.latest("me")] == ["j2", "j1", "j0"]
    assert [each.id for each in store.latest("me", before="j2", limit=1)] == ["j1"]
    at = store.undo("u", judge="me")
    assert at and at.prompt.text == "prompt 2"


# What the store must hold, in a dozen lines: a stack of verdicts per presentation.
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["judge", "repeat", "tag", "undo"]),
        st.integers(0, 3),
        st.sampled_from(["left", "right", "tie", "both_bad", "skip"]),
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(steps=_STEPS)
def test_any_course_of_events_equals_the_plain_account(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, Verdict]]
) -> None:
    account: dict[int, tuple[str, Verdict]] = {}
    last: list[tuple[str, int, Verdict]] = []
    with Store.open(tmp_path_factory.mktemp("store") / "a.db") as store:
        store.add_judge("me", "person")
        places = [shown(store, prompt) for prompt in filled(store, prompts=4)]
        for n, (what, place, verdict) in enumerate(steps):
            id = f"{what}{n}"
            if what == "judge" and place in account:
                with pytest.raises(Conflict):
                    store.judge(id, places[place].id, Said(verdict))
            elif what == "judge":
                store.judge(id, places[place].id, Said(verdict))
                account[place] = (id, verdict)
                last.append((id, place, verdict))
            elif what == "repeat" and last:
                store.judge(last[-1][0], places[last[-1][1]].id, Said(verdict))
            elif what == "tag" and place in account:
                before = account[place]
                store.judge(id, places[place].id, Said(before[1]), supersedes=before[0])
                account[place] = (id, before[1])
                last = [*(each for each in last if each[1] != place), (id, place, before[1])]
            elif what == "undo":
                back = store.undo(id, judge="me")
                assert (back is None) == (not last)
                if last:
                    assert back == places[last[-1][1]]
                    del account[last.pop()[1]]
            found = {places.index(each.of): (each.id, each.verdict) for each in store.standing()}
            assert found == account


def test_drafts_come_and_go(store: Store) -> None:
    store.save_draft("write", "half a")
    store.save_draft("write", "half a sentence")
    assert store.draft("write") == "half a sentence"
    store.drop_draft("write")
    assert store.draft("write") == ""


def test_a_judge_has_one_kind(store: Store) -> None:
    store.add_judge("me", "person")
    with pytest.raises(StoreError, match="'me' is a person, not a model"):
        store.add_judge("me", "model")
    assert store.judges() == {"me": "person"}


# ---- what is next


def test_prompts_without_a_verdict_come_first_then_those_with_pairs_left(store: Store) -> None:
    store.add_judge("you", "person")
    prompts = filled(store, prompts=4, answers=3)
    lonely = store.add_prompt("with one answer")
    store.add_answer(lonely.id, "only this", "sample")
    order = [prompt.id for prompt in store.unjudged("me")]
    assert sorted(order) == sorted(prompt.id for prompt in prompts)
    assert order != [prompt.id for prompt in prompts]  # not as they came: a random order, kept
    first = store.prompt(order[0])
    store.judge("a", shown(store, first).id, Said("left"))
    assert [prompt.id for prompt in store.unjudged("me")] == [*order[1:], order[0]]
    assert [prompt.id for prompt in store.unjudged("you")] == order
    one, two, three = store.answers(first.id)
    for n, (left, right) in enumerate([(one, three), (two, three)]):
        at = store.present(left.id, right.id, Showing("me"))
        store.judge(f"b{n}", at.id, Said("skip" if n else "tie"))
    assert first.id in {prompt.id for prompt in store.unjudged("me")}  # a skipped pair comes back
    at = store.present(two.id, three.id, Showing("me"))
    store.judge("c", at.id, Said("right"))
    assert first.id not in {prompt.id for prompt in store.unjudged("me")}


def test_an_edited_answer_is_no_rival(store: Store) -> None:
    (prompt,) = filled(store, prompts=1)
    one = store.answers(prompt.id)[0]
    store.add_answer(prompt.id, "better", "edit", parent=one.id)
    store.judge("a", shown(store, prompt).id, Said("left"))
    assert store.unjudged("me") == []
    lonely = store.add_prompt("with one answer and what became of it")
    only = store.add_answer(lonely.id, "only this", "sample")
    store.add_answer(lonely.id, "only this, mended", "edit", parent=only.id)
    assert store.unjudged("me") == []


def test_the_plan_is_followed_and_not_repeated(store: Store) -> None:
    prompts = filled(store)
    picks = []
    for prompt in prompts:
        one, other = store.answers(prompt.id)
        picks.append(Pick(one.id, other.id, "active", 0.5))
    store.set_plan(picks)
    assert store.plan("me") == picks
    store.present(picks[1].other, picks[1].one, Showing("me", selector="active"))
    assert store.plan("me") == [picks[0], picks[2]]
    store.set_plan(picks[:1])
    assert store.plan("me") == picks[:1] and store.plan("me", limit=0) == []


def test_seen_tells_the_latest_verdict_of_two_answers(store: Store) -> None:
    (prompt,) = filled(store, prompts=1)
    at = shown(store, prompt)
    assert store.seen("me", prompt.id) == {at.couple: None}
    store.judge("a", at.id, Said("skip"))
    assert store.seen("me", prompt.id) == {at.couple: "skip"}


# ---- the file


def test_only_its_owner_may_read_it(store: Store) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600


def test_transactions_are_whole_or_absent(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        filled(store)
        raise ZeroDivisionError
    assert store.size("prompt") == 0
    filled(store)
    assert store.size("prompt") == 3


@pytest.mark.parametrize("start", range(LATEST + 1))
def test_every_earlier_version_becomes_the_latest(tmp_path: Path, start: int) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(connection, until=start)
    if start:
        connection.execute("INSERT INTO prompt VALUES ('p', 'kept', NULL, '[]', 'train', 5)")
    connection.close()
    with Store.open(path) as store:
        assert schema.version(store._database._connection) == LATEST
        assert [prompt.text for prompt in store.prompts()] == (["kept"] if start else [])
        store.add_judge("me", "person")
        store.judge("a", shown(store, filled(store)[0]).id, Said("left"))
        found = tables(path)
    blank = tmp_path / "blank.db"
    Store.open(blank).close()
    assert found == tables(blank)


def tables(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_migration_that_fails_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*schema.MIGRATIONS, "CREATE TABLE one(x);\nCREATE TABLE prompt(x);")
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, until=len(broken))
    connection.close()
    assert "one" not in dict(tables(tmp_path / "a.db"))


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    Store.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {LATEST + 3}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"newer palate .version {LATEST + 3}") as error:
        Store.open(path)
    assert "Update palate" in error.value.hint and error.value.exit_code == 3
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["text", "sqlite", "folder", "nowhere"])
def test_other_files_are_refused_and_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other"
    if kind == "text":
        path.write_text('{"prompt": "p"}\n' * 300)
    elif kind == "sqlite":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs(x)")
        connection.close()
    elif kind == "folder":
        path.mkdir()
    else:
        path = tmp_path / "nowhere" / "a.db"
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=r"not a store|is a folder|no folder"):
        Store.open(path)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_store_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "taste.db"
    with Store.open(path, wait=0.05) as store:
        filled(store)
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Locked, match="locked by another process"):
            store.add_prompt("one more")
        holder.execute("ROLLBACK")
        holder.close()
        assert store.add_prompt("one more").text == "one more"


def test_a_full_disk_is_told_and_loses_nothing(store: Store) -> None:
    prompts = filled(store)
    at = shown(store, prompts[0])
    store.judge("a", at.id, Said("left"))
    pages = store._database.rows("PRAGMA page_count")[0][0]
    store._database.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Exception, match="no room on the disk"), store.transaction():
        for n in range(1000):
            store.add_prompt(f"long {n}" * 200)
    store._database.rows("PRAGMA max_page_count = 1000000")
    assert [each.id for each in store.standing()] == ["a"] and len(store.prompts()) == 3
    store.judge("b", shown(store, prompts[1]).id, Said("right"))


def test_threads_write_without_losing_anything(store: Store) -> None:
    places = [shown(store, prompt) for prompt in filled(store, prompts=40)]
    order = list(enumerate(places))

    def post(seed: int) -> None:
        mine = order.copy()
        random.Random(seed).shuffle(mine)
        for n, at in mine:  # every thread sends every judgement
            store.judge(f"j{n}", at.id, Said("left", ms=n))

    threads = [threading.Thread(target=post, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.ms for each in store.standing()) == list(range(40))
    assert store.size("judgement") == 40


def test_two_connections_wait_for_each_other(store: Store) -> None:
    """What reads and then writes takes the write lock first: it would be refused later."""
    places = [shown(store, prompt) for prompt in filled(store, prompts=60)]
    failed: list[Exception] = []

    def post(part: int) -> None:
        with Store.open(store.path) as mine:
            for n, at in enumerate(places):
                try:
                    if n % 2 == part:
                        mine.judge(f"j{n}", at.id, Said("left"))
                except Exception as error:
                    failed.append(error)

    threads = [threading.Thread(target=post, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(store.standing()) == 60


def test_what_was_judged_survives_a_kill(tmp_path: Path) -> None:
    """The file as it is on the disk, log and all, at the moment after a verdict."""
    path, copy = tmp_path / "taste.db", tmp_path / "copy.db"
    with Store.open(path) as store:
        store.add_judge("me", "person")
        store.judge("a", shown(store, filled(store)[0]).id, Said("left"))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    with Store.open(copy) as store:
        assert [each.id for each in store.standing()] == ["a"]


def test_the_judging_room_needs_no_torch() -> None:
    code = "import sys, palate.judge.store, palate.judge.arrivals, palate.judge.departures;"
    code += "print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "False"
