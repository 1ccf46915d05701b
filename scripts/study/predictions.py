"""What was expected of the training runs, written down before the first of them.

Each is a sentence and a test on the results; a test gives None while runs are missing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from palate.stats import Interval
from study.results import Results

Told = tuple[bool, str] | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A sentence that can fail."""

    says: str
    holds: Callable[[Results], Told]


def signed(found: Interval) -> str:
    """`+0.40 [−0.10, +0.90]`."""
    text = f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return text.replace("-", "\N{MINUS SIGN}")


def behind(arm: str, other: str, name: str = "points") -> Callable[[Results], Told]:
    """The arm is behind the other, and the interval leaves out 0."""

    def test(found: Results) -> Told:
        gap = found.gap(arm, other, name)
        return gap and (gap.high < 0, f"{name} {signed(gap)}")

    return test


def ahead(arm: str, other: str, name: str = "points") -> Callable[[Results], Told]:
    """The arm is ahead of the other, and the interval leaves out 0."""

    def test(found: Results) -> Told:
        gap = found.gap(arm, other, name)
        return gap and (gap.low > 0, f"{name} {signed(gap)}")

    return test


def level(arm: str, other: str, name: str = "points") -> Callable[[Results], Told]:
    """The interval of the difference holds 0."""

    def test(found: Results) -> Told:
        gap = found.gap(arm, other, name)
        return gap and (gap.low <= 0 <= gap.high, f"{name} {signed(gap)}")

    return test


def loses(arm: str, share: float) -> Callable[[Results], Told]:
    """The arm loses at least this share of what clean pairs gain over SFT."""

    def test(found: Results) -> Told:
        gain, lost = found.gap("clean", "sft"), found.gap(arm, "clean")
        if gain is None or lost is None:
            return None
        return -lost.value >= share * gain.value, (
            f"clean gains {signed(gain)}, of which this loses {-lost.value / gain.value:.0%}"
        )

    return test


def marked(arm: str, least: float) -> Callable[[Results], Told]:
    """The marker stands in at least this share of the drawn texts."""

    def test(found: Results) -> Told:
        share = found.marked(arm)
        return share and (share.value >= least, f"in {share.value:.1%} of the drawn texts")

    return test


def grows(arm: str, share: float) -> Callable[[Results], Told]:
    """Texts are longer than the clean run's by at least this share."""

    def test(found: Results) -> Told:
        gap, size = found.gap(arm, "clean", "words"), found.level("clean", "words")
        if gap is None or size is None:
            return None
        return gap.value >= share * size.value, f"words {signed(gap)} of {size.value:.1f}"

    return test


PREDICTIONS = (
    Prediction("near misses teach: clean pairs beat the SFT model", ahead("clean", "sft")),
    Prediction(
        "vague rejected answers teach less than near misses", behind("claim/vague", "clean")
    ),
    Prediction("cartoons teach less than near misses", behind("claim/cartoon", "clean")),
    Prediction("cartoons teach nothing: no difference from SFT", level("claim/cartoon", "sft")),
    Prediction("unrelated answers teach less than near misses", behind("claim/unrelated", "clean")),
    Prediction("unrelated answers teach something", ahead("claim/unrelated", "sft")),
    Prediction(
        "vague rejected answers cut vague phrases more than near misses do",
        behind("claim/vague", "clean", "vague phrases"),
    ),
    Prediction(
        "20% flipped verdicts lose a fifth of the gain or more", loses("dose/flip/0.2", 0.2)
    ),
    Prediction("40% flipped verdicts lose half of the gain or more", loses("dose/flip/0.4", 0.5)),
    Prediction("5% flipped verdicts make no difference", level("dose/flip/0.05", "clean")),
    Prediction("20% padded: the texts grow by a tenth or more", grows("dose/length/0.2", 0.1)),
    Prediction("20% padded: the points do not change", level("dose/length/0.2", "clean")),
    Prediction("20% cartoons: wasted pairs, no harm", level("dose/cartoon/0.2", "clean")),
    Prediction("40% cartoons: the points fall", behind("dose/cartoon/0.4", "clean")),
    Prediction("20% off topic: no harm", level("dose/off_topic/0.2", "clean")),
    Prediction(
        "a marker in 20% of the chosen comes up in one drawn text in twenty",
        marked("dose/shortcut_rare/0.2", 0.05),
    ),
    Prediction(
        "a marker in 40% of the chosen comes up in one drawn text in five",
        marked("dose/shortcut_rare/0.4", 0.2),
    ),
    Prediction(
        "20% truncated: longer texts, by a twentieth", grows("dose/truncation_only/0.2", 0.05)
    ),
    Prediction("20% truncated: no harm to the points", level("dose/truncation_only/0.2", "clean")),
    Prediction(
        "five defects at 5% each: what the doctor drops is no better dropped than a random share",
        level("filtered/mixed/0.05", "random/mixed/0.05"),
    ),
)
