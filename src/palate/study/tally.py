"""What a judge's verdicts amount to: how many, how sure, how one-sided, and what they can show.

Pure over the judgements that stand.  Every rate has its interval; what is too little to tell is
None and is said in words.  One judge at a time: nobody's verdicts are mixed with another's here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from statistics import NormalDist
from typing import Any, Final, Literal

from palate.data.judged import SECOND_LOOKS, Answer, Judgement, Mode, Side
from palate.stats import Interval, share
from palate.study import orders
from palate.study.checks.reasks import FEWEST, ceilings
from palate.study.checks.words import listed, percent, plural

CAP_MS: Final = 120_000  # a longer pause is no judging
SEEN_SIDES: Final[frozenset[Mode]] = frozenset({"pair", "rank", "audit", "resolve", "recheck"})
WIN_RATES: Final = (0.55, 0.60, 0.65, 0.70)
POWER: Final = 0.80
TOP: Final = 5


@dataclass(frozen=True, slots=True)
class Reask:
    """The same two answers judged twice by one judge, and the answer chosen each time, if any."""

    first: Judgement
    second: Judgement
    before: str | None
    after: str | None

    @property
    def decided(self) -> bool:
        """Whether an answer was chosen both times; ties, both bad and skips have no side."""
        return self.before is not None and self.after is not None

    @property
    def agrees(self) -> bool:
        """Whether the same answer was chosen both times."""
        return self.decided and self.before == self.after


@dataclass(frozen=True, slots=True)
class Tally:
    """The figures of the end card.

    `judgements` holds every verdict but skips; `pairs` those that an export would hold, `heldout`
    those of them on held-out prompts.  `agreement` leaves out re-asks with a tie (`undecided` of
    them).  `left` has a 99% interval, every other rate one of 95%.  `ceiling` is the accuracy of
    one judgement that the re-asks imply, `noise` the rest; None under 20 re-asks.  `paused`: a
    verdict took longer than counts.
    """

    judgements: int
    pairs: int
    heldout: int
    minutes: float
    ties: int
    both_bad: int
    skipped: int
    fast: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    agreement: Interval | None = None
    undecided: int = 0
    paused: bool = False
    left: Interval | None = None
    ceiling: Interval | None = None
    noise: Interval | None = None

    @property
    def leaning(self) -> Side | None:
        """The side of the screen that wins by itself: the 99% interval leaves out one half."""
        if self.left is None or self.left.low <= 0.5 <= self.left.high:
            return None
        return "left" if self.left.value > 0.5 else "right"


def tally(judgements: Sequence[Judgement]) -> Tally:
    """Count the verdicts of one judge, as they stand."""
    counts = Counter(each.verdict for each in judgements)
    pairs = [each for each in settled(judgements) if each.chosen is not None]
    again = reasks(judgements)
    decided = [each for each in again if each.decided]
    rate = _rate(sum(each.agrees for each in decided), len(decided))
    right = ceilings(rate) if rate is not None and rate.count >= FEWEST else None
    sides = [each.verdict for each in judgements if each.of.mode in SEEN_SIDES and each.chosen]
    return Tally(
        judgements=len(judgements) - counts["skip"],
        pairs=len(pairs),
        heldout=sum(each.of.prompt.split == "heldout" for each in pairs),
        minutes=sum(min(max(each.ms, 0), CAP_MS) for each in judgements) / 60_000,
        ties=counts["tie"],
        both_bad=counts["both_bad"],
        skipped=counts["skip"],
        fast=sum(each.fast for each in judgements),
        reasons=by_tag(judgements),
        agreement=rate,
        undecided=len(again) - len(decided),
        paused=any(each.ms > CAP_MS for each in judgements),
        left=share99(sides.count("left"), len(sides)) if sides else None,
        ceiling=right,
        noise=_rest(right),
    )


def settled(judgements: Sequence[Judgement]) -> list[Judgement]:
    """The verdicts that count, in order: no skips, re-asks or audits.  The export holds these.

    Of several on the same two answers the last one counts, a second look above all; those of a file
    stand as they are.  Several judges' verdicts are settled each by itself.
    """
    said = [each for each in judgements if each.verdict != "skip"]
    second = {_couple(each): each for each in said if each.of.mode in SECOND_LOOKS}
    kept: dict[object, Judgement] = {}
    for each in said:
        key = _couple(each)
        if key in second:
            kept[key] = second[key]
        elif each.of.mode != "audit" and not each.of.is_reask:
            kept[each.id if each.of.mode == "import" else key] = each
    place = {each.id: number for number, each in enumerate(judgements)}
    return sorted(kept.values(), key=lambda each: place[each.id])


def _couple(judgement: Judgement) -> tuple[str, frozenset[str]]:
    return judgement.of.judge, judgement.of.couple


def reasks(judgements: Sequence[Judgement]) -> list[Reask]:
    """Every re-ask whose earlier verdict is by the same judge and still stands; skips are none."""
    known = {each.of.id: each for each in judgements}
    found = []
    for each in judgements:
        first = known.get(each.of.again or "") if each.of.is_reask else None
        if first is None or first.of.judge != each.of.judge or first.of.couple != each.of.couple:
            continue
        if "skip" not in (first.verdict, each.verdict):
            found.append(Reask(first, each, _named(orders.as_said(first)), _named(each.chosen)))
    return found


def by_tag(judgements: Sequence[Judgement]) -> dict[str, int]:
    """In how many pairs each tag says why, re-asks left out: the most frequent first, then by name.

    Tags of a tie, or of two bad answers, are no reason for a choice.
    """
    chosen = [each for each in judgements if each.chosen is not None and not each.of.is_reask]
    counts = Counter(tag for each in chosen for tag in set(each.tags))
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def _named(answer: Answer | None) -> str | None:
    return None if answer is None else answer.id


def _rate(hits: int, count: int) -> Interval | None:
    return share(hits, count) if count else None


def _rest(right: Interval | None) -> Interval | None:
    if right is None:
        return None
    return Interval(1 - right.value, 1 - right.high, 1 - right.low, right.count)


def share99(hits: int, count: int) -> Interval:
    """Wilson's interval at 99%, for a question that is asked of everybody."""
    return share(hits, count, level=0.99)


# -- enough for what


def needed(rate: float, *, power: float = POWER) -> int:
    """Comparisons that show a true win rate against 50%, two-sided at 5%, with this power.

    n = ((z₀.₉₇₅ · ½ + z_power · √(p(1−p))) / (p − ½))², a normal approximation.

    Raises ValueError for a rate that is not between one half and one.
    """
    if not 0.5 < rate < 1:
        raise ValueError("a win rate above one half, and below one")
    z = NormalDist().inv_cdf
    doubt = z(0.975) * 0.5 + z(power) * sqrt(rate * (1 - rate))
    return ceil((doubt / (rate - 0.5)) ** 2)


def detectable(count: int) -> float | None:
    """The least true win rate, in whole percents, that `count` comparisons show.

    None under 20, where the approximation says nothing.
    """
    if count < FEWEST:
        return None
    return next((n / 100 for n in range(51, 100) if needed(n / 100) <= count), None)


# -- in words


Who = Literal["you", "they", "it"]
SAYS: Final[Mapping[Who, str]] = {"you": "You say", "they": "They say", "it": "It says"}


def sentences(found: Tally, who: Who = "you") -> list[str]:
    """The card in words, the most important first; a judge that is no person is "it".

    To the judge, "you"; of a person to others, "they".
    """
    if not found.judgements:
        return ["Nothing is judged yet."]
    told = [_amount(found), agreed(found, who), _noisy(found), _sided(found), _apart(found)]
    return [each for each in (*told, _why(found, who), _enough(found)) if each]


def _amount(found: Tally) -> str:
    took = ""
    if found.minutes:
        minutes = "under a minute" if found.minutes < 1 else plural(round(found.minutes), "minute")
        took = f" in {minutes}"
        took += (
            " (pauses left out: a verdict counts for two minutes at most)" if found.paused else ""
        )
    return f"{plural(found.pairs, 'pair')} from {plural(found.judgements, 'judgement')}{took}."


def agreed(found: Tally, who: Who = "you") -> str:
    """How often the same answer was chosen again."""
    left_out = (
        f" {plural(found.undecided, 'more')} had a tie, which counts neither way."
        if found.undecided
        else ""
    )
    if found.agreement is None:
        sure = f"{who} {'is' if who == 'it' else 'are'}"
        told = f"No pair was asked twice yet, so nothing is known of how sure {sure}"
        return f"{told} (at the page re-asks begin after 30 pairs and ten minutes).{left_out}"
    rate = found.agreement
    hits = round(rate.value * rate.count)
    told = f"{who.capitalize()} chose the same answer again in {hits} of {rate.count} re-asks"
    return f"{told} ({_with(rate)}).{left_out}"


def _noisy(found: Tally) -> str:
    if found.agreement is None:
        return ""
    if found.ceiling is None or found.noise is None:
        told = f"{plural(found.agreement.count, 're-ask')} can not tell how noisy the labels are"
        return f"{told} (from {FEWEST} on)."
    if found.ceiling.value <= 0.5:
        return "Re-asks agree no better than a coin: smoothing mends nothing."
    return (
        f"So about {percent(found.noise.value)} of the labels are wrong ({_band(found.noise)}), no "
        f"model can score more than about {percent(found.ceiling.value)} on them, and palate dpo "
        f"--label-smoothing {found.noise.value:.2f} takes that into account."
    )


def _sided(found: Tally) -> str:
    if found.left is None:
        return ""
    hits = round(found.left.value * found.left.count)
    told = f"The left answer won {hits} of {found.left.count} ({_with(found.left)}, 99% interval)"
    if found.leaning is None:
        return f"{told}: no side of the screen wins by itself, as far as that tells."
    return f"{told}: the {found.leaning} side of the screen wins, not only the better text."


def _apart(found: Tally) -> str:
    """What is no pair, and what was quick."""
    named = {
        plural(found.ties, "tie"): found.ties,
        f"{found.both_bad} both bad": found.both_bad,
        plural(found.skipped, "skip"): found.skipped,
    }
    parts = [text for text, count in named.items() if count]
    told = f"{listed(parts)}: kept, and no pairs." if parts else ""
    quick = plural(found.fast, "verdict")
    return f"{told} {quick} came in under 1.5 seconds.".strip() if found.fast else told


def _why(found: Tally, who: Who) -> str:
    if not found.reasons:
        return "No reason was given."
    top = list(found.reasons.items())
    more = f", and {len(top) - TOP} more" if len(top) > TOP else ""
    return f"{SAYS[who]}: " + ", ".join(f"{tag} {count}" for tag, count in top[:TOP]) + more + "."


def _enough(found: Tally) -> str:
    """What as many held-out comparisons as there are now would show, and what more it takes."""
    enough = needed(0.60)
    least = detectable(found.heldout)
    now = f"{plural(found.heldout, 'pair')} held out can show "
    now += "nothing yet" if least is None else f"a win rate of {percent(least)} or more"
    if found.heldout == 0:
        now = "None of the pairs is held out"
    missing = enough - found.heldout
    if missing <= 0:
        return f"{now}: enough for a 10-point win (60%, 80% power)."
    return f"{now}; a 10-point win (60%, 80% power) needs {enough}, {missing} more."


def _with(rate: Interval) -> str:
    return f"{percent(rate.value)} [{percent(max(0.0, rate.low))}, {percent(rate.high)}]"


def _band(rate: Interval) -> str:
    return f"{percent(max(0.0, rate.low))} to {percent(rate.high)}"


# -- for the page


def as_json(found: Tally, who: Who = "you") -> dict[str, Any]:
    """The end card's values, as the page and `--json` have them."""
    return {
        "pairs": found.pairs,
        "judgements": found.judgements,
        "heldout": found.heldout,
        "minutes": round(found.minutes, 2),
        "agreement": _plain(found.agreement),
        "undecided": found.undecided,
        "left": _plain(found.left),
        "leaning": found.leaning,
        "ceiling": _plain(found.ceiling),
        "noise": _plain(found.noise),
        "ties": found.ties,
        "both_bad": found.both_bad,
        "skipped": found.skipped,
        "fast": found.fast,
        "reasons": dict(found.reasons),
        "needed": [{"gain": round(100 * p) - 50, "pairs": needed(p)} for p in WIN_RATES],
        "detectable": detectable(found.heldout),
        "sentences": sentences(found, who),
    }


def _plain(rate: Interval | None) -> dict[str, float] | None:
    if rate is None:
        return None
    low, high = min(rate.value, max(0.0, rate.low)), max(rate.value, min(1.0, rate.high))
    return {"value": rate.value, "low": low, "high": high, "n": rate.count}
