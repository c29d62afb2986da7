"""What a model's losses want of a crop besides the image, made in the data workers."""

from collections.abc import Callable
from functools import partial

import numpy as np
from detectron2.config import CfgNode

from physseg.config.relations import clip_sizes
from physseg.structure.superpixels import SuperpixelOptions, require_scikit_image, superpixel_target


def training_targets(cfg: CfgNode) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Name -> function of the crop, uint8 (S, S, 3) RGB: ``superpixels``, int64 (h, w), for SegCLIP's loss.

    Raises:
        ImportError: superpixels are wanted and scikit-image is not installed.
    """
    node = cfg.MODEL.SEGCLIP.SUPERPIXELS
    if cfg.MODEL.META_ARCHITECTURE != "SegCLIP" or not node.WEIGHT:
        return {}
    require_scikit_image()
    side = cfg.INPUT.PAIRS.SIZE // clip_sizes(cfg.MODEL.CLIP.NAME).patch
    options = SuperpixelOptions(node.SCALE, node.SIGMA, node.MIN_SIZE, (side, side), node.RULE)
    return {"superpixels": partial(superpixel_target, options=options)}
