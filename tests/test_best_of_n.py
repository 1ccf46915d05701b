"""The best of n: estimates against enumeration, and the command from prompts to an SFT run."""

import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import tiny
from foreign_reward import classifier
from palate import cli
from palate.cli.best_of_n import drawn_file
from palate.cli.reward_with import reward_with
from palate.data.rewards import Answered
from palate.errors import DataError, ModelError, NumericsError, PalateError, UsageError
from palate.rlhf.best_of_n import best, expected_best, kl_at_most, sizes, standing
from palate.train.events import Note, silent

PROMPTS = (
    "the flat",
    "this one is by the river",
    "two baths",
    "near the station",
    "a fee for the lift",
)
RUBRIC = """
[[check]]
name = "no-t"
kind = "not_contains"
value = "t"
why = "a test"

[[check]]
name = "e"
kind = "contains"
value = "e"
why = "a test"
"""


# ------------------------------------------------------------------ what n is worth


def enumerated(order: Sequence[float], values: Sequence[float], n: int) -> float:
    """Mean over all choices of n; of equals, each is as likely the first."""
    found = []
    for chosen in itertools.combinations(range(len(order)), n):
        most = max(order[place] for place in chosen)
        equals = [values[place] for place in chosen if order[place] == most]
        found.append(sum(equals) / len(equals))
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(6))
def test_the_estimate_is_the_mean_over_all_choices(seed: int) -> None:
    draw = random.Random(seed)
    order = [float(draw.randint(0, 4 if seed % 2 else 1000)) for _ in range(8)]
    values = [draw.gauss(0, 3) for _ in order]
    for n in range(1, 9):
        for worth in (order, values):
            found = expected_best(order, worth, n)
            assert found == pytest.approx(enumerated(order, worth, n), rel=1e-12, abs=1e-12)


def test_the_estimate_is_unbiased() -> None:
    """Mean over every sample of 4 from a small distribution: the exact mean of the best of 2."""
    likely = {0.0: 0.5, 1.0: 0.3, 5.0: 0.2}

    def mean(of: int, n: int) -> float:
        total = 0.0
        for drawn in itertools.product(likely, repeat=of):
            chance = math.prod(likely[each] for each in drawn)
            total += chance * expected_best(drawn, drawn, n)
        return total

    assert mean(4, 2) == pytest.approx(mean(2, 2), rel=1e-12)
    assert mean(4, 3) == pytest.approx(mean(3, 3), rel=1e-12)
    biased = sum(
        math.prod(likely[each] for each in drawn) * max(drawn)
        for drawn in itertools.product(likely, repeat=4)
    )
    assert biased > mean(4, 2) + 0.5, "the best of all four is another question"


def test_more_draws_than_there_are_cannot_be_told() -> None:
    for n in (0, 3):
        with pytest.raises(ValueError, match=f"best of {n}"):
            expected_best([1.0, 2.0], [1.0, 2.0], n)


def test_the_bound_on_the_kl() -> None:
    assert [round(kl_at_most(n), 2) for n in (1, 2, 4, 16, 64)] == [0.0, 0.19, 0.64, 1.84, 3.17]


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_holds_for_every_small_distribution(seed: int) -> None:
    """Exact KL of the best of n over all strings of a policy, equal rewards among them."""
    draw = random.Random(seed)
    weights = [draw.random() ** 3 for _ in range(6)]
    policy = [weight / sum(weights) for weight in weights]
    rewards = [draw.randint(0, 4) for _ in policy]
    for n in (2, 4, 16):
        kl = 0.0
        for p, r in zip(policy, rewards, strict=True):
            below = sum(q for q, s in zip(policy, rewards) if s < r)
            same = sum(q for q, s in zip(policy, rewards) if s == r)
            chosen = p / same * ((below + same) ** n - below**n)  # of equals, in proportion
            kl += chosen * math.log(chosen / p)
        assert -1e-12 <= kl <= kl_at_most(n) + 1e-12


def test_sizes_double_up_to_n() -> None:
    assert [sizes(n) for n in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


# ------------------------------------------------------------------ which text is kept


@dataclass(frozen=True)
class Points:
    """A reward: the answer read as a number."""

    name: str = "points"
    kind: Literal["program", "model"] = "program"
    identity: str = "0" * 64
    models: int = 0

    def score(self, answered: Sequence[Answered]) -> list[float]:
        return [float(each.answer.strip() or 100) for each in answered]


def records(*texts: Sequence[str], cut: Sequence[tuple[int, int]] = ()) -> list[dict[str, Any]]:
    """Samples as `palate sample` writes them, a prompt per argument."""
    return [
        {
            "id": f"{line}-{index}",
            "line": line,
            "prompt": f"p{line}",
            "index": index,
            "completion": text,
            "ended": (line, index) not in cut,
        }
        for line, group in enumerate(texts, start=1)
        for index, text in enumerate(group)
    ]


def test_the_best_is_kept_and_the_first_of_equals() -> None:
    found = best(records(("1", "7", "3"), ("2", "2", "1")), Points(), silent)
    assert [(row["completion"], row["index"]) for row in found.rows] == [("7", 1), ("2", 0)]
    row = found.rows[0]
    assert (row["prompt"], row["reward"], row["n"]) == ("p1", 7.0, 3)
    assert row["mean_reward"] == pytest.approx(11 / 3)
    assert (row["rewarded_by"], row["drawn_as"]) == ("points", "1-1")
    assert (found.alike, found.cut_off, found.empty) == (0, 0, 0)
    assert [at.n for at in found.curve] == [1, 2, 3]
    assert found.curve[-1].reward.value == pytest.approx((7 + 2) / 2)
    assert found.curve[0].reward.value == pytest.approx((11 / 3 + 5 / 3) / 2)


def test_a_text_that_was_cut_off_or_is_empty_is_the_last_choice() -> None:
    told = records(("1", "7"), ("5", "6"), (" ", "3"), ("", " "), cut=[(1, 1), (2, 0), (2, 1)])
    found = best(told, Points(), silent)
    assert [row["completion"] for row in found.rows] == ["1", "6", "3"]
    assert (found.cut_off, found.empty, found.alike) == (1, 1, 1)


def test_a_conversation_is_rewarded_as_one() -> None:
    told = records(("1", "2"))
    turns = [{"role": "user", "content": "hello"}]
    heard: list[Answered] = []

    @dataclass(frozen=True)
    class Hears(Points):
        def score(self, answered: Sequence[Answered]) -> list[float]:
            heard.extend(answered)
            return super().score(answered)

    found = best([{**each, "prompt": turns} for each in told], Hears(), silent)
    assert found.rows[0]["prompt"] == turns
    assert [(m.role, m.content) for m in heard[0].prompt] == [("user", "hello")]  # type: ignore[union-attr]


def test_a_reward_that_is_no_number_is_refused() -> None:
    with pytest.raises(NumericsError, match="line 1"):
        best(records(("1", "nan")), Points(), silent)


def test_standing_puts_what_did_not_end_below() -> None:
    assert standing([3.0, 9.0, 3.0, 1.0], [True, False, True, True]) == [2, 0, 2, 1]


# ------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("best") / "model"
    return str(tiny.folder(folder, "llama", num_hidden_layers=1))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS))
    Path("letters.toml").write_text(RUBRIC)
    return place


def words(
    model: str, *more: str, reward: str = "letters.toml", out: str = "best.jsonl"
) -> list[str]:
    given = ["best-of-n", model, "prompts.jsonl", "--reward", reward, "--out", out]
    return [*given, "--max-new-tokens", "6", *more]


def lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_the_file_is_the_best_of_all_drawn_and_sft_reads_it(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words(model)) == 0
    shown = capsys.readouterr().out
    kept, drawn = lines("best.jsonl"), lines("best.drawn.jsonl")
    assert [row["prompt"] for row in kept] == list(PROMPTS) and len(drawn) == 4 * len(PROMPTS)
    for row in kept:
        mine = [d["completion"] for d in drawn if d["prompt"] == row["prompt"]]
        scores = [(("t" not in t.casefold()) + ("e" in t.casefold())) / 2 for t in mine]
        assert row["mean_reward"] == pytest.approx(sum(scores) / 4)
        assert row["reward"] == pytest.approx(scores[mine.index(row["completion"])])
        assert (row["rewarded_by"], row["seed"], row["n"]) == ("letters.toml", 0, 4)
    assert "0.64 nats" in shown and "best of 4" in shown
    command = next(line for line in shown.splitlines() if line.startswith("next: "))
    sizes = ["--batch-size", "2", "--max-steps", "2", "--token-budget", "64"]
    assert cli.run([*command.split()[2:], *sizes]) == 0
    assert (Path("best-sft") / "final").is_dir()


def test_the_same_command_draws_nothing_twice(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words(model)) == 0
    first, drawn = Path("best.jsonl").read_bytes(), Path("best.drawn.jsonl").read_bytes()
    torn = drawn[: len(drawn) // 2]  # as a kill leaves it
    Path("best.drawn.jsonl").write_bytes(torn)
    Path("best.jsonl").unlink()
    capsys.readouterr()
    assert cli.run(words(model)) == 0
    assert "are there already" in capsys.readouterr().err
    assert Path("best.jsonl").read_bytes() == first
    assert Path("best.drawn.jsonl").read_bytes() == drawn


def test_as_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words(model, "--json", "--n", "2")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["n"] for each in found["curve"]] == [1, 2]
    assert (found["texts"], found["reward"], found["drawn"]) == (
        5,
        "letters.toml",
        "best.drawn.jsonl",
    )
    assert found["curve"][1]["reward"]["value"] >= found["curve"][0]["reward"]["value"]


def refused(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    """What is said of the command, which leaves nothing behind."""
    before = sorted(Path().rglob("*"))
    assert cli.run(given) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and sorted(Path().rglob("*")) == before
    return said


def test_mistakes_are_told_before_anything_is_drawn(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    assert "no file of this command" in refused(capsys, words(model, out="other.jsonl"))
    Path("folder").mkdir()
    assert "folder is a folder" in refused(capsys, words(model, out="folder"))
    assert "greater than or equal to 2" in refused(capsys, words(model, "--n", "1"))
    assert "temperature 0 gives one text" in refused(capsys, words(model, "--temperature", "0"))
    bare = ["best-of-n", model, "prompts.jsonl", "--out", "best.jsonl"]
    assert "--reward is needed" in refused(capsys, bare)


def test_the_demos_taste_knows_no_other_prompts(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words(model, reward="demo")) == 2
    assert "no fact sheet of the demo" in capsys.readouterr().err
    assert not Path("best.jsonl").exists() and drawn_file(Path("best.jsonl")).exists()


# ------------------------------------------------------------------ what --reward names


def of(reward: str, policy: str | None = None) -> PalateError:
    with pytest.raises(PalateError) as found:
        reward_with(reward, silent, policy=policy)
    return found.value


def test_words_that_name_no_reward() -> None:
    Path("rewards.txt").write_text("nice")
    for wrong, said in (
        ("dmeo", "no such file or folder"),
        ("./nowhere/at/all", "no such file or folder"),
        ("gone.toml", "no such file or folder"),
        ("rewards.txt", "no .toml"),
    ):
        error = of(wrong)
        assert isinstance(error, UsageError) and said in error.message and "demo" in error.hint


def test_a_rubric_with_an_unknown_check_is_refused() -> None:
    Path("letters.toml").write_text(RUBRIC.replace("not_contains", "not_contians"))
    error = of("letters.toml")
    assert isinstance(error, DataError) and "not_contians" in str(error)


def test_a_rubric_is_paid_by_its_programs_and_says_what_is_left_out() -> None:
    asked = '[[check]]\nname = "kind"\nkind = "judge"\nvalue = "Is it kind?"\nwhy = "a test"\n'
    Path("letters.toml").write_text(RUBRIC + asked)
    told: list[Any] = []
    reward = reward_with("letters.toml", told.append)
    assert reward.score([Answered("p", "me"), Answered("p", "too")]) == [1.0, 0.0]
    (note,) = told
    assert isinstance(note, Note) and "kind" in note.text
    Path("letters.toml").write_text(asked)
    assert "only checks for a judge" in of("letters.toml").message


def test_a_policy_is_no_reward_model(model: str) -> None:
    assert isinstance(of(model), ModelError | UsageError)


def test_a_reward_model_of_another_tokenizer_names_both(model: str, tmp_path: Path) -> None:
    other = classifier(tmp_path / "rm", start="<bos>")
    same = classifier(tmp_path / "same")
    error = of(str(other), policy=model)
    assert isinstance(error, UsageError) and str(other) in error.message and model in error.message
    assert reward_with(str(same), silent, policy=model).kind == "model"
    assert reward_with(str(other), silent).kind == "model", "texts alone may come from any model"
