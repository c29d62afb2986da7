"""Edges by kornia, in batches on the model's device: Canny, and the gradient's magnitude as a soft map.

They cost a data worker nothing. Both take grey values as OpenCV rounds them.
"""

from types import ModuleType

import torch

from .device_source import DeviceSource, grey
from .options import CannyOptions, SobelOptions

# kornia wants thresholds above 0, which a gradient of whole grey values passes as it would pass 0.
_LEAST_THRESHOLD = 0.5


class KorniaCannySource(DeviceSource):
    """Canny as `canny_map` defines it, on the model's device.

    It differs from OpenCV's where the blurred image does: OpenCV's Gaussian for 8 bits works with weights of 1/256, and
    a pixel may come out one grey value off. On the same blurred image the two find the same edges, but for pixels whose
    gradient points within rounding of 22.5 degrees between two directions (tests/structure/test_kornia_sources.py).
    """

    def __init__(self, options: CannyOptions) -> None:
        self.options = options

    def _batch(self, images: torch.Tensor) -> torch.Tensor:
        canny = kornia_filters().canny
        blurred = blur(images, self.options.sigma)
        if not self.options.median_spread:
            low, high = self.options.thresholds
            return self._edges(canny, blurred, low, high)
        # Each image has thresholds of its own.
        medians = blurred.flatten(1).quantile(0.5, dim=1).tolist()
        spread = self.options.median_spread
        pairs = [[min(255.0, (1 + sign * spread) * median) for sign in (-1, 1)] for median in medians]
        return torch.cat([self._edges(canny, b[None], *pair) for b, pair in zip(blurred, pairs, strict=True)])

    @staticmethod
    def _edges(canny, blurred: torch.Tensor, low: float, high: float) -> torch.Tensor:
        low, high = (max(value, _LEAST_THRESHOLD) for value in (low, high))
        _, edges = canny(blurred[:, None], low, high, kernel_size=1)  # kernel size 1: it is blurred already
        return edges[:, 0].to(torch.uint8)


class SobelSource(DeviceSource):
    """The gradient's magnitude, min(1, |g| / saturation): how much of an edge there is, instead of whether.

    g is the 3x3 Sobel gradient of the blurred grey image, in the units of Canny's thresholds.
    """

    def __init__(self, options: SobelOptions) -> None:
        self.options = options

    def _batch(self, images: torch.Tensor) -> torch.Tensor:
        magnitude = kornia_filters().sobel(blur(images, self.options.sigma)[:, None], normalized=False, eps=0.0)
        return (magnitude[:, 0] / self.options.saturation).clamp(max=1.0)


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """(B, 3, H, W) RGB -> float32 (B, H, W): grey, then a Gaussian of OpenCV's size for 8 bits, each rounded."""
    values = grey(images).round()
    if not sigma:
        return values
    side = round(6 * sigma + 1) | 1
    return (
        kornia_filters()
        .gaussian_blur2d(values[:, None], (side, side), (sigma, sigma), border_type="reflect")[:, 0]
        .round()
    )


def kornia_filters() -> ModuleType:
    """kornia.filters, imported at its first use: a model for inference is built without it.

    Raises:
        ImportError: kornia is not installed; says what to do.
    """
    try:
        import kornia.filters
    except ImportError as error:
        raise ImportError(
            "the structure sources 'kornia_canny' and 'sobel' need kornia: run `pip install '.[kornia]'` in physseg's "
            "source folder, or take them out of MODEL.STRUCTURE.SOURCES"
        ) from error
    return kornia.filters
