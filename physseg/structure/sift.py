"""SIFT keypoints (Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", 2004) by OpenCV."""

import cv2
import numpy as np

from .discs import draw_discs
from .options import SiftOptions


def sift_map(image: np.ndarray, options: SiftOptions) -> np.ndarray:
    """SIFT keypoints of an image, drawn as discs.

    Args:
        image: uint8 (H, W, 3), RGB; turned to grey as for Canny.
        options: filters on OpenCV's ``response`` (contrast of the extremum, in 0-1 grey units) and ``size``
            (diameter in pixels), and the discs' radius.

    Returns:
        uint8 (H, W): 1 inside a disc, else 0.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    points = [
        keypoint.pt
        for keypoint in cv2.SIFT_create().detect(grey, None)
        if keypoint.response >= options.min_response and options.min_size <= keypoint.size <= options.max_size
    ]
    return draw_discs(np.array(points, np.float64), *grey.shape, options.radius)
