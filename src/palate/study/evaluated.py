"""What `palate evaluate` found, as one record: printed, kept in the run, drawn by the report.

Every figure that a page shows is read from here, so page and `--json` cannot differ.  Rates and
means are `Interval`s (95%); nats, points and words are named in the field.
"""

from typing import Any, Final, Literal

from pydantic import Field

from palate.config import Model
from palate.stats import Interval, Verdict

RECORD: Final = "evaluation.json"  # in the folder of the run that it is about

Role = Literal["candidate", "baseline", "other", "control", "prompted", "best-of-n"]


class Named(Model):
    """A model under evaluation, or a way of using one."""

    name: str  # short, unique: "dpo", "sft", "base", "base, 3 examples", "sft, best of 4"
    role: Role
    path: str
    identity: str
    stage: str | None = None  # of a run
    words: Interval | None = None  # per text
    points: Interval | None = None  # mean reward per text, in the reward's own unit
    gain: Interval | None = None  # of points over the baseline, paired by prompt


class HeldOut(Model):
    """What was measured on, and how often it has been looked at."""

    prompts: int
    pairs: int
    source: str  # in words: "the run's own held-out rows, the half that chose nothing"
    digest: str
    looks: int  # this one included
    detectable: float | None = (
        None  # smallest true win rate found with 80% power; None: no win rate
    )


class Slice(Model):
    """Win rate on the prompts with one of the user's own reason tags."""

    tag: str
    wins: Interval
    verdict: Verdict


class WinRate(Model):
    """One model's texts against another's on the same prompts; a tie is half a win."""

    ours: str
    theirs: str
    judge: str
    kind: Literal["person", "program", "model", "file"]
    wins: int
    losses: int
    ties: int
    raw: Interval
    verdict: Verdict
    controlled: Interval | None = None  # at equal length; None below 100 prompts
    controlled_verdict: Verdict | None = None
    consistency: Interval | None = None  # a model judge: both orders agree
    agreement: Interval | None = None  # a model judge: with the user's own verdicts
    trusted: bool = True  # a model judge below 65% consistency is not
    slices: tuple[Slice, ...] = ()


class Accuracy(Model):
    """How a policy ranks the held-out pairs."""

    model: str
    implicit: Interval | None  # share with implicit reward of chosen higher; None: no reference
    implicit_ties: int
    ranking: Interval  # share with log-prob of chosen at least as high
    ranking_mean: Interval  # the same per token
    verdict: Verdict  # of `implicit`, else `ranking`, against one half
    ceiling: Interval | None = None  # what a perfect copy of the judge would reach, from re-asks


class Divergence(Model):
    """KL of a policy from its reference on the policy's own samples, exact at each step, nats."""

    model: str
    reference: str
    per_text: Interval
    per_token: Interval
    tokens: int


class FrontierPoint(Model):
    """One policy on the plane of KL and reward."""

    model: str
    step: int | None
    kl: Interval
    points: Interval


class Displacement(Model):
    """Where probability went: mean change of log-prob against the reference, nats per text."""

    model: str
    step: int
    chosen: Interval
    rejected: Interval
    sample: Interval  # the reference's own likeliest text
    mass: str = ""  # where probability went, in a sentence


class Diversity(Model):
    """Of several texts per prompt at one temperature."""

    model: str
    texts: int  # per prompt
    distinct_1: Interval  # share of different words among all, per prompt
    distinct_2: Interval  # the same of word pairs
    overlap: Interval  # mean share of 4-grams that two texts of a prompt have in common
    distinct_texts: Interval  # different texts per prompt
    distinct_near: Interval | None = None  # the same, texts but for a few letters alike as one


class Passed(Model):
    """One check of a rubric."""

    check: str
    why: str
    model: str
    rate: Interval
    change: Interval | None = None  # against the baseline, paired by prompt; None for the baseline
    verdict: Verdict | None = None  # of `change`


class Regression(Model):
    """Loss on the SFT stage's held-out rows, nats per token: what the preference cost."""

    model: str
    loss: Interval
    change: Interval | None  # against the baseline, paired by row; None for the baseline
    verdict: Verdict | None


class Quoted(Model):
    """The longest run of words that a text shares with a training text."""

    text: str
    run: str  # its words, in lower case
    words: int  # of it, without those that stand in the text's own prompt
    source: str  # "examples.jsonl:12"
    training: str  # the training text


class Copied(Model):
    """Longest run of words shared with a training text; the prompt's words do not count."""

    model: str  # or "people": held-out texts that people wrote
    words: Interval
    share: Interval  # of texts with at least 12 words in a row from one training text
    worst: Quoted | None = None  # None: no word in common


class Shown(Model):
    """One prompt with the texts of both sides."""

    prompt: str
    texts: dict[str, str]  # model name -> text
    verdict: str  # "dpo", "sft" (the name of the winner) or "tie"
    points: dict[str, float] = Field(default_factory=dict)
    worst: bool = False


class Person(Model):
    """The headline for a person's own data."""

    agrees: Interval  # the tuned model ranks their held-out pairs as they did
    itself: Interval | None  # they, asked again
    before: Interval | None  # the baseline, on the same pairs


class Evaluated(Model):
    """The whole record."""

    schema_version: Literal[1] = 1
    headline: str  # one sentence with its interval
    verdict: Verdict | None
    plain: tuple[str, ...]  # "in plain words": what it means and what to do next
    advice: str | None = None  # "stop here": SFT alone reaches it
    models: tuple[Named, ...]
    heldout: HeldOut
    wins: tuple[WinRate, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    divergence: tuple[Divergence, ...] = ()
    frontier: tuple[FrontierPoint, ...] = ()
    displacement: tuple[Displacement, ...] = ()
    # model -> log-prob of chosen less that of rejected, nats, per held-out pair
    margins: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    diversity: tuple[Diversity, ...] = ()
    rubric: tuple[Passed, ...] = ()
    regression: tuple[Regression, ...] = ()
    copied: tuple[Copied, ...] = ()
    shown: tuple[Shown, ...] = ()
    person: Person | None = None
    control: Verdict | None = None  # of the random-label run against the baseline
    reward: str | None = None  # what `points` are points of
    settings: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0
