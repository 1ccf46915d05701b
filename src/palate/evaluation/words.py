"""The evaluation in words: one sentence first, then what it means, then what to do.

Nothing is claimed that an interval does not hold: where it covers no difference the word is
"indistinguishable", and what this many prompts could have shown stands beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from palate.stats import Interval, Verdict, verdict
from palate.study.checks.words import percent, plural
from palate.study.evaluated import Accuracy, HeldOut, Named, Person, Regression, WinRate
from palate.study.tally import detectable

MANY_LOOKS: Final = 5  # from here on the number of looks is said aloud; our default


@dataclass(frozen=True, slots=True)
class Told:
    """What was found, as far as it is put into words."""

    models: Sequence[Named]
    heldout: HeldOut
    wins: Sequence[WinRate] = ()
    accuracy: Sequence[Accuracy] = ()
    regression: Sequence[Regression] = ()
    person: Person | None = None
    control: Verdict | None = None
    reward: str | None = None
    paid: bool = False  # the candidate was trained by that reward

    @property
    def candidate(self) -> Named:
        return next(each for each in self.models if each.role == "candidate")

    @property
    def baseline(self) -> Named | None:
        return next((each for each in self.models if each.role == "baseline"), None)

    @property
    def main(self) -> WinRate | None:
        """Candidate against baseline, by the best judge there is: a person, one that is trusted."""
        if self.baseline is None:
            return None
        found = [
            each
            for each in self.wins
            if (each.ours, each.theirs) == (self.candidate.name, self.baseline.name)
        ]
        ranked = sorted(found, key=lambda each: (each.kind != "person", not each.trusted))
        return ranked[0] if ranked else None


def headline(told: Told) -> tuple[str, Verdict | None]:
    """One sentence with its interval, and its verdict; None for a judge that is not trusted."""
    main = told.main
    if told.person is not None and (main is None or main.kind != "person"):
        return _agrees(told.person, told.candidate.name)
    if main is not None:
        return _wins(main, told.heldout.prompts), main.verdict if main.trusted else None
    return _ranks(told)


def _agrees(person: Person, name: str) -> tuple[str, Verdict]:
    found = verdict(person.agrees, null=0.5)
    itself = "how often you agree with yourself is not known: nothing was asked twice"
    if person.itself is not None:
        itself = f"you agree with yourself on {person.itself.percent()}"
    says = f"{name} agrees with you on {_of(person.agrees)} held-out verdicts"
    if found == "indistinguishable":
        says += ", which is indistinguishable from a coin"
    elif found == "worse":
        says += ", which is worse than a coin"
    return f"{says}; {itself}.", found


def _wins(found: WinRate, prompts: int) -> str:
    about = f"{plural(found.ties, 'tie')}, half a win each" if found.ties else "no ties"
    about += "" if found.kind == "person" else f"; judge: {found.judge}"
    rate = f"{_sharply(found.raw)} of {_compared(found, prompts)} ({about})"
    if not found.trusted:
        return (
            f"No finding: {found.judge} contradicts itself when the answers change places"
            f" (consistent in {_percents(found.consistency)}); by it {found.ours} wins {rate}."
        )
    if found.verdict == "indistinguishable":
        alike = f"{found.ours} is indistinguishable from {found.theirs}{_by(found)}"
        return f"{alike}: it wins {rate}."
    verb = "beats" if found.verdict == "better" else "loses to"
    return f"{found.ours} {verb} {found.theirs}{_by(found)}: it wins {rate}."


def _by(found: WinRate) -> str:
    return " by your blind verdicts" if found.kind == "person" else ""


def _compared(found: WinRate, prompts: int) -> str:
    count = found.wins + found.losses + found.ties
    if count <= prompts:
        return plural(count, "held-out prompt")
    return f"{plural(count, 'comparison')} on {plural(prompts, 'held-out prompt')}"


def _ranks(told: Told) -> tuple[str, Verdict | None]:
    """No text was compared: all there is to say is how pairs are ranked."""
    found = next((each for each in told.accuracy if each.model == told.candidate.name), None)
    if found is None:
        return f"{told.candidate.name} was measured, and compared with nothing.", None
    rate = found.implicit or found.ranking
    by = "implicit reward" if found.implicit else "log-prob"
    says = f"{told.candidate.name} ranks {_of(rate)} held-out pairs as their verdicts do, by {by}"
    if found.verdict == "indistinguishable":
        says += ": indistinguishable from a coin"
    return (
        f"{says}. No text was judged, so whether its texts are better is not known.",
        found.verdict,
    )


# -- in plain words


def in_plain_words(told: Told) -> tuple[str, ...]:
    """Sentences, the most important first."""
    parts = (
        *_meaning(told),
        *_length(told),
        *_steps(told),
        *_paid(told),
        *_untrained(told),
        *_control(told),
        *_cost(told),
        *_looks(told),
    )
    return tuple(parts)


def _meaning(told: Told) -> Iterator[str]:
    main, person = told.main, told.person
    if main is not None and main.trusted:
        if main.verdict == "indistinguishable":
            yield (
                "On this evidence nobody can say which of the two writes better for you: a fair"
                " coin would often look like this."
            )
        else:
            low, high = (main.raw.low, main.raw.high)
            yield (
                f"Shown both texts for 100 new prompts of this kind, this judge would take"
                f" {main.ours}'s about {low * 100:.0f} to {high * 100:.0f} times."
            )
    if person is not None and person.itself is not None:
        near = person.agrees.high >= person.itself.low
        yield (
            "That is as far as your verdicts can teach: you agree with yourself no more often."
            if near
            else "There is room: you agree with yourself more often than it agrees with you."
        )
    yield from _power(told)


def _power(told: Told) -> Iterator[str]:
    least = told.heldout.detectable
    if told.main is None:
        return
    if least is None:
        few = plural(told.heldout.prompts, "prompt")
        yield f"{few}: too few to show anything but a landslide."
        return
    yield (
        f"{plural(told.heldout.prompts, 'prompt')} can show a true win rate of {percent(least)} or"
        " more (four times in five); a smaller gain would most likely go unseen."
    )


def _length(told: Told) -> Iterator[str]:
    main = told.main
    if main is None or main.controlled is None:
        return
    rate = main.controlled.percent()
    if main.controlled_verdict == main.verdict:
        yield f"At equal length it wins {rate}: length is not what decided."
    elif main.controlled_verdict == "indistinguishable":
        yield f"At equal length it wins {rate}, which is indistinguishable: length did much of it."
    else:
        yield f"At equal length it wins {rate}: {main.controlled_verdict}, unlike the raw rate."


def _steps(told: Told) -> Iterator[str]:
    """What the stage before reached already, in points."""
    reached = reaches(told)
    if reached:
        yield reached


def reaches(told: Told) -> str | None:
    """`sft alone already reaches 3.5 of 5.6 points; dpo adds 2.1 [1.5, 2.6].`"""
    mine, theirs = told.candidate, told.baseline
    if theirs is None or mine.points is None or theirs.points is None or mine.gain is None:
        return None
    known = verdict(mine.gain, null=0.0)
    value = f"{_signed(mine.gain.value)} [{_signed(mine.gain.low)}, {_signed(mine.gain.high)}]"
    tail = {
        "better": f"{mine.name} adds {value}",
        "worse": f"{mine.name} takes away: {value}",
        "indistinguishable": f"what {mine.name} adds is indistinguishable from nothing: {value}",
    }[known]
    return (
        f"{theirs.name} alone already reaches {_number(theirs.points.value)} of"
        f" {_number(mine.points.value)} points; {tail}."
    )


def _untrained(told: Told) -> Iterator[str]:
    """Baselines that need no training and are as good."""
    for found in told.wins:
        role = _role(told, found.theirs)
        if found.ours != told.candidate.name or role not in ("prompted", "best-of-n"):
            continue
        if found.verdict == "better":
            continue
        state = "is indistinguishable from" if found.verdict == "indistinguishable" else "beats"
        asks = "no training" if role == "prompted" else "no training, but several draws per prompt"
        yield f"{found.theirs} {state} {found.ours} and needs {asks}."


def _paid(told: Told) -> Iterator[str]:
    if told.paid:
        yield (
            f"{told.candidate.name} was trained by {told.reward}, which measures it here: that it"
            " gained says nothing of what that reward leaves out."
        )


def _role(told: Told, name: str) -> str:
    return next(each.role for each in told.models if each.name == name)


def _control(told: Told) -> Iterator[str]:
    name = next((each.name for each in told.models if each.role == "control"), "the control")
    if told.control == "indistinguishable":
        yield f"{name}, the same recipe on random labels, is indistinguishable, as it should be."
    elif told.control == "better":
        yield (
            f"{name}, the same recipe on random labels, wins as well: the gain does not come from"
            " your verdicts, or this evaluation is broken."
        )
    elif told.control == "worse":
        yield f"{name}, the same recipe on random labels, loses: training on noise does harm here."


def _cost(told: Told) -> Iterator[str]:
    for each in told.regression:
        if each.model == told.candidate.name and each.verdict == "worse" and each.change:
            yield (
                f"It forgot some of what was imitated: {_signed(each.change.value)} nats per token"
                " on examples that no stage trained on."
            )


def _looks(told: Told) -> Iterator[str]:
    if told.heldout.looks >= MANY_LOOKS:
        yield (
            f"These held-out rows have been looked at {told.heldout.looks} times: whatever was"
            " chosen by them looks better on them than it is."
        )


# -- what to do


def advice(told: Told, found: Verdict | None) -> str | None:
    """What to do next, if that can be said."""
    name = told.candidate.name
    theirs = told.baseline.name if told.baseline else "what it started from"
    reached = reaches(told)
    if found == "worse" and told.main is not None:
        return f"Keep {theirs}: {name} is worse."
    if found == "indistinguishable":
        if told.main is None:
            return "Judge more pairs before training on: nothing is shown to be learnt yet."
        first = f"{reached} " if reached else ""
        least = detectable(told.heldout.prompts)
        gain = f" (these can show {percent(least)})" if least else ""
        return (
            f"{first}Stop here and keep {theirs}, or measure on more prompts{gain} before more"
            " training."
        )
    if found == "better" and told.control == "better":
        return "Do not use this result yet: random labels win too."
    return None


# -- figures


def _of(rate: Interval) -> str:
    """`40 of 50 (80% [67%, 89%])`; halves are shown as such."""
    hits = round(rate.value * rate.count * 2) / 2
    return f"{hits:g} of {rate.count} ({rate.percent()})"


def _sharply(rate: Interval) -> str:
    """A bound that only rounding brings to a half keeps a digit: it decides the verdict."""
    low, high = (
        f"{bound:.1%}" if f"{bound:.0%}" == "50%" and bound != 0.5 else f"{bound:.0%}"
        for bound in (rate.low, rate.high)
    )
    return f"{rate.value:.0%} [{low}, {high}]"


def _percents(rate: Interval | None) -> str:
    return "an unknown share" if rate is None else rate.percent()


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "\N{MINUS SIGN}")
