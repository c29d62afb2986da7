"""Pseudo ground truths of physical structure (sec. 3.1, table 4): image or label map -> maps of 0 and 1."""

from collections.abc import Mapping

import numpy as np

from .canny import canny_map
from .edge_gt import edge_gt_map
from .options import SOURCES, StructureOptions, structure_options
from .resize import max_pool_to
from .sift import sift_map

__all__ = ["SOURCES", "StructureOptions", "make_structure_maps", "max_pool_to", "structure_options"]


def make_structure_maps(
    image: np.ndarray,
    label_map: np.ndarray | None,
    options: StructureOptions,
    ignore_label: int,
    ready: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Compute the pseudo ground truths of one crop, before any padding: the border of padding is no structure.

    Args:
        image: uint8 (H, W, 3), RGB, the crop that the network sees (colours after augmentation).
        label_map: integers (H, W) of the same crop; may be None if "edge_gt" is not asked for.
        options: sources and their settings.
        ignore_label: label of pixels without a class in ``label_map``.
        ready: maps uint8 (H, W) made ahead, by source; these sources are not computed (see `maps.read_ready_maps`).

    Returns:
        uint8 (S, H, W) of 0 and 1, one channel per source in the order of ``options.sources``. The channel of
        a source that is made on the model's device, if not in ``ready``, is left at 0 (`device_source.py`).

    Raises:
        ValueError: the image is not uint8 RGB, or a map or the label map is missing or of another size.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 (H, W, 3); got {image.dtype} {image.shape}")
    size = image.shape[:2]
    ready = ready or {}
    maps = np.zeros((len(options.sources), *size), np.uint8)
    for channel, source in enumerate(options.sources):
        if source in ready:
            if ready[source].shape != size:
                raise ValueError(f"the map of {source!r} must have the image's size {size}; got {ready[source].shape}")
            maps[channel] = ready[source] > 0
        elif source == "canny":
            maps[channel] = canny_map(image, options.canny)
        elif source == "sift":
            maps[channel] = sift_map(image, options.sift)
        elif source == "edge_gt":
            if label_map is None or label_map.shape != size:
                got = None if label_map is None else label_map.shape
                raise ValueError(f"source 'edge_gt' needs a label map of the image's size {size}; got {got}")
            maps[channel] = edge_gt_map(label_map, ignore_label, options.edge_gt)
    return maps
