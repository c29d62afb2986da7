"""What segments by groups of patches at test: the half that SegCLIP and ZeroSeg have in common.

B images, W windows, K groups, T classes, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from physseg.modeling.inputs import output_size
from physseg.modeling.postprocess import labels_by_chunks, probabilities_by_chunks
from physseg.modeling.protocol_segmenter import ProtocolSegmenter
from physseg.modeling.sliding_window import WindowPlan, plan_crops, split_windows
from physseg.modeling.without_masks.group_scores import (
    class_maps,
    group_class_scores,
    pixel_groups,
    with_background,
)


@dataclass(frozen=True)
class GroupProtocol:
    """How an image is cut and scored: values that a number is stated beside.

    window, stride: of the windows, in pixels of the resized image; window 0: the whole image at once. top_classes: see
    `group_class_scores`. background_threshold: see `with_background`, for inputs that name a background; 0: their
    background is a class with words like any other.
    """

    window: int = 0
    stride: int = 0
    top_classes: int = 5
    background_threshold: float = 0.0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "GroupProtocol":
        windows = cfg.TEST.SLIDING_WINDOW
        return cls(
            window=cfg.TEST.WINDOW_SIZE if windows else 0,
            stride=cfg.TEST.WINDOW_STRIDE if windows else 0,
            top_classes=cfg.MODEL.GROUPS.TOP_CLASSES,
            background_threshold=cfg.MODEL.GROUPS.BACKGROUND_THRESHOLD,
        )


class Windows(NamedTuple):
    """Windows before any word is known.

    groups: (W, K, E), tokens of the groups in the space of text features. image: (W, E), of a whole window. soft:
    (W, K, N), each patch's share in the groups. grid: (H, W) of the patches.
    """

    groups: Tensor
    image: Tensor
    soft: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class GroupedImage:
    """One image with all that its prediction needs but the words, made by `GroupSegmenter.encode_image`.

    groups, image: as in `Windows`. pixels: (W, h, w) int64, the group of every pixel. plan: where the windows lie.
    size: (height, width) of the prediction. background: index of the class without words; None: there is none.
    """

    groups: Tensor
    image: Tensor
    pixels: Tensor
    plan: WindowPlan
    size: tuple[int, int]
    background: int | None


class GroupSegmenter(ProtocolSegmenter):
    """Base of `SegCLIP` and `ZeroSeg`, which give `losses` and `encode_windows`.

    The arguments are `ProtocolSegmenter`'s; a protocol is a `GroupProtocol`.
    """

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Named scalar losses of training inputs, weighted."""
        raise NotImplementedError

    def encode_windows(self, images: Tensor) -> Windows:
        """Groups of normalised images (W, 3, h, w), h and w multiples of the patch."""
        raise NotImplementedError

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        raise NotImplementedError

    @property
    def scale(self) -> float | Tensor:
        """What cosines of groups and words are multiplied with."""
        raise NotImplementedError

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training, predictions at test.

        Args:
            batched_inputs: training: see `losses`. Test: per image a dict with ``image`` (3, h, w) RGB in 0-255, any
                dtype; ``height`` and ``width`` of the output (default: the image's); ``vocabulary``, a list of names
                (default: the model's); ``background``, the index of the name that stands for what has no word;
                ``output``, "probabilities" (default) or "labels"; ``dataset``, whose protocol holds.

        Returns:
            Training: named losses. Test: per image ``sem_seg`` (T, height, width) float32 scores in 0-1, which need
            not sum to 1, or ``labels`` (height, width) int64 with their ``scores`` (height, width) float32.
        """
        return self.losses(batched_inputs) if self.training else self.predict(batched_inputs)

    @torch.no_grad()
    def encode_image(self, x: dict[str, Any]) -> GroupedImage:
        """One test input (see `forward`) as far as no word matters; for `predict_encoded`."""
        image, protocol = self._normalise(x["image"]), self._protocol(x)
        plan = plan_crops(tuple(image.shape[-2:]), protocol.window, protocol.stride)
        windows = split_windows(image, plan)
        # Whole patches: a narrow rest at right or bottom would not be seen.
        size = [max(round(side / self.patch), 1) * self.patch for side in windows.shape[-2:]]
        if size != list(windows.shape[-2:]):
            windows = F.interpolate(windows, size=size, mode="bilinear", align_corners=False)
        parts = [self.encode_windows(part) for part in windows.split(self._windows_at_once())]
        pixels = [pixel_groups(part.soft.float(), part.grid, plan.shape) for part in parts]
        groups, image = (torch.cat([part[i] for part in parts]).float() for i in (0, 1))
        background = x.get("background") if protocol.background_threshold else None
        return GroupedImage(groups, image, torch.cat(pixels), plan, output_size(x), background)

    def _predict(
        self, image: GroupedImage, names: Sequence[str], output: str, protocol: GroupProtocol
    ) -> dict[str, Tensor]:
        worded = [name for index, name in enumerate(names) if index != image.background]
        # The templates' mean.
        text = self.text_features(worded).mean(1).float()
        scores = group_class_scores(image.groups, image.image, text, self.scale, protocol.top_classes)
        if image.background is not None:
            scores = with_background(scores, image.background, protocol.background_threshold)
        maps = class_maps(scores, image.pixels, image.plan, image.size)
        classes = torch.arange(len(names), device=scores.device)
        if output == "labels":
            labels, best = labels_by_chunks(maps, classes)
            return {"labels": labels, "scores": best}
        return {"sem_seg": probabilities_by_chunks(maps, classes, len(names), image.size)}

    def _training_images(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """(B, 3, h, w) normalised; the loader's crops have one size."""
        return torch.stack([self._normalise(x["image"]) for x in batched_inputs])
