"""Promise 1: packed, shared and chunked equals naive, in value and gradient, in wide float64.

Each seeded bug below must be seen by the same comparison that the true engine passes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import engine_cases
import tiny
from palate.engine import attention, logprob
from palate.engine.pack import Row, pack
from palate.engine.policy import Plan, Policy, recompute_activations
from palate.engine.precision import wide_float64
from palate.engine.scoring import in_order, score_rows
from palate.engine.selfcheck import plan_for

ITEMS = engine_cases.pairs(prompts=3, per_prompt=2)
BUDGET = 50


def difference(model: Any, plan: Plan, *, budget: int = BUDGET) -> tuple[float, float]:
    """(value, gradient): largest relative difference between the plan and the naive oracle."""
    push = torch.linspace(1.0, -0.7, 2 * len(ITEMS)).view(-1, 2)
    engine = Policy(model, plan)
    model.zero_grad()
    rows = list(score_rows(engine, pack(ITEMS, budget)))
    fast = in_order(rows, len(ITEMS))
    (fast * push).sum().backward()
    fast_gradients = engine_cases.gradients(model)
    engine.restore()
    model.zero_grad()
    slow = engine_cases.naive_logps(model, ITEMS)
    (slow * push).sum().backward()
    value = float(((fast - slow) / slow).detach().abs().max())
    return value, engine_cases.worst(fast_gradients, engine_cases.gradients(model))


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_every_part_together_equals_naive(kind: str) -> None:
    with wide_float64():
        model = tiny.model(kind)
        assert max(difference(model, Plan())) < 1e-10
        assert Policy(model).plan == Plan()


# "dynamic" rotary scaling remembers the longest text so far: its plain log-probs depend on history.
REPEATABLE = [kind for kind in tiny.FALLBACK_KINDS if kind != "llama_dynamic"]


@pytest.mark.parametrize("kind", [*tiny.KINDS[:1], *REPEATABLE])
@pytest.mark.parametrize("chunked", [True, False])
def test_the_fallback_equals_naive(kind: str, chunked: bool) -> None:
    with wide_float64():
        assert max(difference(tiny.model(kind), Plan(shared=False, chunked=chunked))) < 1e-10


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_self_check_accepts(kind: str) -> None:
    assert plan_for(tiny.model(kind, dtype=torch.float32), ITEMS[:3]) == Plan()


@pytest.mark.parametrize("kind", tiny.FALLBACK_KINDS)
def test_the_self_check_falls_back_and_says_why(kind: str) -> None:
    plan = plan_for(tiny.model(kind, dtype=torch.float32), ITEMS[:3])
    assert not plan.shared and plan.chunked
    assert "sharing and packing" in plan.reasons[0]
    with wide_float64():
        assert min(difference(tiny.model(kind), Plan())) > 1e-6, "the fast path was right after all"


def test_bfloat16_is_accepted_and_a_lost_scale_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("granite", dtype=torch.bfloat16)
    assert plan_for(model, ITEMS[:3]) == Plan()
    _drop_scale(monkeypatch)
    assert not plan_for(model, ITEMS[:3]).chunked


# ---------------------------------------------------------------- seeded bugs


def _spoil_rows(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Row], Row]) -> None:
    forward = Policy.forward

    def spoiled(self: Policy, row: Row, **kwargs: Any) -> Any:
        return forward(self, spoil(row), **kwargs)

    monkeypatch.setattr(Policy, "forward", spoiled)


def _wrong_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Policy._run

    def counted(self: Policy, module: Any, ids: Any, pos: Any = None, **kwargs: Any) -> Any:
        return run(self, module, ids, None if pos is None else np.arange(len(ids)), **kwargs)

    monkeypatch.setattr(Policy, "_run", counted)


def _leaking_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil_rows(
        monkeypatch, lambda row: replace(row, end_T=np.full_like(row.end_T, len(row.end_T)))
    )
    monkeypatch.setattr(attention, "tree", _one_segment)


def _one_segment(pos_T: Any, end_T: Any) -> attention.Tree:
    return attention.Tree((attention.Segment(len(pos_T), 0, (0,)),))


def _off_by_one_label(monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil_rows(monkeypatch, lambda row: replace(row, target_K=np.roll(row.target_K, 1)))


def _drop_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Policy.head
    monkeypatch.setattr(Policy, "head", lambda self: replace(head(self), scale=1.0, softcap=None))


def _lost_window(monkeypatch: pytest.MonkeyPatch) -> None:
    visible = attention.Tree.visible
    monkeypatch.setattr(
        attention.Tree,
        "visible",
        lambda self, segment, window, device: visible(self, segment, None, device),
    )


def _window_counts_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def visible(self: Any, segment: Any, window: int | None, device: Any) -> Any:
        total = segment.depth + segment.length
        query = torch.arange(segment.depth, total)[:, None] + 3 * (segment.depth > 0)
        past = query - torch.arange(total)
        causal = torch.arange(segment.depth, total)[:, None] >= torch.arange(total)
        return causal & (past < (window or total + 9))

    monkeypatch.setattr(attention.Tree, "visible", visible)


def _forgotten_branch_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared scored token counted for one of its sequences only."""

    def spoil(row: Row) -> Row:
        _, first = np.unique(row.token_E, return_index=True)
        return replace(row, token_E=row.token_E[first], seq_E=row.seq_E[first])

    _spoil_rows(monkeypatch, spoil)


BUGS = {
    "positions count the row": ("llama", _wrong_positions),
    "a branch sees its sibling": ("llama", _leaking_branch),
    "labels off by one": ("llama", _off_by_one_label),
    "logit scale dropped": ("granite", _drop_scale),
    "soft-cap dropped": ("gemma2", _drop_scale),
    "window lost": ("mistral", _lost_window),
    "window counts rows": ("mistral", _window_counts_rows),
    "shared token counted once": ("llama", _forgotten_branch_weight),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, plant = BUGS[name]
    with wide_float64():
        model = tiny.model(kind)
        assert max(difference(model, Plan())) < 1e-10
        plant(monkeypatch)
        assert max(difference(model, Plan())) > 1e-4


@pytest.mark.parametrize("name", ["a branch sees its sibling", "window lost", "soft-cap dropped"])
def test_the_self_check_sees_a_seeded_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, plant = BUGS[name]
    plant(monkeypatch)
    plan = plan_for(tiny.model(kind, dtype=torch.bfloat16), ITEMS[:3])
    assert not (plan.shared and plan.chunked)


def test_budgets_change_nothing_but_rounding() -> None:
    with wide_float64():
        model = tiny.model("qwen3")
        for budget in (16, 33, 400):
            assert max(difference(model, Plan(), budget=budget)) < 1e-10


def test_gradient_checkpointing_changes_nothing() -> None:
    with wide_float64():
        model = tiny.model("llama").train()
        recompute_activations(model)
        assert max(difference(model, Plan())) < 1e-10


def test_the_projection_gradient_without_a_kept_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprob, "KEPT_BYTES", 0)
    monkeypatch.setattr(logprob, "CHUNK_BYTES", 8 * tiny.VOCAB * 3)
    with wide_float64():
        for kind in ("llama", "gemma2", "cohere2"):
            assert max(difference(tiny.model(kind), Plan())) < 1e-10


def test_a_frozen_projection_takes_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("the projection has no gradient to compute")

    monkeypatch.setattr(logprob, "_full_backward", never)
    monkeypatch.setattr(logprob, "CHUNK_BYTES", 8 * tiny.VOCAB * 3)
    with wide_float64():
        for kind in ("llama", "gemma2", "granite"):
            model = tiny.model(kind)
            model.get_output_embeddings().weight.requires_grad_(False)
            assert max(difference(model, Plan())) < 1e-10


def test_statistics_are_those_of_the_softmax() -> None:
    with wide_float64(), torch.no_grad():
        model = tiny.model("gemma2")
        row = pack(ITEMS, 500)[0]
        found = Policy(model)(row, with_statistics=True).statistics
        assert found is not None
        engine = Policy(model)
        tree = attention.tree(row.pos_T, row.end_T)
        logits = engine._run(model, row.ids_T, row.pos_T, palate_tree=tree).logits[0][row.source_K]
        probs = logits.softmax(-1)
        torch.testing.assert_close(found.square_K, probs.square().sum(-1))
        torch.testing.assert_close(found.entropy_K, -(probs * probs.log()).sum(-1))
        torch.testing.assert_close(found.top_K5, probs.topk(5).indices)
