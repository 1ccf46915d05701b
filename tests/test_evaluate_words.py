"""What an evaluation says: never more than its intervals hold; and a judge that answers rubbish."""

from pathlib import Path
from typing import Any

import pytest

from openai_server import Server, said
from palate.cli.evaluate import page
from palate.endpoint import Endpoint
from palate.errors import ModelError, UsageError
from palate.evaluation.judging import Bench
from palate.evaluation.words import Told, advice, headline, in_plain_words
from palate.judge.by_endpoint import EndpointJudge
from palate.stats import Interval, share, verdict
from palate.study.drawn import Drawn
from palate.study.evaluated import Accuracy, Evaluated, HeldOut, Named, Person, WinRate
from palate.train.events import silent

HELD = HeldOut(prompts=200, pairs=80, source="held.jsonl", digest="d", looks=1, detectable=0.6)


def model(name: str, role: Any, points: float | None = None, gain: float | None = None) -> Named:
    return Named(
        name=name,
        role=role,
        path=name,
        identity=name,
        points=None if points is None else Interval(points, points - 0.4, points + 0.4, 200),
        gain=None if gain is None else Interval(gain, gain - 0.3, gain + 0.3, 200),
    )


def wins(won: int, lost: int, ties: int = 0, **more: Any) -> WinRate:
    raw = share(won + ties / 2, won + lost + ties)
    fields: dict[str, Any] = {"judge": "demo", "kind": "program", "ours": "dpo", "theirs": "sft"}
    return WinRate(
        wins=won,
        losses=lost,
        ties=ties,
        raw=raw,
        verdict=verdict(raw, null=0.5),
        **(fields | more),
    )


def told(*found: WinRate, **more: Any) -> Told:
    models = more.pop("models", (model("dpo", "candidate"), model("sft", "baseline")))
    return Told(models=models, heldout=HELD, wins=found, **more)


def test_a_win_is_a_sentence_with_its_interval() -> None:
    assert headline(told(wins(131, 35, 34))) == (
        "dpo beats sft: it wins 74% [68%, 80%] of 200 held-out prompts"
        " (34 ties, half a win each; judge: demo).",
        "better",
    )


@pytest.mark.parametrize(("won", "lost"), [(100, 100), (110, 90), (113, 87), (87, 113)])
def test_whenever_the_interval_covers_a_half_the_word_is_indistinguishable(
    won: int, lost: int
) -> None:
    found = told(wins(won, lost))
    sentence, word = headline(found)
    assert found.wins[0].raw.low <= 0.5 <= found.wins[0].raw.high
    assert word == "indistinguishable" and "dpo is indistinguishable from sft" in sentence
    assert "beats" not in sentence and "loses" not in sentence
    assert any("nobody can say" in each for each in in_plain_words(found))
    does = advice(found, word)
    assert does is not None and does.startswith("Stop here and keep sft")


def test_a_loss_is_a_loss() -> None:
    sentence, word = headline(told(wins(60, 140)))
    assert sentence.startswith("dpo loses to sft: it wins 30%") and word == "worse"
    assert advice(told(wins(60, 140)), word) == "Keep sft: dpo is worse."


def test_a_person_is_heard_before_a_program_and_an_untrusted_model_last() -> None:
    person = wins(55, 45, judge="you", kind="person")
    found = told(wins(20, 180), person)
    assert headline(found)[0].startswith("dpo is indistinguishable from sft by your blind verdicts")
    shaky = wins(90, 10, kind="model", judge="m", trusted=False, consistency=share(40, 100))
    assert told(shaky, wins(50, 50)).main == wins(50, 50)
    sentence, word = headline(told(shaky))
    assert sentence.startswith("No finding: m contradicts itself") and word is None


def test_agreement_with_a_person_and_with_oneself() -> None:
    person = Person(agrees=share(64, 80), itself=share(45, 50), before=None)
    sentence, word = headline(told(wins(131, 35), person=person))
    assert sentence == (
        "dpo agrees with you on 64 of 80 (80% [70%, 87%]) held-out verdicts;"
        " you agree with yourself on 90% [79%, 96%]."
    )
    assert word == "better"
    coin = Person(agrees=share(42, 80), itself=None, before=None)
    sentence, word = headline(told(person=coin))
    assert "indistinguishable from a coin" in sentence and word == "indistinguishable"
    assert "not known: nothing was asked twice" in sentence


def test_what_the_stage_before_reached_already() -> None:
    models = (model("dpo", "candidate", 5.6, 0.1), model("sft", "baseline", 5.5))
    found = told(wins(104, 96), models=models)
    lines = " ".join(in_plain_words(found))
    assert "sft alone already reaches 5.5 of 5.6 points" in lines
    assert "indistinguishable from nothing: +0.1 [\N{MINUS SIGN}0.2, +0.4]" in lines
    does = advice(found, "indistinguishable")
    assert does is not None and "sft alone already reaches" in does and "these can show" in does


def test_random_labels_that_win_are_an_alarm() -> None:
    models = (*told().models, model("dpo-random", "control"))
    found = told(wins(150, 50), models=models, control="better")
    assert any("this evaluation is broken" in each for each in in_plain_words(found))
    assert advice(found, "better") == "Do not use this result yet: random labels win too."
    fine = told(wins(150, 50), models=models, control="indistinguishable")
    assert any("as it should be" in each for each in in_plain_words(fine))


def test_length_that_decided_is_said() -> None:
    long = wins(131, 69, controlled=share(104, 200), controlled_verdict="indistinguishable")
    assert any("length did much of it" in each for each in in_plain_words(told(long)))
    same = wins(131, 69, controlled=share(130, 200), controlled_verdict="better")
    assert any("length is not what decided" in each for each in in_plain_words(told(same)))


def test_without_a_text_compared_nothing_is_said_of_texts() -> None:
    found = Accuracy(
        model="dpo",
        implicit=share(50, 80),
        implicit_ties=0,
        ranking=share(45, 80),
        ranking_mean=share(40, 80),
        verdict="better",
    )
    sentence, word = headline(told(accuracy=(found,)))
    assert sentence.startswith("dpo ranks 50 of 80 (62% [52%, 72%]) held-out pairs")
    assert "No text was judged" in sentence and word == "better"


def test_the_page_fits_and_says_it_first() -> None:
    main = wins(131, 35, 34)
    record = Evaluated(
        headline=headline(told(main))[0],
        verdict="better",
        plain=in_plain_words(told(main)),
        models=(model("dpo", "candidate", 5.6, 2.1), model("sft", "baseline", 3.5)),
        heldout=HELD,
        wins=(main,),
        reward="demo",
    )
    lines = list(page(record))
    assert lines[0].startswith("dpo beats sft: it wins 74% [68%, 80%]")
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("dpo against sft") and "better" in line for line in lines)
    assert "In plain words" in lines and lines[-1].endswith("first look at them.")
    assert "points (demo)" in " ".join(lines) and "KL" not in " ".join(lines)


# -- a server that judges


def texts(name: str) -> Drawn:
    prompts = tuple(f"prompt {n}" for n in range(14))
    return Drawn(name, prompts, tuple((f"{name} says {n}",) for n in range(14)))


def bench(server: Server, path: Path) -> Bench:
    judge = EndpointJudge(Endpoint(f"{server.url}/v1", "m"))
    return Bench(path / "verdicts.db", judge, None, silent)


def test_a_server_that_answers_rubbish_is_an_error(tmp_path: Path) -> None:
    wanted = "are no verdict; the last one: 'Both are lovely"
    rubbish = Server(lambda path, body: said("Both are lovely."))
    with rubbish as server, pytest.raises(ModelError, match=wanted):
        bench(server, tmp_path).compare(texts("dpo"), texts("sft"))


def test_a_server_that_judges_is_asked_once(tmp_path: Path) -> None:
    def prefer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        question = body["messages"][0]["content"]
        return said(f"verdict: {'AB'[question.index('dpo says') > question.index('sft says')]}")

    with Server(prefer) as server:
        found = bench(server, tmp_path).compare(texts("dpo"), texts("sft"))
        asked = len(server.asked)
        assert asked == 28 and found.consistency == share(14, 14)
        assert {each[0] for each in found.scores} == {1.0}
        turned = bench(server, tmp_path).compare(texts("sft"), texts("dpo"))
        assert len(server.asked) == asked and {each[0] for each in turned.scores} == {0.0}


def test_the_command_line_refuses_what_has_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    from palate.cli.evaluate import evaluate
    from palate.config import EvaluateOptions

    with pytest.raises(UsageError, match="RUN is needed"):
        evaluate()
    with pytest.raises(UsageError, match="--judge-model is needed"):
        evaluate("runs/none", options=EvaluateOptions(judge_with="http://127.0.0.1:9/v1"))
    with pytest.raises(UsageError, match="--judge-model has no effect with demo"):
        evaluate("runs/none", options=EvaluateOptions(judge_with="demo", judge_model="x"))
    with pytest.raises(UsageError, match="is not a run of palate"):
        evaluate("runs/none", options=EvaluateOptions(judge_with="demo"))


def test_a_bound_near_a_half_keeps_a_digit() -> None:
    assert headline(told(wins(120, 80, 1)))[0].startswith("dpo beats sft: it wins 60% [53%")
    assert "[50.2%, 69%]" in headline(told(wins(60, 40)))[0]


def test_a_reward_that_trained_it_is_named() -> None:
    lines = in_plain_words(told(wins(150, 50), reward="demo", paid=True))
    assert any("dpo was trained by demo, which measures it here" in each for each in lines)
    assert not any("trained by" in each for each in in_plain_words(told(wins(150, 50))))
