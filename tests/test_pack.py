"""The packer against a definition so simple that it cannot be wrong: sets of token paths."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine_cases import tokens
from palate.data.rows import Item, Origin
from palate.engine.attention import tree
from palate.engine.pack import WHOLE, Row, pack

HERE = Origin("made.jsonl", 1)


@st.composite
def steps(draw: st.DrawFn) -> list[Item]:
    """Items of one step: few token values, so that paths share a lot; singles or pairs."""
    word = st.lists(st.integers(0, 2), min_size=1, max_size=7)
    sides = draw(st.integers(1, 3))
    items = []
    for group in range(draw(st.integers(1, 4))):
        prompt = draw(word)
        for _ in range(draw(st.integers(1, 4))):
            ends = [prompt + draw(word) for _ in range(sides)]
            items.append(Item(tuple(tokens(e, len(prompt)) for e in ends), group, HERE))
    return items


def visible(row: Row, query: int) -> list[int]:
    return [k for k in range(query + 1) if query < row.end_T[k]]


@given(steps(), st.integers(4, 60))
def test_every_token_sees_its_own_path_and_nothing_else(items: list[Item], budget: int) -> None:
    for row in pack(items, budget):
        sequences = [s for index in row.items for s in items[index].sequences]
        for sequence, path in zip(sequences, row.paths, strict=True):
            assert row.ids_T[path].tolist() == list(sequence.ids)
            assert row.pos_T[path].tolist() == list(range(len(path)))
            for place in path:
                assert visible(row, place) == path[: row.pos_T[place] + 1].tolist()


@given(steps(), st.integers(4, 60))
def test_items_lie_in_exactly_one_row_and_paths_are_laid_once(
    items: list[Item], budget: int
) -> None:
    rows = pack(items, budget)
    assert sorted(i for row in rows for i in row.items) == list(range(len(items)))
    if any(
        len({s.ids[:n] for s in i.sequences for n in range(1, 99)}) > WHOLE * budget for i in items
    ):
        return
    for row in rows:
        owner = {index: items[index].group for index in row.items}
        distinct = {
            (owner[index], s.ids[: n + 1])
            for index in row.items
            for s in items[index].sequences
            for n in range(len(s.ids))
        }
        assert len(row.ids_T) == len(distinct)
        assert len(row.ids_T) <= budget or len({*owner.values()}) == 1


@given(steps(), st.integers(4, 60))
def test_incidences_score_each_completion_token_of_each_sequence(
    items: list[Item], budget: int
) -> None:
    packed = pack(items, budget)
    for row in [*packed, *(row.unshared() for row in packed)]:
        sequences = [s for index in row.items for s in items[index].sequences]
        assert len(row.target_K) == len(set(zip(row.source_K.tolist(), row.target_K.tolist()))) or (
            len(row.ids_T) == sum(len(s.ids) for s in sequences)
        )
        for number, sequence in enumerate(sequences):
            mine = row.token_E[row.seq_E == number]
            start = sequence.prompt
            assert sorted(row.pos_T[row.source_K[mine]].tolist()) == list(
                range(start - 1, len(sequence.ids) - 1)
            )
            order = np.argsort(row.pos_T[row.source_K[mine]])
            assert row.target_K[mine][order].tolist() == list(sequence.ids[start:])


@given(steps(), st.integers(4, 60))
def test_segments_cover_the_row_and_name_their_ancestors(items: list[Item], budget: int) -> None:
    for row in pack(items, budget):
        segments = tree(row.pos_T, row.end_T).segments
        starts = np.cumsum([0, *(segment.length for segment in segments)])
        assert starts[-1] == len(row.ids_T)
        for segment, start in zip(segments, starts, strict=False):
            last = start + segment.length - 1
            keys = [
                k for i in segment.path for k in range(starts[i], starts[i] + segments[i].length)
            ]
            assert keys == visible(row, last)
            assert segment.depth == row.pos_T[start]


def test_six_pairs_over_four_ranked_completions_cost_one_prompt_and_four_completions() -> None:
    prompt = list(range(100, 150))
    ends = [[k * 10 + j for j in range(5)] for k in range(4)]
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    items = [Item(tuple(tokens(prompt + ends[i], 50) for i in pair), "one", HERE) for pair in pairs]
    (row,) = pack(items, 200)
    assert len(row.ids_T) == 50 + 4 * 5
    assert len(row.target_K) == 20 and row.sequences == 12


def test_a_tree_above_the_budget_repeats_its_prompt_and_an_item_above_it_stands_alone() -> None:
    prompt = list(range(20))
    items = [Item((tokens([*prompt, 50 + k, 60 + k], 20),), "one", HERE) for k in range(6)]
    rows = pack(items, 13)
    assert [len(row.ids_T) for row in rows] == [26, 26]
    assert [len(row.ids_T) for row in pack(items, 10)] == [22] * 6


def test_packing_is_a_function_of_its_input() -> None:
    items = [Item((tokens([1, 2, k], 2),), k % 3, HERE) for k in range(9)]
    first, second = pack(items, 12), pack(items, 12)
    assert [row.items for row in first] == [row.items for row in second]
    assert all((a.ids_T == b.ids_T).all() for a, b in zip(first, second, strict=True))
