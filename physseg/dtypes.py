"""Precision of what is summed."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """The same in float32, or as it is where it is float32 or float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
