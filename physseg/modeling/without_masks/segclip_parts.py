"""Config -> the parts of a SegCLIP model."""

from typing import Any

from detectron2.config import CfgNode

from physseg.config import check_config, check_device
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.protocol_segmenter import configured_parts
from physseg.modeling.without_masks.group_segmenter import GroupProtocol
from physseg.modeling.without_masks.masked_autoencoder import MaskedDecoder
from physseg.modeling.without_masks.reconstruction import GroupReconstruction
from physseg.modeling.without_masks.segclip_grouping import SegClipGrouping


def segclip_parts(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of `SegCLIP`: the only place where it reads the config.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: a key that does not fit, named; see the parts.
    """
    check_config(cfg)
    check_device(cfg.MODEL.DEVICE)
    node = cfg.MODEL.SEGCLIP
    clip = plain_clip(cfg)
    late = node.LATE_BLOCKS
    if late >= clip.tower.depth:
        raise ValueError(
            f"MODEL.SEGCLIP.LATE_BLOCKS: {clip.name} has {clip.tower.depth} blocks, {late} leave none before"
        )
    heads = clip.tower.blocks[0].attn.heads
    return {
        "clip": clip,
        "grouping": SegClipGrouping(
            clip.width, node.GROUPS, heads, node.CROSS_BLOCKS, node.TEMPERATURE, node.CROSS_KEYS
        ),
        "late_blocks": late,
        "reconstruction": _reconstruction(cfg, clip, heads) if node.RECONSTRUCTION.WEIGHT else None,
        "superpixel_weight": node.SUPERPIXELS.WEIGHT,
        "reconstruction_weight": node.RECONSTRUCTION.WEIGHT,
        "accumulation_steps": cfg.SOLVER.ACCUMULATION_STEPS,
        **configured_parts(cfg, GroupProtocol),
    }


def plain_clip(cfg: CfgNode) -> ClipEncoder:
    """The config's CLIP, which must be a plain one.

    Raises:
        ValueError: it ends in an attention pool (PE-Core, SigLIP 2).
    """
    clip = ClipEncoder(
        cfg.MODEL.CLIP.NAME,
        cfg.MODEL.CLIP.PRETRAINED,
        cfg.MODEL.CLIP.IMAGE_SIZE,
        finetune=cfg.MODEL.CLIP.FINETUNE,
        templates=cfg.MODEL.TEXT.TEMPLATES,
        synonym_policy=cfg.MODEL.TEXT.SYNONYMS,
        # A checkpoint of this very model holds CLIP's weights: nothing is read or downloaded twice.
        load_weights=not cfg.MODEL.WEIGHTS,
        recompute=cfg.MODEL.CLIP.RECOMPUTE,
        finetune_text=cfg.MODEL.CLIP.FINETUNE_TEXT,
        # Of the encoder's own square features, which are not asked for here.
        dense_path="maskclip",
    )
    if clip.pools:
        raise ValueError(
            f"MODEL.CLIP.NAME: {clip.name} ends in an attention pool; MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE} needs a plain CLIP, such as ViT-B-16-quickgelu"
        )
    return clip


def _reconstruction(cfg: CfgNode, clip: ClipEncoder, heads: int) -> GroupReconstruction:
    node, patch, side = cfg.MODEL.SEGCLIP.RECONSTRUCTION, clip.tower.patch, cfg.INPUT.PAIRS.SIZE
    grid = (side // patch, side // patch)
    decoder = MaskedDecoder(clip.width, 3 * patch**2, grid, node.DIM, node.DEPTH, node.HEADS, summary=True)
    return GroupReconstruction(decoder, clip.width, cfg.MODEL.SEGCLIP.GROUPS, heads, node.BLOCKS, node.MASKED)
