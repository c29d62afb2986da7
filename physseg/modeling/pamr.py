"""PAMR: class maps refined by the picture's own pixels (Araslanov and Roth, CVPR 2020).

C maps, H W pixels, D dilations, M = 8 D neighbours.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Steps to the eight neighbours, in units of the dilation.
_AROUND = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x)


def pamr(maps: Tensor, weights: Tensor, steps: int, dilations: Sequence[int]) -> Tensor:
    """Replace every value by the weighted mean of its neighbours, some steps long: (C, H, W) -> (C, H, W).

    Each map goes its own way: a few at a time give the same numbers as all at once, in less memory.

    Args:
        maps: of another size, they are resized bilinearly first, corners aligned.
        weights: (M, H, W), `affinity` of the picture with the same dilations.
    """
    if maps.shape[-2:] != weights.shape[-2:]:
        maps = F.interpolate(maps[None], size=weights.shape[-2:], mode="bilinear", align_corners=True)[0]
    for _ in range(steps):
        total = torch.zeros_like(maps)
        for neighbour, weight in zip(_neighbours(maps, dilations), weights, strict=True):
            total.addcmul_(neighbour, weight)
        maps = total
    return maps


def affinity(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """How much each neighbour counts: softmax over all M of -|x_p - x_n| / (0.1 std), averaged over channels.

    The standard deviation is that of the pixel and its neighbours, per channel, the pixel counted once per dilation.

    Args:
        image: (3, H, W).

    Returns:
        (M, H, W), summing to 1.
    """
    count = 9 * len(dilations)
    total = len(dilations) * image + sum(_neighbours(image, dilations))
    mean = total / count
    variance = len(dilations) * (image - mean) ** 2 + sum((n - mean) ** 2 for n in _neighbours(image, dilations))
    spread = 1e-8 + 0.1 * (variance / (count - 1)).sqrt()
    scores = [-((image - n).abs() / spread).mean(0) for n in _neighbours(image, dilations)]
    return torch.stack(scores).softmax(0)


def _neighbours(x: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Views of (C, H, W) shifted to each neighbour, the border repeated; dilation by dilation."""
    height, width = x.shape[-2:]
    for d in dilations:
        padded = F.pad(x[None], (d, d, d, d), mode="replicate")[0]
        for y, step in _AROUND:
            top, left = d + y * d, d + step * d
            yield padded[:, top : top + height, left : left + width]
