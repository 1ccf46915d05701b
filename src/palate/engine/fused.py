"""Tables, linear layers, norms and gated MLPs with fewer passes over memory than autograd's.

A module gets its twin only if the twin gives the same output on a probe; all others stay as they
are.  `selfcheck` then compares the whole, value and gradient.  Applied for packed rows only, taken
off again for the plain path and for generation.

Shape suffixes: T tokens, D hidden, F feed-forward.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from palate.engine.logprob import held_gradient

PROBE_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
MLP_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}
Forward = Callable[[Tensor], Tensor]


def apply(core: nn.Module) -> None:
    """Give every module that has an equal twin its forward."""
    if getattr(core, "_palate_fused", False):
        return
    equal: dict[tuple[Any, ...], bool] = {}
    for module in core.modules():
        twin = _twin(module)
        if twin is None:
            continue
        kind = (type(module), *(type(child) for child in module.children()))
        if kind not in equal:
            equal[kind] = _agrees(module, twin)
        if equal[kind]:
            module.forward = twin
    core._palate_fused = True  # type: ignore[assignment]


def remove(core: nn.Module) -> None:
    """Give every module its own forward back."""
    if not getattr(core, "_palate_fused", False):
        return
    for module in core.modules():
        if isinstance(module.__dict__.get("forward"), partial):
            del module.__dict__["forward"]
    core._palate_fused = False  # type: ignore[assignment]


def _twin(module: nn.Module) -> Forward | None:
    """The candidate forward of a table, a linear layer, a norm or a SiLU-gated MLP."""
    name = type(module).__name__
    if type(module) is nn.Embedding and module.weight.requires_grad:
        return partial(_embedding, module)
    if type(module) is nn.Linear and module.weight.requires_grad:
        return partial(_linear, module)
    if name.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return partial(_norm, module)
    if name.endswith("MLP") and {n for n, _ in module.named_children()} == MLP_PARTS:
        return partial(_mlp, module)
    return None


def _embedding(module: Any, ids_T: Tensor) -> Tensor:
    out: Tensor = _Embedding.apply(module.weight, ids_T, module.padding_idx)
    return out


def _linear(module: Any, x: Tensor) -> Tensor:
    out: Tensor = _Linear.apply(x, module.weight, module.bias)
    return out


def _norm(module: Any, x_TD: Tensor) -> Tensor:
    out: Tensor = _RMSNorm.apply(x_TD, module.weight, module.variance_epsilon)
    return out


def _mlp(module: Any, x_TD: Tensor) -> Tensor:
    gate_TF, up_TF, down = module.gate_proj(x_TD), module.up_proj(x_TD), module.down_proj
    if type(down) is nn.Linear and down.weight.requires_grad:
        out: Tensor = _GatedDown.apply(gate_TF, up_TF, down.weight, down.bias)
        return out
    out = down(_SwiGLU.apply(gate_TF, up_TF))
    return out


@torch.no_grad()
def _agrees(module: nn.Module, twin: Forward) -> bool:
    """Same output on a seeded probe, to rounding.  Half precision is left to the whole check."""
    weight = next(module.parameters())
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(1, 3, weight.shape[-1], generator=generator).to(weight)
    if isinstance(module, nn.Embedding):
        probe = torch.arange(3, device=weight.device)[None] % len(weight)
    want, got = module(probe), twin(probe)
    tolerance = PROBE_TOLERANCE.get(want.dtype, 2e-2)
    return bool(((got - want).abs() <= tolerance * (want.abs().max() + 1)).all())


class _Embedding(torch.autograd.Function):
    """Rows of a table, whose gradient is added in place once there is one (see `held_gradient`)."""

    @staticmethod
    def forward(ctx: Any, weight_VD: Tensor, ids_T: Tensor, padding: int | None) -> Tensor:
        ctx.weight_VD, ctx.ids_T, ctx.padding = weight_VD, ids_T, padding
        return F.embedding(ids_T, weight_VD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
        if ctx.padding is not None:  # torch gives that row no gradient
            grad = grad.masked_fill((ctx.ids_T == ctx.padding)[..., None], 0)
        held = held_gradient(ctx.weight_VD)
        target = torch.zeros_like(ctx.weight_VD) if held is None else held
        target.index_add_(0, ctx.ids_T.flatten(), grad.flatten(0, -2))
        return target if held is None else None, None, None


class _Linear(torch.autograd.Function):
    """x W' + b, whose weight gradient is added in place once there is one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight_OI, ctx.has_bias = weight_OI, bias_O is not None
        return F.linear(x, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        x_grad = grad @ ctx.weight_OI if ctx.needs_input_grad[0] else None
        bias_grad = grad.flatten(0, -2).sum(0) if ctx.has_bias else None
        return x_grad, _add_outer(ctx.weight_OI, grad, x), bias_grad


def _add_outer(weight_OI: Tensor, grad: Tensor, x: Tensor) -> Tensor | None:
    """The weight's gradient, or None where it was added to the one that is held."""
    grad_TO, x_TI = grad.flatten(0, -2), x.flatten(0, -2)
    held = held_gradient(weight_OI)
    if held is None:
        return grad_TO.T @ x_TI
    held.addmm_(grad_TO.T, x_TI)
    return None


class _RMSNorm(torch.autograd.Function):
    """w * x / sqrt(mean(x^2) + eps), the mean in fp32 or wider.  Zhang and Sennrich 2019, eq. 4."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        rstd = (square / x.shape[-1] + eps).rsqrt_()
        ctx.save_for_backward(x, weight_D, rstd)
        out: Tensor = weight_D * (wide * rstd).to(x.dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_D, rstd = ctx.saved_tensors
        unit = x.to(rstd.dtype) * rstd
        both = grad * unit
        pull = (both @ weight_D.to(both.dtype))[..., None] / x.shape[-1]
        inner = (grad * weight_D).to(rstd.dtype)
        x_grad = inner.addcmul_(unit, pull, value=-1).mul_(rstd).to(x.dtype)
        weight_grad = None
        if ctx.needs_input_grad[1]:
            weight_grad = both.flatten(0, -2).sum(0).to(weight_D.dtype)
        return x_grad, weight_grad, None


class _SwiGLU(torch.autograd.Function):
    """silu(gate) * up, silu made again in the backward pass.  Shazeer 2020, arXiv:2002.05202."""

    @staticmethod
    def forward(ctx: Any, gate_TF: Tensor, up_TF: Tensor) -> Tensor:
        ctx.save_for_backward(gate_TF, up_TF)
        return F.silu(gate_TF).mul_(up_TF)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TF: Tensor) -> tuple[Tensor, Tensor]:
        gate_TF, up_TF = ctx.saved_tensors
        gate_grad = torch.ops.aten.silu_backward(grad_TF * up_TF, gate_TF)
        return gate_grad, F.silu(gate_TF).mul_(grad_TF)


class _GatedDown(torch.autograd.Function):
    """(silu(gate) * up) W' + b.  The product is a third of a layer's memory: it is made again."""

    @staticmethod
    def forward(
        ctx: Any, gate_TF: Tensor, up_TF: Tensor, weight_DF: Tensor, bias_D: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(gate_TF, up_TF)
        ctx.weight_DF, ctx.has_bias = weight_DF, bias_D is not None
        return F.linear(F.silu(gate_TF).mul_(up_TF), weight_DF, bias_D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, ...]:
        gate_TF, up_TF = ctx.saved_tensors
        grad_TF, opened_TF = grad_TD @ ctx.weight_DF, F.silu(gate_TF)
        weight_grad = _add_outer(ctx.weight_DF, grad_TD, opened_TF * up_TF)
        gate_grad = torch.ops.aten.silu_backward(grad_TF * up_TF, gate_TF)
        bias_grad = grad_TD.flatten(0, -2).sum(0) if ctx.has_bias else None
        return gate_grad, opened_TF.mul_(grad_TF), weight_grad, bias_grad
