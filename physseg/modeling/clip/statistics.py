"""What an encoder's images are normalised with: it belongs to the weights, not to the code."""

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

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
        mean, std = known[pretrained]
    elif len(set(known.values())) == 1:
        mean, std = next(iter(known.values()))
    else:
        mean, std = OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    # As decimals: 255 times a float would not give the customary digits.
    return tuple(tuple(round(255 * value, 7) for value in values) for values in (mean, std))


def _of_tag(name: str, tag: str) -> Statistics:
    cfg = open_clip.get_pretrained_cfg(name, tag)
    return tuple(cfg.get("mean") or OPENAI_DATASET_MEAN), tuple(cfg.get("std") or OPENAI_DATASET_STD)
