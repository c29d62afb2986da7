"""Deterministic weights and images of the reference numbers: every tensor is a function of its name alone."""

import math
import zlib
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

VOC20 = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog", "horse"),
    *("motorbike", "person", "plant", "sheep", "sofa", "train", "tvmonitor"),
]


def fill(name: str, tensor: Tensor) -> Tensor:
    """Values for one published parameter; `attn_mask` buffers keep theirs."""
    if name.endswith("attn_mask"):
        return tensor
    if name.endswith("logit_scale"):
        return torch.full_like(tensor, math.log(100))
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) % 2**31)
    shape = tensor.shape
    scale = math.prod(shape[1:]) ** -0.5 if len(shape) >= 2 else 0.02
    values = torch.randn(shape, generator=generator) * scale
    return values + 1 if len(shape) == 1 and name.endswith("weight") else values


def fill_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: fill(name, tensor) for name, tensor in state_dict.items()}


def image(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth random RGB image, float32 (3, height, width), 0-255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 12, generator=generator)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = 0.05 * torch.randn(smooth.shape, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255)[0]


def labels(size: int = 384, classes: int = 20) -> Tensor:
    """Checkerboard of 48-pixel tiles over the classes, rows 0-23 ignored (255): int64 (1, size, size)."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    result = ((y // 48) * 8 + x // 48) % classes
    result[:24] = 255
    return result[None]
