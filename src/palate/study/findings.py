"""What the figures of a run mean: one rule per trouble, each with its bound and who says so.

Pure functions of what `study/diagnose` measured; nothing here loads or computes anything.  A rule
always gives its finding, so that what was looked at and is fine can be told as well.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from palate.stats import Interval

OURS = "our default"
EASY = 0.95  # of the pairs met in the first twentieth of the steps
FLAT = 0.05  # margin, beta times nats
LEARNT_BY_HEART = 0.75  # of the training pairs, when they are met again
GAP = 0.05  # nats
HAIRLINE = 0.8  # of the tokens are the same on both sides
FALL = 0.05  # nats per token
COLLAPSE = 1.0  # nats per token
STRANGER = 0.5  # nats per token that the texts became less likely to the start
REPEATS = 0.1  # share of four-token runs that a text has said before
ENDINGS = 0.2  # share of texts that end by themselves
LONGER = 1.15
LEANING = 0.65  # of the pairs have the longer text as chosen
FOLLOWS = 0.5  # correlation
WORSE = 0.05  # of the best held-out loss


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The held-out split after `step`, as the run wrote it down."""

    step: int
    loss: float
    accuracy: Interval | None
    margin: float | None
    chosen_change: float | None
    rejected_change: float | None


@dataclass(frozen=True, slots=True)
class Curves:
    """What a run wrote down while it trained.

    `first`: accuracy of the pairs met in steps 2 to `first_until`.  `last`, `last_margin`: of those
    met in the last fifth of the steps, which is a second meeting if `met_again`.
    """

    steps: int
    best_step: int
    lr: float
    beta: float | None
    objective: str
    evaluations: tuple[Evaluated, ...]
    spikes: tuple[int, ...]
    chosen_longer: Interval | None
    chosen_tokens: float
    first: Interval | None
    first_until: int
    last: Interval | None
    last_margin: float | None
    met_again: bool


@dataclass(frozen=True, slots=True)
class Texts:
    """What a model writes for held-out prompts, one seeded text each.

    `surprise`: nats per token under the model that the run started from.
    """

    length: Interval
    ended: Interval
    repetition: Interval
    surprise: Interval


@dataclass(frozen=True, slots=True)
class Mass:
    """Means over chosen's tokens: entropy (nats), the likeliest token's probability, the end's."""

    entropy: float
    top: float
    end: float | None


@dataclass(frozen=True, slots=True)
class Live:
    """The start and the final weights on the same held-out pairs and prompts.

    Changes are nats per token against the start.  `held_out` is False where the run held nothing
    out, and training pairs were looked at.  `drift`: the texts' divergence from the start (KL), in
    nats per token.  `fell_most`: rows whose chosen side fell furthest.
    """

    pairs: int
    prompts: int
    held_out: bool
    chosen: Interval
    rejected: Interval
    accuracy: Interval
    margin: Interval
    alike: float
    follows_length: Interval | None
    start: Mass
    final: Mass
    start_texts: Texts
    final_texts: Texts
    stranger: Interval
    longer: Interval
    drift: Interval
    fell_most: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.  `todo` is empty where it is fine."""

    name: str
    is_bad: bool
    measured: str
    bound: str
    source: str
    todo: str = ""
    verdict: str = ""


Rule = Callable[[Curves, Live | None], Finding | None]


def findings(curves: Curves, live: Live | None) -> tuple[Finding, ...]:
    """Every rule that has its figures; the gravest trouble first, then what is fine."""
    told = (finding for rule in RULES if (finding := rule(curves, live)) is not None)
    found = [replace(f, measured=_minus(f.measured), verdict=_minus(f.verdict)) for f in told]
    return tuple(sorted(found, key=lambda finding: not finding.is_bad))


def verdict(found: tuple[Finding, ...]) -> str:
    """One word for the run: the name of its gravest trouble, or `healthy`."""
    return next((finding.name for finding in found if finding.is_bad), "healthy")


# -- rules, gravest first


def mismatch(curves: Curves, live: Live | None) -> Finding | None:
    first = next((e for e in curves.evaluations if e.step == 0), None)
    if first is None or first.chosen_change is None or first.rejected_change is None:
        return None
    gap = max(abs(first.chosen_change), abs(first.rejected_change))
    return Finding(
        "reference mismatch",
        gap > GAP,
        f"{gap:.2g} nats between model and reference before the first step",
        f"above {GAP}; by definition it is 0",
        OURS,
        "train again with another --out: the reference is not the model it started from",
        f"the reference is not the model that the run started from ({gap:.2g} nats apart)",
    )


def displaced(curves: Curves, live: Live | None) -> Finding | None:
    if live is None:
        return None
    both_fall = live.chosen.high < -FALL and live.rejected.high < 0
    worse = degraded(live)
    shown = f"chosen {_nats(live.chosen)}, rejected {_nats(live.rejected)} nats a token; texts: "
    shown += ", ".join(worse) or "as before"
    chosen, rejected = fall_at_the_end(curves)
    if curves.best_step < curves.steps:
        shown += f"; at the last step chosen {chosen:+.2g}, rejected {rejected:+.2g}"
    if live.alike > HAIRLINE:
        shown += f"; the two sides of a pair share {live.alike:.0%} of their tokens"
    return Finding(
        "displaced",
        (both_fall and bool(worse)) or max(chosen, rejected) < -COLLAPSE,
        shown,
        f"chosen falls by more than {FALL} nats a token and the texts degrade (surprise "
        f"+{STRANGER}, repetition +{REPEATS:.0%}, endings −{ENDINGS:.0%}), or both sides by "
        f"{COLLAPSE:g} at the last step",
        f"Razin et al. 2024, Pal et al. 2024; bounds {OURS}",
        f"--lr {_rate(curves.lr / 4)}, or --objective dpop, or --sft-weight 1, or a larger --beta; "
        "pairs that differ in more than a few tokens",
        f"chosen ({live.chosen.value:+.2f} nats a token) and rejected ({live.rejected.value:+.2f}) "
        f"fell, and the texts degrade: {', '.join(worse) or 'by the last step'}",
    )


def fall_at_the_end(curves: Curves) -> tuple[float, float]:
    """What chosen and rejected lost by the last evaluation, nats per token of a usual answer."""
    end = curves.evaluations[-1] if curves.evaluations else None
    if end is None or end.chosen_change is None or end.rejected_change is None:
        return 0.0, 0.0
    tokens = max(curves.chosen_tokens, 1.0)
    return end.chosen_change / tokens, end.rejected_change / tokens


def degraded(live: Live) -> list[str]:
    """In what way the texts are worse than the start's own."""
    before, after = live.start_texts, live.final_texts
    found = []
    if live.stranger.value > STRANGER and live.stranger.low > 0:
        found.append(f"{live.stranger.value:.2g} nats a token stranger to the start")
    if after.repetition.value - before.repetition.value > REPEATS:
        found.append(f"repetition {before.repetition.percent()} → {after.repetition.percent()}")
    if before.ended.value - after.ended.value > ENDINGS:
        found.append(f"ended {before.ended.percent()} → {after.ended.percent()}")
    return found


def random_labels(curves: Curves, live: Live | None) -> Finding | None:
    end = curves.evaluations[-1] if curves.evaluations else None
    if end is None or end.accuracy is None or curves.last is None or not curves.met_again:
        return None
    by_heart = curves.last.low > LEARNT_BY_HEART
    looked = [e.accuracy for e in curves.evaluations if e.step in (curves.best_step, end.step)]
    coin = all(a is not None and a.low <= 0.5 and a.value < 0.65 for a in looked)
    return Finding(
        "random labels",
        by_heart and coin,
        f"accuracy {curves.last.percent()} on pairs met again, {end.accuracy.percent()} held out",
        f"met again above {LEARNT_BY_HEART:.0%}, and held out no better than a coin, at the step "
        "that was kept and at the last",
        OURS,
        "judge some pairs again: these verdicts follow no rule that carries over to other prompts",
        f"it learnt its pairs by heart ({curves.last.value:.0%} right when met again), and held "
        f"out it is no better than a coin ({end.accuracy.percent()})",
    )


def length(curves: Curves, live: Live | None) -> Finding | None:
    if live is None or curves.chosen_longer is None:
        return None
    leans = curves.chosen_longer.low > LEANING
    grows = live.longer.value > LONGER and live.longer.low > 1
    r = live.follows_length
    follows = r is not None and r.value > FOLLOWS and r.low > 0
    shown = (
        f"chosen is longer in {curves.chosen_longer.percent()} of the pairs; texts × {live.longer}"
    )
    if r is not None:
        shown += f"; margin follows the length difference with r = {r}"
    return Finding(
        "length-biased",
        leans and (grows or follows),
        shown,
        f"longer chosen in over {LEANING:.0%}, and texts × {LONGER} or r above {FOLLOWS}",
        f"Park et al. 2024; bounds {OURS}",
        "--objective ld_dpo or r_dpo, or pairs of equal length",
        f"it learnt length: chosen is longer in {curves.chosen_longer.value:.0%} of the pairs, and "
        + (f"texts are {live.longer.value:.2f} times as long" if grows else "the margin follows")
        + ("" if r is None or grows else f" (r = {r.value:.2f})"),
    )


def too_easy(curves: Curves, live: Live | None) -> Finding | None:
    if curves.first is None:
        return None
    return Finding(
        "too easy",
        curves.first.value > EASY,
        f"accuracy {curves.first.percent()} by step {curves.first_until} of {curves.steps}",
        f"above {EASY:.0%} in the first twentieth of the steps",
        f"TRL issue 2003; bound {OURS}",
        "pairs whose rejected side is a near miss: two texts of this model, the better one chosen",
        f"the pairs are told apart at once ({curves.first.value:.0%} right by step "
        f"{curves.first_until} of {curves.steps}), so they teach little",
    )


def no_learning(curves: Curves, live: Live | None) -> Finding | None:
    end = curves.evaluations[-1] if curves.evaluations else None
    margin = live.margin.value if live is not None and curves.best_step else None
    margin = end.margin if end is not None and end.margin is not None else margin
    if margin is None:
        return None
    flat = margin < FLAT and (curves.last_margin is None or curves.last_margin < FLAT)
    met = "" if curves.last_margin is None else f", {curves.last_margin:.2g} on the pairs met last"
    return Finding(
        "no learning",
        flat,
        f"margin {margin:.2g} held out{met}, after {curves.steps} steps at {_rate(curves.lr)}",
        f"below {FLAT} on both: the weights are where they were",
        OURS,
        f"--lr {_rate(curves.lr * 4)}, more --epochs, or a larger --beta if the rate is high",
        f"the held-out margin has hardly moved ({margin:.2g}): the rate is too low, or beta is",
    )


def overfit(curves: Curves, live: Live | None) -> Finding | None:
    if len(curves.evaluations) < 3:
        return None
    best, end = min(curves.evaluations, key=lambda e: e.loss), curves.evaluations[-1]
    rise = (end.loss - best.loss) / max(abs(best.loss), 1e-9)
    grows = curves.last_margin is None or curves.last_margin > (end.margin or 0.0)
    return Finding(
        "overfit",
        rise > WORSE and grows,
        f"held-out loss {best.loss:.3g} at step {best.step}, {end.loss:.3g} at {end.step}",
        f"more than {WORSE:.0%} above its best while the training margin grows",
        OURS,
        f"fewer --epochs or a lower --lr (final/ holds step {curves.best_step} already)",
        f"held-out loss rose from {best.loss:.3g} to {end.loss:.3g} after step {best.step}",
    )


def spiking(curves: Curves, live: Live | None) -> Finding | None:
    count = len(curves.spikes)
    named = ", ".join(map(str, curves.spikes[:5])) + (" ..." if count > 5 else "")
    return Finding(
        "loss spikes",
        count > max(1, curves.steps // 100),
        f"{count} spikes" + (f", at steps {named}" if count else ""),
        "a step's loss above 1.5 times, and 6 deviations over, its neighbours on either side",
        OURS,
        f"--lr {_rate(curves.lr / 2)} or a longer --warmup; look at the rows of these steps",
        f"the loss spikes at {count} steps",
    )


RULES: tuple[Rule, ...] = (
    mismatch,
    random_labels,
    displaced,
    length,
    too_easy,
    no_learning,
    overfit,
    spiking,
)


# -- in words


def chosen_question(live: Live) -> str:
    """My chosen log-prob goes down, is that normal?  One sentence with figures."""
    figures = f"chosen {_nats(live.chosen)} and rejected {_nats(live.rejected)} nats per token"
    texts = _minus(
        f"repetition {live.start_texts.repetition.value:.0%} → "
        f"{live.final_texts.repetition.value:.0%}, "
        f"{live.stranger.value:+.2f} nats a token of surprise to the start"
    )
    worse = degraded(live)
    if live.chosen.high >= 0:
        how = "went up" if live.chosen.low > 0 else "did not clearly fall"
        return f"chosen's log-prob {how} here: {figures}."
    if worse:
        what = ", ".join(worse)
        return f"no, this fall of chosen is not normal: {figures}, and the texts degrade: {what}."
    return (
        f"yes, it is normal that chosen falls here: {figures}; the objective asks only for the gap "
        f"between them, and the texts are as before ({texts})."
    )


def as_json(found: tuple[Finding, ...]) -> list[dict[str, Any]]:
    """The findings as `palate diagnose --json` prints them."""
    return [
        {
            "name": finding.name,
            "bad": finding.is_bad,
            "measured": finding.measured,
            "threshold": finding.bound,
            "source": finding.source,
            "do": finding.todo if finding.is_bad else None,
        }
        for finding in found
    ]


def _nats(interval: Interval) -> str:
    return _minus(f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]")


def _rate(value: float) -> str:
    """`5.0e-4`"""
    return f"{value:.1e}".replace("e-0", "e-")


def _minus(text: str) -> str:
    """Real minus signs before figures; an exponent is to be typed and stays as it is."""
    return re.sub(r"(?<![\de])-(?=\.?\d)", "\N{MINUS SIGN}", text)
