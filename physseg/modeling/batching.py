"""Tensors of different sizes -> one batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# CAT-Seg pads images to a multiple of this many pixels.
SIZE_DIVISIBILITY = 32


def to_device(sample: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A copy of a sample whose tensors are on the device. From pinned memory the host does not wait for it."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for key, value in sample.items()
    }


def pad_to_common_size(images: Sequence[Tensor], value: int = 0) -> Tensor:
    """Stack images (..., h, w), padded right and bottom with a value to one size, a multiple of 32."""
    size = [-(-max(image.shape[d] for image in images) // SIZE_DIVISIBILITY) * SIZE_DIVISIBILITY for d in (-2, -1)]
    return pad_to_size(images, size, value)


def pad_to_size(maps: Sequence[Tensor], size: Sequence[int], value: int) -> Tensor:
    """Stack maps (..., h, w), padded right and bottom with a value to (height, width)."""
    pads = [(0, size[1] - m.shape[-1], 0, size[0] - m.shape[-2]) for m in maps]
    return torch.stack([F.pad(m, pad, value=value) for m, pad in zip(maps, pads, strict=True)])


def check_labels(sem_seg: Tensor, classes: int, ignore_value: int) -> None:
    """Refuse labels outside the vocabulary; on a GPU nothing is checked, since that would wait for the device.

    Raises:
        ValueError: naming the first such label.
    """
    if sem_seg.device.type != "cpu":
        return
    wrong = (sem_seg != ignore_value) & ((sem_seg < 0) | (sem_seg >= classes))
    if wrong.any():
        raise ValueError(
            f"label {int(sem_seg[wrong][0])} is neither one of the vocabulary's {classes} classes nor "
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {ignore_value}: check the label maps and MODEL.TEXT.VOCABULARY"
        )
