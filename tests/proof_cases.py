"""Records of an evaluation made by hand, for the report: full, minimal, hostile, huge."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palate.report.lineage import Lineage, Stage
from palate.stats import Interval, Verdict, share
from palate.study.evaluated import (
    Accuracy,
    Copied,
    Displacement,
    Divergence,
    Diversity,
    Evaluated,
    FrontierPoint,
    HeldOut,
    Named,
    Passed,
    Person,
    Quoted,
    Regression,
    Shown,
    Slice,
    WinRate,
)

PROMPT = "Describe this 3bd loft on Hawthorn Lane. Facts: 3.5 bath; built in 1967; fees $430."
BEFORE = (
    "A lovely loft on Hawthorn Lane that feels like home. It was built in 1967 and is well located."
)
AFTER = "3.5-bath loft on Hawthorn Lane: 3350 square feet, built in 1967. Fees are $430 a month."


def near(value: float, half: float, count: int = 120) -> Interval:
    return Interval(value, value - half, value + half, count)


def verdict_of(found: Interval, nothing: float = 0.5) -> Verdict:
    if found.low > nothing:
        return "better"
    return "worse" if found.high < nothing else "indistinguishable"


def win(ours: str, theirs: str, wins: int, losses: int, ties: int, **more: Any) -> WinRate:
    raw = share(wins + ties / 2, wins + losses + ties)
    told = {"judge": "the demo's taste", "kind": "program"} | more
    return WinRate(
        ours=ours,
        theirs=theirs,
        wins=wins,
        losses=losses,
        ties=ties,
        raw=raw,
        verdict=verdict_of(raw),
        **told,
    )


def named(name: str, role: Any, words: float, points: float) -> Named:
    return Named(
        name=name,
        role=role,
        path=f"runs/{name}",
        identity=name * 4,
        stage=name,
        words=near(words, 0.9, 200),
        points=near(points, 0.4, 200),
        gain=None if role == "baseline" else near(points - 3.55, 0.35, 200),
    )


def accuracy(name: str, hits: int, ranked: int, mean: int) -> Accuracy:
    implicit = share(hits, 50)
    return Accuracy(
        model=name,
        implicit=implicit,
        implicit_ties=50 if name == "sft" else 0,
        ranking=share(ranked, 50),
        ranking_mean=share(mean, 50),
        verdict=verdict_of(implicit),
        ceiling=near(0.87, 0.06, 40) if name == "dpo" else None,
    )


def moved(step: int) -> Displacement:
    size = step / 57
    return Displacement(
        model="dpo",
        step=step,
        chosen=near(-0.63 * size, 0.2 * size),
        rejected=near(-3.4 * size**1.4, 0.3 * size),
        sample=near(0.8 * size, 0.15 * size),
        mass="" if step < 57 else "Rejected fell most; what it lost went to the start’s own text.",
    )


def passed(check: str, why: str, model: str, hits: tuple[int, int]) -> Passed:
    """`hits`: of this model, and of the baseline."""
    change = near((hits[0] - hits[1]) / 200, 0.04, 200)
    if model == "sft":
        return Passed(check=check, why=why, model=model, rate=share(hits[0], 200))
    said = verdict_of(change, 0.0)
    rate = share(hits[0], 200)
    return Passed(check=check, why=why, model=model, rate=rate, change=change, verdict=said)


def diverse(name: str, part: float) -> Diversity:
    return Diversity(
        model=name,
        texts=4,
        distinct_1=near(0.5 * part, 0.02),
        distinct_2=near(0.8 * part, 0.02),
        overlap=near(0.1 / part, 0.02),
        distinct_near=near(3.8 * part, 0.06),
        distinct_texts=near(3.9 * part, 0.05),
    )


def shown(number: int, *, worst: bool = False, **texts: str) -> Shown:
    texts = texts or {"dpo": AFTER, "sft": BEFORE}
    verdict = "sft" if worst or number % 4 == 1 else "tie" if number % 4 == 3 else "dpo"
    points = {"dpo": 3.5 - 5 * worst, "sft": 1.25}
    return Shown(
        prompt=f"{PROMPT} ({number})", texts=texts, verdict=verdict, points=points, worst=worst
    )


def margins(count: int = 120, *, seed: int = 0) -> dict[str, tuple[float, ...]]:
    rng = random.Random(seed)
    before = tuple(rng.gauss(0.0, 0.06) for _ in range(count))
    return {"sft": before, "dpo": tuple(rng.gauss(0.35, 0.5) for _ in range(count))}


def full(**changes: Any) -> Evaluated:
    """A good run, everything measured."""
    main = win(
        "dpo",
        "sft",
        132,
        34,
        34,
        controlled=share(146, 200),
        controlled_verdict="better",
        slices=(
            Slice(tag="grounded", wins=share(48, 58), verdict="better"),
            Slice(tag="shorter", wins=share(21, 40), verdict="indistinguishable"),
            Slice(tag="no hype", wins=share(3, 11), verdict="indistinguishable"),
        ),
    )
    weak = win(
        "dpo",
        "sft",
        90,
        70,
        40,
        judge="tiny-judge-1b",
        kind="model",
        consistency=share(58, 100),
        agreement=share(33, 60),
        trusted=False,
    )
    fair = win(
        "dpo",
        "base, 3 examples",
        101,
        70,
        29,
        judge="big-judge",
        kind="model",
        consistency=share(81, 100),
        agreement=share(47, 60),
    )
    told: dict[str, Any] = {
        "headline": f"dpo’s texts are better than sft’s: they win {main.raw.percent()} of 200"
        f" unseen prompts, and {share(146, 200).percent()} at equal length.",
        "verdict": "better",
        "plain": (
            "The tuned model writes texts that this taste prefers, clearly more often than the"
            " model it started from. The gain is not a matter of length.",
            "It moved 2.1 nats per text away from where it began, which is little, and it"
            " still writes what it was taught to imitate.",
            "What to do next: read the four worst losses above. If they bother you, add pairs"
            " like them and train again.",
        ),
        "advice": "SFT alone already reaches 3.55 of 5.63 points; DPO adds 2.08. It is worth it.",
        "models": (
            named("dpo", "candidate", 24.7, 5.63),
            named("sft", "baseline", 22.8, 3.55),
            named("base", "other", 27.2, 3.73),
            named("base, 3 examples", "prompted", 26.1, 4.02),
            named("sft, best of 4", "best-of-n", 23.4, 5.11),
            named("coin", "control", 22.6, 3.49),
        ),
        "heldout": HeldOut(
            prompts=200,
            pairs=50,
            source="the run's own held-out rows, the half that chose nothing",
            digest="77aa" * 16,
            looks=3,
            detectable=0.6,
        ),
        "wins": (main, weak, fair, win("coin", "sft", 70, 74, 56)),
        "accuracy": (accuracy("dpo", 38, 31, 33), accuracy("sft", 25, 26, 28)),
        "divergence": (
            Divergence(
                model="dpo",
                reference="sft",
                per_text=near(2.1, 0.2),
                per_token=near(0.084, 0.008),
                tokens=4935,
            ),
            Divergence(
                model="coin",
                reference="sft",
                per_text=near(0.3, 0.05),
                per_token=near(0.012, 0.002),
                tokens=4712,
            ),
        ),
        "frontier": (
            *(
                FrontierPoint(model="dpo", step=s, kl=near(k, 0.2 * k), points=near(p, 0.4))
                for s, k, p in ((10, 0.2, 3.7), (25, 0.9, 4.6), (40, 1.6, 5.4), (57, 2.1, 5.63))
            ),
            FrontierPoint(model="sft", step=None, kl=near(0, 0), points=near(3.55, 0.4)),
            FrontierPoint(model="coin", step=None, kl=near(0.3, 0.05), points=near(3.49, 0.4)),
            FrontierPoint(
                model="sft, best of 4", step=None, kl=near(0.64, 0.0), points=near(5.11, 0.38)
            ),
            FrontierPoint(model="ppo", step=None, kl=near(3.4, 0.35), points=near(5.9, 0.42)),
        ),
        "displacement": tuple(moved(step) for step in (5, 15, 25, 35, 45, 57)),
        "margins": margins(),
        "diversity": (diverse("dpo", 0.9), diverse("sft", 1.0), diverse("base", 1.02)),
        "rubric": tuple(
            passed(check, why, model, (hits, all_hits[1]))
            for check, why, all_hits in (
                ("numbers are in the prompt", "An invented fee costs a client.", (171, 150, 140)),
                ("no hype", "“Stunning” says nothing.", (190, 176, 168)),
                ("at most 40 words", "", (200, 199, 188)),
            )
            for model, hits in zip(("dpo", "sft", "base"), all_hits, strict=True)
        ),
        "regression": (
            Regression(model="sft", loss=near(0.666, 0.03), change=None, verdict=None),
            Regression(
                model="dpo", loss=near(0.694, 0.03), change=near(0.028, 0.009), verdict="worse"
            ),
            Regression(
                model="coin",
                loss=near(0.667, 0.03),
                change=near(0.001, 0.004),
                verdict="indistinguishable",
            ),
        ),
        "copied": (
            Copied(
                model="dpo",
                words=near(5.2, 0.3),
                share=share(4, 200),
                worst=Quoted(
                    text=BEFORE,
                    run="it was built in 1967",
                    words=4,
                    source="a/e.jsonl:12",
                    training=BEFORE,
                ),
            ),
            Copied(model="sft", words=near(5.6, 0.3), share=share(7, 200)),
            Copied(model="people", words=near(5.0, 0.3), share=share(3, 100)),
        ),
        "shown": (*(shown(n) for n in range(12)), *(shown(n, worst=True) for n in range(4))),
        "person": Person(agrees=share(38, 50), itself=share(26, 30), before=share(24, 50)),
        "control": "indistinguishable",
        "reward": "the demo's taste, about −5 to 10",
        "settings": {
            "runs": ["runs/dpo"],
            **{"n": 1, "temperature": 1.0, "top_p": 1.0, "seed": 0},
            "asked": {"baselines": True, "reward": "demo"},
        },
        "versions": {"torch": "2.13.0+cpu", "transformers": "5.23.0"},
        "seconds": 93.2,
    }
    return Evaluated(**(told | changes))


def minimal() -> Evaluated:
    """Nothing but what a record must have."""
    return Evaluated(
        headline="Nothing was measured that could tell the models apart.",
        verdict=None,
        plain=(),
        models=(),
        heldout=HeldOut(prompts=0, pairs=0, source="nothing", digest="", looks=1),
    )


def even() -> Evaluated:
    """A run that cannot be told from its baseline."""
    main = win("dpo", "sft", 52, 45, 23)
    return full(
        headline=f"On 120 unseen prompts dpo’s text wins {main.raw.percent()}: indistinguishable"
        " from no change.",
        verdict="indistinguishable",
        wins=(main,),
        person=None,
        control=None,
        advice=None,
        heldout=HeldOut(
            prompts=120,
            pairs=50,
            source="the run's own held-out rows",
            digest="ab" * 32,
            looks=1,
            detectable=0.63,
        ),
    )


def hostile(text: str) -> Evaluated:
    """One text wherever the record has one."""
    found = full().model_dump(mode="json")
    spoiled = _spoiled(found, text)
    for name in ("schema_version", "verdict", "control"):
        spoiled[name] = found[name]
    spoiled["models"][0]["name"], spoiled["models"][1]["name"] = text + " one", text + " two"
    for each in spoiled["shown"]:
        each["texts"] = {text + " one": text + " a b c", text + " two": text + " a d c"}
        each["points"], each["verdict"] = {text + " one": 1.0}, text + " one"
    spoiled["margins"] = {text + " one": [0.1, -0.2], text + " two": [0.0, 0.0]}
    return Evaluated.model_validate(spoiled)


_CLOSED = ("role", "kind", "verdict", "controlled_verdict")


def _spoiled(found: Any, text: str) -> Any:
    if isinstance(found, dict):
        return {
            key: value if key in _CLOSED else _spoiled(value, text) for key, value in found.items()
        }
    if isinstance(found, list):
        return [_spoiled(value, text) for value in found]
    return text if isinstance(found, str) else found


def huge() -> Evaluated:
    """10,000 margins a model, and texts of half a million characters."""
    long = "word " * 100_000
    pairs = tuple(shown(n, dpo=long, sft=long + "more") for n in range(12))
    spread = margins(10_000)
    spread["dpo"] = (*spread["dpo"][:-2], 80.0, -45.0)
    return full(margins=spread, shown=pairs)


# ---- runs


def stage(kind: str, metrics: Sequence[dict[str, Any]] = (), **record: Any) -> Stage:
    told: dict[str, Any] = {
        "schema": 1,
        "palate": "0.1.0",
        "created": "2026-11-21 12:14:46+00:00",
        "stage": kind,
        "objective": {"name": kind, "options": {}},
        "base": "models/base",
        "base_identity": "695b" * 16,
        "config": {
            "model": "models/base",
            "data": "data/pairs.jsonl",
            "out": f"runs/{kind}",
            "seed": 0,
        },
        "frozen": {"data_digest": "eb23" * 16},
        "versions": {"python": "3.11.7"},
        "parent": None,
    }
    return Stage(Path("runs") / kind, told | record, tuple(metrics), "7fba" * 16)


def ppo_stage(steps: int = 60) -> Stage:
    rng = random.Random(1)
    rows = [
        {
            "step": n,
            "score": 3.5 + 2.4 * (1 - 0.95**n) + rng.gauss(0, 0.2),
            "reward": 3.4 + 2 * (1 - 0.95**n) + rng.gauss(0, 0.2),
            "kl": 2.2 * (1 - 0.96**n),
            "value_loss": 4 * 0.93**n + rng.random() / 5,
            "clip_fraction": 0.08 + rng.random() / 20,
            "entropy": 1.4 - n / 150,
            "length": 28 + rng.gauss(0, 1),
            "lr": 1e-4,
            "grad_norm": "nan" if n == 3 else 0.4,
        }
        for n in range(1, steps + 1)
    ]
    return stage(
        "ppo",
        rows,
        rows={"train": 450, "heldout": 50},
        cost={"seconds": 731.0, "peak_bytes": 1_310_000_000, "models": 3},
    )


def alone(*stages: Stage) -> Lineage:
    return Lineage("models/base", "695b" * 16, stages or (stage("dpo"),))
