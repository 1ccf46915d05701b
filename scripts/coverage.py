"""Do the intervals of `palate evaluate` hold what they promise?  Simulated, and on real policies.

    python scripts/coverage.py                 every interval, many times, as a table
    python scripts/coverage.py --policies OUT --demo runs/demo
                                               20 policies trained on random labels, and as many on
                                               true ones, evaluated; goes on where it ended

An interval of 95% should hold the truth in 95% of runs.  A verdict on no difference should be
"indistinguishable" in 95%, and a true win rate should be found as often as the power says.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.random import Generator

from palate.data.judged import AskedPrompt, JudgeKind
from palate.evaluation.contestants import Contestant
from palate.evaluation.heldout import Heldout
from palate.evaluation.judging import Means
from palate.evaluation.matches import Entry, Field, matches
from palate.judge.verdicts import Opinion
from palate.stats import Interval, bootstrap_mean, paired_difference, rate, share, verdict
from palate.study.drawn import Drawn
from palate.study.wins import Met, controlled

SEEDS = 20
Once = Callable[[Generator], tuple[Interval, float]]  # a run -> its interval, and the truth


@dataclass(frozen=True)
class Case:
    """One interval in one situation.  `slow`: it resamples, and is run less often."""

    name: str
    once: Once
    slow: bool = False


@dataclass(frozen=True)
class Covered:
    """Of `runs` intervals, how many held the truth, missed below and above, and their width."""

    case: Case
    runs: int
    held: int
    below: int  # the interval lies below the truth
    above: int
    width: float

    @property
    def share(self) -> Interval:
        return share(self.held, self.runs)


def cover(case: Case, runs: int, seed: int = 0) -> Covered:
    """Make an interval `runs` times and count."""
    held = below = above = 0
    width = 0.0
    for number in range(runs):
        found, truth = case.once(np.random.default_rng([seed, number]))
        low, high = found.low <= truth, truth <= found.high
        held, below, above = held + (low and high), below + (not high), above + (not low)
        width += (found.high - found.low) / runs
    return Covered(case, runs, held, below, above, width)


# -- the situations


def win_rate(count: int, win: float, ties: float = 0.0) -> Once:
    """One text per prompt: Wilson, ties as halves."""

    def once(random: Generator) -> tuple[Interval, float]:
        tied = random.random(count) < ties
        won = random.random(count) < win
        scores = np.where(tied, 0.5, won.astype(float))
        found = rate(scores.tolist(), range(count))
        return found, ties * 0.5 + (1 - ties) * win

    return once


def win_rate_by_prompt(prompts: int, each: int, win: float, alike: float) -> Once:
    """Several texts per prompt, whose chances differ by prompt: Beta with that intraclass
    correlation."""

    def once(random: Generator) -> tuple[Interval, float]:
        size = 1 / alike - 1
        chance = random.beta(win * size, (1 - win) * size, prompts)
        won = random.random((prompts, each)) < chance[:, None]
        names = np.repeat(np.arange(prompts), each)
        return rate(won.ravel().astype(float).tolist(), names.tolist()), win

    return once


def mean(prompts: int, each: int) -> Once:
    """A mean of skewed values, whole prompts resampled: words, points, nats."""

    def once(random: Generator) -> tuple[Interval, float]:
        level = random.gamma(4.0, 1.0, prompts)
        values = level[:, None] + random.normal(0, 2.0, (prompts, each))
        names = np.repeat(np.arange(prompts), each)
        return bootstrap_mean(values.ravel().tolist(), names.tolist()), 4.0

    return once


def difference(count: int) -> Once:
    """Two models on the same prompts, most of the variance the prompt's."""

    def once(random: Generator) -> tuple[Interval, float]:
        shared = random.gamma(2.0, 2.0, count)
        ours = shared + random.normal(0.3, 1.0, count)
        theirs = shared + random.normal(0.0, 1.0, count)
        return paired_difference(ours.tolist(), theirs.tolist()), 0.3

    return once


def at_equal_length(count: int, theta: float, phi: float) -> Once:
    """A judge that likes length: the rate at equal length, prompts resampled."""

    def once(random: Generator) -> tuple[Interval, float]:
        longer = random.normal(6.0, 12.0, count).round()
        chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(longer / longer.std()))))
        won = random.random(count) < chance
        met = [Met(n, float(w), int(d)) for n, (w, d) in enumerate(zip(won, longer, strict=True))]
        found = controlled(met)
        assert found is not None
        return found, float(1 / (1 + np.exp(-theta)))

    return once


CASES = (
    Case("win rate, 50 prompts, truth 50%", win_rate(50, 0.5)),
    Case("win rate, 50 prompts, truth 90%", win_rate(50, 0.9)),
    Case("win rate, 400 prompts, truth 60%", win_rate(400, 0.6)),
    Case("win rate, 200 prompts, 30% ties", win_rate(200, 0.55, 0.3)),
    Case("win rate, 40 prompts x 4, alike .3", win_rate_by_prompt(40, 4, 0.6, 0.3)),
    Case("win rate, 200 prompts x 4, alike .3", win_rate_by_prompt(200, 4, 0.5, 0.3)),
    Case("win rate, 15 prompts x 4, alike .5", win_rate_by_prompt(15, 4, 0.7, 0.5)),
    Case("mean, 50 prompts", mean(50, 1), slow=True),
    Case("mean, 200 prompts x 4", mean(200, 4), slow=True),
    Case("paired difference, 50 prompts", difference(50), slow=True),
    Case("paired difference, 200 prompts", difference(200), slow=True),
    Case("at equal length, 100 prompts, truth 50%", at_equal_length(100, 0.0, 1.0), slow=True),
    Case("at equal length, 200 prompts, truth 62%", at_equal_length(200, 0.5, 1.0), slow=True),
    Case("at equal length, 400 prompts, truth 50%", at_equal_length(400, 0.0, 2.0), slow=True),
)


# -- verdicts, through the same code as the command's


class Marked:
    """A judge that knows which text is better: it says so itself."""

    name = "marked"
    kind: JudgeKind = "program"

    def compare(self, prompt: AskedPrompt, left: str, right: str) -> Opinion:
        return Opinion("left" if float(left.split()[0]) > float(right.split()[0]) else "right")


def decided(prompts: int, win: float, seed: int) -> str:
    """What an evaluation says of two models of which ours wins with that chance."""
    random = np.random.default_rng([7, seed])
    won = random.random(prompts) < win
    asked = tuple(f"prompt {n}" for n in range(prompts))
    ours = tuple((f"{int(each)} {n}",) for n, each in enumerate(won))
    theirs = tuple((f"0.5 {n}",) for n in range(prompts))
    entries = {
        "dpo": Entry(Contestant("dpo", "candidate", "", ""), Drawn("dpo", asked, ours)),
        "sft": Entry(Contestant("sft", "baseline", "", ""), Drawn("sft", asked, theirs)),
    }
    pen: Any = None  # nothing is drawn
    field = Field(pen, Means(judge=Marked()), None)
    (found,) = matches(field, entries, Heldout(asked, (), "simulated"))
    return found.verdict


def quickly(prompts: int, win: float, seed: int) -> str:
    """The same by the interval and the verdict alone."""
    found, _ = win_rate(prompts, win)(np.random.default_rng([8, seed]))
    return verdict(found, null=0.5)


def power(prompts: int, win: float) -> float:
    """Chance that a true win rate is found, by the formula that `detectable` rests on."""
    z = NormalDist()
    away = abs(win - 0.5) * prompts**0.5 - z.inv_cdf(0.975) * 0.5
    return z.cdf(away / (win * (1 - win)) ** 0.5)


def verdicts(
    prompts: int, win: float, runs: int, how: Callable[[int, float, int], str]
) -> dict[str, int]:
    """Verdict -> how often."""
    found = [how(prompts, win, seed) for seed in range(runs)]
    return {word: found.count(word) for word in ("better", "worse", "indistinguishable")}


# -- as a table


def table(runs: int) -> Iterator[str]:
    yield f"{'interval of 95%':44}{'runs':>6}{'held':>22}{'below':>8}{'above':>8}{'width':>8}"
    for case in CASES:
        found = cover(case, max(50, runs // 10) if case.slow else runs)
        misses = f"{found.below / found.runs:8.1%}{found.above / found.runs:8.1%}"
        held = f"{found.share.value:.1%} [{found.share.low:.1%}, {found.share.high:.1%}]"
        yield f"{case.name:44}{found.runs:6}{held:>22}{misses}{found.width:8.3f}"
    yield ""
    yield f"{'verdict on 400 prompts':44}{'runs':>6}{'better':>10}{'worse':>10}{'neither':>10}"
    for name, win in (("random labels, truth 50%", 0.5), ("planted 10 points, truth 60%", 0.6)):
        for count, how in ((SEEDS, decided), (runs, quickly)):
            said = verdicts(400, win, count, how)
            cells = "".join(f"{times / count:10.1%}" for times in said.values())
            yield f"{name:44}{count:6}{cells}"
    yield f"the formula's power at 60% of 400 prompts: {power(400, 0.6):.1%}"


# -- real policies


def policies(out: Path, demo: Path, seeds: int) -> Iterator[str]:
    """Train, evaluate and note down; what is noted is not done again."""
    notes = out / "policies.jsonl"
    known = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    done = {(each["seed"], each["random"]) for each in known}
    for seed in range(seeds):
        for random in (True, False):
            if (seed, random) not in done:
                row = _one_policy(out, demo, seed, random=random)
                out.mkdir(parents=True, exist_ok=True)
                with notes.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                known.append(row)
                yield json.dumps(row)
    for random, name in ((True, "random labels"), (False, "true labels")):
        said = [each["verdict"] for each in known if each["random"] == random]
        yield f"{name}: " + ", ".join(f"{said.count(word)} {word}" for word in sorted(set(said)))


def _one_policy(out: Path, demo: Path, seed: int, *, random: bool) -> dict[str, Any]:
    """The demo's DPO with this seed, against its SFT model, by the demo's taste."""
    from palate import api
    from palate.config import DpoConfig, EvaluateOptions
    from palate.demo.judge import DemoJudge
    from palate.evaluation.evaluate import evaluate
    from palate.train.events import silent

    run = out / f"{'random' if random else 'true'}-{seed}"
    api.dpo(
        DpoConfig(
            model=str(demo / "sft"),
            data=str(demo / "data" / "pairs.jsonl"),
            out=run,
            lr=8e-4,
            seed=seed,
            random_labels=random,
        )
    )
    options = EvaluateOptions(
        prompts=str(demo / "data" / "unseen.jsonl"), n=1, seed=seed, max_new_tokens=96
    )
    done = evaluate([str(run)], options, Means(judge=DemoJudge()), silent)
    (found,) = [each for each in done.record.wins if each.theirs == "sft" and each.ours == run.name]
    raw = {"value": found.raw.value, "low": found.raw.low, "high": found.raw.high}
    return {"seed": seed, "random": random, "verdict": found.verdict, **raw, "ties": found.ties}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=4000, help="per interval; a tenth if it is slow"
    )
    parser.add_argument("--policies", type=Path, help="train real ones into this folder instead")
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="a finished demo")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    asked = parser.parse_args(words)
    lines = table(asked.runs)
    if asked.policies is not None:
        lines = policies(asked.policies, asked.demo, asked.seeds)
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
