"""Patches -> groups, one group each: the hard assignment of GroupViT, SegCLIP and ZeroSeg.

B images, K groups, N patches.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Assignment(NamedTuple):
    """hard: (B, K, N), for every patch 1 at its group and 0 elsewhere; its gradient is the softmax's that it was taken
    from. soft: (B, K, N), the softmax over groups of the scores alone, without noise and temperature.
    """

    hard: Tensor
    soft: Tensor


class Grouped(NamedTuple):
    """tokens: (B, K, C), one per group. assignment: of the patches to them."""

    tokens: Tensor
    assignment: Assignment


def gumbel_noise(*shape: int, device: torch.device | str = "cpu") -> Tensor:
    """Float32 noise -ln(-ln u), u uniform: added to scores, the largest is a draw from their softmax."""
    return -torch.empty(shape, device=device).exponential_().log()


def assign(scores: Tensor, temperature: float = 1.0, noise: Tensor | None = None) -> Assignment:
    """Give every patch to one group.

    Training, with noise g: Y = softmax over groups of (scores + g) / temperature; hard is the one-hot of Y's largest,
    with Y's gradient (straight-through Gumbel-softmax, Jang et al. 2017). Test, without noise: the one-hot of the
    largest score. Computed in float32.

    Args:
        scores: (B, K, N).
        temperature: of the noisy softmax.
        noise: (B, K, N), see `gumbel_noise`.

    Example:
        >>> assign(torch.tensor([[[2.0, 0.0], [1.0, 3.0]]])).hard
        tensor([[[1., 0.],
                 [0., 1.]]])
    """
    scores = scores.float()
    soft = scores.softmax(1)
    if noise is None:
        return Assignment(_one_hot(soft), soft)
    noisy = ((scores + noise) / temperature).softmax(1)
    return Assignment(_one_hot(noisy) + (noisy - noisy.detach()), soft)


def _one_hot(values: Tensor) -> Tensor:
    index = values.argmax(1, keepdim=True)
    return torch.zeros_like(values).scatter_(1, index, 1.0)
