"""Resizing of structure maps that keeps thin structures."""

import torch
import torch.nn.functional as F


def max_pool_to(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize structure maps so that a cell is 1 if any of its pixels is.

    A mean would leave a line of one pixel at 1/4 of a 4x4 cell, a nearest-neighbour resize would drop most of it.

    Args:
        maps: uint8, bool or float (B, S, H, W).
        size: (h, w) of the result; a side may also grow (its cells then repeat).

    Returns:
        float32 (B, S, h, w).
    """
    return F.adaptive_max_pool2d(maps.float(), size)
