"""Config -> the parts of a ZeroSeg model."""

from typing import Any

from detectron2.config import CfgNode

from physseg.config import check_config, check_device
from physseg.modeling.protocol_segmenter import configured_parts
from physseg.modeling.without_masks.group_segmenter import GroupProtocol
from physseg.modeling.without_masks.masked_autoencoder import MaskedDecoder
from physseg.modeling.without_masks.patch_encoder import PatchEncoder
from physseg.modeling.without_masks.segclip_parts import plain_clip
from physseg.modeling.without_masks.zeroseg_head import SegmentationHead


def zeroseg_parts(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of `ZeroSeg`: the only place where it reads the config.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: a key that does not fit, named; see the parts.
    """
    check_config(cfg)
    check_device(cfg.MODEL.DEVICE)
    node, side = cfg.MODEL.ZEROSEG, cfg.INPUT.PAIRS.SIZE
    clip, own, decoder = plain_clip(cfg), node.ENCODER, node.RECONSTRUCTION
    encoder = PatchEncoder(
        side, own.PATCH, own.DIM, own.DEPTH, own.HEADS, own.PRETRAINED, load_weights=not cfg.MODEL.WEIGHTS
    )
    grid = (side // own.PATCH, side // own.PATCH)
    reconstruction = MaskedDecoder(
        own.DIM, 3 * own.PATCH**2, grid, decoder.DIM, decoder.DEPTH, decoder.HEADS, summary=True
    )
    return {
        "clip": clip,
        "encoder": encoder,
        "head": SegmentationHead(own.DIM, clip.embed_dim, own.HEADS, node.GROUPS, node.TEMPERATURE),
        "reconstruction": reconstruction if decoder.WEIGHT else None,
        "masked": own.MASKED,
        "weights": (decoder.WEIGHT, node.MULTI_SCALE.WEIGHT, node.MATCHING.WEIGHT),
        "whole_first": node.TEACHER.GRIDS[0] == 1,
        "scale": node.SCALE,
        **configured_parts(cfg, GroupProtocol),
    }
