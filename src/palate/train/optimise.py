"""AdamW, the schedule, and clipping with a look at the gradient before anything moves.

Weights held in half precision keep fp32 masters: the optimiser moves those, the model gets a
rounded copy.  State goes to and from plain tensors; nothing is pickled.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from palate.config import Schedule, TrainConfig
from palate.errors import NumericsError
from palate.train.defaults import Settings

MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimiser:
    """AdamW over named parameters."""

    def __init__(
        self, parameters: Mapping[str, torch.nn.Parameter], *, weight_decay: float, clip: float
    ) -> None:
        self.parameters = dict(parameters)
        self.clip = clip
        self.masters = {name: _master(p) for name, p in self.parameters.items()}
        matrices = [self.masters[n] for n, p in self.parameters.items() if p.dim() > 1]
        vectors = [self.masters[n] for n, p in self.parameters.items() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors},
        ]
        filled = [group for group in groups if group["params"]]
        self.adamw = torch.optim.AdamW(filled, lr=0.0, weight_decay=0.0, fused=True)

    def step(self, lr: float) -> float:
        """Clip, move, forget the gradient; gives its norm.  Raises NumericsError, nothing moved."""
        for name, parameter in self.parameters.items():
            master = self.masters[name]
            if master is not parameter and parameter.grad is not None:
                master.grad = parameter.grad.to(master.dtype)
        gradients = [m.grad for m in self.masters.values() if m.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            self.forget()
            raise NumericsError("the gradient is not finite; no weight was moved.")
        torch.nn.utils.clip_grads_with_norm_(
            self.masters.values(), self.clip, torch.tensor(norm, device=gradients[0].device)
        )
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        self._publish()
        self.forget()
        return norm

    def forget(self) -> None:
        """Drop every gradient."""
        self.adamw.zero_grad(set_to_none=True)
        for parameter in self.parameters.values():
            parameter.grad = None

    def weights(self) -> dict[str, Tensor]:
        """What trains, in the precision in which it trains."""
        return {name: m.detach() for name, m in self.masters.items()}

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts as named tensors; empty before the first step."""
        return {
            f"{name}.{part}": self.adamw.state[master][part]
            for name, master in self.masters.items()
            for part in (*MOMENTS, "step")
            if master in self.adamw.state
        }

    def load(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Take up exactly where `weights()` and `state()` were written."""
        self.load_weights(weights)
        for name, master in self.masters.items():
            if f"{name}.step" in state:
                self.adamw.state[master] = {
                    part: _beside(state[f"{name}.{part}"], master, part)
                    for part in (*MOMENTS, "step")
                }

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put saved weights into masters and model."""
        for name, master in self.masters.items():
            master.copy_(weights[name])
        self._publish()

    @torch.no_grad()
    def _publish(self) -> None:
        for name, parameter in self.parameters.items():
            if self.masters[name] is not parameter:
                parameter.copy_(self.masters[name])


def rate_at(step: int, settings: Settings, config: TrainConfig) -> float:
    """The rate of optimiser step `step` (0-based) of a run."""
    return learning_rate(
        step,
        settings.steps,
        peak=settings.lr,
        schedule=config.schedule,
        warmup=config.warmup,
    )


def learning_rate(
    step: int, steps: int, *, peak: float, schedule: Schedule, warmup: float
) -> float:
    """The rate of optimiser step `step` (0-based) of `steps`: linear warm-up, then the schedule."""
    ramp = max(1, round(warmup * steps))
    if step < ramp and warmup > 0:
        return peak * (step + 1) / ramp
    if schedule == "constant":
        return peak
    ramp = ramp if warmup > 0 else 0
    left = 1 - (step - ramp) / max(1, steps - ramp)
    return peak * (left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)


def _master(parameter: torch.nn.Parameter) -> Tensor:
    """The tensor that the optimiser moves: the parameter, or its fp32 copy."""
    if parameter.dtype in (torch.float32, torch.float64):
        return parameter
    return parameter.detach().clone().float().requires_grad_()


def _beside(value: Tensor, master: Tensor, part: str) -> Tensor:
    """State on its parameter's device; copied, for the optimiser writes into it."""
    target = value.clone()
    return target if part == "step" and master.device.type == "cpu" else target.to(master.device)
