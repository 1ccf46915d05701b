"""The untuned model with a few examples: which, how they are laid out, what fits, where it ends."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from palate.config import RowOptions, SampleConfig
from palate.data.render import Renderer
from palate.data.rows import Conversation, Example, Message, Origin, Text
from palate.errors import DataError, ModelError, UsageError
from palate.study.drawn import draw
from palate.study.prompted import Prompted, choose, lay_out, prompts, separator_for
from palate.train.events import silent

HERE = Origin("examples.jsonl", 1)
CHAT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def example(prompt: Text | None, completion: Text) -> Example:
    return Example(prompt, completion, HERE)


EXAMPLES = tuple(example(f"flat {n}", f"a flat with {n} baths") for n in range(8))
ASKED = ("the one by the river", "the one in the back")


def renderer(*, chat: bool = False, context: int = 256, **options: Any) -> Renderer:
    tokens = tiny.tokenizer()
    tokens.chat_template = CHAT if chat else None
    return Renderer(tokens, RowOptions(**options), context=context)


def laid(k: int, **options: Any) -> Prompted:
    kept = {name: options.pop(name) for name in ("examples", "asked", "longest") if name in options}
    return lay_out(
        kept.get("asked", ASKED),
        kept.get("examples", EXAMPLES),
        k,
        renderer=renderer(**options),
        seed=0,
        longest=kept.get("longest", 64),
    )


# ---- which


def test_the_same_for_every_prompt_and_one_is_part_of_three() -> None:
    one, three, five = (choose(EXAMPLES, ASKED, k, seed=0) for k in (1, 3, 5))
    assert three[:1] == one and five[:3] == three
    assert len({each.prompt for each in five}) == 5
    assert all(each.count("a flat with") == 3 for each in map(str, laid(3).prompts))


def test_a_function_of_seed_and_content_alone() -> None:
    turned = tuple(reversed(EXAMPLES))
    assert choose(EXAMPLES, ASKED, 5, seed=1) == choose(turned, ASKED, 5, seed=1)
    firsts = {str(choose(EXAMPLES, ASKED, 1, seed=seed)[0].prompt) for seed in range(40)}
    assert len(firsts) >= 6, "every example has its chance"
    doubled = choose((*EXAMPLES, *EXAMPLES), ASKED, 8, seed=0)
    assert len({each.prompt for each in doubled}) == 8, "the same example twice is one"


def test_no_example_tells_the_answer_of_a_prompt() -> None:
    leak = example(f" {ASKED[0]}\n", "the answer itself")
    for seed in range(10):
        assert leak not in choose((leak, *EXAMPLES), ASKED, 8, seed=seed)
    turns = example((Message("user", ASKED[1]),), "the answer itself")
    assert turns not in choose((turns, *EXAMPLES), ASKED, 8, seed=0)


def test_too_few_is_said() -> None:
    with pytest.raises(UsageError, match=r"9 examples with a prompt .* and there are 8"):
        choose(EXAMPLES, ASKED, 9, seed=0)
    for bare in ((), (example(None, "no prompt"),), (example("", "no prompt"),)):
        with pytest.raises(UsageError, match=r"1 example with a prompt .* and there are 0"):
            choose(bare, ASKED, 1, seed=0)


def test_a_whole_conversation_is_prompt_and_answer() -> None:
    talk = (Message("user", "hi"), Message("assistant", "hello"))
    (found,) = choose((example(None, talk),), ASKED, 1, seed=0)
    assert (found.prompt, found.completion) == (talk[:1], talk[1:])
    with pytest.raises(UsageError):
        choose((example(None, talk[:1]),), ASKED, 1, seed=0)


# ---- as text


def test_plain_examples_stand_as_they_would_be_trained_on() -> None:
    found = laid(2)
    one, two = choose(EXAMPLES, ASKED, 2, seed=0)
    for text, asked in zip(found.prompts, ASKED):
        parts = (f"{one.prompt}\n{one.completion}", f"{two.prompt}\n{two.completion}", asked)
        assert text == "\n\n".join(parts)
    assert found.separator == "\n\n" and found.shown == (2, 2) and found.note is None
    assert prompts(ASKED, EXAMPLES, 2, 0) == list(found.prompts)


def test_what_joins_prompt_and_answer_is_kept() -> None:
    (text, _) = laid(1, join=" ==> ").prompts
    (one,) = choose(EXAMPLES, ASKED, 1, seed=0)
    assert str(text).startswith(f"{one.prompt} ==> {one.completion}\n\n")


def test_the_ids_end_as_in_training() -> None:
    """After the examples, a prompt is gone on from at the same token as without them."""
    render = renderer()
    text = laid(1).prompts[0]
    assert render.prompt_ids(text)[-6:] == render.prompt_ids(ASKED[0])[-6:]


TEXTS = st.lists(st.text("a#\n", max_size=12), min_size=1, max_size=4)


@given(TEXTS, TEXTS)
def test_the_separator_is_in_none_of_the_texts(sides: list[str], asked: list[str]) -> None:
    rows = [example(side, side) for side in sides]
    mark = separator_for(rows, asked)
    sought = mark.rstrip("\n") or mark
    assert not any(sought in text for text in (*sides, *asked))


def test_a_blank_line_in_any_example_makes_it_a_line_of_signs() -> None:
    """Even if that example is not shown: an answer may have one, and must not be cut there."""
    rows = (*EXAMPLES, example("q", "first\n\nsecond"))
    found = laid(1, examples=rows)
    assert found.separator == "\n\n###\n\n"
    assert found.cut("first\n\nsecond") == ("first\n\nsecond", False)
    assert found.cut("first\n\nsecond\n\n###\n\nflat 9") == ("first\n\nsecond", True)
    assert found.cut("first\n\n###") == ("first", True), "the limit fell into the mark"
    marked = (*rows, example("q", "a\n###\nb"))
    assert laid(1, examples=marked).separator == "\n\n####\n\n"


def test_a_text_ends_where_the_next_example_begins() -> None:
    found = laid(1)
    assert found.cut("a flat\n\nflat 9\na flat") == ("a flat", True)
    assert found.cut("a flat") == ("a flat", False)
    assert found.cut("\n\nflat 9") == ("", True)


# ---- as turns


def test_chat_examples_are_earlier_turns() -> None:
    found = laid(2, chat=True)
    one, two = choose(EXAMPLES, ASKED, 2, seed=0)
    wanted = []
    for each in (one, two):
        wanted += [Message("user", str(each.prompt)), Message("assistant", str(each.completion))]
    assert found.prompts[0] == (*wanted, Message("user", ASKED[0]))
    assert found.separator is None and found.cut("a\n\nb") == ("a\n\nb", False)
    assert renderer(chat=True).prompt_ids(found.prompts[0])


def test_one_system_turn_that_of_the_prompt() -> None:
    system, other = Message("system", "Be brief."), Message("system", "Be long.")
    rows = tuple(
        example((other, Message("user", f"flat {n}")), (Message("assistant", f"{n} baths"),))
        for n in range(3)
    )
    asked: Conversation = (system, Message("user", "the one in the back"))
    (text,) = laid(2, chat=True, examples=rows, asked=(asked,)).prompts
    assert [message.role for message in text if isinstance(message, Message)] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert text[0] == system and text[-1] == asked[-1]
    (bare,) = laid(1, chat=True, examples=rows, asked=("the one in the back",)).prompts
    assert other not in bare


def test_plain_on_a_chat_model_is_text() -> None:
    found = laid(1, chat=True, plain=True)
    assert found.separator == "\n\n" and isinstance(found.prompts[0], str)


# ---- what fits


def naive_fit(render: Renderer, k: int, room: int, asked: Text, rows: Sequence[Example]) -> int:
    """The most examples with room for an answer, each number tried."""
    chosen = choose(rows, (asked,), k, seed=0)
    fits = [0]
    for number in range(1, k + 1):
        parts = [f"{each.prompt}\n{each.completion}" for each in chosen[:number]]
        if len(render.prompt_ids("\n\n".join([*parts, str(asked)]))) + room <= render.limit:
            fits.append(number)
    return max(fits)


@pytest.mark.parametrize("context", [24, 40, 60, 90, 130])
def test_as_many_as_leave_room_for_an_answer(context: int) -> None:
    asked = ("b", "the one by the river with a garden in the back and a covered space")
    render, found = renderer(context=context), laid(5, context=context, asked=asked)
    chosen = choose(EXAMPLES, asked, 5, seed=0)
    longest = max(len(render.prompt_ids(str(each.completion))) for each in chosen) + 1
    wanted = tuple(naive_fit(render, 5, longest, each, EXAMPLES) for each in asked)
    assert found.shown == wanted
    for text, own, number in zip(found.prompts, asked, wanted):
        assert (text == own) == (number == 0)
        assert number == 0 or len(render.prompt_ids(text)) + longest <= context


def test_fewer_examples_are_said() -> None:
    found = laid(5, context=60)
    assert max(found.shown) < 5
    assert found.note is not None and "2 of 2 prompts have no room for 5 examples" in found.note
    asked = ("b", "the one by the river with a garden in the back and a covered space")
    mixed = laid(5, context=60, asked=asked)
    assert mixed.shown[0] > mixed.shown[1] and " to " in mixed.counted
    assert (laid(1).counted, laid(5).counted) == ("1 example", "5 examples")


def test_the_room_is_no_more_than_may_be_drawn() -> None:
    assert sum(laid(5, context=60, longest=1).shown) > sum(laid(5, context=60).shown)


# ---- drawn


def test_a_model_that_was_never_tuned_answers(tmp_path: Path) -> None:
    """End to end: the prompts are all different, and each is drawn for."""
    model = str(tiny.folder(tmp_path / "model", "llama", num_hidden_layers=1))
    found = laid(3)
    texts = draw(model, found.prompts, SampleConfig(n=2, max_new_tokens=8), None, silent)
    assert [len(same) for same in texts.texts] == [2, 2]
    bare = draw(model, ASKED, SampleConfig(n=2, max_new_tokens=8), None, silent)
    assert texts.texts != bare.texts
    assert len(set(found.prompts)) == len(ASKED)


def test_conversations_need_a_chat_template() -> None:
    with pytest.raises(ModelError, match="no chat template"):
        laid(1, asked=((Message("user", "hi"),),))


def test_an_example_that_no_model_of_this_kind_takes_is_named() -> None:
    """A turn that the template cannot end; which line it stands on is said."""
    rows = (example("q", "holds </s> inside"),)
    with pytest.raises(DataError, match=r"examples\.jsonl:1"):
        laid(1, examples=rows)


def test_every_pair_of_numbers_differs() -> None:
    told = [laid(k).prompts for k in (1, 3, 5)]
    assert all(one != other for one, other in itertools.combinations(told, 2))
