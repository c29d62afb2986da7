"""What an encoder's images are normalised with: it belongs to the weights, not to the code."""

import logging

import open_clip
from detectron2.config import CfgNode
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

# As CAT-Seg writes them: 255 times open_clip's numbers have more digits.
OPENAI = ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.3231630))
logger = logging.getLogger("physseg")

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]


def image_statistics(name: str, pretrained: str) -> Statistics:
    """RGB mean and standard deviation in 0-255 units.

    Args:
        name: open_clip model name. pretrained: tag, local file, "toy" or "".

    Returns:
        Those of the tag. For weights without a tag: those that all of the name's tags share, else OpenAI's. (Tags of
        ViT-L-14 differ, for one: set MODEL.PIXEL_MEAN and MODEL.PIXEL_STD for a file of laion2b_s32b_b82k's.)
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    known = {tag: _of_tag(name, tag) for tag in tags}
    if pretrained in known:
        return known[pretrained]
    return next(iter(known.values())) if len(set(known.values())) == 1 else OPENAI


def configured_statistics(cfg: CfgNode) -> Statistics:
    """MODEL.PIXEL_MEAN and PIXEL_STD, with a warning where they are not those of the tag in MODEL.CLIP.PRETRAINED.

    `physseg.load_config` sets them by the tag; a config that was put together by other means has OpenAI's.
    """
    node = cfg.MODEL
    name, pretrained = node.CLIP.NAME, node.CLIP.PRETRAINED
    told = tuple(node.PIXEL_MEAN), tuple(node.PIXEL_STD)
    if pretrained in open_clip.list_pretrained_tags_by_model(name) and told != (own := _of_tag(name, pretrained)):
        logger.warning(
            "MODEL.PIXEL_MEAN and PIXEL_STD are %s and %s, but %s of %s was trained with %s and %s. "
            "physseg.load_config sets them where a config does not.",
            *told,
            pretrained,
            name,
            *own,
        )
    return told


def _of_tag(name: str, tag: str) -> Statistics:
    cfg = open_clip.get_pretrained_cfg(name, tag)
    mean, std = tuple(cfg.get("mean") or OPENAI_DATASET_MEAN), tuple(cfg.get("std") or OPENAI_DATASET_STD)
    if (mean, std) == (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD):
        return OPENAI
    return tuple(tuple(round(255 * value, 7) for value in values) for values in (mean, std))
