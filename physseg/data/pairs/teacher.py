"""Samples with what a teacher says of them (ZeroSeg): its cached features, or the views it is to see."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from physseg.data.images import read_image
from physseg.data.pairs.mapper import PairMapper
from physseg.data.pairs.teacher_cache import TeacherFeatures
from physseg.data.pairs.views import count_views, grid_views


def teacher_settings(cfg: CfgNode) -> dict[str, Any]:
    """What decides a teacher's features."""
    node = cfg.MODEL.ZEROSEG.TEACHER
    return {
        "teacher": cfg.MODEL.CLIP.NAME,
        "pretrained": cfg.MODEL.CLIP.PRETRAINED,
        "image_size": node.IMAGE_SIZE,
        "grids": list(node.GRIDS),
    }


def teacher_shape(cfg: CfgNode) -> tuple[int, int]:
    """(V, E) of an image's features."""
    import open_clip

    embed = open_clip.get_model_config(cfg.MODEL.CLIP.NAME)["embed_dim"]
    return count_views(cfg.MODEL.ZEROSEG.TEACHER.GRIDS), embed


class TeacherMapper:
    """`PairMapper`, and ``teacher`` float16 (V, E) or ``views`` uint8 (V, 3, s, s) beside the image.

    Args:
        mapper: its crop must be the middle square, which the views are cut from.
        features: the cache; None: views.
        grids, size: of the views, see `grid_views`.
    """

    def __init__(
        self, mapper: PairMapper, features: TeacherFeatures | None, grids: tuple[int, ...] = (), size: int = 224
    ) -> None:
        self.mapper, self.features, self.grids, self.size = mapper, features, grids, size

    @classmethod
    def from_config(cls, cfg: CfgNode, mapper: PairMapper) -> "TeacherMapper":
        """Of MODEL.ZEROSEG.TEACHER.

        Raises:
            FileNotFoundError, ValueError: as `TeacherFeatures`.
        """
        node = cfg.MODEL.ZEROSEG.TEACHER
        features = None
        if node.FEATURES:
            features = TeacherFeatures(node.FEATURES, teacher_settings(cfg), teacher_shape(cfg))
        return cls(mapper, features, tuple(node.GRIDS), node.IMAGE_SIZE)

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record.

        Raises:
            BrokenFileError: the image cannot be read, or could not when the cache was made.
            KeyError: the cache was made of other images.
        """
        if self.features is not None:
            return self.mapper(record) | {"teacher": torch.from_numpy(self.features[record["image_id"]])}
        array = record.get("array")
        image = read_image(record["file_name"]) if array is None else array
        views = np.ascontiguousarray(grid_views(image, self.grids, self.size))
        return self.mapper(dict(record, array=image)) | {"views": torch.from_numpy(views)}
