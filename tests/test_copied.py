"""Runs of words shared with training texts, against every run tried one by one."""

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.data.rewards import Answered
from palate.data.rows import Example, Message, Origin, Pair
from palate.study.checks.words import words
from palate.study.copied import LONG, QUOTED, Run, Source, Training, from_prompt, longest, of_texts

SMALL = st.text("ab c", max_size=16)


def training(*texts: str) -> Training:
    return Training([Source(text, f"train.jsonl:{n}") for n, text in enumerate(texts, start=1)])


def holds(text: Sequence[str], part: Sequence[str]) -> bool:
    return any(tuple(text[n : n + len(part)]) == tuple(part) for n in range(len(text)))


def naive(answer: str, prompt: str, texts: Sequence[str]) -> int:
    """Most counted words of any run that stands in one training text."""
    told, given = words(answer), words(prompt)
    quoted = {
        place
        for start in range(len(told))
        for stop in range(start + QUOTED, len(told) + 1)
        if holds(given, told[start:stop])
        for place in range(start, stop)
    }
    most = 0
    for start in range(len(told)):
        for stop in range(start + 1, len(told) + 1):
            if any(holds(words(text), told[start:stop]) for text in texts):
                most = max(most, sum(place not in quoted for place in range(start, stop)))
    return most


@given(st.lists(SMALL, min_size=1, max_size=4), SMALL, st.lists(SMALL, max_size=4))
def test_as_every_run_tried_one_by_one(answers: list[str], prompt: str, texts: list[str]) -> None:
    found = longest([Answered(prompt, answer) for answer in answers], training(*texts))
    for answer, run in zip(answers, found):
        wanted = naive(answer, prompt, texts)
        assert (0 if run is None else run.counted) == wanted
        if run is not None:
            part = words(answer)[run.start : run.stop]
            source = training(*texts).source_at(run.place)
            assert part and holds(words(source.text), part), "the training text named holds it"


def test_random_texts_of_few_words_against_the_oracle() -> None:
    """Longer ones, with copied stretches planted, prompts quoted, and training texts alike."""
    rng = random.Random(0)
    pool = [f"w{n}" for n in range(12)]
    for _ in range(25):
        texts = [" ".join(rng.choices(pool, k=rng.randint(0, 25))) for _ in range(6)]
        prompt = " ".join(rng.choices(pool, k=12))
        parts = [rng.choice([*texts, prompt]).split() for _ in range(3)]
        answer = " ".join(
            word for part in parts for word in part[rng.randint(0, 5) : rng.randint(5, 25)]
        )
        (run,) = longest([Answered(prompt, answer)], training(*texts))
        assert (0 if run is None else run.counted) == naive(answer, prompt, texts)


def test_a_run_does_not_go_from_one_training_text_into_the_next() -> None:
    source = training("one two three", "four five six")
    (run,) = longest([Answered("", "one two three four five six")], source)
    assert run == Run(0, 3, 3, 0)
    found = of_texts("m", [Answered("", "one two three four five six")], source)
    assert found.worst is not None and found.worst.run == "one two three"


def test_case_and_signs_do_not_hide_a_copy() -> None:
    answer = Answered("", "TWO baths -- (one) garden!")
    found = of_texts("m", [answer], training("two baths, one garden"))
    assert found.words.value == 4


def test_what_stands_in_the_prompt_is_not_counted() -> None:
    prompt = "Describe it. Facts: 10 minutes to the nearest pharmacy; one bath."
    source = training("A flat, 10 minutes to the nearest pharmacy and well lit")
    (run,) = longest([Answered(prompt, "10 minutes to the nearest pharmacy and well lit")], source)
    assert run == Run(0, 9, 3, 2), "nine words in a row, six of them from the prompt"
    assert from_prompt(words("the nearest, the nearest"), prompt).tolist() == [False] * 4
    (plain,) = longest([Answered("", "10 minutes to the nearest pharmacy and well lit")], source)
    assert plain is not None and plain.counted == 9
    talk = (Message("system", "10 minutes to the"), Message("user", "nearest pharmacy"))
    (turns,) = longest([Answered(talk, "10 minutes to the nearest pharmacy and well lit")], source)
    assert turns is not None and turns.counted == 3


def test_share_and_worst() -> None:
    twelve = " ".join(f"w{n}" for n in range(LONG))
    source = training("x y z", f"before {twelve} after", "other")
    answers = [f"my {twelve} end", "w0 w1 x", "nothing"] + ["q"] * 7
    found = of_texts("m", [Answered(f"p{n}", text) for n, text in enumerate(answers)], source)
    assert found.share.value == 0.1 and found.share.count == 10
    assert found.words.value == (12 + 2) / 10
    assert found.worst is not None
    assert (found.worst.words, found.worst.run) == (12, twelve)
    assert found.worst.source == "train.jsonl:2" and found.worst.text == f"my {twelve} end"
    assert found.worst.training == f"before {twelve} after"
    short = of_texts("m", [Answered("", twelve.removesuffix("w11") + "x")], source)
    assert short.share.value == 0.0 and short.words.value == 11


def test_nothing_in_common() -> None:
    assert of_texts("m", [Answered("", "a b")], training("x y")).worst is None
    assert of_texts("m", [Answered("", "")], training("x y")).words.value == 0
    assert of_texts("m", [Answered("", "a")], training()).words.value == 0
    assert of_texts("m", [Answered("a b c d", "a b c d")], training("a b c d")).worst is None
    with pytest.raises(ValueError, match="nothing has no interval"):
        of_texts("m", [], training("x"))


def test_texts_of_one_prompt_are_one_group() -> None:
    """Ten copies of what one prompt got are no ten finds."""
    twelve = " ".join(f"w{n}" for n in range(LONG))
    source = training(twelve)
    answers = [Answered(f"p{n % 2}", twelve if n % 2 else "x") for n in range(20)]
    found = of_texts("m", answers, source)
    assert found.share.value == 0.5 and found.share.high - found.share.low > 0.6


def test_rows_of_every_kind_are_training_texts() -> None:
    here = Origin("a.jsonl", 3)
    talk = (Message("user", "hi"), Message("assistant", "two baths and a garden"))
    rows: list[Example | Pair] = [
        Example("q", "one bath", here),
        Example(None, talk, here),
        Pair("q", "chosen words", "rejected words", Origin("b.jsonl", 9)),
    ]
    source = Training.of_rows(rows)
    assert [each.place for each in source.sources] == ["a.jsonl:3"] * 2 + ["b.jsonl:9"] * 2
    (run,) = longest([Answered("", "has two baths and a garden")], source)
    assert run is not None and run.counted == 5


def test_a_planted_copy_is_found_in_a_large_file() -> None:
    """The seeded fault: a model that says one training text word by word, among 5,000."""
    rng = np.random.default_rng(0)
    drawn = rng.zipf(1.3, (5_000, 30)) % 5000
    texts = [" ".join(f"w{n}" for n in row) for row in drawn]
    source = training(*texts)
    fresh = rng.zipf(1.3, (50, 30)) % 5000
    honest = [Answered("", " ".join(f"w{n}" for n in row)) for row in fresh]
    copied = [*honest[:-1], Answered("", f"so {texts[4_321]}")]
    clean, caught = of_texts("m", honest, source), of_texts("m", copied, source)
    assert clean.worst is not None and clean.worst.words < 30
    assert caught.worst is not None and caught.worst.words == 30
    assert caught.worst.source == "train.jsonl:4322"


def test_on_real_listings(shared_data: Path) -> None:
    """Held-out texts by people share short runs with the others; a training text shares itself."""
    rows = _restaurants(shared_data)
    source = Training([Source(text, f"e2e:{n}") for n, text in enumerate(rows[:2000])])
    people = of_texts("people", [Answered("", text) for text in rows[2000:2200]], source)
    itself = of_texts("copy", [Answered("", text) for text in rows[:200]], source)
    assert people.words.high < itself.words.low
    spelled = [len(words(text)) for text in rows[:200]]
    assert itself.words.value == pytest.approx(sum(spelled) / 200)


def _restaurants(folder: Path) -> list[str]:
    """Human references of the E2E set, each once."""
    path = folder / "e2e" / "devel-fixed.no-ol.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["ref"] for row in csv.DictReader(file)))


def test_the_record_goes_to_json_and_back() -> None:
    found = of_texts("m", [Answered("", "a b c")], training("a b c"))
    assert type(found).model_validate(json.loads(found.model_dump_json())) == found
