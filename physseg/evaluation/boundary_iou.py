"""Boundary IoU of semantic label maps (Cheng et al., "Boundary IoU", CVPR 2021).

The boundary region of a class is the part of its mask within distance d of the mask's contour, d being 2 % of the
image diagonal. Boundary IoU compares the boundary regions alone, so that large objects do not hide poor contours.
"""

import cv2
import numpy as np


def boundary_region(labels: np.ndarray, distance: int) -> np.ndarray:
    """Mark the pixels that lie in the boundary region of their own class.

    A pixel does when the square of side ``2 * distance + 1`` around it leaves the image or holds another label:
    the paper's erosion, done for all classes at once.

    Args:
        labels: (H, W) integers in 0..65534.
        distance: pixels, at least 1.

    Returns:
        (H, W) bool.
    """
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    # 16 bits are what OpenCV's morphology takes; the border value 65535 is no label, so the image border counts.
    padded = np.pad(labels.astype(np.uint16), distance, constant_values=65535)
    inside = slice(distance, -distance)
    smallest, largest = cv2.erode(padded, kernel)[inside, inside], cv2.dilate(padded, kernel)[inside, inside]
    return smallest != largest


def boundary_counts(
    prediction: np.ndarray, target: np.ndarray, num_classes: int, ignore_label: int, dilation_ratio: float = 0.02
) -> np.ndarray:
    """Count boundary pixels per class for one image.

    Ignored pixels are taken out of both maps first, so that they belong to no class's boundary region.

    Args:
        prediction: (H, W) integers below ``num_classes``.
        target: (H, W) integers below ``num_classes``, or ``ignore_label``.
        dilation_ratio: distance over image diagonal (0.02 in the paper); the distance is at least one pixel.

    Returns:
        (3, N) int64: intersection, true and predicted boundary pixels of each class. Sum over images, then
        `boundary_iou`.
    """
    distance = max(1, round(dilation_ratio * float(np.hypot(*target.shape))))
    ignored = target == ignore_label
    target = np.where(ignored, num_classes, target)
    prediction = np.where(ignored, num_classes, prediction)
    true_region, predicted_region = boundary_region(target, distance), boundary_region(prediction, distance)
    both = true_region & predicted_region & (target == prediction)
    chosen = (target[both], target[true_region], prediction[predicted_region])
    return np.stack([np.bincount(labels, minlength=num_classes + 1)[:num_classes] for labels in chosen])


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """Turn (3, N) summed counts into (N,) IoU x100, NaN where a class has no true boundary."""
    intersection, gt, predicted = counts
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = 100.0 * intersection / (gt + predicted - intersection)
    return np.where(gt > 0, iou, np.nan)
