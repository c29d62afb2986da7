"""OpenAI CLIP's feed-forward layer, whose activation is x sigmoid(1.702 x)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SCALE = 1.702


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x)."""
    return F.silu(_SCALE * x) / _SCALE


class QuickGELUMLP(nn.Module):
    """Linear, QuickGELU, linear, with the names of open_clip's parameters.

    x sigmoid(s x) is silu(s x) / s, and a matrix product takes a factor at no cost: the activation is one kernel in
    each direction, and one tensor is kept for the backward pass.
    """

    def __init__(self, c_fc: nn.Linear, c_proj: nn.Linear):
        super().__init__()
        self.c_fc, self.c_proj = c_fc, c_proj

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        rows = x.flatten(0, -2)
        rows = torch.addmm(self.c_fc.bias, rows, self.c_fc.weight.t(), beta=_SCALE, alpha=_SCALE)
        # silu's backward pass needs its input; without one the product's memory is free.
        rows = F.silu(rows, inplace=not torch.is_grad_enabled())
        return torch.addmm(self.c_proj.bias, rows, self.c_proj.weight.t(), alpha=1 / _SCALE).view(*x.shape[:-1], -1)
