"""Reconstruction loss of masked autoencoders (He et al., CVPR 2022), for SegCLIP and ZeroSeg.

B images, N patches, P numbers in a patch.
"""

from torch import Tensor


def reconstruction_loss(predicted: Tensor, pixels: Tensor, masked: Tensor) -> Tensor:
    """Mean square error of the masked patches' pixels; those the encoder has seen do not count. In float32 at least.

    Args:
        predicted, pixels: (B, N, P).
        masked: (B, N) bool, at least one of them True.

    Returns:
        Scalar.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import torch
        >>> target = torch.tensor([[[1.0, 3.0], [9.0, 9.0]]])
        >>> reconstruction_loss(torch.zeros(1, 2, 2), target, torch.tensor([[True, False]])).item()  # (1 + 9) / 2
        5.0
    """
    if predicted.shape != pixels.shape or masked.shape != pixels.shape[:2]:
        raise ValueError(
            "reconstruction needs predictions and pixels (B, N, P) and a mask (B, N); "
            f"got {tuple(predicted.shape)}, {tuple(pixels.shape)} and {tuple(masked.shape)}"
        )
    error = (predicted.to(pixels.dtype) - pixels).square().mean(2)
    return (error * masked).sum() / masked.sum()
