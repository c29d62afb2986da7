"""How an image becomes a square for models that learn from captions or from images alone."""

import math

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, Transform, TransformList
from PIL import Image

_TRIES = 10
# torchvision's, with which CLIP's relatives train.
_ASPECTS = (3 / 4, 4 / 3)


class RandomResizedCrop(T.Augmentation):
    """A crop of random area and aspect ratio, resized to a square (Szegedy et al., CVPR 2015), bicubic.

    Args:
        size: side of the square in pixels.
        area: least and largest share of the image's area.
    """

    def __init__(self, size: int, area: tuple[float, float]):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        top, left, h, w = self._box(height, width)
        return _cut_and_resize(left, top, w, h, width, height, self.size)

    def _box(self, height: int, width: int) -> tuple[int, int, int, int]:
        for _ in range(_TRIES):
            area = height * width * np.random.uniform(*self.area)
            aspect = math.exp(np.random.uniform(*map(math.log, _ASPECTS)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return np.random.randint(height - h + 1), np.random.randint(width - w + 1), h, w
        # Long images: the middle, as square as is allowed.
        h, w = min(height, round(width / _ASPECTS[0])), min(width, round(height * _ASPECTS[1]))
        return (height - h) // 2, (width - w) // 2, h, w


class CentreCrop(T.Augmentation):
    """The largest square in the middle, resized, bicubic: no random numbers.

    Args:
        size: side of the result in pixels.
    """

    def __init__(self, size: int):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        side = min(height, width)
        return _cut_and_resize((width - side) // 2, (height - side) // 2, side, side, width, height, self.size)


def build_pair_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The crop, and a flip where it is on (INPUT.PAIRS)."""
    node = cfg.INPUT.PAIRS
    crop = RandomResizedCrop(node.SIZE, tuple(node.CROP_AREA)) if node.CROP == "random" else CentreCrop(node.SIZE)
    return [crop, *([T.RandomFlip()] if node.FLIP else [])]


def _cut_and_resize(left: int, top: int, w: int, h: int, width: int, height: int, size: int) -> TransformList:
    crop = CropTransform(left, top, w, h, width, height)
    return TransformList([crop, T.ResizeTransform(h, w, size, size, Image.BICUBIC)])
