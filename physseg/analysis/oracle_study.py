"""What limits open-vocabulary segmentation: finding regions, or naming them? (The paper's figure 1.)

Two oracles, each perfect in one half of the task:

- ground-truth regions named by plain CLIP from masked crops (20.1 mIoU on A-150 in the paper);
- predicted regions named by the ground truth they overlap most (66.5).
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

GRAY = (123, 117, 104)
"""CLIP's mean colour: what stands outside a mask carries no signal after normalisation."""


def regions(labels: np.ndarray, ignore_label: int, connected: bool = False) -> list[tuple[int, np.ndarray]]:
    """Split a label map into ``(label, mask)`` pairs, masks bool (H, W).

    Args:
        labels: (H, W) integers.
        ignore_label: makes no region.
        connected: one region per connected component (8 neighbours) instead of one per label.
    """
    found = []
    for label in np.unique(labels).tolist():
        if label == ignore_label:
            continue
        mask = labels == label
        if not connected:
            found.append((label, mask))
            continue
        count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        found += [(label, components == index) for index in range(1, count)]
    return found


def masked_crop(image: np.ndarray, mask: np.ndarray, fill: Sequence[int] = GRAY) -> np.ndarray:
    """Cut the mask's bounding box out of a uint8 (H, W, 3) image, everything outside the mask filled, made square.

    Squaring by filling keeps the aspect ratio when CLIP's preprocessing resizes.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("the mask is empty; there is nothing to crop")
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    crop = np.where(mask[box][..., None], image[box], np.asarray(fill, dtype=image.dtype))
    height, width = crop.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), dtype=image.dtype)
    square[...] = fill
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = crop
    return square


def name_true_regions(
    image: np.ndarray,
    target: np.ndarray,
    ignore_label: int,
    classify: Callable[[list[np.ndarray]], np.ndarray],
    connected: bool = False,
) -> np.ndarray:
    """First oracle: the ground truth's regions, named from their masked crops.

    Args:
        image: uint8 (H, W, 3) RGB.
        target: (H, W) class indices or ``ignore_label``.
        classify: masked crops -> (N,) class indices.

    Returns:
        int64 (H, W); 0 where nothing is labelled.
    """
    found = regions(target, ignore_label, connected)
    labels = np.zeros(target.shape, np.int64)
    if found:
        names = classify([masked_crop(image, mask) for _, mask in found])
        for (_, mask), name in zip(found, names, strict=True):
            labels[mask] = name
    return labels


def name_by_overlap(
    prediction: np.ndarray, target: np.ndarray, ignore_label: int, connected: bool = True
) -> np.ndarray:
    """Second oracle: every predicted region gets the true class it shares most labelled pixels with.

    Args:
        prediction: (H, W) class indices; only the regions matter, not the names.
        target: (H, W) class indices or ``ignore_label``.
        connected: regions are connected components of a predicted class, so that two objects that the model gave one
            name may get two.

    Returns:
        int64 (H, W); 0 for a region without a labelled pixel. Ties go to the smaller class index.
    """
    labels = np.zeros(target.shape, np.int64)
    for _, mask in regions(prediction, ignore_label=-1, connected=connected):
        inside = target[mask]
        inside = inside[inside != ignore_label]
        if len(inside):
            labels[mask] = np.bincount(inside).argmax()
    return labels
