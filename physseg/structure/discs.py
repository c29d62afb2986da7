"""Keypoints drawn as discs, the same for every keypoint source."""

import cv2
import numpy as np


def disc(radius: int) -> np.ndarray:
    """uint8 (2 radius + 1, 2 radius + 1): 1 where y^2 + x^2 <= radius^2 around the middle; radius 0 is one pixel."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (y * y + x * x <= radius * radius).astype(np.uint8)


def draw_discs(points: np.ndarray, height: int, width: int, radius: int) -> np.ndarray:
    """Draw keypoints.

    Args:
        points: float (K, 2), x and y in pixels; the nearest pixel is taken, points outside are dropped.
        height, width: size of the map.
        radius: of the discs, in pixels.

    Returns:
        uint8 (height, width): 1 inside a disc, else 0.
    """
    canvas = np.zeros((height, width), np.uint8)
    x, y = np.rint(np.asarray(points, np.float64).reshape(-1, 2)).astype(np.int64).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    canvas[y[inside], x[inside]] = 1
    # OpenCV's default border for a dilation counts as "nothing there".
    return cv2.dilate(canvas, disc(radius))
