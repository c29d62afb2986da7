"""EdgeGT: boundaries of the semantic label map (the paper's table 4)."""

import cv2
import numpy as np

from .discs import disc
from .options import EdgeGtOptions


def edge_gt_map(label_map: np.ndarray, ignore_label: int, options: EdgeGtOptions) -> np.ndarray:
    """Boundaries between classes.

    A pixel touches a boundary if one of its four neighbours has another class and neither of the two is ignored: a
    boundary with the ignore label is none, nor is the border of the map. ``half_width`` pixels are marked on each side;
    ignored pixels never are.

    Args:
        label_map: integers (H, W).
        ignore_label: label of pixels without a class.

    Returns:
        uint8 (H, W): 1 on a boundary, else 0.
    """
    valid = label_map != ignore_label
    edge = np.zeros(label_map.shape, np.uint8)
    for here, there in (
        ((slice(None), slice(0, -1)), (slice(None), slice(1, None))),
        ((slice(0, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        differs = (label_map[here] != label_map[there]) & valid[here] & valid[there]
        edge[here] |= differs
        edge[there] |= differs
    if options.half_width > 1:
        edge = cv2.dilate(edge, disc(options.half_width - 1))
    return edge * valid.astype(np.uint8)
