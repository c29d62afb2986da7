"""Canny edges (Canny, "A Computational Approach to Edge Detection", 1986) by OpenCV."""

import cv2
import numpy as np

from .options import CannyOptions


def canny_map(image: np.ndarray, options: CannyOptions) -> np.ndarray:
    """Edges of an image.

    The image is turned to grey by OpenCV's ``COLOR_RGB2GRAY`` (0.299 R + 0.587 G + 0.114 B, rounded), blurred by a
    Gaussian, and given to ``cv2.Canny`` with the Euclidean gradient norm of 3x3 Sobel filters.

    Args:
        image: uint8 (H, W, 3), RGB.
        options: thresholds and blur. With ``median_spread`` s > 0 the thresholds are (1 - s) and (1 + s) times the
            median of the blurred grey image, at most 255.

    Returns:
        uint8 (H, W): 1 on an edge, else 0.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if options.sigma > 0:
        grey = cv2.GaussianBlur(grey, (0, 0), options.sigma)
    low, high = options.thresholds
    if options.median_spread > 0:
        median = float(np.median(grey))
        low, high = (min(255.0, (1 + sign * options.median_spread) * median) for sign in (-1, 1))
    return (cv2.Canny(grey, low, high, L2gradient=True) > 0).astype(np.uint8)
