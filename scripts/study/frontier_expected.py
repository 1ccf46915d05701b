"""What was expected of the frontier study, written down before its first run, and what is held."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from palate.stats import Interval

Figures = Mapping[str, Interval | None]
# What a name means stands in frontier_results.Results.figures; None where a run is missing.


@dataclass(frozen=True, slots=True)
class Expectation:
    """A sentence, the figures it is about, and whether their means bear it out."""

    says: str
    about: tuple[str, ...]
    holds: Callable[[Callable[[str], Interval]], bool]

    def judged(self, figures: Figures) -> bool | None:
        """None where a figure is missing."""
        found = {name: figures.get(name) for name in self.about}
        if any(value is None for value in found.values()):
            return None

        def of(name: str) -> Interval:
            value = found[name]
            assert value is not None
            return value

        return self.holds(of)


EXPECTED = (
    Expectation(
        "DPO at beta 0.1 gains more than SFT on chosen (Preferred-FT), and at every KL that both"
        " reach it is ahead.",
        ("gain dpo 0.1", "gain preferred-ft", "ahead dpo 0.1 / preferred-ft"),
        lambda of: (
            of("gain dpo 0.1").value > of("gain preferred-ft").value
            and of("ahead dpo 0.1 / preferred-ft").value > 0
        ),
    ),
    Expectation(
        "A smaller beta goes further: KL at the end at beta 0.05 is more than at 1, and there more"
        " than at 5.",
        ("kl dpo 0.05", "kl dpo 1", "kl dpo 5"),
        lambda of: of("kl dpo 0.05").value > of("kl dpo 1").value > of("kl dpo 5").value,
    ),
    Expectation(
        "Reward humps: at the highest learning rate of the grid DPO goes furthest in KL and ends"
        " with less reward than at the usual rate.",
        ("kl dpo 0.1 at 0.0128", "kl dpo 0.1", "gain dpo 0.1 at 0.0128", "gain dpo 0.1"),
        lambda of: (
            of("kl dpo 0.1 at 0.0128").value > of("kl dpo 0.1").value
            and of("gain dpo 0.1 at 0.0128").value < of("gain dpo 0.1").value
        ),
    ),
    Expectation(
        "Best of 16 is hard to beat: it gains more than DPO at its best beta.",
        ("gain best of 16", "gain best dpo"),
        lambda of: of("gain best of 16").value > of("gain best dpo").value,
    ),
    Expectation(
        "The log-prob of held-out chosen answers falls at beta 0.05 and rises at beta 5.",
        ("chosen dpo 0.05", "chosen dpo 5"),
        lambda of: of("chosen dpo 0.05").value < 0 < of("chosen dpo 5").value,
    ),
    Expectation(
        "Held-out accuracy does not rank the betas by true reward: the two orders of the five"
        " betas correlate by less than 0.5 (Spearman).",
        ("order of betas",),
        lambda of: of("order of betas").value < 0.5,
    ),
    Expectation(
        "Length stays flat, within 2 words of SFT's, as the taste is neutral to it; with a judge"
        " who likes length texts grow by more than 2 words.",
        ("words dpo 0.1", "words longer"),
        lambda of: abs(of("words dpo 0.1").value) < 2 < of("words longer").value,
    ),
    Expectation(
        "Random labels teach nothing: the interval of their gain covers 0.",
        ("gain random labels",),
        lambda of: of("gain random labels").low <= 0 <= of("gain random labels").high,
    ),
    Expectation(
        "Unlikelihood gains less than DPO at beta 0.1.",
        ("gain unlikelihood", "gain dpo 0.1"),
        lambda of: of("gain unlikelihood").value < of("gain dpo 0.1").value,
    ),
    Expectation(
        "Without SFT first, from the base, DPO ends within half a point of DPO from SFT: here the"
        " base has seen such texts.",
        ("gain base to dpo", "gain dpo 0.1"),
        lambda of: abs(of("gain base to dpo").value - of("gain dpo 0.1").value) < 0.5,
    ),
    Expectation(
        "SFT and DPO jointly from the base gain less than one after the other.",
        ("gain jointly", "gain dpo 0.1"),
        lambda of: of("gain jointly").value < of("gain dpo 0.1").value,
    ),
    Expectation(
        "Imitation has a ceiling: four times the examples add less than half a point to SFT.",
        ("gain sft x4",),
        lambda of: of("gain sft x4").value < 0.5,
    ),
    Expectation(
        "Twice the examples add less than DPO at beta 0.1 does.",
        ("gain sft x2", "gain dpo 0.1"),
        lambda of: of("gain sft x2").value < of("gain dpo 0.1").value,
    ),
    Expectation(
        "PPO with the true reward gains at least as much as DPO at its best beta.",
        ("gain ppo", "gain best dpo"),
        lambda of: of("gain ppo").value >= of("gain best dpo").value,
    ),
    Expectation(
        "PPO with the learnt reward model gains less than PPO with the true reward.",
        ("gain ppo learnt", "gain ppo"),
        lambda of: of("gain ppo learnt").value < of("gain ppo").value,
    ),
    Expectation(
        "DPO at its best beta gains at least as much as PPO with the reward model learnt from the"
        " same pairs.",
        ("gain best dpo", "gain ppo learnt"),
        lambda of: of("gain best dpo").value >= of("gain ppo learnt").value,
    ),
    Expectation(
        "RLOO comes within half a point of PPO with the true reward.",
        ("gain rloo", "gain ppo"),
        lambda of: abs(of("gain rloo").value - of("gain ppo").value) < 0.5,
    ),
    Expectation(
        "PPO is the more finicky: of its grid of learning rates and seeds a smaller share ends"
        " within 90% of its best than of DPO's.",
        ("share ppo", "share dpo"),
        lambda of: of("share ppo").value < of("share dpo").value,
    ),
    Expectation(
        "PPO with the learnt reward model, the reward model included, takes at least three times"
        " the processor time of DPO from the same pairs.",
        ("cpu ppo learnt", "cpu dpo"),
        lambda of: of("cpu ppo learnt").value >= 3 * of("cpu dpo").value,
    ),
    Expectation(
        "Three of the user's examples in the context of the base write worse than SFT on 300.",
        ("gain prompted 3",),
        lambda of: of("gain prompted 3").value < 0,
    ),
    Expectation(
        "Nothing is learnt by heart: the longest run of words that a text of DPO shares with a"
        " training text is at most a word longer than that of an analyst's new text.",
        ("copied dpo 0.1", "copied people"),
        lambda of: of("copied dpo 0.1").value <= of("copied people").value + 1,
    ),
)
