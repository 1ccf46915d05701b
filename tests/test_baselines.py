"""What needs no training, as entries of a record: a few examples in the context, the best of n."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from palate.config import EvaluateOptions
from palate.data.rows import Example, Origin, Text
from palate.evaluation.baselines import best_of, prompted
from palate.evaluation.contestants import Contestant
from palate.evaluation.matches import Entry
from palate.evaluation.texts import Pen
from palate.study.drawn import Drawn
from palate.train.events import Event, Note, silent

PROMPTS = ("the one by the river", "the one in the back")
ROWS = tuple(Example(f"flat {n}", f"{n} baths", Origin("x.jsonl", n)) for n in range(6))
SFT = Contestant("sft", "baseline", "runs/sft", "abc")


# ---- the best of n


def entry(rows: Sequence[Sequence[tuple[str, bool, float]]]) -> Entry:
    """Rows of (text, ended, points), a row for each prompt."""
    texts, ended, points = (tuple(tuple(one[n] for one in row) for row in rows) for n in range(3))
    prompts = tuple(f"q{n}" for n in range(len(rows)))
    return Entry(SFT, Drawn("sft", prompts, texts, ended), points)  # type: ignore[arg-type]


def naive(row: Sequence[tuple[str, bool, float]]) -> tuple[str, bool, float]:
    """One by one: whole texts before others, then points, then the first."""
    best = row[0]
    for one in row[1:]:
        mine, its = (one[1] and one[0].strip() != ""), (best[1] and best[0].strip() != "")
        if (mine, one[2]) > (its, best[2]):
            best = one
    return best


ONE = st.tuples(st.sampled_from(["a", "b", "", " "]), st.booleans(), st.sampled_from([0.0, 1.0]))


def rows_of(count: int) -> st.SearchStrategy[list[list[tuple[str, bool, float]]]]:
    row = st.lists(ONE, min_size=count, max_size=count)
    return st.lists(row, min_size=1, max_size=3)


@given(st.integers(2, 4).flatmap(rows_of))
def test_the_best_text_is_kept(rows: list[list[tuple[str, bool, float]]]) -> None:
    found = best_of(entry(rows))
    assert found is not None and found.points is not None
    kept = zip(found.drawn.texts, found.drawn.ended, found.points, strict=True)
    assert [(*texts, *ended, *points) for texts, ended, points in kept] == [
        naive(row) for row in rows
    ]
    assert found.contestant.role == "best-of-n" and found.name == f"sft, best of {len(rows[0])}"
    assert found.drawn.model == found.name and found.drawn.prompts == entry(rows).drawn.prompts


def test_of_one_text_nothing_is_best() -> None:
    assert best_of(entry([[("a", True, 1.0)]])) is None
    assert best_of(replace(entry([[("a", True, 1.0), ("b", True, 2.0)]]), points=None)) is None


def test_the_same_number_for_every_prompt() -> None:
    """A prompt with more texts would have the better best."""
    rows = [[("a", True, 1.0), ("b", True, 0.0), ("c", True, 9.0)], [("a", True, 1.0)] * 2]
    found = best_of(entry(rows))
    assert found is not None and found.name == "sft, best of 2"
    assert found.points == ((1.0,), (1.0,))


# ---- examples


class Told(list[Event]):
    def __call__(self, event: Event) -> None:
        self.append(event)

    @property
    def notes(self) -> list[str]:
        return [each.text for each in self if isinstance(each, Note)]


class Fake(Pen):
    """Remembers what was read in place of the prompts, and says two answers."""

    def draw(
        self, contestant: Contestant, prompts: Sequence[Text], *, shown: Sequence[Text] = ()
    ) -> Drawn:
        READ[contestant.name] = tuple(shown)
        answers = tuple(("mine\n\nflat 7\nmore", "mine") for _ in prompts)
        return Drawn(contestant.name, tuple(prompts), answers, ((False, True),) * len(prompts))


READ: dict[str, tuple[Text, ...]] = {}


def base(path: Path, **changes: Any) -> Contestant:
    folder = tiny.folder(path / "model", "llama", num_hidden_layers=1, **changes)
    return Contestant("base", "other", str(folder), "abc")


def run(who: Contestant, rows: Sequence[Example], listen: Told) -> dict[str, Drawn]:
    READ.clear()
    pen = Fake(Path("nowhere"), EvaluateOptions(max_new_tokens=8), {}, listen)
    return {found.name: drawn for found, drawn in prompted(who, PROMPTS, rows, pen)}


def test_one_three_and_five(tmp_path: Path) -> None:
    listen = Told()
    found = run(base(tmp_path), ROWS, listen)
    assert list(found) == ["base, 1 example", "base, 3 examples", "base, 5 examples"]
    for name, count in zip(found, (1, 3, 5)):
        assert [str(each).count("baths") for each in READ[name]] == [count] * 2
        assert found[name].prompts == PROMPTS, "it stands in the record with the prompt alone"
        assert found[name].texts == (("mine", "mine"),) * 2, "the next example is cut off"
        assert found[name].ended == ((True, True),) * 2
    assert not listen.notes


def test_what_has_no_room_is_said_and_not_measured_twice(tmp_path: Path) -> None:
    listen = Told()
    found = run(base(tmp_path, max_position_embeddings=56), ROWS, listen)
    names = list(found)
    assert names[0] == "base, 1 example" and "base, 5 examples" not in names
    assert len({READ[name] for name in names}) == len(names)
    assert any("no room for 5 examples" in note for note in listen.notes)


def test_too_few_examples_leave_the_rest_out(tmp_path: Path) -> None:
    listen = Told()
    found = run(base(tmp_path), ROWS[:3], listen)
    assert list(found) == ["base, 1 example", "base, 3 examples"]
    (note,) = listen.notes
    assert "more examples is left out: 5 examples with a prompt" in note


def test_nothing_fits(tmp_path: Path) -> None:
    listen = Told()
    assert run(base(tmp_path, max_position_embeddings=24), ROWS, listen) == {}
    assert len(listen.notes) == 3


def test_another_failure_is_not_swallowed(tmp_path: Path) -> None:
    class Broken(Pen):
        def draw(self, *_: Any, **__: Any) -> Drawn:
            raise MemoryError

    pen = Broken(Path("nowhere"), EvaluateOptions(), {}, silent)
    with pytest.raises(MemoryError):
        list(prompted(base(tmp_path), PROMPTS, ROWS, pen))
