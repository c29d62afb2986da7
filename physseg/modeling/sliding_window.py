"""Sliding-window inference: pure split and merge.

CAT-Seg squashes an image to a square canvas, takes overlapping crops of it and the whole image, and averages the
crops' probabilities where they overlap, then that with the whole image's. Training-free methods take crops of the image
as it is and average logits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class WindowPlan:
    """Where the windows of one image lie.

    canvas: (height, width) that the image is resized to. size: side of a window. corners: (top, left) of each window.
    whole: (height, width) of the whole image within its own window of `size`, smaller than it where the aspect ratio
    is kept and the rest is padding; None: no such window.
    """

    canvas: tuple[int, int]
    size: int
    corners: tuple[tuple[int, int], ...]
    whole: tuple[int, int] | None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a window: `size`, or the canvas's side where that is shorter."""
        return min(self.size, self.canvas[0]), min(self.size, self.canvas[1])


def plan_windows(image_size: tuple[int, int], size: int, stride: int, canvas: int, keep_aspect: bool) -> WindowPlan:
    """Plan the windows of an image of (height, width).

    Args:
        size, stride, canvas: in pixels; the canvas is a square of that side, or with `keep_aspect` the image with its
            short side at that length.

    Raises:
        ValueError: windows larger than the canvas, or with gaps between them.
    """
    if not (0 < stride <= size <= canvas):
        raise ValueError(
            f"expected 0 < TEST.WINDOW_STRIDE <= TEST.WINDOW_SIZE <= TEST.WINDOW_CANVAS, got {stride}, {size}, {canvas}"
        )
    height, width = image_size
    full, whole = (canvas, canvas), (size, size)
    if keep_aspect:
        scale = canvas / min(height, width)
        full = (max(round(height * scale), canvas), max(round(width * scale), canvas))
        scale = size / max(height, width)
        whole = (max(round(height * scale), 1), max(round(width * scale), 1))
    rows, columns = (_starts(length, size, stride) for length in full)
    return WindowPlan(full, size, tuple((y, x) for y in rows for x in columns), whole)


def plan_crops(image_size: tuple[int, int], size: int, stride: int) -> WindowPlan:
    """Plan windows of an image of (height, width) as it is, without a window for the whole; size 0: it is one window.

    Raises:
        ValueError: gaps between the windows.
    """
    if not size:
        return WindowPlan(image_size, max(image_size), ((0, 0),), None)
    if not 0 < stride <= size:
        raise ValueError(f"expected 0 < TEST.WINDOW_STRIDE <= TEST.WINDOW_SIZE, got {stride}, {size}")
    rows, columns = (_starts(length, size, stride) for length in image_size)
    return WindowPlan(image_size, size, tuple((y, x) for y in rows for x in columns), None)


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Window starts that cover the length; the last window ends with it."""
    last = max(length - size, 0)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def split_windows(image: Tensor, plan: WindowPlan) -> Tensor:
    """Cut an image: (C, h, w) -> (windows + 1, C, size, size), the whole image last, zero-padded right and bottom.

    Without a window for the whole, (windows, C, *plan.shape).
    """
    canvas = _resize(image[None], plan.canvas)[0]
    crops = [canvas[:, y : y + plan.size, x : x + plan.size] for y, x in plan.corners]
    if plan.whole is None:
        return torch.stack(crops)
    whole = _resize(image[None], plan.whole)[0]
    crops.append(F.pad(whole, (0, plan.size - plan.whole[1], 0, plan.size - plan.whole[0])))
    return torch.stack(crops)


def merge_windows(
    logits: Tensor, plan: WindowPlan, activation: Callable[[Tensor], Tensor] | None = Tensor.sigmoid_
) -> Tensor:
    """Average the windows' probabilities: logits (windows + 1, T, h, w) -> probabilities (T, *canvas).

    Args:
        logits: without the whole image's where the plan has no window for it.
        activation: what is averaged: a function of the resized logits; None: the logits.
    """
    values = _resize(logits, plan.shape)
    if activation is not None:
        values = activation(values)
    total = values.new_zeros(logits.shape[1], *plan.canvas)
    count = values.new_zeros(plan.canvas)
    for window, (y, x) in zip(values, plan.corners, strict=False):
        total[:, y : y + plan.size, x : x + plan.size] += window
        count[y : y + plan.size, x : x + plan.size] += 1
    total.div_(count)
    if plan.whole is None:
        return total
    whole = _resize(values[-1:, :, : plan.whole[0], : plan.whole[1]], plan.canvas)[0]
    return total.add_(whole).div_(2)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
