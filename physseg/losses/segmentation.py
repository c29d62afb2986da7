"""CAT-Seg's segmentation loss, L_seg of eq. 4: binary cross-entropy of every pixel and class.

B images, T classes, K kept ones, t of a slice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from physseg.modeling.catseg.cost_volume import DROPPED_LOGIT

IGNORED_PIXELS = ("zero_target", "masked")


def segmentation_loss_sum(
    logits: Tensor, sem_seg: Tensor, classes: Tensor, ignore_value: int, ignored_pixels: str = "zero_target"
) -> Tensor:
    """Sum over pixels and classes of the binary cross-entropy of the logits, resized to the label map.

    Args:
        logits: (B, t, h, w).
        sem_seg: (B, H, W) int64 class indices, or ``ignore_value``.
        classes: (B or 1, t) int64, the class index of each channel.
        ignored_pixels: "zero_target": an ignored pixel counts, with the target zero for every class (CAT-Seg);
            "masked": it does not count.

    Returns:
        Scalar, float32 (float64 for float64 logits).
    """
    logits = F.interpolate(logits, size=sem_seg.shape[-2:], mode="bilinear", align_corners=False)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    target = (sem_seg.unsqueeze(1) == classes[..., None, None]).to(logits.dtype)
    weight = None
    if ignored_pixels == "masked":
        weight = (sem_seg != ignore_value).unsqueeze(1).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")


def dropped_classes_sum(sem_seg: Tensor, classes: Tensor, ignore_value: int) -> Tensor:
    """What classes that were not kept add to the sum: a constant, since their logit is -100 everywhere.

    A pixel of such a class costs softplus(100) = 100; elsewhere the cost is softplus(-100) = 0 in float32.

    Args:
        sem_seg: (B, H, W). classes: (B, K), the kept ones.
    """
    labelled = sem_seg != ignore_value
    kept = torch.stack([torch.isin(labels, ids) for labels, ids in zip(sem_seg, classes, strict=True)])
    return -DROPPED_LOGIT * (labelled & ~kept).sum()


def segmentation_loss_count(sem_seg: Tensor, classes: int, ignore_value: int, ignored_pixels: str) -> Tensor:
    """Terms of the sum, to divide it by: pixels that count times classes; at least 1."""
    if ignored_pixels == "masked":
        return (sem_seg != ignore_value).sum().clamp(min=1) * classes
    return torch.full((), sem_seg.numel() * classes, device=sem_seg.device)  # `tensor` would wait for the device


def segmentation_loss(
    logits: Tensor, sem_seg: Tensor, ignore_value: int, ignored_pixels: str = "zero_target"
) -> Tensor:
    """Mean over pixels and classes of the binary cross-entropy, logits (B, T, h, w) of all classes.

    >>> segmentation_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 4, dtype=torch.int64), 255).item()  # ln 2
    0.6931471824645996
    """
    classes = torch.arange(logits.shape[1], device=logits.device)[None]
    total = segmentation_loss_sum(logits, sem_seg, classes, ignore_value, ignored_pixels)
    return total / segmentation_loss_count(sem_seg, logits.shape[1], ignore_value, ignored_pixels)
