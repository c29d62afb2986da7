"""From a record of a data set to the dict that the model takes.

H, W: size after augmentation (the crop size in training). S: structure sources.
"""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.catalog import Metadata

from physseg.data.augmentations import ResizeShortestEdge, build_training_augmentations
from physseg.data.images import read_image, read_label_map
from physseg.data.specs import datasets_root

PAD_VALUE = 128
"""Colour of padding, as in CAT-Seg."""


class TrainingMapper:
    """Record -> dict of a training sample.

    The result holds ``file_name``, ``height`` and ``width`` of the image file, ``image`` uint8 (3, H, W) RGB,
    ``sem_seg`` int64 (H, W) with class indices and ``ignore_value``, and with structure sources ``structure``
    uint8 (S, H, W) of 0 and 1. Random numbers come from NumPy's global generator; the loader seeds it.
    """

    @configurable
    def __init__(
        self,
        augmentations: Sequence[T.Augmentation],
        *,
        dataset: str,
        num_classes: int,
        ignore_label: int,
        ignore_value: int,
        pad_to: tuple[int, int] | None = None,
        structure=None,
    ):
        """
        Args:
            augmentations: applied to image and label map together.
            dataset: its name, for messages.
            num_classes: label values are 0 ... num_classes - 1.
            ignore_label: value of unlabelled pixels in the files.
            ignore_value: value of unlabelled pixels in the result.
            pad_to: (height, width) that smaller results are padded to, right and bottom; None: not padded.
            structure: ``physseg.structure.StructureOptions``, or None for no structure maps.

        Raises:
            ValueError: ``ignore_value`` is a class index.
        """
        if 0 <= ignore_value < num_classes:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {ignore_value}, which is a class index of {dataset} "
                f"({num_classes} classes); set it to 65535"
            )
        self.augmentations = T.AugmentationList(augmentations)
        self.dataset = dataset
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.ignore_value = ignore_value
        self.pad_to = pad_to
        self.structure = structure

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        metadata = training_metadata(cfg.DATASETS.TRAIN)
        structure = None
        if cfg.MODEL.STRUCTURE.ENABLED:
            from physseg.structure import structure_options  # needs its own extras: only when asked for

            structure = structure_options(cfg)
        absolute = cfg.INPUT.CROP.ENABLED and cfg.INPUT.CROP.TYPE == "absolute"
        return {
            "augmentations": build_training_augmentations(cfg, metadata.ignore_label),
            "dataset": metadata.name,
            "num_classes": len(metadata.stuff_classes),
            "ignore_label": metadata.ignore_label,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "pad_to": tuple(cfg.INPUT.CROP.SIZE) if absolute else None,
            "structure": structure,
        }

    def __call__(self, record: dict) -> dict:
        """Map one record ``{"file_name", "sem_seg_file_name"}``.

        Raises:
            BrokenFileError: image or label map cannot be read.
            ValueError: their sizes differ, or the label map holds a value that is no class.
        """
        image = read_image(record["file_name"])
        height, width = image.shape[:2]
        augmented = T.AugInput(image, sem_seg=self._read_labels(record, (height, width)))
        transforms = self.augmentations(augmented)
        image, labels = augmented.image, augmented.sem_seg

        sample = dict(record, height=height, width=width)
        sample["image"] = _to_tensor(self._pad(image, PAD_VALUE)).permute(2, 0, 1).contiguous()
        sample["sem_seg"] = _to_tensor(self._pad(labels, self.ignore_value)).long()
        if self.structure is not None:
            maps = self._structure_maps(record, image, labels, transforms)
            sample["structure"] = _to_tensor(np.stack([self._pad(channel, 0) for channel in maps]))
        return sample

    def _read_labels(self, record: dict, size: tuple[int, int]) -> np.ndarray:
        """The label map, int32 (H, W), with ``ignore_value`` where the file has ``ignore_label``."""
        path = record["sem_seg_file_name"]
        labels = read_label_map(path)
        if labels.shape != size:
            raise ValueError(
                f"label map {path} is {labels.shape[1]}x{labels.shape[0]}, its image {record['file_name']} "
                f"{size[1]}x{size[0]} (EXIF orientation applied); they must be of one size"
            )
        ignored = labels == self.ignore_label
        wrong = ((labels < 0) | (labels >= self.num_classes)) & ~ignored
        if wrong.any():
            values = np.unique(labels[wrong]).tolist()
            raise ValueError(
                f"label map {path} holds {values[:5]}{'...' if len(values) > 5 else ''}; expected 0 to "
                f"{self.num_classes - 1}, or {self.ignore_label} (ignored), in {self.dataset} (DATASETS.TRAIN)"
            )
        labels[ignored] = self.ignore_value
        return labels

    def _structure_maps(
        self, record: dict, image: np.ndarray, labels: np.ndarray, transforms: T.TransformList
    ) -> np.ndarray:
        from physseg.structure import make_structure_maps
        from physseg.structure.maps import read_ready_maps

        ready = read_ready_maps(record["file_name"], datasets_root(), self.structure, transforms)
        return make_structure_maps(image, labels, self.structure, self.ignore_value, ready)

    def _pad(self, array: np.ndarray, value: int) -> np.ndarray:
        if self.pad_to is None:
            return array
        below, right = (max(0, side - have) for side, have in zip(self.pad_to, array.shape[:2], strict=True))
        return np.pad(array, ((0, below), (0, right)) + ((0, 0),) * (array.ndim - 2), constant_values=value)


class TestMapper:
    """Record -> dict of an image to predict.

    The result is the record with ``image`` uint8 (3, H, W) RGB, ``height`` and ``width`` of the file,
    ``vocabulary``, ``dataset`` (its registered name), ``output`` = "labels", and where the data set has a background
    class its index, ``background``.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    @configurable
    def __init__(
        self,
        resize: T.Augmentation,
        *,
        vocabulary: Sequence[str],
        dataset: str = "",
        background: int | None = None,
    ):
        """
        Args:
            resize: deterministic.
            vocabulary: prompts of the data set.
            dataset: its registered name.
            background: index of the class that stands for all that has no name of its own; None: there is none.
        """
        self.background = background
        self.dataset = dataset
        self.resize = resize
        self.vocabulary = list(vocabulary)

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_name: str) -> dict:
        metadata = MetadataCatalog.get(dataset_name)
        return {
            "resize": ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST),
            "vocabulary": dataset_vocabulary(metadata),
            "dataset": dataset_name,
            "background": metadata.get("background"),
        }

    def __call__(self, record: dict) -> dict:
        """Map one record ``{"file_name", ...}``.

        Raises:
            BrokenFileError: the image cannot be read.
        """
        image = read_image(record["file_name"])
        sample = dict(record, height=image.shape[0], width=image.shape[1], dataset=self.dataset)
        resized = self.resize.get_transform(image).apply_image(image)
        sample["image"] = _to_tensor(resized).permute(2, 0, 1).contiguous()
        sample["vocabulary"] = self.vocabulary
        if self.background is not None:
            sample["background"] = self.background
        sample["output"] = "labels"
        return sample


def training_metadata(names: Sequence[str]) -> Metadata:
    """Metadata shared by the training sets.

    Raises:
        ValueError: there are none, or they differ in classes or ignore label.
    """
    if not names:
        raise ValueError("DATASETS.TRAIN is empty; name at least one registered data set")
    first = MetadataCatalog.get(names[0])
    if not hasattr(first, "stuff_classes") or not hasattr(first, "ignore_label"):
        raise ValueError(f"DATASETS.TRAIN: {names[0]} is not registered as a semantic segmentation data set")
    for name in names[1:]:
        other = MetadataCatalog.get(name)
        if list(other.stuff_classes) != list(first.stuff_classes) or other.ignore_label != first.ignore_label:
            raise ValueError(f"DATASETS.TRAIN: {name} and {names[0]} differ in classes or ignore label; train on one")
    return first


def dataset_vocabulary(metadata: Metadata) -> list[str]:
    """Prompts of a data set: its ``vocabulary``, or its class names where another package registered it."""
    return list(getattr(metadata, "vocabulary", None) or metadata.stuff_classes)


def _to_tensor(array: np.ndarray) -> torch.Tensor:
    # Views with negative strides (flips) and read-only arrays (Pillow) cannot become tensors.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
