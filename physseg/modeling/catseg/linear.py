"""Aggregation's linear layers with few passes over memory.

Products 128 channels wide end so soon that every pass around them counts. On a CPU a library fills the output with the
bias before it multiplies and then adds to it, which takes longer than adding the bias afterwards, in place; so does a
residual sum that makes a tensor of its own. A GPU's libraries fuse the bias into the product.

R rows of any number of dimensions, C channels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """layer(x): (R, C') -> (R, C)."""
    return F.linear(x, layer.weight).add_(layer.bias) if x.device.type == "cpu" else layer(x)


def plus_linear(x: Tensor, y: Tensor, layer: nn.Linear) -> Tensor:
    """x + layer(y): (R, C), (R, C') -> (R, C)."""
    out = linear(y, layer)
    # Autocast may have changed the type of one of them.
    return out.add_(x) if out.dtype == x.dtype else x + out


def plus_mlp(
    x: Tensor, norm: nn.LayerNorm, fc1: nn.Linear, activation: Callable[[Tensor], Tensor], fc2: nn.Linear
) -> Tensor:
    """x + fc2(activation(fc1(norm(x)))): (R, C) -> (R, C).

    Args:
        activation: may write over its input.
    """
    return plus_linear(x, activation(linear(norm(x), fc1)), fc2)


def gelu(x: Tensor) -> Tensor:
    """GELU; over its input where no gradient is wanted."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def elu_plus_one(x: Tensor) -> Tensor:
    """ELU(x) + 1, positive; over its input where no gradient is wanted."""
    return F.elu(x) + 1 if torch.is_grad_enabled() else F.elu_(x).add_(1)
