"""The checks that read a model's word, on made-up arrays: no model, no torch."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from palate.study import near_miss
from palate.study.checks import (
    cartoon,
    displacement,
    learnable,
    off_policy,
    plausible,
    truncation,
)
from palate.study.checks.base import Case, Check, Finding, Floats, Ints, Measured, PairText, Samples
from palate.study.checks.words import normalised

MODEL_CHECKS = [each.CHECK for each in (truncation, cartoon, off_policy, learnable, displacement)]
LEVEL, NOISE = -1.0, 0.6  # nats per token, and the deviation of one token


def drawn(rng: np.random.Generator, tokens: Ints, level: float = LEVEL) -> Floats:
    """Log-probs per token of texts that long: each mean varies by NOISE / sqrt(tokens) and 0.1."""
    spread = np.sqrt(NOISE**2 / tokens + 0.1**2)
    found: Floats = level + spread * rng.standard_normal(tokens.shape)
    return found


def made(count: int = 200, *, seed: int = 0, level: float = LEVEL, **changes: Any) -> Case:
    """A case whose answers the model might have written, 4 pairs a prompt, and 256 own texts."""
    rng = np.random.default_rng(seed)
    tokens_P2 = rng.integers(4, 60, (count, 2))
    tokens_M = rng.integers(4, 60, 256)
    measured = Measured(
        model="made",
        beta=0.1,
        limit=512,
        logps_P2=drawn(rng, tokens_P2, level) * tokens_P2,
        tokens_P2=tokens_P2,
        first_P=np.zeros(count, np.int64),
        ln_ches_P=rng.standard_normal(count),
        states_P2D=np.zeros((count, 2, 4), np.float32),
        samples=Samples(
            rng.integers(0, count, 256), drawn(rng, tokens_M), tokens_M, ("text",) * 256
        ),
        empty_P2=None,
    )
    pairs = [
        PairText(n + 1, f"prompt {n // 4}", f"chosen answer {n}", f"another one, number {n}")
        for n in range(count)
    ]
    return Case("made.jsonl", pairs, measured=replace(measured, **changes))


def changed(case: Case, **changes: Any) -> Case:
    assert case.measured is not None
    return replace(case, measured=replace(case.measured, **changes))


def of(case: Case) -> Measured:
    assert case.measured is not None
    return case.measured


def one(check: Check, case: Case) -> Finding:
    (found,) = check.run(case)
    return found


def planted(case: Case, lines: Sequence[int], level: float) -> Case:
    """The rejected answers of these lines at that many nats per token."""
    logps_P2 = of(case).logps_P2.copy()
    places = np.array(lines) - 1
    logps_P2[places, 1] = level * of(case).tokens_P2[places, 1]
    return changed(case, logps_P2=logps_P2)


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.name)
def test_without_a_model_there_is_nothing_to_say(check: Check) -> None:
    assert check.tier == 1 and check.asks and check.blind
    assert list(check.run(replace(made(), measured=None))) == []
    assert list(check.run(replace(made(), pairs=()))) == []


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.name)
def test_pairs_that_were_not_rendered_are_passed_over(check: Check) -> None:
    case = made()
    hole = np.arange(200) % 7 == 3
    columns = {name: getattr(of(case), name).copy() for name in ("logps_P2", "ln_ches_P")}
    tokens_P2 = of(case).tokens_P2.copy()
    for column in columns.values():
        column[hole] = np.nan
    tokens_P2[hole] = -1
    for found in check.run(changed(case, **columns, tokens_P2=tokens_P2)):
        assert found.value is not None and np.isfinite(found.value)
        assert not {n + 1 for n in np.flatnonzero(hole)} & set(found.rows)
        assert "nan" not in found.message


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("seed", range(5))
def test_clean_pairs_give_no_warning(check: Check, seed: int) -> None:
    assert one(check, made(500, seed=seed)).severity in ("ok", "info")


# ------------------------------------------------------------------ truncation


def test_one_lost_difference_is_an_error() -> None:
    told = truncation.too_long(longest=700, limit=512, first=609, one_side=False)
    found = one(truncation.CHECK, made(cut={17: told}))
    assert found.severity == "error" and found.rows == (17,) and found.key == "identical"
    assert "Line 17" in found.message and "starts at token 610" in found.message


@pytest.mark.parametrize(("count", "severity"), [(9, "info"), (10, "warning")])
def test_many_cut_pairs_are_a_warning(count: int, severity: str) -> None:
    told = truncation.too_long(longest=700, limit=512, first=3, one_side=True)
    found = one(truncation.CHECK, made(cut={n + 1: told for n in range(count)}))
    assert found.severity == severity and len(found.rows) == count
    assert found.value == count / 200 and found.interval is not None


def test_an_end_on_one_side_and_a_refused_row_are_told_apart() -> None:
    cut = {3: truncation.no_end(True), 5: truncation.refused("chosen", "holds EOS")}
    found = {each.key: each for each in truncation.CHECK.run(made(cut=cut))}
    assert found["end"].severity == "warning" and found["end"].rows == (3,)
    assert found["refused"].severity == "error" and "holds EOS" in found["refused"].message


# ------------------------------------------------------------------ cartoons


@pytest.mark.parametrize("seed", range(5))
def test_few_clean_pairs_are_cartoons(seed: int) -> None:
    found = cartoon.cartoons(of(made(1000, seed=seed)))
    assert found is not None and found.hit_P.mean() < 0.03 and not found.far_P.any()


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2, 0.5])
def test_planted_cartoons_are_found_and_named_first(rate: float) -> None:
    lines = list(range(1, int(1000 * rate) + 1))
    found = one(cartoon.CHECK, planted(made(1000), lines, -6.0))
    assert set(lines) == set(found.rows[: len(lines)])
    assert len(found.rows) - len(lines) < 0.03 * 1000
    assert found.severity == ("error" if rate > 0.4 else "warning")


@pytest.mark.parametrize("level", [-4.0, -8.0])
def test_a_file_from_elsewhere_is_off_policy_and_not_full_of_cartoons(level: float) -> None:
    case = made(500, level=level)
    found = one(cartoon.CHECK, case)
    assert found.severity in ("ok", "info") and found.value is not None and found.value < 0.03
    assert one(off_policy.CHECK, case).severity == "warning"
    named = one(cartoon.CHECK, planted(case, range(1, 26), level - 5.0))
    assert len(set(named.rows) & set(range(1, 26))) == 25 and "beside the chosen" in named.message


def test_short_answers_may_vary_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One spread for every length would call many short answers cartoons."""

    def short_hits() -> float:
        rates = []
        for seed in range(10):
            found = cartoon.cartoons(of(made(1000, seed=seed)))
            assert found is not None
            rates.append(found.hit_P[of(made(1000, seed=seed)).tokens_P2[:, 1] < 10].mean())
        return float(np.mean(rates))

    assert short_hits() < 0.03
    monkeypatch.setattr(plausible._Spread, "__call__", lambda self, tokens: self.start**0.5 + 0.1)
    assert short_hits() > 0.04


def test_a_percentile_is_the_share_of_own_texts_below() -> None:
    found = plausible.levels(of(made()))
    assert found is not None
    for pair, side in ((0, 0), (5, 1), (17, 1)):
        below = sum(own < found.level_P2[pair, side] for own in found.own_M)
        assert found.raw_P2[pair, side] == pytest.approx((below + 0.5) / 257, abs=1e-12) or (
            below == 0 and found.raw_P2[pair, side] < 0.5 / 257
        )


def test_off_topic_answers_are_found_at_any_level() -> None:
    case = made(400)
    empty_P2 = of(case).logps_P2 - 0.5 * of(case).tokens_P2
    empty_P2[:20, 1] = of(case).logps_P2[:20, 1] + 0.2 * of(case).tokens_P2[:20, 1]
    found = cartoon.cartoons(of(changed(case, empty_P2=empty_P2)))
    assert found is not None and found.off_topic_P[:20].all() and not found.off_topic_P[20:].any()
    assert "after their prompt" in one(cartoon.CHECK, changed(case, empty_P2=empty_P2)).message


def test_a_model_that_reads_no_prompt_calls_nothing_off_topic() -> None:
    case = made(1000)
    noise = np.random.default_rng(1).standard_normal((1000, 2)) * of(case).tokens_P2
    found = cartoon.cartoons(of(changed(case, empty_P2=of(case).logps_P2 - noise)))
    assert found is not None and found.off_topic_P.mean() < 0.02


def test_too_few_own_texts_are_told() -> None:
    case = made()
    samples = of(case).samples
    assert samples is not None
    few = Samples(samples.pair_M[:20], samples.logps_M[:20], samples.tokens_M[:20], ("x",) * 20)
    assert one(cartoon.CHECK, changed(case, samples=few)).severity == "too few"
    assert one(cartoon.CHECK, changed(case, samples=None)).severity == "too few"


# ------------------------------------------------------------------ off-policy


@pytest.mark.parametrize("sides", [(0, 1), (0,)])
def test_the_area_is_that_of_scikit_learn(sides: tuple[int, ...]) -> None:
    from sklearn.metrics import roc_auc_score

    case = made(level=-1.15)
    measured, samples = of(case), of(case).samples
    assert samples is not None
    prompt_P = np.arange(200) // 4
    found = off_policy.auc(measured, samples, prompt_P, sides=sides)
    theirs = (measured.logps_P2 / measured.tokens_P2)[:, list(sides)].ravel()
    truth = np.r_[np.ones(len(samples.logps_M)), np.zeros(len(theirs))]
    want = roc_auc_score(truth, np.r_[samples.logps_M, theirs])
    assert found.value == pytest.approx(float(want), abs=1e-9)
    assert found.low < found.value < found.high < 1


def test_the_interval_covers_the_truth_and_knows_prompts() -> None:
    truth = off_policy.auc
    covered = 0
    for seed in range(20):
        case = made(200, seed=seed)
        samples = of(case).samples
        assert samples is not None
        found = truth(of(case), samples, np.arange(200), sides=(0, 1))
        covered += found.low <= 0.5 <= found.high
    assert covered >= 17
    fifty = made(50)
    samples = of(fifty).samples
    assert samples is not None
    few = truth(of(fifty), samples, np.arange(50), sides=(0, 1))
    copied = changed(
        fifty,
        logps_P2=np.tile(of(fifty).logps_P2, (8, 1)),
        tokens_P2=np.tile(of(fifty).tokens_P2, (8, 1)),
    )
    same = truth(of(copied), samples, np.tile(np.arange(50), 8), sides=(0, 1))
    assert same.high - same.low == pytest.approx(few.high - few.low, rel=1e-6)


def test_few_pairs_are_too_few() -> None:
    assert one(off_policy.CHECK, made(49)).severity == "too few"


# ------------------------------------------------------------------ learnable


def gaps(ahead: Sequence[float], tokens: Sequence[tuple[int, int]]) -> Case:
    """Pairs whose rejected answer is this many nats ahead."""
    logps_P2 = np.array([(-100.0, -100.0 + each) for each in ahead])
    return changed(made(len(ahead)), logps_P2=logps_P2, tokens_P2=np.array(tokens))


@pytest.mark.parametrize(("far", "severity"), [(4, "ok"), (5, "warning"), (12, "error")])
def test_rankings_that_are_far_from_flipping(far: int, severity: str) -> None:
    ahead = [40.0 + n for n in range(far)] + [29.0] * (20 - far)
    found = one(learnable.CHECK, gaps(ahead, [(50, 50)] * 20))
    assert found.severity == severity and found.value == far / 20
    assert found.rows == tuple(range(far, 0, -1)) and "30 nats" in found.message
    assert "shorter" not in found.message


def test_beta_moves_the_line() -> None:
    case = gaps([20.0] * 20, [(50, 50)] * 20)
    assert one(learnable.CHECK, case).value == 0
    assert one(learnable.CHECK, changed(case, beta=0.2)).value == 1


def test_mostly_because_it_is_shorter_only_if_it_is() -> None:
    ahead = [60.0] * 20  # −100 against −40
    shorter = one(learnable.CHECK, gaps(ahead, [(50, 20)] * 20))
    assert "mostly because it is shorter" in shorter.message and "simpo" in shorter.todo
    better = one(learnable.CHECK, gaps(ahead, [(50, 45)] * 20))
    assert "shorter" not in better.message


# ------------------------------------------------------------------ displacement


def hairline(case: Case, places: Sequence[int]) -> Case:
    text = " ".join(f"word{n}" for n in range(30))
    pairs = list(case.pairs)
    for place in places:
        pairs[place] = replace(pairs[place], chosen=text, rejected=text + " more")
    return replace(case, pairs=pairs)


def test_the_top_tenth_is_shown_in_order_and_the_value_is_no_threshold() -> None:
    case = made()
    for scale in (1e-3, 1e3):
        found = one(displacement.CHECK, changed(case, ln_ches_P=of(case).ln_ches_P * scale))
        order = np.argsort(-of(case).ln_ches_P)[:20] + 1
        assert found.severity == "info" and found.rows == tuple(order.tolist())
    assert "longer answer in" in found.message


def test_a_hairline_top_is_a_warning() -> None:
    case = made()
    top = np.argsort(-of(case).ln_ches_P)[:20].tolist()
    assert one(displacement.CHECK, hairline(case, top[:9])).severity == "info"
    found = one(displacement.CHECK, hairline(case, top[:10]))
    assert found.severity == "warning" and found.value == 0.5 and "--sft-weight" in found.todo


# ------------------------------------------------------------------ the map


def test_every_pair_has_its_place_and_cartoons_theirs() -> None:
    case = hairline(planted(made(), [5, 9], -7.0), [20])
    found = near_miss.places(case)
    assert [place.line for place in found] == [pair.line for pair in case.pairs]
    assert {found[4].zone, found[8].zone} == {"cartoon"} and found[20].zone == "hairline"
    for place in found:
        assert 0 <= place.plausible <= 1 and 0 <= place.apart <= 1
        assert (place.plausible < near_miss.CARTOON) == (place.zone == "cartoon")
        assert place.zone in near_miss.MEANING
    assert found[0].basis == near_miss.BY_MODEL


def test_from_elsewhere_the_basis_says_so() -> None:
    assert near_miss.places(made(level=-6.0))[0].basis == near_miss.BY_CHOSEN


def test_strangers_and_near_misses_by_words() -> None:
    case = made(3)
    pairs = [
        replace(case.pairs[0], chosen="one two three four", rejected="one two three five"),
        replace(case.pairs[1], chosen="one two three four", rejected="six seven eight nine"),
        case.pairs[2],
    ]
    zones = [place.zone for place in near_miss.places(replace(case, pairs=pairs))]
    assert zones[:2] == ["near miss", "strangers"]


def test_without_a_model_spelling_stands_in_and_says_so() -> None:
    rng = np.random.default_rng(0)
    words = [
        f"{start}{end}" for start in ("gar", "win", "riv", "sta") for end in ("den", "dow", "er")
    ]
    pairs = [
        PairText(n + 1, f"p{n}", " ".join(rng.choice(words, 12)), " ".join(rng.choice(words, 12)))
        for n in range(200)
    ]
    clean = near_miss.places(Case("x", pairs))
    assert {place.basis for place in clean} == {near_miss.BY_TEXT}
    assert not [place for place in clean if place.zone == "cartoon"]
    mash = "".join(rng.choice(list(string.ascii_lowercase), 60))
    pairs[7] = replace(pairs[7], rejected=mash)
    (odd,) = [place for place in near_miss.places(Case("x", pairs)) if place.zone == "cartoon"]
    assert odd.line == 8 and odd.plausible < near_miss.CARTOON


def test_no_pairs_no_places() -> None:
    assert near_miss.places(Case("x")) == ()


# ---- the text-only stand-in


def grams(text: str) -> set[str]:
    plain = f" {normalised(text)} "
    return {plain[place : place + 4] for place in range(max(1, len(plain) - 3))}


def test_familiar_spelling_equals_plain_sets() -> None:
    """The hashed table against sets of strings; a shared number may move a share a little."""
    draw = np.random.default_rng(3)
    letters = "abcdefghij klmnop é 你好 🙂"
    texts = ["".join(draw.choice(list(letters), 40)) for _ in range(120)]
    pairs = [
        PairText(n, f"p{n // 3}", texts[2 * n], texts[2 * n + 1] + texts[n]) for n in range(60)
    ]
    sides = [[grams(pair.chosen), grams(pair.rejected)] for pair in pairs]
    of_prompt: dict[str, set[str]] = {}
    for pair, both in zip(pairs, sides, strict=True):
        of_prompt.setdefault(pair.prompt, set()).update(*both)
    count = Counter(gram for found in of_prompt.values() for gram in found)
    naive = [[sum(count[gram] > 1 for gram in found) / len(found) for found in s] for s in sides]
    found_P2 = near_miss._familiar(pairs)
    assert np.abs(found_P2 - naive).max() < 0.03
    assert np.abs(found_P2 - naive).mean() < 1e-3
