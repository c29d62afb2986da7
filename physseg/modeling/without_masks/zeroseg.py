"""ZeroSeg ("Exploring Open-Vocabulary Segmentation from CLIP Vision Encoder Distillation", Chen et al., ICCV 2023).

It learns from images alone; words enter at test. The equations, numbered here (no code was published, the supplement
was not at hand; docs/without_masks.md marks what is our choice):

    (1)  x = encoder(a part of the patches)
    (2)  v_n = the teacher's feature of view n: the cells of 1x1, 2x2, 3x3 and 4x4 grids; unit length
    (3)  segments g_i and image feature z = `SegmentationHead`(x)
    (4)  L_reconstruction = `reconstruction_loss` of what the decoder tells from x
    (5)  L_multi_scale = sum_n |z - v_n|_1
    (6)  L_matching = sum_i min over n but the whole image of |g_i - v_n|_1
    (7)  L = (4) + (5) + (6)

At test all patches are seen, and `group_scores` names the segments by the teacher's text encoder.

B images, N patches, K segments, V views, C width, E the teacher's embedding.
"""

from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from physseg.data.pairs.sources import IMAGES
from physseg.losses.distillation import matching_loss, multi_scale_loss
from physseg.losses.reconstruction import reconstruction_loss
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.without_masks.group_segmenter import GroupSegmenter, Windows
from physseg.modeling.without_masks.masked_autoencoder import MaskedDecoder, patch_pixels, random_masking
from physseg.modeling.without_masks.patch_encoder import PatchEncoder
from physseg.modeling.without_masks.teacher import teacher_features
from physseg.modeling.without_masks.zeroseg_head import SegmentationHead
from physseg.modeling.without_masks.zeroseg_parts import zeroseg_parts


class LossWeights(NamedTuple):
    """Of (7); a loss of weight 0 is not computed."""

    reconstruction: float = 1.0
    multi_scale: float = 1.0
    matching: float = 1.0


@META_ARCH_REGISTRY.register()
class ZeroSeg(GroupSegmenter):
    """A segmenter trained by a frozen CLIP's image features, without a word.

    Args:
        clip: the teacher; frozen.
        encoder, head: (1) and (3).
        reconstruction: the decoder of (4); None: switched off.
        masked: share of the patches that the encoder does not see in training.
        weights: of the losses.
        whole_first: the first view is the whole image, which (6) leaves out.
        scale: of the cosines at test.
        options: of `ProtocolSegmenter`, with a `GroupProtocol`.
    """

    learns_from = IMAGES

    @configurable
    def __init__(
        self,
        *,
        clip: ClipEncoder,
        encoder: PatchEncoder,
        head: SegmentationHead,
        reconstruction: MaskedDecoder | None = None,
        masked: float = 0.6,
        weights: LossWeights | tuple[float, float, float] = LossWeights(),  # noqa: B008  (immutable)
        whole_first: bool = True,
        scale: float = 100.0,
        **options: Any,
    ):
        super().__init__(clip, **options)
        clip.requires_grad_(False)
        self.encoder, self.head, self.reconstruction = encoder, head, reconstruction
        self.masked, self.weights, self.whole_first = masked, LossWeights(*weights), whole_first
        self._scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return zeroseg_parts(cfg)

    def param_group_of(self, name: str) -> str:
        """Everything that trains has one learning rate."""
        return "head"

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The terms of (7), weighted.

        Args:
            batched_inputs: samples of `physseg.data.pairs` with ``teacher`` (V, E), features of the views, or
                ``views`` uint8 (V, 3, s, s), the views themselves.
        """
        images, views = self._training_images(batched_inputs), self._teacher(batched_inputs)
        patches = (images.shape[2] // self.patch) * (images.shape[3] // self.patch)
        masking = random_masking(torch.rand(len(images), patches, device=self.device), int(patches * (1 - self.masked)))
        first, visible = self.encoder(images, masking)
        losses = {}
        if self.weights.reconstruction and self.reconstruction is not None:
            predicted = self.reconstruction(torch.cat([first, visible], dim=1), masking)
            loss = reconstruction_loss(predicted, patch_pixels(images, self.patch), masking.masked)
            losses["loss_reconstruction"] = self.weights.reconstruction * loss
        found = self.head(visible, self.head.draw_noise(*visible.shape[:2], device=self.device))
        if self.weights.multi_scale:
            losses["loss_multi_scale"] = self.weights.multi_scale * multi_scale_loss(found.image, views)
        if self.weights.matching:
            cells = views[:, 1:] if self.whole_first else views
            losses["loss_matching"] = self.weights.matching * matching_loss(found.segments, cells)
        return losses

    def encode_windows(self, images: Tensor) -> Windows:
        """See `GroupSegmenter`."""
        found = self.head(self.encoder(images)[1])
        grid = tuple(side // self.patch for side in images.shape[-2:])
        return Windows(found.segments, found.image, found.soft, grid)

    @property
    def patch(self) -> int:
        return self.encoder.patch

    @property
    def scale(self) -> float:
        return self._scale

    def _teacher(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """(B, V, E): the cached features, or those of the views in the batch."""
        if all("teacher" in x for x in batched_inputs):
            return torch.stack([x["teacher"].to(self.device, non_blocking=True) for x in batched_inputs]).float()
        if all("views" in x for x in batched_inputs):
            views = torch.stack([x["views"].to(self.device, non_blocking=True) for x in batched_inputs])
            return teacher_features(self.clip, views, self.pixel_mean, self.pixel_std)
        raise KeyError(
            "ZeroSeg trains on samples with 'teacher' or 'views', which the loader makes (physseg.data.pairs)"
        )
