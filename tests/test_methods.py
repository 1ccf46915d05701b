"""What an online method makes of a rollout, against naive versions of text by text in float64."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import naive_objectives
import naive_rewards as naive
from palate.errors import UsageError
from palate.rlhf.methods import METHODS, VALUE_CLIP, Losses, Method, Rolled

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
H = 1e-30
every = pytest.mark.parametrize("name", METHODS)
SEEDS = pytest.mark.parametrize("seed", range(3))


@dataclass(frozen=True)
class Step:
    """One rollout as plain lists, a list per text, and log-probs and values as they are now."""

    group: int
    scores: list[float]
    old: list[list[float]]
    reference: list[list[float]]
    values: list[list[float]]
    now: list[list[complex]]
    said: list[list[complex]]

    @property
    def groups(self) -> list[range]:
        return [range(at, at + self.group) for at in range(0, len(self.old), self.group)]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.old))


def step(method: Method, *, seed: int, prompts: int = 4) -> Step:
    """A policy that has moved since it drew, some tokens past the clip."""
    draw = random.Random(f"{method.name}/{seed}")
    group = method.completions
    sizes = [draw.randint(1, 6) for _ in range(prompts * group)]
    old = [[draw.uniform(-3, -0.1) for _ in range(size)] for size in sizes]

    def moved(spread: float) -> list[list[float]]:
        return [[x + draw.uniform(-spread, spread) for x in text] for text in old]

    values = [[draw.gauss(0, 1) for _ in text] for text in old]
    now = [[complex(x) for x in text] for text in moved(0.4)]
    said = [[complex(v + draw.uniform(-0.4, 0.4)) for v in text] for text in values]
    scores = [draw.gauss(0.5, 2) for _ in old]
    return Step(group, scores, old, moved(0.8), values, now, said)


def padded(rows: Sequence[Sequence[complex]], rest: float = 0.0) -> Tensor:
    longest = max(map(len, rows))
    real = [[complex(x).real for x in row] + [rest] * (longest - len(row)) for row in rows]
    return torch.tensor(real, dtype=torch.float64)


def rolled(one: Step, method: Method) -> Rolled:
    return Rolled(
        one.group,
        torch.tensor(one.scores, dtype=torch.float64),
        padded(one.old),
        padded(one.reference),
        ~padded(one.old, math.nan).isnan(),
        padded(one.values) if method.values else None,
    )


# ------------------------------------------------------------------ the methods, naively


def ppo(one: Step, knobs: dict[str, float]) -> complex:
    """Mean over tokens of the clipped surrogate, plus that of the clipped value loss."""
    raw, wanted = [], []
    for score, old, reference, values in zip(one.scores, one.old, one.reference, one.values):
        rewards = naive.shaped(score, old, reference, knobs["kl"])
        raw.append(naive.gae(rewards, values, knobs["gamma"], knobs["lam"]))
        wanted.append([a + v for a, v in zip(raw[-1], values)])
    total = 0j
    for s, gains in enumerate(naive.whiten(raw)):
        for t, gain in enumerate(gains):
            total += naive.surrogate(one.now[s][t], one.old[s][t], gain, knobs["clip"])
            total += naive.value_loss(one.said[s][t], one.values[s][t], wanted[s][t], VALUE_CLIP)
    return total / one.tokens


def rloo(one: Step, knobs: dict[str, float]) -> complex:
    """Mean over texts: REINFORCE with the others' mean as baseline, a text as one action."""
    total = 0j
    for group in one.groups:
        paid = [
            one.scores[s] - knobs["kl"] * (sum(one.old[s]) - sum(one.reference[s])) for s in group
        ]
        for s, gain in zip(group, naive.rloo(paid)):
            total += naive.surrogate(sum(one.now[s], 0j), sum(one.old[s]), gain, knobs["clip"])
    return total / len(one.old)


def grpo(one: Step, knobs: dict[str, float]) -> complex:
    """Mean over texts of each text's mean over its tokens, the KL estimate added."""
    total = 0j
    for group in one.groups:
        for s, gain in zip(group, naive.grpo([one.scores[s] for s in group], True)):
            losses = [
                naive.surrogate(now, old, gain, knobs["clip"]) + knobs["kl"] * naive.k3(now, ref)
                for now, old, ref in zip(one.now[s], one.old[s], one.reference[s])
            ]
            total += sum(losses, 0j) / len(losses)
    return total / len(one.old)


def online_dpo(one: Step, knobs: dict[str, float]) -> complex:
    """Mean over the pairs that are no tie."""
    losses = []
    for a, b in one.groups:
        if one.scores[a] == one.scores[b]:
            continue
        w, l = (a, b) if one.scores[a] > one.scores[b] else (b, a)  # noqa: E741
        gap = sum(one.now[w], 0j) - sum(one.reference[w])
        gap -= sum(one.now[l], 0j) - sum(one.reference[l])
        losses.append(-naive_objectives.log_sigmoid(knobs["beta"] * gap))
    return sum(losses, 0j) / len(losses)


NAIVE: dict[str, Callable[[Step, dict[str, float]], complex]] = {
    "ppo": ppo,
    "rloo": rloo,
    "grpo": grpo,
    "online_dpo": online_dpo,
}


def slopes(one: Step, loss: Callable[[Step], complex], of: str) -> list[list[float]]:
    """d loss / d every token's log-prob (or value) by the complex step."""
    rows: list[list[complex]] = getattr(one, of)
    found = [[0.0] * len(row) for row in rows]
    for s, row in enumerate(rows):
        for t in range(len(row)):
            moved = [list(each) for each in rows]
            moved[s][t] += H * 1j
            changed: dict[str, Any] = {of: moved}
            found[s][t] = loss(replace(one, **changed)).imag / H
    return found


def run(one: Step, method: Method, knobs: dict[str, float]) -> tuple[float, Tensor, Tensor]:
    """Loss of the whole rollout, and its gradient by log-probs and values."""
    targets = method.targets(rolled(one, method), knobs)
    now_SL, said_SL = padded(one.now).requires_grad_(), padded(one.said).requires_grad_()
    losses = method.losses(now_SL, said_SL if method.values else None, targets, knobs)
    loss = losses.total() / method.count(targets)
    gradients = torch.autograd.grad(loss, (now_SL, said_SL), allow_unused=True)
    by_now, by_said = (torch.zeros_like(now_SL) if g is None else g for g in gradients)
    return float(loss.detach()), by_now, by_said


def test_every_method_is_compared() -> None:
    assert NAIVE.keys() == METHODS.keys()


@every
@SEEDS
def test_loss_and_gradient_are_the_papers(name: str, seed: int) -> None:
    method = METHODS[name]
    one, knobs = step(method, seed=seed), {**method.knobs}
    loss, by_now, by_said = run(one, method, knobs)
    assert loss == pytest.approx(NAIVE[name](one, knobs).real, rel=1e-10)

    def plain(moved: Step) -> complex:
        return NAIVE[name](moved, knobs)

    torch.testing.assert_close(by_now, padded(slopes(one, plain, "now")), **EXACT)
    torch.testing.assert_close(by_said, padded(slopes(one, plain, "said")), **EXACT)
    assert bool(by_now.any()) and bool(by_said.any()) == method.values


@every
def test_every_knob_is_read(name: str) -> None:
    method = METHODS[name]
    one = step(method, seed=0)
    before = run(one, method, {**method.knobs})
    for knob in method.knobs:
        after = run(one, method, {**method.knobs, knob: 0.1234})
        assert after[0] != before[0] or not torch.equal(after[1], before[1]), knob


@every
def test_a_rollout_in_parts_has_the_gradient_of_the_whole(name: str) -> None:
    """Rows come in any order and number; only whole groups stand together."""
    method = METHODS[name]
    one, knobs = step(method, seed=1), {**method.knobs}
    targets = method.targets(rolled(one, method), knobs)
    _, whole, _ = run(one, method, knobs)
    now_SL, said_SL = padded(one.now).requires_grad_(), padded(one.said)
    for part in ([2], [0, 3], [1]):
        index_S = torch.tensor([s for p in part for s in one.groups[p]])
        said = said_SL[index_S] if method.values else None
        losses = method.losses(now_SL[index_S], said, targets.at(index_S), knobs)
        (losses.total() / method.count(targets)).backward()
    assert now_SL.grad is not None
    torch.testing.assert_close(now_SL.grad, whole, **EXACT)
    counts = [method.count(targets.at(torch.tensor(list(group)))) for group in one.groups]
    assert sum(counts) == method.count(targets)


@every
def test_padding_is_never_read(name: str) -> None:
    method = METHODS[name]
    one, knobs = step(method, seed=2), {**method.knobs}
    of = rolled(one, method)
    noise = torch.where(of.mask_SL, 0.0, 50.0).double()
    values = None if of.values_SL is None else of.values_SL + noise
    noisy = Rolled(
        of.group, of.scores_S, of.old_SL - noise, of.reference_SL + noise, of.mask_SL, values
    )
    said = padded(one.said) + noise if method.values else None

    def losses(rollout: Rolled, moved: Tensor) -> Losses:
        targets = method.targets(rollout, knobs)
        return method.losses(padded(one.now) + moved, said, targets, knobs)

    one_way, other = losses(of, noise * 0), losses(noisy, -2 * noise)
    torch.testing.assert_close(other.total(), one_way.total(), **EXACT)
    assert torch.equal(other.clipped_SL, one_way.clipped_SL)


@every
def test_nothing_is_clipped_before_anything_moved(name: str) -> None:
    method = METHODS[name]
    one, knobs = step(method, seed=0), {**method.knobs}
    targets = method.targets(rolled(one, method), knobs)
    said = padded(one.said) if method.values else None
    still = method.losses(targets.rolled.old_SL, said, targets, knobs)
    moved = method.losses(padded(one.now), said, targets, knobs)
    assert not bool(still.clipped_SL.any())
    assert bool(moved.clipped_SL.any()) == ("clip" in knobs)
    assert not bool((moved.clipped_SL & ~targets.rolled.mask_SL).any())


# ------------------------------------------------------------------ ties


@pytest.mark.parametrize("name", ["rloo", "grpo", "online_dpo"])
def test_texts_of_one_score_teach_nothing(name: str) -> None:
    method = METHODS[name]
    knobs = {**method.knobs, "kl": 0.0} if "kl" in method.knobs else {**method.knobs}
    one = step(method, seed=0)
    one = replace(one, scores=[3.0] * one.group + one.scores[one.group :])
    _, by_now, _ = run(one, method, knobs)
    assert not bool(by_now[: one.group].any()) and bool(by_now[one.group :].any())
    targets = method.targets(rolled(one, method), knobs)
    assert targets.rolled.ties_P.tolist() == [True, False, False, False]


def test_ties_are_no_pairs() -> None:
    method = METHODS["online_dpo"]
    one = step(method, seed=0)
    tied = replace(one, scores=[1.0, 1.0, *one.scores[2:]])
    targets = method.targets(rolled(tied, method), method.knobs)
    assert method.count(targets) == 3
    nothing = replace(one, scores=[1.0] * len(one.scores))
    targets = method.targets(rolled(nothing, method), method.knobs)
    assert method.count(targets) == 0
    losses = method.losses(padded(one.now), None, targets, method.knobs)
    assert float(losses.total().detach()) == 0


def test_one_text_of_a_prompt_is_no_tie() -> None:
    method = METHODS["ppo"]
    assert not bool(rolled(step(method, seed=0), method).ties_P.any())


# ------------------------------------------------------------------ what is refused


@every
def test_only_the_order_of_scores_is_read_by_verdict(name: str) -> None:
    method = METHODS[name]
    one = step(method, seed=0)
    stretched = replace(one, scores=[each**3 for each in one.scores])
    same = torch.equal(
        run(one, method, {**method.knobs})[1], run(stretched, method, {**method.knobs})[1]
    )
    assert same == method.by_verdict


def test_a_knob_without_effect_is_refused() -> None:
    assert METHODS["rloo"].checked({"kl": 0.3, "lam": None}) == {"kl": 0.3, "clip": 0.2}
    with pytest.raises(UsageError, match="--lam has no effect with --method rloo"):
        METHODS["rloo"].checked({"lam": 0.9})
    with pytest.raises(UsageError, match="--kl has no effect with --method online_dpo") as error:
        METHODS["online_dpo"].checked({"kl": 0.9, "beta": None})
    assert "--beta" in error.value.hint


@pytest.mark.parametrize(("name", "n"), [("rloo", 1), ("grpo", 1), ("online_dpo", 3), ("ppo", 0)])
def test_a_group_of_the_wrong_size_is_refused(name: str, n: int) -> None:
    method = METHODS[name]
    assert method.drawn(None) == method.completions
    with pytest.raises(UsageError, match=f"--n {n}"):
        method.drawn(n)
