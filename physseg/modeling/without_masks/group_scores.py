"""Scores of groups and words -> class maps: GroupViT's way (Xu et al., CVPR 2022), which SegCLIP and ZeroSeg share.

W windows, K groups, T classes, E embedding.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from physseg.modeling.sliding_window import WindowPlan, merge_windows


def group_class_scores(groups: Tensor, image: Tensor, text: Tensor, scale: float | Tensor, top: int) -> Tensor:
    """softmax over all classes, times softmax over the `top` classes that fit the whole window best, of scale * cosine.

    Args:
        groups: (W, K, E). image: (W, E). text: (T, E). None of them needs norm 1.
        top: classes left in the second softmax; as many as there are where there are fewer.

    Returns:
        (W, K, T) in 0-1.
    """
    text = F.normalize(text, dim=-1)
    fit = scale * F.normalize(groups, dim=-1) @ text.T
    best = (F.normalize(image, dim=-1) @ text.T).topk(min(top, len(text)), dim=-1).indices
    chosen = torch.zeros(len(fit), len(text), dtype=torch.bool, device=fit.device).scatter_(1, best, True)
    return fit.softmax(-1) * fit.masked_fill(~chosen[:, None], -torch.inf).softmax(-1)


def with_background(scores: Tensor, background: int, threshold: float) -> Tensor:
    """A class for what no word fits: 1 where a group's best score is below min(threshold, the window's best), else 0.

    So one group of a window at least keeps its word, whatever the threshold.

    Args:
        scores: (W, K, T), without the background.
        background: its index among the T + 1 classes.

    Returns:
        (W, K, T + 1).
    """
    best = scores.amax(-1)  # (W, K)
    below = best < best.amax(1, keepdim=True).clamp(max=threshold)
    return torch.cat([scores[..., :background], below[..., None].to(scores), scores[..., background:]], dim=-1)


def pixel_groups(soft: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Group of every pixel, (W, *size): the largest of the soft assignment (W, K, N), enlarged bilinearly."""
    maps = F.interpolate(soft.unflatten(2, grid), size=size, mode="bilinear", align_corners=False)
    return maps.argmax(1)


def class_maps(scores: Tensor, groups: Tensor, plan: WindowPlan, size: tuple[int, int]) -> Callable[[slice], Tensor]:
    """Every pixel takes its group's scores; where windows overlap, their mean.

    Args:
        scores: (W, K, T). groups: (W, h, w) int64, at the windows' size in pixels.
        size: (height, width) of the result.

    Returns:
        slice of classes -> (t, *size), so that few of them exist at a time.
    """

    def maps(classes: slice) -> Tensor:
        values = torch.stack([own[index] for own, index in zip(scores[..., classes], groups, strict=True)])
        merged = merge_windows(values.permute(0, 3, 1, 2), plan, activation=None)
        return F.interpolate(merged[None], size=size, mode="bilinear", align_corners=False)[0]

    return maps
