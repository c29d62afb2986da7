"""Training augmentations: Detectron2's where they fit, and the two that physseg writes itself.

Random numbers are drawn in ``get_transform`` from NumPy's global generator, as Detectron2's augmentations do;
the transform that comes out is deterministic.
"""

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform


class AlignedResizeTransform(T.ResizeTransform):
    """Detectron2's resize, with one rule for label maps of every dtype.

    With "centre" a resized label pixel takes the source pixel under its centre, so that it stays aligned with the
    bilinearly resized image; with "corner" the one under its top left corner (`LABEL_RULES`). Detectron2 takes the
    first for uint8 and the second for all else, such as CAT-Seg's.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None, label_rule: str = "centre"):
        super().__init__(h, w, new_h, new_w, interp)
        self.label_rule = label_rule

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """(H, W) of any dtype -> (new_h, new_w) of that dtype."""
        nearest = LABEL_RULES[self.label_rule]
        rows = nearest(self.h, self.new_h)
        columns = nearest(self.w, self.new_w)
        return segmentation[rows[:, None], columns]


def nearest_centres(source: int, target: int) -> np.ndarray:
    """Index (target,) of the source pixel under the centre of each target pixel."""
    return (2 * np.arange(target, dtype=np.int64) + 1) * source // (2 * target)


def nearest_corners(source: int, target: int) -> np.ndarray:
    """Index (target,) of the source pixel under the corner of each target pixel, as PyTorch's "nearest" rounds it."""
    scale = np.float32(source) / np.float32(target)
    indices = np.floor(np.arange(target, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(indices, source - 1)


LABEL_RULES = {"centre": nearest_centres, "corner": nearest_corners}


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's ``ResizeShortestEdge`` with ``AlignedResizeTransform``."""

    def __init__(self, *args, label_rule: str = "centre", **kwargs):
        super().__init__(*args, **kwargs)
        self.label_rule = label_rule

    def get_transform(self, image: np.ndarray) -> Transform:
        t = super().get_transform(image)
        if not isinstance(t, T.ResizeTransform):
            return t
        return AlignedResizeTransform(t.h, t.w, t.new_h, t.new_w, t.interp, self.label_rule)


class SSDColorTransform(Transform):
    """Brightness, contrast, saturation and hue changes of a uint8 RGB image, as in SSD.

    ``brightness`` is added, ``contrast`` and ``saturation`` multiply, ``hue`` is added in units of 2 degrees.
    Contrast comes before saturation and hue, or after them if ``contrast_last``. None leaves a property alone.
    """

    def __init__(
        self,
        brightness: float | None = None,
        contrast: float | None = None,
        saturation: float | None = None,
        hue: int | None = None,
        contrast_last: bool = False,
    ):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        # All four act on one channel value at a time: a table of 256 entries each.
        tables = []
        if self.brightness is not None:
            tables.append(_linear(1.0, self.brightness))
        if self.contrast is not None and not self.contrast_last:
            tables.append(_linear(self.contrast, 0.0))
        for table in tables:
            img = cv2.LUT(img, table)
        if self.saturation is not None or self.hue is not None:
            img = self._change_hsv(img)
        if self.contrast is not None and self.contrast_last:
            img = cv2.LUT(img, _linear(self.contrast, 0.0))
        return img

    def _change_hsv(self, img: np.ndarray) -> np.ndarray:
        table = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        if self.hue is not None:
            table[0, :, 0] = (np.arange(256) + self.hue) % 180
        if self.saturation is not None:
            table[0, :, 1] = _linear(self.saturation, 0.0)
        hsv = cv2.cvtColor(np.ascontiguousarray(img), cv2.COLOR_RGB2HSV)
        return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation


def _linear(scale: float, offset: float) -> np.ndarray:
    values = np.arange(256, dtype=np.float32) * np.float32(scale) + np.float32(offset)
    return np.clip(values, 0, 255).astype(np.uint8)


class SSDColorAugmentation(T.Augmentation):
    """Each property changes with probability 1/2 (Liu et al., "SSD", 2016; ranges of its published code)."""

    def __init__(
        self,
        brightness: float = 32.0,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: int = 18,
    ):
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        def sometimes(value):
            return value if np.random.rand() < 0.5 else None

        # Every number is drawn whether it is used or not: a sample's later draws do not depend on these.
        return SSDColorTransform(
            brightness=sometimes(np.random.uniform(-self.brightness, self.brightness)),
            contrast=sometimes(np.random.uniform(*self.contrast)),
            saturation=sometimes(np.random.uniform(*self.saturation)),
            hue=sometimes(int(np.random.randint(-self.hue, self.hue + 1))),
            contrast_last=bool(np.random.rand() < 0.5),
        )


def build_training_augmentations(cfg: CfgNode, ignore_label: int) -> list[T.Augmentation]:
    """CAT-Seg's recipe: shortest edge, crop, SSD colours, flip (INPUT.*).

    Raises:
        ValueError: INPUT.RANDOM_FLIP or INPUT.CROP.TYPE is no known value.
    """
    augmentations: list[T.Augmentation] = [
        ResizeShortestEdge(
            cfg.INPUT.MIN_SIZE_TRAIN,
            cfg.INPUT.MAX_SIZE_TRAIN,
            cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING,
            label_rule=cfg.INPUT.LABEL_RESIZE,
        )
    ]
    if cfg.INPUT.CROP.ENABLED:
        types = ("absolute", "absolute_range", "relative", "relative_range")
        if cfg.INPUT.CROP.TYPE not in types:
            raise ValueError(f"INPUT.CROP.TYPE must be one of {', '.join(types)}, got {cfg.INPUT.CROP.TYPE!r}")
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint(
                cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE, cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA, ignore_label
            )
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(SSDColorAugmentation())
    if cfg.INPUT.RANDOM_FLIP not in ("none", "horizontal", "vertical"):
        raise ValueError(f"INPUT.RANDOM_FLIP must be none, horizontal or vertical, got {cfg.INPUT.RANDOM_FLIP!r}")
    if cfg.INPUT.RANDOM_FLIP != "none":
        horizontal = cfg.INPUT.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=horizontal, vertical=not horizontal))
    return augmentations
