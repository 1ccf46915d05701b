"""KL from the reference and the states of a reward model, against plain transformers in float64."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import engine_cases
import tiny
from palate.data.rows import Item
from palate.engine import divergence as engine_divergence
from palate.engine import logprob
from palate.engine.divergence import kl
from palate.engine.logprob import Head, divergence
from palate.engine.pack import pack
from palate.engine.policy import Plan, Policy
from palate.engine.precision import wide_float64

ITEMS = engine_cases.pairs(prompts=3, per_prompt=2)
BUDGET = 50
PLANS = [
    Plan(),
    Plan(shared=False),
    Plan(chunked=False),
    Plan(shared=False, chunked=False),
]


@torch.no_grad()
def naive_kl(ours: Any, theirs: Any, items: list[Item]) -> Tensor:
    """KL per text (I,N): all sequences in one padded batch, full softmax, nothing shared."""
    flat = [sequence for item in items for sequence in item.sequences]
    width = max(len(sequence.ids) for sequence in flat)
    ids = torch.tensor([[*s.ids, *[2] * (width - len(s.ids))] for s in flat])
    mask = torch.tensor([[1] * len(s.ids) + [0] * (width - len(s.ids)) for s in flat])
    p, q = (
        model(input_ids=ids, attention_mask=mask, use_cache=False).logits.softmax(-1)
        for model in (ours, theirs)
    )
    each = (p * (p.log() - q.log())).sum(-1)
    sums = [sum(each[n, a - 1 : b - 1].sum() for a, b in s.spans) for n, s in enumerate(flat)]
    return torch.tensor([float(value) for value in sums]).double().view(len(items), -1)


def worst(kind: str, ours: Plan, theirs: Plan) -> float:
    policy, reference = tiny.model(kind), tiny.model(kind, seed=1)
    found = kl(Policy(policy, ours), Policy(reference, theirs), ITEMS, BUDGET)
    Policy(policy).restore()
    Policy(reference).restore()
    want = naive_kl(policy, reference, ITEMS)
    assert float(want.min()) > 0.1, "the models are too alike to tell"
    return float(((found.nats_IN - want) / want).abs().max())


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_kl_equals_the_naive_softmax(kind: str) -> None:
    with wide_float64():
        assert worst(kind, Plan(), Plan()) < 1e-10


@pytest.mark.parametrize("ours", PLANS, ids=str)
@pytest.mark.parametrize("theirs", PLANS, ids=str)
def test_kl_holds_whatever_the_two_plans_are(ours: Plan, theirs: Plan) -> None:
    with wide_float64():
        assert worst("gemma2", ours, theirs) < 1e-10


def test_kl_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprob, "CHUNK_BYTES", 8 * tiny.VOCAB * 3)
    with wide_float64():
        for plan in PLANS:
            assert worst("granite", plan, plan) < 1e-10


def test_no_chunk_is_larger_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprob, "CHUNK_BYTES", 4 * tiny.VOCAB * 3)
    sizes, normal = [], logprob._normal

    def counted(hidden: Tensor, head: Head | None) -> Tensor:
        sizes.append(len(hidden))
        return normal(hidden, head)

    monkeypatch.setattr(logprob, "_normal", counted)
    policy = Policy(tiny.model("llama", dtype=torch.float32))
    kl(policy, policy, ITEMS, BUDGET)
    assert max(sizes) == 3


def test_kl_of_a_policy_from_itself_is_exactly_zero_and_tokens_are_counted() -> None:
    policy = Policy(tiny.model("qwen3", dtype=torch.float32))
    one = [replace(ITEMS[0], sequences=ITEMS[0].sequences[:1]), *ITEMS[1:]]
    found = kl(policy, policy, one, BUDGET)
    assert not found.nats_IN.any()
    scored = [[s.scored for s in item.sequences] for item in one]
    assert found.tokens_IN.tolist() == [[*row, *[0] * (2 - len(row))] for row in scored]


def test_a_token_that_only_the_policy_excludes_counts_nothing() -> None:
    policy = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]])
    other = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -torch.inf]])
    found = divergence(policy, None, other, None)
    assert float(found[0]) == pytest.approx(np.log(1.5))
    assert float(found[1]) == torch.inf
    both = torch.tensor([[0.0, 1.0, -torch.inf]])
    assert float(divergence(both, None, both, None)) == 0.0


def _swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engine_divergence, "divergence", lambda p, head, q, other: divergence(q, other, p, head)
    )


def _scale_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(p: Tensor, head: Head, q: Tensor, other: Head) -> Tensor:
        return divergence(p, head, q, replace(other, softcap=None))

    monkeypatch.setattr(engine_divergence, "divergence", spoiled)


def _after_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = Policy.predictions

    def late(self: Policy, row: Any) -> Any:
        return predictions(self, replace(row, source_K=np.minimum(row.source_K + 1, 9)))

    monkeypatch.setattr(Policy, "predictions", late)


def _counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that several texts share counted for the first of them only."""
    of_row = engine_divergence._of_row

    def spoiled(policy: Policy, reference: Policy, row: Any) -> Tensor:
        _, first = np.unique(row.token_E, return_index=True)
        row = replace(row, token_E=row.token_E[first], seq_E=row.seq_E[first])
        return of_row(policy, reference, row)

    monkeypatch.setattr(engine_divergence, "_of_row", spoiled)


@pytest.mark.parametrize("plant", [_swapped, _scale_lost, _after_not_before, _counted_once])
def test_a_seeded_bug_is_seen(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with wide_float64():
        assert worst("gemma2", Plan(), Plan()) < 1e-10
        plant(monkeypatch)
        assert worst("gemma2", Plan(), Plan()) > 1e-3


# ---------------------------------------------------------------- the last state of each sequence


def naive_ends(model: Any, items: list[Item]) -> Tensor:
    """The last hidden state at the last token (S,D): every sequence alone."""
    ids = [sequence.ids for item in items for sequence in item.sequences]
    return torch.stack(
        [
            model(
                input_ids=torch.tensor(one)[None], use_cache=False, output_hidden_states=True
            ).hidden_states[-1][0, -1]
            for one in ids
        ]
    )


def end_differences(kind: str, plan: Plan) -> tuple[float, float]:
    """(value, gradient): largest relative difference from the plain forward."""
    model, push = tiny.model(kind), torch.linspace(1.0, -0.7, 32)
    policy, (row,) = Policy(model, plan), pack(ITEMS, 500)
    items = [ITEMS[index] for index in row.items]
    fast = policy.ends(row)
    (fast.tanh() @ push).sum().backward()
    fast_gradients = engine_cases.gradients(model)
    policy.restore()
    model.zero_grad()
    slow = naive_ends(model, items)
    (slow.tanh() @ push).sum().backward()
    value = float(((fast - slow).norm() / slow.norm()).detach())
    return value, engine_cases.worst(fast_gradients, engine_cases.gradients(model))


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_ends_are_those_of_the_plain_forward(kind: str) -> None:
    with wide_float64():
        assert max(end_differences(kind, Plan())) < 1e-10


@pytest.mark.parametrize("plan", PLANS[1:], ids=str)
@pytest.mark.parametrize("kind", ["gemma2", "gpt2"])
def test_ends_hold_under_every_plan(kind: str, plan: Plan) -> None:
    with wide_float64():
        assert max(end_differences(kind, plan)) < 1e-10


@pytest.mark.parametrize("plan", [Plan(), Plan(shared=False)], ids=str)
def test_the_end_of_a_sequence_that_another_goes_on_from(plan: Plan) -> None:
    """Its last token lies in the middle of the tree."""
    short, long = engine_cases.tokens([5, 6, 7, 8], 2), engine_cases.tokens([5, 6, 7, 8, 9, 3], 2)
    item = replace(ITEMS[0], sequences=(long, short))
    with wide_float64(), torch.no_grad():
        model = tiny.model("llama")
        policy, (row,) = Policy(model, plan), pack([item], 500)
        found = policy.ends(row)
        policy.restore()
        torch.testing.assert_close(found, naive_ends(model, [item]), rtol=1e-10, atol=1e-10)
