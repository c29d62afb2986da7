"""How training-free methods cut, score and refine an image, as data; and config -> the parts of `ClipSegmenter`."""

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode

from physseg.modeling.clip.dense_features import DenseFeatures
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.proxy_path import ProxyModel
from physseg.modeling.clip.statistics import configured_statistics
from physseg.modeling.protocol_segmenter import configured_parts


@dataclass(frozen=True)
class DenseProtocol:
    """Values that the literature states beside a number.

    window, stride: of the windows, in pixels of the resized image; window 0: the whole image at once. scale: of the
    softmax over words. area_threshold, background_entropy: see `word_prediction`. pamr_steps, pamr_dilations: of PAMR;
    0 steps: none.
    """

    window: int = 0
    stride: int = 0
    scale: float = 40.0
    area_threshold: float = 0.0
    background_entropy: float = 0.0
    pamr_steps: int = 0
    pamr_dilations: tuple[int, ...] = (8, 16)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "DenseProtocol":
        node = cfg.MODEL.DENSE
        windows = cfg.TEST.SLIDING_WINDOW
        return cls(
            window=cfg.TEST.WINDOW_SIZE if windows else 0,
            stride=cfg.TEST.WINDOW_STRIDE if windows else 0,
            scale=node.SCALE,
            area_threshold=cfg.TEST.AREA_THRESHOLD,
            background_entropy=cfg.TEST.BACKGROUND_ENTROPY,
            pamr_steps=node.PAMR_STEPS,
            pamr_dilations=tuple(node.PAMR_DILATIONS),
        )


def segmenter_parts(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of `ClipSegmenter` but its ``features``: the only place where it reads the config.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: a key that does not fit, named; see the parts.
    """
    joined = cfg.MODEL.TEXT.SYNONYMS == "max"
    clip = ClipEncoder(
        cfg.MODEL.CLIP.NAME,
        cfg.MODEL.CLIP.PRETRAINED,
        cfg.MODEL.CLIP.IMAGE_SIZE,
        finetune="frozen",
        templates=cfg.MODEL.TEXT.TEMPLATES,
        synonym_policy="first" if joined else cfg.MODEL.TEXT.SYNONYMS,
        # A checkpoint of this very model holds CLIP's weights: nothing is read or downloaded twice.
        load_weights=not cfg.MODEL.WEIGHTS,
        # Of the encoder's own square features, which are not asked for here.
        dense_path="maskclip",
    )
    return {"clip": clip, "join_synonyms": joined, **configured_parts(cfg, DenseProtocol)}


def training_free_features(cfg: CfgNode, clip: ClipEncoder) -> DenseFeatures:
    """``features`` of `ClipSegmenter`: MODEL.DENSE.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as `DenseFeatures` and `ProxyModel`.
    """
    node, proxy = cfg.MODEL.DENSE, None
    if node.METHOD == "proxyclip":
        statistics = (torch.tensor(values).view(3, 1, 1) for values in configured_statistics(cfg))
        proxy = ProxyModel(node.PROXY.NAME, node.PROXY.PRETRAINED, *statistics, not cfg.MODEL.WEIGHTS)
    return DenseFeatures(clip, node.METHOD, node.POSITION_OFFSET, node.OUTLIERS, proxy)
