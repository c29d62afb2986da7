"""IoU around the thin parts of objects, which a coarse patch grid loses first and which mIoU hardly sees.

A part of a class's mask is thin where no disc of the given diameter fits: the arms of a cross, the tip of a star, a
leg. IoU is counted within half that diameter of such parts, class by class, so that too much counts like too little.
"""

import cv2
import numpy as np

from physseg.structure.discs import disc


def thin_parts(mask: np.ndarray, diameter: int) -> np.ndarray:
    """Pixels of a mask that no disc of ``diameter`` pixels inside the mask covers: the mask without its opening.

    Args:
        mask: (H, W) bool. It counts as going on beyond the image's border.
        diameter: odd, at least 3.

    Returns:
        (H, W) bool.
    """
    padded = np.pad(mask.astype(np.uint8), diameter, mode="edge")
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc(diameter // 2))
    return mask & (opened[diameter:-diameter, diameter:-diameter] == 0)


def thin_counts(
    prediction: np.ndarray, target: np.ndarray, num_classes: int, ignore_label: int, width_ratio: float
) -> np.ndarray:
    """Count the pixels near thin parts per class for one image.

    Args:
        prediction: (H, W) integers.
        target: (H, W) integers below ``num_classes``, or ``ignore_label``, whose pixels do not count.
        width_ratio: diameter below which a part is thin, over the image's diagonal; rounded to an odd number of
            pixels, at least 3.

    Returns:
        (3, N) int64: intersection, true and predicted pixels of each class near its own thin parts. Sum over images,
        then `boundary_iou`.
    """
    diameter = max(3, 2 * int(width_ratio * float(np.hypot(*target.shape)) / 2) + 1)
    near = disc(diameter // 2)
    labelled = target != ignore_label
    counts = np.zeros((3, num_classes), np.int64)
    for label in np.unique(target[labelled]):
        true = target == label
        thin = thin_parts(true, diameter)
        if not thin.any():
            continue
        area = (cv2.dilate(thin.astype(np.uint8), near) > 0) & labelled
        predicted = prediction == label
        counts[:, label] = [(area & part).sum() for part in (true & predicted, true, predicted)]
    return counts
