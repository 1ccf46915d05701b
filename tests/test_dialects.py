"""Other tools' shapes: recognised by their signature, converted by a stated rule, or refused."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from palate.config import PromptOptions
from palate.data.dialects.table import DIALECTS, FORMATS, recognise
from palate.data.rows import Example, Message, Pair, Ranking, Row
from palate.data.sources import parse_map, read, read_prompts, sniff, survey
from palate.errors import DataError, UsageError


def write(folder: Path, *rows: Any, name: str = "x.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def said(path: str, kind: Any = None, **options: Any) -> list[str]:
    """What is wrong, without the folder."""
    problems = survey(path, kind=kind, **options).problems
    return [str(problem).replace(str(Path(path).parent) + "/", "") for problem in problems]


def flat(row: Row) -> Any:
    """A row as plain values: turns as "role: text"."""
    sides = [plain(side) for side in row.sides.values()]
    value = [row.value] if isinstance(row, Example) and row.value != 1 else []
    return [plain(row.prompt), *sides, *value]


def plain(text: Any) -> Any:
    return [f"{m.role}: {m.content}" for m in text] if isinstance(text, tuple) else text


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def said_by(who: str, value: Any) -> dict[str, Any]:
    return {"from": who, "value": value}


HUMAN, GPT = said_by("human", "q"), said_by("gpt", "a")
USER, ANSWER = turn("user", "q"), turn("assistant", "a")
TALK = ["user: q", "assistant: a"]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

# ------------------------------------------------------------------ one record each
# name, kind, a record of the tool, the rows that it makes

Made = list[Any]
RECORDS: list[tuple[str, str, dict[str, Any], Made]] = [
    ("sharegpt", "sft", {"conversations": [HUMAN, GPT]}, [[None, TALK]]),
    ("sharegpt", "sft", {"messages": [HUMAN, GPT], "tools": "[]"}, [[None, TALK]]),
    (
        "sharegpt",
        "sft",
        {
            "id": "identity_0",
            "system": "Be brief.",
            "conversations": [HUMAN, said_by("observation", "o"), said_by("chatgpt", "a")],
        },
        [[None, ["system: Be brief.", "user: q", "tool: o", "assistant: a"]]],
    ),
    (
        "llamafactory",
        "pairs",
        {
            "conversations": [HUMAN],
            "chosen": GPT,
            "rejected": said_by("gpt", "b"),
            "system": "S",
        },
        [[["system: S", "user: q"], ["assistant: a"], ["assistant: b"]]],
    ),
    (
        "llamafactory",
        "pairs",
        {"messages": [USER], "chosen": ANSWER, "rejected": turn("assistant", "b")},
        [[["user: q"], ["assistant: a"], ["assistant: b"]]],
    ),
    (
        "alpaca",
        "sft",
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        [["Add.\n1 2", "3"]],
    ),
    ("alpaca", "sft", {"instruction": "Add.", "input": "", "output": "3"}, [["Add.", "3"]]),
    (
        "alpaca",
        "sft",
        {
            "instruction": "i",
            "input": None,
            "output": "o",
            "system": "S",
            "history": [["hq", "ha"]],
        },
        [
            [
                ["system: S", "user: hq", "assistant: ha", "user: i"],
                ["assistant: o"],
            ]
        ],
    ),
    (
        "alpaca-pairs",
        "pairs",
        {"instruction": "i", "input": "x", "chosen": "a", "rejected": "b"},
        [["i\nx", "a", "b"]],
    ),
    (
        "alpaca-kto",
        "labelled",
        {"instruction": "i", "input": "", "output": "o", "kto_tag": False},
        [["i", "o", -1.0]],
    ),
    (
        "hh",
        "pairs",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: one\n\nstill one\n\nHuman: r\n\nAssistant: good",
            "rejected": "\n\nHuman: q\n\nAssistant: one\n\nstill one\n\nHuman: r\n\nAssistant: bad",
        },
        [
            [
                ["user: q", "assistant: one\n\nstill one", "user: r"],
                ["assistant: good"],
                ["assistant: bad"],
            ]
        ],
    ),
    (
        "openai",
        "sft",
        {
            "messages": [
                turn("developer", "S"),
                turn("user", [{"type": "text", "text": "q"}, {"type": "text", "text": "?"}]),
                turn("assistant", "a", weight=1, tool_calls=None),
            ],
            "tools": [],
            "parallel_tool_calls": True,
        },
        [[None, ["system: S", "user: q?", "assistant: a"]]],
    ),
    (
        "openai-pairs",
        "pairs",
        {
            "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [ANSWER],
            "non_preferred_output": [turn("assistant", "b")],
        },
        [[["user: q"], ["assistant: a"], ["assistant: b"]]],
    ),
    (
        "ultrafeedback-binarized",
        "pairs",
        {
            "prompt": "q",
            "prompt_id": "f0e37e9f",
            "chosen": [USER, ANSWER],
            "rejected": [USER, turn("assistant", "b")],
            "messages": [USER, ANSWER],
            "score_chosen": 8.5,
            "score_rejected": 6,
        },
        [[["user: q"], ["assistant: a"], ["assistant: b"]]],
    ),
    (
        "ultrafeedback",
        "pairs",
        {
            "source": "evol_instruct",
            "instruction": "q",
            "models": ["m", "n", "o"],
            "completions": [
                {"model": "m", "response": "low", "overall_score": 3.0, "fine-grained_score": 4.5},
                {"model": "n", "response": "top", "overall_score": 8.0, "critique": "Good."},
                {"model": "o", "response": "mid", "overall_score": 5},
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        },
        [["q", "top", "low"], ["q", "mid", "low"], ["q", "top", "mid"]],
    ),
    (
        "scored",
        "pairs",
        {"prompt": "q", "responses": ["b", "a"], "scores": [1, 2.5]},
        [["q", "a", "b"]],
    ),
    (
        "scored",
        "pairs",
        {"instruction": "q", "generations": ["b", "a"], "ratings": [1, 2]},
        [["q", "a", "b"]],
    ),
    (
        "stack-exchange",
        "pairs",
        {"question": "q", "response_j": "a", "response_k": "b"},
        [["q", "a", "b"]],
    ),
    (
        "kto",
        "labelled",
        {"messages": [USER, turn("assistant", "x"), USER, ANSWER], "label": True},
        [[["user: q", "assistant: x", "user: q"], ["assistant: a"]]],
    ),
    (
        "kto",
        "labelled",
        {"conversations": [HUMAN, GPT], "kto_tag": False},
        [[["user: q"], ["assistant: a"], -1.0]],
    ),
]


@pytest.mark.parametrize(("name", "kind", "record", "rows"), RECORDS)
def test_each_shape_is_recognised_and_converted(
    tmp_path: Path, name: str, kind: Any, record: dict[str, Any], rows: Made
) -> None:
    path = write(tmp_path, record)
    found = survey(path)
    assert not found.problems
    assert [flat(row) for row in found.rows] == rows
    assert (found.kind, found.dialect, found.records) == (kind, DIALECTS[name].title, 1)
    assert {row.origin.line for row in found.rows} == {1}
    (note,) = [note for note in found.notes if ": read as " in note]
    assert note == f"{path}: read as {DIALECTS[name].title}: {DIALECTS[name].says}"
    assert read(path, kind=kind, format=name).rows == read(path, kind=kind).rows


def test_every_dialect_has_a_record_here_and_its_name_in_the_flag() -> None:
    assert {name for name, *_ in RECORDS} == set(DIALECTS)
    text = PromptOptions.model_fields["format"].description or ""
    named = text.partition("auto: ")[2].replace(",", " ").split()
    assert {"auto", *named} == set(FORMATS)


def test_recognition_is_exclusive() -> None:
    """No record of one tool is taken for another's."""
    for name, _, record, _ in RECORDS:
        assert [one for one in DIALECTS if DIALECTS[one].fits(record)] == [name]
        for field in DIALECTS[name].fields:
            if field.must:
                less = {key: value for key, value in record.items() if key not in field.names}
                other = recognise(less, "auto", "x")
                assert other is None or other.name != name


OWN: list[dict[str, Any]] = [
    {"prompt": "q", "completion": "a"},
    {"prompt": [USER], "completion": [ANSWER]},
    {"prompt": "q", "completion": "a", "label": True},
    {"prompt": "q", "completion": "a", "weight": 2},
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": [USER], "chosen": [ANSWER], "rejected": [turn("assistant", "b")]},
    {"chosen": [USER, ANSWER], "rejected": [USER, turn("assistant", "b")]},
    {"prompt": "q", "completions": ["a", "b"]},
    {"messages": [USER, ANSWER]},
    {"text": "a"},
]


@pytest.mark.parametrize("record", OWN)
def test_palates_own_forms_are_no_dialect(tmp_path: Path, record: dict[str, Any]) -> None:
    found = survey(write(tmp_path, record))
    assert found.rows and not found.problems
    assert found.dialect is None and found.notes == ()


def test_format_palate_turns_recognition_off(tmp_path: Path) -> None:
    record = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 1}
    path = write(tmp_path, record)
    assert not survey(path).rows
    assert len(read(path, kind="pairs", format="palate").rows) == 1
    with pytest.raises(DataError, match="--map prompt=instruction,completion=output"):
        read(write(tmp_path, {"instruction": "i", "output": "o"}), kind="sft", format="palate")


def test_a_map_turns_recognition_off_and_stands_alone(tmp_path: Path) -> None:
    path = write(tmp_path, {"instruction": "i", "input": "x", "output": "o"})
    mapping = parse_map(["prompt=instruction,completion=output"])
    found = read(path, kind="sft", mapping=mapping)
    assert flat(found.rows[0]) == ["i", "o"]
    assert found.notes == (f"{path}: fields without use here: input",)
    for name in ("alpaca", "palate"):
        with pytest.raises(UsageError, match=f"--format {name} has no effect beside --map"):
            read(path, kind="sft", mapping=mapping, format=name)


def test_an_unknown_format_is_named_with_its_neighbour(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "a"})
    for call in (lambda: survey(path, format="shareGTP"), lambda: sniff(path, {}, "shareGTP")):
        with pytest.raises(UsageError, match="Did you mean sharegpt"):
            call()


def test_what_fits_two_formats_is_refused_naming_both_flags(tmp_path: Path) -> None:
    stanford = {"instruction": "i", "input": "", "output": "o", "text": "Below is ... i ... o"}
    assert said(write(tmp_path, stanford)) == [
        "x.jsonl fits 2 formats: alpaca and palate (fields: instruction, input, output, text)."
        " Say which: --format alpaca or --format palate."
    ]
    path = write(tmp_path, stanford)
    assert flat(read(path, kind="sft", format="alpaca").rows[0]) == ["i", "o"]
    assert flat(read(path, kind="sft", format="palate").rows[0]) == [None, stanford["text"]]
    both = {"instruction": "i", "output": "o", "responses": ["a"], "scores": [1]}
    assert "--format alpaca or --format scored." in said(write(tmp_path, both))[0]


# ------------------------------------------------------------------ one malformed record each

BAD: list[tuple[str, dict[str, Any], str]] = [
    (
        "sharegpt",
        {"conversations": [HUMAN, said_by("narrator", "x"), GPT]},
        "x.jsonl:2 field 'conversations' message 2 is from 'narrator'. Allowed: human, ",
    ),
    (
        "sharegpt",
        {"conversations": [HUMAN, said_by("function_call", "{}"), GPT]},
        "field 'conversations' message 2 calls a tool, which a row of role and text cannot carry",
    ),
    (
        "sharegpt",
        {"conversations": [HUMAN, GPT], "tools": '[{"name": "f"}]'},
        "field 'tools' describes tools, which a row of role and text cannot carry. Write them",
    ),
    ("sharegpt", {"conversations": [HUMAN, "x"]}, "message 2 is text, expected an object"),
    ("sharegpt", {"conversations": [HUMAN, said_by("gpt", None)]}, "message 2 content is null"),
    ("sharegpt", {"conversations": "q"}, "is text, expected a list of turns. The file is read as"),
    ("sharegpt", {"chat": [HUMAN]}, "field 'conversations' is missing (found: chat). The file"),
    (
        "sharegpt",
        {"conversations": [said_by("system", "T"), HUMAN, GPT], "system": "S"},
        "field 'system' and the first turn are two system messages. Keep one of them.",
    ),
    ("sharegpt", {"conversations": [HUMAN]}, "field 'conversations' has no assistant message"),
    (
        "llamafactory",
        {"conversations": [HUMAN], "chosen": GPT, "rejected": "b"},
        "field 'rejected' is text, expected one turn.",
    ),
    (
        "llamafactory",
        {"conversations": [HUMAN], "chosen": GPT, "rejected": GPT},
        "field 'rejected' and 'chosen' are identical",
    ),
    (
        "llamafactory",
        {"conversations": [HUMAN], "chosen": GPT, "rejected": HUMAN},
        "field 'rejected' goes on from the prompt with a user message",
    ),
    ("alpaca", {"instruction": "i", "output": " "}, "field 'output' is empty"),
    ("alpaca", {"instruction": "i", "output": 3}, "field 'output' is int 3, expected text"),
    (
        "alpaca",
        {"instruction": "i", "output": "o", "history": [["q"]]},
        "field 'history' number 1 is not [prompt, response].",
    ),
    (
        "alpaca-pairs",
        {"instruction": "i", "chosen": "a"},
        "field 'rejected' is missing (found: instruction, chosen)",
    ),
    (
        "alpaca-kto",
        {"instruction": "i", "output": "o", "kto_tag": "yes"},
        "field 'kto_tag' is text, expected true or false",
    ),
    (
        "hh",
        {"chosen": "Human: q\n\nAssistant: a", "rejected": "q: a"},
        "field 'rejected' is no transcript of Human: and Assistant:.",
    ),
    (
        "hh",
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: r\n\nAssistant: a"},
        "field 'rejected' and 'chosen' start from different prompts (first difference: message 1",
    ),
    (
        "openai",
        {"messages": [USER, turn("assistant", None, tool_calls=[CALL])]},
        "field 'messages' message 2 calls a tool, which a row of role and text cannot carry. Write"
        " the call as the turn's text, or remove the row.",
    ),
    (
        "openai",
        {"messages": [USER, ANSWER], "tools": [CALL]},
        "field 'tools' describes tools",
    ),
    (
        "openai",
        {"messages": [turn("user", [{"type": "image_url", "image_url": {"url": "x"}}]), ANSWER]},
        "field 'messages' message 1 holds a part of type 'image_url'. palate reads text alone",
    ),
    ("openai", {"messages": [USER, turn("assistant", None)]}, "message 2 content is null"),
    (
        "openai",
        {"messages": [USER, turn("assistant", "x", weight=0), USER, ANSWER]},
        "message 2 has weight 0 (a turn that is not learnt)",
    ),
    (
        "openai-pairs",
        {"input": {"messages": [USER]}, "preferred_output": [ANSWER]},
        "field 'non_preferred_output' is missing",
    ),
    (
        "openai-pairs",
        {
            "input": {"messages": [USER], "tools": [CALL]},
            "preferred_output": [ANSWER],
            "non_preferred_output": [turn("assistant", "b")],
        },
        "describes tools",
    ),
    (
        "ultrafeedback-binarized",
        {
            "prompt": "q",
            "chosen": [USER, ANSWER],
            "rejected": [USER, turn("assistant", "b")],
            "score_chosen": 3,
            "score_rejected": 5,
        },
        "field 'score_chosen' is 3, less than score_rejected, 5.",
    ),
    (
        "ultrafeedback",
        {"instruction": "q", "completions": [{"response": "a", "overall_score": 1}, {"x": 1}]},
        "field 'completions' number 2 is not an object with 'response' and 'overall_score'.",
    ),
    (
        "scored",
        {"prompt": "q", "responses": ["a", "b"], "scores": [1]},
        "field 'scores' has 1 numbers for 2 answers.",
    ),
    (
        "scored",
        {"prompt": "q", "responses": ["a", " "], "scores": [1, 2]},
        "field 'responses' number 2 is empty.",
    ),
    (
        "scored",
        {"prompt": "q", "responses": ["a", "b"], "scores": [1, "2"]},
        "field 'scores' the score of number 2 is text, not a number.",
    ),
    (
        "stack-exchange",
        {"question": "q", "response_j": "a", "response_k": ""},
        "field 'response_k' is empty",
    ),
    (
        "kto",
        {"messages": [USER, ANSWER, USER], "label": True},
        "field 'messages' does not end with an answer to a prompt.",
    ),
    ("kto", {"messages": [USER, ANSWER], "label": None}, "field 'label' is null, expected true or"),
]


@pytest.mark.parametrize(("name", "record", "message"), BAD)
def test_a_malformed_record_is_placed(
    tmp_path: Path, name: str, record: dict[str, Any], message: str
) -> None:
    good = next(good for one, _, good, _ in RECORDS if one == name)
    path = write(tmp_path, good, record, good)
    found = said(path)
    assert len(found) == 1, found
    assert found[0].startswith("x.jsonl:2 ") and message in found[0]
    assert {row.origin.line for row in survey(path).rows} == {1, 3}
    with pytest.raises(DataError):
        read(path, kind=DIALECTS[name].kind)


def test_every_dialect_has_a_malformed_record_here() -> None:
    assert {name for name, *_ in BAD} == set(DIALECTS)


def test_a_record_of_another_shape_is_a_fault_of_its_line(tmp_path: Path) -> None:
    """The first record decides; a palate row among ShareGPT's is not quietly read."""
    path = write(tmp_path, {"conversations": [HUMAN, GPT]}, {"prompt": "q", "completion": "a"})
    assert said(path) == [
        "x.jsonl:2 field 'conversations' is missing (found: prompt, completion)."
        " The file is read as ShareGPT (--format sharegpt); mend the row."
    ]


def test_roles_of_sharegpt_name_the_flag_and_the_flag_reads_them(tmp_path: Path) -> None:
    path = write(tmp_path, {"messages": [turn("human", "q"), turn("gpt", "a")]})
    assert said(path)[0] == (
        "x.jsonl:1 field 'messages' message 1 has role 'human'."
        " Allowed: system, user, assistant, tool. ShareGPT file? Use --format sharegpt."
    )
    assert flat(read(path, kind="sft", format="sharegpt").rows[0]) == [None, TALK]
    mixed = write(tmp_path, {"messages": [HUMAN, ANSWER]})
    assert "Use --format sharegpt, or rename from -> role" in said(mixed)[0]
    assert flat(read(mixed, kind="sft", format="sharegpt").rows[0]) == [None, TALK]


def test_parts_of_text_in_a_later_row_name_the_flag_that_reads_them(tmp_path: Path) -> None:
    parts = turn("assistant", [{"type": "text", "text": "a"}])
    path = write(tmp_path, {"messages": [USER, ANSWER]}, {"messages": [USER, parts]})
    assert said(path) == [
        "x.jsonl:2 field 'messages' message 2 content is a list. Text is required here."
        " Are these parts of text? Use --format openai."
    ]
    assert len(read(path, kind="sft", format="openai").rows) == 2


def test_a_first_record_that_nearly_fits_is_told_which_flag_explains_it(tmp_path: Path) -> None:
    path = write(tmp_path, {"instruction": "i", "output": None})
    assert "If this is Alpaca, --format alpaca says what is wrong." in said(path)[0]
    assert said(path, format="alpaca") == [
        "x.jsonl:1 field 'output' is null, expected text. The file is read as Alpaca; mend the row."
    ]


# ------------------------------------------------------------------ asked for as something else

REFUSED = [
    ("kto", "sft", "holds single verdicts", "palate dpo --objective kto"),
    ("alpaca-kto", "sft", "Imitation would copy the bad ones too", "palate convert"),
    ("llamafactory", "sft", "holds pairs", "--map completion=chosen"),
    ("hh", "sft", "holds pairs", "To imitate the chosen side: palate convert"),
    ("sharegpt", "pairs", "holds examples to imitate", "use palate sft"),
    ("alpaca", "labelled", "holds examples to imitate", "use palate sft"),
    ("llamafactory", "labelled", "holds pairs", "use palate dpo"),
    ("hh", "ranked", "holds pairs", "use palate dpo"),
    ("kto", "pairs", "holds single verdicts", "--objective kto"),
]


@pytest.mark.parametrize(("name", "kind", "what", "way_out"), REFUSED)
def test_a_file_of_another_kind_is_refused_with_the_way_out(
    tmp_path: Path, name: str, kind: Any, what: str, way_out: str
) -> None:
    record = next(record for one, _, record, _ in RECORDS if one == name)
    (message,) = said(write(tmp_path, record, record), kind)
    assert what in message and way_out in message and f"--format {name}" in message


def test_verdicts_in_palates_own_fields_are_not_imitated_either(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "q", "completion": "bad", "label": False})
    (message,) = said(path, "sft")
    assert "holds single verdicts" in message and "--objective kto" in message
    every = read(path, kind="sft", mapping={"completion": "completion"})
    assert len(every.rows) == 1
    assert sniff(path) == "labelled"
    talk = write(tmp_path, {"messages": [USER, ANSWER], "label": False})
    assert "or --map messages=messages to imitate" in said(talk, "sft", format="palate")[0]
    assert len(read(talk, kind="sft", mapping={"messages": "messages"}).rows) == 1
    topic = write(tmp_path, {"prompt": "q", "completion": "a", "label": "sports"})
    assert len(read(topic, kind="sft").rows) == 1


def test_binarized_ultrafeedback_has_examples_too(tmp_path: Path) -> None:
    record = next(record for name, _, record, _ in RECORDS if name == "ultrafeedback-binarized")
    assert flat(read(write(tmp_path, record), kind="sft").rows[0]) == [None, TALK]


# ------------------------------------------------------------------ the stated rules


def test_scored_lists_make_every_pair_of_different_scores(tmp_path: Path) -> None:
    """Against a naive oracle: all ordered pairs whose first score is higher."""
    lists: list[tuple[list[float | None], str]] = [
        ([3, 1, 3, 2], "abcd"),
        ([1, 1], "ab"),
        ([None, 2, 1], "abc"),
        ([5, 4], "aa"),
    ]
    path = write(
        tmp_path,
        *({"prompt": f"q{n}", "responses": list(t), "scores": s} for n, (s, t) in enumerate(lists)),
    )
    found = survey(path)
    expected = {
        (f"q{n}", better, worse)
        for n, (scores, texts) in enumerate(lists)
        for (better, high), (worse, low) in itertools.permutations(zip(texts, scores), 2)
        if high is not None and low is not None and high > low and better != worse
    }
    assert {tuple(flat(row)) for row in found.rows} == expected
    assert len(found.rows) == len(expected)
    assert [row.origin.line for row in found.rows] == [1, 1, 1, 1, 1, 3]
    assert found.notes[1:] == (
        f"{path}: two answers with equal scores make no pair: 2 (lines 1, 2)",
        f"{path}: an answer without a score makes no pair: 1 (line 3)",
        f"{path}: two equal answers make no pair: 1 (line 4)",
    )


def test_scored_lists_are_ranked_lists_without_ties(tmp_path: Path) -> None:
    record = {"prompt": "q", "responses": ["low", "top", "mid"], "scores": [1, 3, 2]}
    (row,) = read(write(tmp_path, record), kind="ranked").rows
    assert isinstance(row, Ranking) and row.completions == ("top", "mid", "low")
    tie = {**record, "scores": [1, 2, 2]}
    assert "holds answers with equal scores" in said(write(tmp_path, record, tie), "ranked")[0]


def test_ties_of_ultrafeedback_are_told(tmp_path: Path) -> None:
    record = next(record for name, _, record, _ in RECORDS if name == "ultrafeedback-binarized")
    path = write(tmp_path, record, {**record, "score_chosen": 6}, record)
    found = survey(path)
    assert [row.origin.line for row in found.rows] == [1, 3]
    assert found.notes[1] == (
        f"{path}: equal scores make no pair (--format palate takes them as they stand): 1 (line 2)"
    )
    assert len(read(path, kind="pairs", format="palate").rows) == 3


def test_a_file_of_ties_alone_is_no_data(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "q", "responses": ["a", "b"], "scores": [1, 1]})
    (message,) = said(path)
    assert (
        "has 0 usable rows in 1 records (two answers with equal scores make no pair: 1)" in message
    )


def test_text_and_conversations_may_stand_side_by_side_in_alpaca(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"instruction": "i", "output": "o"},
        {"instruction": "i", "output": "o", "system": "S"},
    )
    rows = read(path, kind="sft").rows
    assert [flat(row) for row in rows] == [
        ["i", "o"],
        [["system: S", "user: i"], ["assistant: o"]],
    ]


def test_fields_that_say_something_of_a_row(tmp_path: Path) -> None:
    record = {"question": "q", "response_j": "a", "response_k": "b", "qid": 7, "tag": ["tone", "x"]}
    found = read(write(tmp_path, {**record, "reason": "r"}), kind="pairs")
    assert found.rows[0].tag == "tone"
    assert found.notes[-1].endswith("fields without use here: qid")


def test_keys_of_turns_that_nothing_reads_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, {"conversations": [HUMAN, {**GPT, "markdown": "m"}]})
    assert read(path, kind="sft").notes[-1].endswith("use here: conversations[].markdown")


def test_prompts_of_any_dialect(tmp_path: Path) -> None:
    """One prompt per record, though it makes several pairs; as the file has it."""
    for name, _, record, rows in RECORDS:
        found = read_prompts(write(tmp_path, record)).rows
        prompt = rows[0][0] if rows[0][0] is not None else rows[0][1][:-1]
        prompt = "q" if name == "ultrafeedback-binarized" else prompt
        assert [plain(row.prompt) for row in found] == [prompt], name


def test_a_file_of_verdicts_is_explained_under_kto_and_scored(tmp_path: Path) -> None:
    import tiny
    from palate.config import ExplainOptions, RowOptions
    from palate.study.microscope import look
    from palate.study.score import score
    from palate.train.events import Event, Note

    record = {"instruction": "the flat", "output": "has a lift", "kto_tag": True}
    other = {"instruction": "the other", "output": "has a garden", "kto_tag": False}
    path, folder = write(tmp_path, record, other), tmp_path / "model"
    tiny.folder(folder, "llama", seed=1)
    notes: list[str] = []

    def listen(event: Event) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    seen = look(str(folder), path, ExplainOptions(), listen)
    assert (seen.objective, len(seen.rows)) == ("kto", 2)
    assert [row.line for row in score(str(folder), path, RowOptions(), listen)] == [1, 2]
    assert sum("read as Alpaca verdicts" in note for note in notes) == 2


def test_sniff_knows_dialects(tmp_path: Path) -> None:
    kinds = {name: sniff(write(tmp_path, record)) for name, _, record, _ in RECORDS}
    assert kinds == {name: DIALECTS[name].kind for name in DIALECTS}
    pairs = write(tmp_path, {"q": "a", "chosen": "b", "rejected": "c"})
    assert sniff(pairs, {"prompt": "q"}) == "pairs"


# ------------------------------------------------------------------ files of other readers


def test_a_table_is_recognised_like_an_object(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("instruction,input,output\ni,,o\ni,x,p\n")
    assert [flat(row) for row in read(str(path), kind="sft").rows] == [["i", "o"], ["i\nx", "p"]]


def test_columns_of_parquet_are_recognised(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "x.parquet"
    table = pyarrow.table(
        {
            "conversations": [[HUMAN, GPT], [HUMAN, GPT]],
            "system": [None, "S"],
        }
    )
    pyarrow.parquet.write_table(table, path)
    rows = read(str(path), kind="sft").rows
    assert [flat(row) for row in rows] == [[None, TALK], [None, ["system: S", *TALK]]]


# ------------------------------------------------------------------ real files

REAL: list[tuple[str, str, str | None, int]] = [
    ("llamafactory/dpo_en_demo.json", "pairs", "llamafactory", 300),
    ("llamafactory/kto_en_demo.json", "labelled", "kto", 300),
    ("llamafactory/alpaca_en_demo.json", "sft", "alpaca", 999),
    ("stack-exchange/stack_exchange_paired_tiny.json", "pairs", "stack-exchange", 25),
    ("human-ratings/pairs.jsonl", "pairs", None, 511),
]


@pytest.mark.parametrize(("file", "kind", "name", "count"), REAL)
def test_real_files_are_read_without_a_flag(
    shared_data: Path, file: str, kind: str, name: str | None, count: int
) -> None:
    found = survey(str(shared_data / file))
    assert not found.problems
    assert (found.kind, len(found.rows), found.records) == (kind, count, count)
    assert found.dialect == (DIALECTS[name].title if name else None)


@pytest.mark.parametrize(
    ("file", "flag", "count"),
    [
        ("rnnlg/hotel.train.jsonl", "--map prompt=mr,completion=human", 3223),
        ("e2e/devel-fixed.no-ol.csv", "--map prompt=mr,completion=ref", 4299),
    ],
)
def test_the_other_real_files_name_the_flag_that_reads_them(
    shared_data: Path, file: str, flag: str, count: int
) -> None:
    path = str(shared_data / file)
    with pytest.raises(DataError) as caught:
        read(path, kind="sft")
    assert flag in str(caught.value)
    mapping = parse_map([flag.removeprefix("--map ")])
    assert len(read(path, kind="sft", mapping=mapping).rows) == count


def test_a_real_conversation_is_kept_word_for_word(shared_data: Path) -> None:
    path = shared_data / "llamafactory/dpo_en_demo.json"
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    for record, row in zip(json.loads(path.read_text()), survey(str(path)).rows, strict=True):
        assert isinstance(row, Pair)
        turns = [*record["conversations"], record["chosen"]]
        assert isinstance(row.prompt, tuple) and isinstance(row.chosen, tuple)
        assert (*row.prompt, *row.chosen) == tuple(
            Message(roles[turn["from"]], turn["value"]) for turn in turns
        )
        assert row.rejected == (Message("assistant", record["rejected"]["value"]),)
