"""From a record of an image, with captions or without, to a sample of a batch (physseg.data.pairs)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from physseg.data.images import read_image
from physseg.data.pairs.augmentations import build_pair_augmentations
from physseg.data.pairs.nouns import NounFinder
from physseg.data.pairs.targets import training_targets
from physseg.text.prompts import resolve_templates


class PairMapper:
    """Record -> sample. Random numbers come from NumPy's global generator; the loader seeds it."""

    @configurable
    def __init__(
        self,
        augmentations: Sequence[T.Augmentation],
        *,
        captions: bool = True,
        find_nouns: NounFinder | None = None,
        templates: Sequence[str] = (),
        targets: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    ):
        """
        Args:
            augmentations: of the image; the last gives it its size.
            captions: samples carry a caption.
            find_nouns: each noun of the caption, in a template, is one more text that may take the caption's place;
                None: captions alone.
            templates: prompts with one ``{}`` for nouns.
            targets: name -> function of the crop, uint8 (S, S, 3) RGB; what it gives stands in the sample as a tensor.
        """
        self.augmentations = T.AugmentationList(augmentations)
        self.captions, self.find_nouns, self.templates = captions, find_nouns, tuple(templates)
        self.targets = dict(targets or {})

    @classmethod
    def from_config(cls, cfg: CfgNode, captions: bool) -> dict[str, Any]:
        nouns = cfg.INPUT.PAIRS.NOUNS
        return {
            "augmentations": build_pair_augmentations(cfg),
            "captions": captions,
            "find_nouns": NounFinder.from_file(nouns) if nouns else None,
            "templates": resolve_templates(cfg.MODEL.TEXT.TEMPLATES),
            "targets": training_targets(cfg),
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record ``{"file_name", "image_id"}``, with ``captions`` and, where known, ``nouns``.

        An image that is in memory already stands in it as ``array``, uint8 (H, W, 3) RGB.

        Raises:
            BrokenFileError: the image cannot be read.
        """
        array = record.get("array")
        image = read_image(record["file_name"]) if array is None else array
        height, width = image.shape[:2]
        sample = {"file_name": record["file_name"], "image_id": record["image_id"], "height": height, "width": width}
        # Drawn before the crop: which caption is taken does not depend on how the image is cut.
        if self.captions:
            sample["caption"] = self._text(record)
        augmented = T.AugInput(image)
        self.augmentations(augmented)
        crop = np.ascontiguousarray(augmented.image)
        sample["image"] = torch.from_numpy(crop.transpose(2, 0, 1).copy())
        for name, make in self.targets.items():
            sample[name] = torch.from_numpy(np.ascontiguousarray(make(crop)))
        return sample

    def _text(self, record: Mapping[str, Any]) -> str:
        captions = record["captions"]
        caption = captions[np.random.randint(len(captions))]
        if self.find_nouns is None:
            return caption
        nouns = record.get("nouns") or self.find_nouns(caption)
        index = np.random.randint(len(nouns) + 1)
        if index == 0:
            return caption
        return self.templates[np.random.randint(len(self.templates))].format(nouns[index - 1])
