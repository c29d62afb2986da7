"""Config -> the parts of a PhysSeg model."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from physseg.config import check_config, check_device
from physseg.data.custom import register_custom
from physseg.data.vocabularies import get_vocabulary
from physseg.losses import PatchAlignmentLoss
from physseg.modeling.catseg.aggregation import CostAggregation
from physseg.modeling.catseg.decoder import Decoder
from physseg.modeling.catseg.guidance import build_guidance
from physseg.modeling.catseg.keep_classes import ClassFilter
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.statistics import configured_statistics
from physseg.modeling.structure_head import StructureHead
from physseg.structure import structure_options
from physseg.structure.device_source import DeviceSource
from physseg.structure.kornia_sources import KorniaCannySource, SobelSource
from physseg.structure.superpoint import SuperPointSource


def parts_from_config(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of `PhysSeg`: the only place where the model reads the config.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: a key that does not fit, named; see the parts.
    """
    check_config(cfg)
    check_device(cfg.MODEL.DEVICE)
    node = cfg.MODEL.AGGREGATION
    clip = ClipEncoder(
        cfg.MODEL.CLIP.NAME,
        cfg.MODEL.CLIP.PRETRAINED,
        cfg.MODEL.CLIP.IMAGE_SIZE,
        cfg.MODEL.CLIP.LEVELS,
        cfg.MODEL.CLIP.FINETUNE,
        cfg.MODEL.TEXT.TEMPLATES,
        cfg.MODEL.TEXT.SYNONYMS,
        # A physseg checkpoint holds CLIP's weights: nothing is read or downloaded twice.
        load_weights=not cfg.MODEL.WEIGHTS,
        recompute=cfg.MODEL.CLIP.RECOMPUTE,
        finetune_text=cfg.MODEL.CLIP.FINETUNE_TEXT,
        dense_path=cfg.MODEL.DENSE.METHOD,
        resize_positions=cfg.MODEL.CLIP.RESIZE_POSITIONS,
    )
    guidance = build_guidance(cfg, clip)
    channels = guidance.channels
    feature_channels = {"level1": clip.width, "level2": clip.width, "dense": clip.embed_dim} | channels
    structure, alignment = cfg.MODEL.STRUCTURE, cfg.MODEL.PATCH_ALIGNMENT
    mean, std = configured_statistics(cfg)
    windows = {
        "size": cfg.TEST.WINDOW_SIZE,
        "stride": cfg.TEST.WINDOW_STRIDE,
        "canvas": cfg.TEST.WINDOW_CANVAS,
        "keep_aspect": cfg.TEST.KEEP_ASPECT,
    }
    return {
        "clip": clip,
        "guidance": guidance,
        "aggregation": CostAggregation(
            len(clip.templates),
            channels["g3"],
            clip.embed_dim,
            clip.grid,
            node.DIM,
            node.GUIDANCE_DIM,
            node.LAYERS,
            node.HEADS,
            node.WINDOW,
            node.MAX_CLASSES,
            node.RECOMPUTE,
        ),
        "decoder": Decoder(node.DIM, node.DECODER_DIMS, (channels["g4"], channels["g5"]), node.DECODER_GUIDANCE_DIMS),
        "vocabulary": configured_vocabulary(cfg),
        "pixel_mean": mean,
        "pixel_std": std,
        "max_classes": node.MAX_CLASSES,
        "sampled_classes": node.SAMPLE_CLASSES,
        "class_filter": ClassFilter(cfg.TEST.KEEP_CLASSES, cfg.TEST.KEEP_RULE, cfg.TEST.KEEP_THRESHOLD),
        "class_chunk": node.CLASS_CHUNK,
        "pooling": node.POOLING,
        "test_pooling": cfg.TEST.POOLING,
        "window": windows if cfg.TEST.SLIDING_WINDOW else None,
        "precision": cfg.TEST.PRECISION,
        "crop_padding": cfg.TEST.CROP_PADDING,
        "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        "ignored_pixels": cfg.MODEL.LOSS.IGNORED_PIXELS,
        "structure_head": StructureHead(cfg, feature_channels) if structure.ENABLED else None,
        "structure_weight": structure.WEIGHT,
        "device_sources": _device_sources(cfg),
        "soft_structure": structure.ENABLED and structure_options(cfg).soft,
        "patch_alignment": PatchAlignmentLoss(cfg, clip.embed_dim, clip.embed_dim) if alignment.ENABLED else None,
        "alignment_weight": alignment.WEIGHT,
        "compiled": cfg.ENGINE.COMPILE,
    }


def _device_sources(cfg: CfgNode) -> dict[int, DeviceSource]:
    """Channel of the pseudo ground truth -> what makes it on the model's device."""
    if not cfg.MODEL.STRUCTURE.ENABLED:
        return {}
    options = structure_options(cfg)
    make = {
        "superpoint": lambda: SuperPointSource(options.superpoint),
        "kornia_canny": lambda: KorniaCannySource(options.canny),
        "sobel": lambda: SobelSource(options.sobel),
    }
    return {channel: make[source]() for channel, source in options.model_channels.items()}


def configured_vocabulary(cfg: CfgNode) -> list[str]:
    """Names a model of this config is built with: MODEL.TEXT.VOCABULARY, else the first training set's.

    Raises:
        ValueError: neither is known.
    """
    if cfg.MODEL.TEXT.VOCABULARY:
        return get_vocabulary(cfg.MODEL.TEXT.VOCABULARY)
    register_custom(cfg)
    for name in cfg.DATASETS.TRAIN[:1]:
        names = getattr(MetadataCatalog.get(name), "vocabulary", None)
        if names:
            return list(names)
    raise ValueError(
        "no vocabulary: MODEL.TEXT.VOCABULARY is empty and DATASETS.TRAIN "
        f"{tuple(cfg.DATASETS.TRAIN)} names no data set that physseg registered; set one of them"
    )
