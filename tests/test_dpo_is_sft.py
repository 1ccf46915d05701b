"""The idea that palate stands on, held on a real model in float64: DPO is SFT with a weight.

Rafailov et al. 2023, section 4: the gradient of a pair is beta*sigmoid(-margin) times the
difference of the two sides' likelihood gradients.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine_cases import gradients, tokens, worst
from palate.config import RowOptions
from palate.data.render import Renderer
from palate.data.rows import Item, Origin, Pair
from palate.engine.pack import pack
from palate.engine.policy import Output, Policy
from palate.engine.precision import wide_float64
from palate.engine.scoring import score
from palate.objectives import Scored, build, weights
from palate.objectives.pairwise import dpo
from palate.objectives.supervised import sft
from palate.train.step import Batch, accumulate

BETA = 0.3


@pytest.fixture(scope="module")
def story(shared_data: Path) -> Iterator[tuple[Any, Item, Item]]:
    """A real model in float64, a pair with a shared start and a shared end, its chosen side."""
    folder = shared_data / "stories260K"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pair = Pair(
        "Once upon a time, there was a",
        " little girl named Lily who liked the big red ball.",
        " little girl named Tim who saw the big red ball.",
        Origin("made.jsonl", 1),
    )
    item = Renderer(tokenizer, RowOptions(), context=512).item(pair)
    chosen, rejected = item.sequences
    shared = 0
    while chosen.ids[shared] == rejected.ids[shared]:
        shared += 1
    assert shared > item.sequences[0].prompt, "the completions must share a start"
    model = AutoModelForCausalLM.from_pretrained(folder).double().eval()
    with wide_float64():
        yield model, item, Item((chosen,), item.group, item.origin)


def logits_of(model: Any, ids: tuple[int, ...]) -> Tensor:
    logits: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    logits.retain_grad()
    return logits


def implicit_margin(delta_P2: Tensor) -> Tensor:
    """Implicit reward of chosen minus that of rejected (P,)."""
    return BETA * (delta_P2[:, 0] - delta_P2[:, 1])


def push(logits: Tensor, ids: tuple[int, ...], start: int) -> Tensor:
    """`softmax - onehot` at every completion token of one sequence (N, V)."""
    found = logits.detach()[start - 1 : -1].softmax(-1)
    found[torch.arange(len(found)), list(ids[start:])] -= 1
    return found


def test_the_logit_gradient_of_sft_is_softmax_minus_onehot(story: Any) -> None:
    model, _, single = story
    (sequence,) = single.sequences
    logits = logits_of(model, sequence.ids)
    normal = logits - logits.logsumexp(-1, keepdim=True)
    places = torch.arange(sequence.prompt, len(sequence.ids))
    logp = normal[places - 1, list(sequence.ids[sequence.prompt :])].sum()
    sft(logp[None, None], torch.tensor([[len(places)]]), mean="token").sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(
        logits.grad[sequence.prompt - 1 : -1],
        push(logits, sequence.ids, sequence.prompt),
        rtol=0,
        atol=1e-12,
    )
    assert not logits.grad[: sequence.prompt - 1].any(), "the prompt is not scored"


def pair_gradients(model: Any, item: Item) -> tuple[list[Tensor], list[Tensor], float]:
    """Logit gradients of both sides under DPO, their pushes, and beta*sigmoid(-margin)."""
    reference = torch.tensor([[-60.0, -75.0]])
    found = [logits_of(model, sequence.ids) for sequence in item.sequences]
    logps = []
    for logits, sequence in zip(found, item.sequences, strict=True):
        normal = logits - logits.logsumexp(-1, keepdim=True)
        places = torch.arange(sequence.prompt, len(sequence.ids))
        logps.append(normal[places - 1, list(sequence.ids[sequence.prompt :])].sum())
    delta = torch.stack(logps)[None] - reference
    dpo(delta, beta=BETA).sum().backward()
    margin = float(implicit_margin(delta.detach()))
    size = BETA / (1 + float(torch.tensor(margin).exp()))
    pushes = [push(x, s.ids, s.prompt) for x, s in zip(found, item.sequences, strict=True)]
    grads = [
        x.grad[s.prompt - 1 : -1]
        for x, s in zip(found, item.sequences, strict=True)
        if x.grad is not None
    ]
    return grads, pushes, size


def test_the_logit_gradient_of_dpo_is_weight_times_softmax_minus_onehot(story: Any) -> None:
    model, item, _ = story
    (chosen, rejected), (up, down), size = pair_gradients(model, item)
    assert 1e-3 < size < BETA
    torch.testing.assert_close(chosen, size * up, rtol=0, atol=1e-12)
    torch.testing.assert_close(rejected, -size * down, rtol=0, atol=1e-12)


def test_shared_starts_cancel_and_the_first_divergence_keeps_the_onehot_difference(
    story: Any,
) -> None:
    model, item, _ = story
    (chosen, rejected), _, size = pair_gradients(model, item)
    left, right = (s.ids[s.prompt :] for s in item.sequences)
    first = next(n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    assert first > 0
    both = chosen[: first + 1] + rejected[: first + 1]
    assert float(both[:first].abs().max()) < 1e-12
    expected = torch.zeros_like(both[first])
    expected[left[first]], expected[right[first]] = -size, size
    torch.testing.assert_close(both[first], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(both[first].norm(), torch.tensor(size * 2**0.5))
    assert float(chosen[-1].abs().max()) > 1e-6, "a shared end does not cancel"


def one_sgd_step(model: Any) -> dict[str, Tensor]:
    return {n: p.detach() - 0.1 * p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_a_step_of_dpo_is_a_step_of_sft_with_weights(story: Any) -> None:
    model, item, _ = story
    left, right = copy.deepcopy(model), copy.deepcopy(model)
    reference = score(Policy(left), [item], 500) + torch.tensor([[1.0, -2.0]])
    objective = build("dpo", beta=BETA)
    batch = Batch([item], reference)
    result = accumulate(Policy(left), batch, objective, 500)
    margin = implicit_margin(result.scored.deltas_IN)
    size = BETA * torch.sigmoid(-margin)
    policy = Policy(right)
    halves = [Item((s,), item.group, item.origin) for s in item.sequences]
    for sign, half in zip((1.0, -1.0), halves, strict=True):
        scored = Scored(_live(policy, half), torch.tensor([[half.sequences[0].scored]]))
        (sign * size * build("sft").loss(scored)).sum().backward()
    assert worst(one_sgd_step(left), one_sgd_step(right)) < 1e-12
    assert worst(gradients(left), gradients(right)) < 1e-11


def _live(policy: Policy, item: Item) -> Tensor:
    (row,) = pack([item], 500)
    output: Output = policy(row)
    return output.logps_S[None]


# ---------------------------------------------------------------- weights, for every objective


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_weights_are_minus_autograd(name: str) -> None:
    objective = build(name) if name == "sft" else build(name, beta=BETA, label_smoothing=0.1)
    sides = 1 if objective.items == "row" else 2
    logps = torch.randn(5, sides, dtype=torch.float64, requires_grad=True)
    scored = Scored(logps, torch.full((5, sides), 7), torch.randn(5, sides, dtype=torch.float64))
    objective.loss(scored).sum().backward()
    assert logps.grad is not None
    torch.testing.assert_close(weights(objective, scored), -logps.grad)


def test_weights_of_dpo_are_those_of_the_paper() -> None:
    delta = torch.tensor([[0.0, 0.0], [40.0, -40.0], [-40.0, 40.0]], dtype=torch.float64)
    scored = Scored(delta, torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.float64))
    found = weights(build("dpo", beta=BETA), scored)
    size = BETA * torch.sigmoid(-BETA * (delta[:, 0] - delta[:, 1]))
    torch.testing.assert_close(found, torch.stack([size, -size], -1))
    assert float(found[0, 0]) == BETA / 2


def _of(delta: Tensor) -> Scored:
    return Scored(delta, torch.ones(delta.shape), torch.zeros_like(delta))


def test_swapping_a_pair_negates_the_margin() -> None:
    delta = torch.randn(6, 2, dtype=torch.float64)
    torch.testing.assert_close(
        build("dpo", beta=BETA).margin(_of(delta)),
        -build("dpo", beta=BETA).margin(_of(delta.flip(-1))),
    )


def test_label_smoothing_is_a_mixture_of_both_verdicts() -> None:
    delta = torch.randn(6, 2, dtype=torch.float64)
    mixed = 0.8 * dpo(delta, beta=BETA) + 0.2 * dpo(delta.flip(-1), beta=BETA)
    torch.testing.assert_close(dpo(delta, beta=BETA, label_smoothing=0.2), mixed)


@pytest.mark.parametrize("mean", ["token", "sequence"])
def test_sft_divides_by_what_it_says(mean: str) -> None:
    with wide_float64():
        import tiny

        items = [
            Item((tokens([3, 4, 5, 6], 1),), 0, Origin("a", 1)),
            Item((tokens([7, 8], 1),), 1, Origin("a", 2)),
        ]
        model = tiny.model("llama")
        found = accumulate(Policy(model), Batch(items), build("sft", mean=mean), 100)
        logps = found.scored.logps_IN[:, 0]
        want = -logps.sum() / 4 if mean == "token" else -(logps[0] / 3 + logps[1]) / 2
        assert found.loss == pytest.approx(float(want), abs=1e-12)
