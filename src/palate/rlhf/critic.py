"""The value head: what a text will still be paid, from the policy's own state before each token.

Linear, 0 at the start (scores are counted from the starting model's mean), and on states that its
loss does not reach: the policy is moved by advantages alone.

Shape suffixes: K scored tokens, D hidden.
"""

import torch
from torch import Tensor, nn

REACH = 0.1


class Critic(nn.Module):
    """A linear layer of its own, in fp32 or wider."""

    def __init__(self, width: int, *, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        wide = torch.promote_types(dtype, torch.float32)
        self.weight_D = nn.Parameter(torch.zeros(width, device=device, dtype=wide))
        self.bias = nn.Parameter(torch.zeros((), device=device, dtype=wide))

    def forward(self, states_KD: Tensor) -> Tensor:
        """Values (K,), of states that carry no gradient."""
        return states_KD.detach().to(self.weight_D) @ self.weight_D + self.bias

    @property
    def rate(self) -> float:
        """Its learning rate: AdamW moves every weight by about this, so a value by `REACH`."""
        return REACH / len(self.weight_D)
