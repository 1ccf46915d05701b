"""The chunked linear log-prob: hidden states and the vocabulary projection in, log-probs out.

Full logits are never held.  When the projection is frozen (LoRA) one pass gives the log-prob and
its gradient by the hidden state; when it trains, the softmax is kept if it fits in 512 MB, else
made again.  A pass without gradient does neither.  The only module that normalises over the
vocabulary.

Shape suffixes: K scored tokens, D hidden, V vocabulary, C tokens of a chunk.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

KEPT_BYTES = 512 * 2**20
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Head:
    """The vocabulary projection and what the model does to its logits afterwards."""

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None


class Statistics(NamedTuple):
    """Per scored token, without gradient: `sum softmax^2`, entropy (nats), five likeliest ids."""

    square_K: Tensor
    entropy_K: Tensor
    top_K5: Tensor
    top_logps_K5: Tensor


def linear_logprob(hidden_KD: Tensor, head: Head, target_K: Tensor) -> Tensor:
    """log p(target | hidden) for each scored token (K,), in fp32 (fp64 for fp64 input)."""
    logps: Tensor = _LinearLogProb.apply(
        hidden_KD, head.weight_VD, head.bias_V, target_K, head.scale, head.softcap
    )
    return logps


@torch.no_grad()
def statistics(hidden_KD: Tensor, head: Head) -> Statistics:
    """What the microscope reads of each token's distribution, chunk by chunk."""
    chunks = hidden_KD.split(_chunk(head.weight_VD, hidden_KD))
    parts = [logits_statistics(_logits(chunk_CD, head)) for chunk_CD in chunks]
    return Statistics(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def logits_statistics(logits_KV: Tensor) -> Statistics:
    """The same from logits (K,V)."""
    logps_KV = torch.log_softmax(logits_KV.to(_wide(logits_KV.dtype)), -1)
    probs_KV = logps_KV.exp()
    top = logps_KV.topk(min(5, logps_KV.shape[-1]), -1)
    entropy_K = -(probs_KV * logps_KV).sum(-1)
    return Statistics(probs_KV.square().sum(-1), entropy_K, top.indices, top.values)


@torch.no_grad()
def divergence(
    hidden_KD: Tensor, head: Head | None, other_KD: Tensor, other_head: Head | None
) -> Tensor:
    """KL(p || q) in nats over the whole vocabulary at each scored token (K,), chunk by chunk.

    `p` is of `hidden_KD` and `head`, `q` of the other two; without a head the states are logits.
    Infinite where q excludes a token that p does not.  In fp32 (fp64 for fp64 input).
    """
    size = _chunk(hidden_KD.T if head is None else head.weight_VD, hidden_KD)
    pairs = zip(hidden_KD.split(size), other_KD.split(size), strict=True)
    parts = [_divergence(_normal(p_CD, head), _normal(q_CD, other_head)) for p_CD, q_CD in pairs]
    return torch.cat(parts) if parts else hidden_KD.new_zeros(0)


def logits_logprob(logits_KV: Tensor, target_K: Tensor) -> Tensor:
    """The same from a model's own logits: the last fallback."""
    logits_KV = logits_KV.to(_wide(logits_KV.dtype))
    chosen_K = logits_KV.gather(-1, target_K[:, None]).squeeze(-1)
    return chosen_K - logits_KV.logsumexp(-1)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _chunk(weight_VD: Tensor, hidden_KD: Tensor) -> int:
    """Tokens whose logits fill about CHUNK_BYTES."""
    return max(1, CHUNK_BYTES // (weight_VD.shape[0] * _wide(hidden_KD.dtype).itemsize))


def _logits(hidden_CD: Tensor, head: Head) -> Tensor:
    """Logits as the model itself would give them, in fp32 or wider."""
    logits_CV = hidden_CD @ head.weight_VD.T
    if head.bias_V is not None:
        logits_CV += head.bias_V
    logits_CV = logits_CV.to(_wide(logits_CV.dtype))
    if head.scale != 1.0:
        logits_CV *= head.scale
    if head.softcap is not None:
        logits_CV.div_(head.softcap).tanh_().mul_(head.softcap)
    return logits_CV


def _normal(hidden_CD: Tensor, head: Head | None) -> Tensor:
    """Log-probs of the whole vocabulary (C,V)."""
    logits_CV = hidden_CD if head is None else _logits(hidden_CD, head)
    return torch.log_softmax(logits_CV.to(_wide(logits_CV.dtype)), -1)


def _divergence(p_CV: Tensor, q_CV: Tensor) -> Tensor:
    """KL (C,) of log-probs; a token that p excludes counts nothing, whatever q says of it."""
    terms_CV = p_CV.exp() * (p_CV - q_CV)
    return terms_CV.masked_fill_(p_CV == -torch.inf, 0.0).sum(-1)


def _softmax_(logits_CV: Tensor, target_C: Tensor) -> Tensor:
    """Log-prob of the targets; turns the logits into the softmax in place."""
    logits_CV.sub_(logits_CV.amax(-1, keepdim=True))
    chosen_C = logits_CV.gather(-1, target_C[:, None]).squeeze(-1)
    total_C = logits_CV.exp_().sum(-1)
    logits_CV.div_(total_C[:, None])
    return chosen_C - total_C.log()


def _slope(logits_CV: Tensor, head: Head) -> Tensor | float:
    """d(logit)/d(raw product): the logit scale, times the soft-cap's derivative if there is one."""
    if head.softcap is None:
        return head.scale
    return head.scale * (1 - (logits_CV / head.softcap).square())


class _LinearLogProb(torch.autograd.Function):
    """d logp / d logits = onehot - softmax; see the module's docstring for what is kept when."""

    @staticmethod
    def forward(  # noqa: PLR0913  autograd wants tensors one by one
        ctx: Any,
        hidden_KD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_K: Tensor,
        scale: float,
        softcap: float | None,
    ) -> Tensor:
        head = Head(weight_VD, bias_V, scale, softcap)
        hidden_grad, weight_grad, bias_grad = ctx.needs_input_grad[:3]
        ctx.head, ctx.trains = head, weight_grad or bias_grad
        if ctx.trains:
            size = len(hidden_KD) * len(weight_VD) * _wide(hidden_KD.dtype).itemsize
            keep = softcap is None and size <= KEPT_BYTES
            logps_K, ctx.softmax_KV = _values(hidden_KD, head, target_K, keep=keep)
            ctx.save_for_backward(hidden_KD, target_K)
        elif hidden_grad:
            logps_K, slope_KD = _values_and_slopes(hidden_KD, head, target_K)
            ctx.save_for_backward(slope_KD)
        else:
            logps_K, _ = _values(hidden_KD, head, target_K, keep=False)
        return logps_K

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_K: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.trains:
            (slope_KD,) = ctx.saved_tensors
            return (slope_KD * grad_K[:, None]).to(slope_KD.dtype), None, None, None, None, None
        hidden_KD, target_K = ctx.saved_tensors
        hidden_grad, weight_grad, bias_grad = _full_backward(
            hidden_KD, ctx.head, target_K, grad_K, ctx.softmax_KV
        )
        ctx.softmax_KV = None
        return hidden_grad, weight_grad, bias_grad, None, None, None


def _values(
    hidden_KD: Tensor, head: Head, target_K: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probs, and the whole softmax if it is to be kept."""
    if keep:
        softmax_KV = _logits(hidden_KD, head)
        return _softmax_(softmax_KV, target_K), softmax_KV
    size = _chunk(head.weight_VD, hidden_KD)
    parts = []
    for hidden_CD, target_C in zip(hidden_KD.split(size), target_K.split(size), strict=True):
        parts.append(logits_logprob(_logits(hidden_CD, head), target_C))
    return torch.cat(parts), None


def _values_and_slopes(hidden_KD: Tensor, head: Head, target_K: Tensor) -> tuple[Tensor, Tensor]:
    """Frozen projection: log-prob and d logp / d hidden (K,D) in one pass."""
    size = _chunk(head.weight_VD, hidden_KD)
    logps, slopes = [], []
    for hidden_CD, target_C in zip(hidden_KD.split(size), target_K.split(size), strict=True):
        logits_CV = _logits(hidden_CD, head)
        slope = _slope(logits_CV, head)
        logps.append(_softmax_(logits_CV, target_C))
        logits_CV.neg_().scatter_add_(-1, target_C[:, None], logits_CV.new_ones(len(target_C), 1))
        slopes.append((logits_CV * slope).to(head.weight_VD.dtype) @ head.weight_VD)
    return torch.cat(logps), torch.cat(slopes)


def _full_backward(
    hidden_KD: Tensor, head: Head, target_K: Tensor, grad_K: Tensor, softmax_KV: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients by hidden state, projection and bias: G = grad * (onehot - softmax) * slope."""
    size = len(hidden_KD) if softmax_KV is not None else _chunk(head.weight_VD, hidden_KD)
    hidden_grad = torch.empty_like(hidden_KD)
    held = held_gradient(head.weight_VD)
    weight_grad = torch.zeros_like(head.weight_VD) if held is None else held
    bias_grad = None if head.bias_V is None else torch.zeros_like(head.bias_V)
    for start in range(0, len(hidden_KD), size):
        chunk = slice(start, start + size)
        target_C, grad_C = target_K[chunk, None], grad_K[chunk, None]
        push_CV, slope = softmax_KV, None
        if push_CV is None:
            push_CV = _logits(hidden_KD[chunk], head)
            slope = None if head.softcap is None else _slope(push_CV, head)
            _softmax_(push_CV, target_K[chunk])
        pull_C = (grad_C if slope is not None else grad_C * head.scale).to(push_CV.dtype)
        push_CV.mul_(-pull_C).scatter_add_(-1, target_C, pull_C)
        if slope is not None:
            push_CV.mul_(slope)
        push = push_CV.to(head.weight_VD.dtype)
        torch.mm(push, head.weight_VD, out=hidden_grad[chunk])
        weight_grad.addmm_(push.T, hidden_KD[chunk])
        if bias_grad is not None:
            bias_grad += push.sum(0)
    return hidden_grad, weight_grad if held is None else None, bias_grad


def held_gradient(weight: Tensor) -> Tensor | None:
    """The gradient that a leaf has gathered from earlier rows, to be added to in place.

    A vocabulary's gradient is large: making a new one for every row and adding it costs more than
    the row's own share.  So after the first row of a step there is nothing left to return.
    """
    return weight.grad if weight.is_leaf else None
