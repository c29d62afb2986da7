"""ZeroSeg's losses against a teacher's features of views of the image (Chen et al., ICCV 2023).

B images, V views, K segments, E numbers in a feature. |.|_1 is taken as the mean over the E numbers: our choice.
"""

import torch
from torch import Tensor

from physseg.dtypes import at_least_float32


def multi_scale_loss(image: Tensor, views: Tensor) -> Tensor:
    """Sum over all views n of |z - v_n|_1, mean over images.

    Args:
        image: z, (B, E). views: v, (B, V, E).

    Returns:
        Scalar, float32 at least.

    Example:
        >>> multi_scale_loss(torch.zeros(1, 2), torch.tensor([[[1.0, 3.0], [0.0, 1.0]]])).item()  # 2 + 0.5
        2.5
    """
    _check(image[:, None], views)
    image, views = at_least_float32(image), at_least_float32(views)
    return (image[:, None] - views).abs().mean(2).sum(1).mean()


def matching_loss(segments: Tensor, views: Tensor) -> Tensor:
    """Sum over segments i of min_j |g_i - v_j|_1, mean over images: each segment is drawn to the view nearest to it.

    Args:
        segments: g, (B, K, E). views: v, (B, V, E), without the whole image.

    Returns:
        Scalar, float32 at least.

    Example:
        >>> segments = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]])
        >>> matching_loss(segments, torch.tensor([[[1.0, 3.0], [0.0, 1.0]]])).item()  # 0.5 + 0.5
        1.0
    """
    _check(segments, views)
    segments, views = at_least_float32(segments), at_least_float32(views)
    return (torch.cdist(segments, views, p=1) / segments.shape[2]).amin(2).sum(1).mean()


def _check(ours: Tensor, views: Tensor) -> None:
    if views.dim() != 3 or not views.shape[1] or ours.shape[::2] != views.shape[::2]:
        raise ValueError(
            "a teacher's views must be (B, V, E), V at least 1, with the images and channels of what they teach; got "
            f"{tuple(views.shape)} for {tuple(ours.shape)}"
        )
