"""SegCLIP ("Patch Aggregation with Learnable Centers", Luo et al., ICML 2023), from its description.

The equations, numbered here (the paper's text was not at hand; docs/without_masks.md marks what is our choice):

    (1)  x = early blocks(patch tokens of CLIP), without the class token
    (2)  centres g and hard assignment A = `SegClipGrouping`(x)
    (3)  g' = late blocks(g); v = proj(ln_post(max over centres of g')); t = CLIP's text feature of the caption
    (4)  L_contrastive: symmetric InfoNCE over cos(v, t) / tau of all images and texts of the batch
    (5)  L_superpixel: `superpixel_loss`(A, superpixels)
    (6)  L_reconstruction: (1) and (2) on a quarter of the patches; `reconstruction_loss` of what
         `GroupReconstruction` tells from their g and A
    (7)  L = (4) + (5) + (6)

At test a group's feature is proj(ln_post(g')), and `group_scores` names it.

B images, N patches, K centres, C width, E CLIP's embedding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from physseg.data.pairs.sources import PAIRS
from physseg.losses.contrastive import ContrastiveLoss, embed_in_parts, gather_rows
from physseg.losses.reconstruction import reconstruction_loss
from physseg.losses.superpixel import superpixel_loss
from physseg.losses.temperature import MAX_SCALE
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.without_masks.assignment import Grouped, gumbel_noise
from physseg.modeling.without_masks.group_segmenter import GroupSegmenter, Windows
from physseg.modeling.without_masks.masked_autoencoder import patch_pixels, random_masking, take_visible
from physseg.modeling.without_masks.reconstruction import GroupReconstruction
from physseg.modeling.without_masks.segclip_grouping import SegClipGrouping
from physseg.modeling.without_masks.segclip_parts import segclip_parts


class TrainingNoise(NamedTuple):
    """Random numbers of a training batch. groups: (B, K, N) Gumbel noise of all patches. masking: (B, N), the smallest
    stay. visible: (B, K, M) Gumbel noise of the visible patches.
    """

    groups: Tensor
    masking: Tensor
    visible: Tensor


@META_ARCH_REGISTRY.register()
class SegCLIP(GroupSegmenter):
    """CLIP whose patches are put into groups before the last blocks, trained on image-caption pairs.

    Args:
        clip: a plain CLIP; what of it trains is its own affair, but for the scale, which `contrastive` holds.
        grouping: after all blocks but the last ones.
        late_blocks: how many blocks, the last ones, see the centres alone.
        reconstruction: the masked branch; None: switched off.
        superpixel_weight, reconstruction_weight: of the losses; 0: not computed.
        accumulation_steps: parts that a process's batch is embedded in, see `embed_in_parts`.
        options: of `ProtocolSegmenter`, with a `GroupProtocol`.
    """

    learns_from = PAIRS
    splits_batches = True

    @configurable
    def __init__(
        self,
        *,
        clip: ClipEncoder,
        grouping: SegClipGrouping,
        late_blocks: int = 2,
        reconstruction: GroupReconstruction | None = None,
        superpixel_weight: float = 1.0,
        reconstruction_weight: float = 1.0,
        accumulation_steps: int = 1,
        **options: Any,
    ):
        super().__init__(clip, **options)
        self.grouping = grouping
        self.reconstruction = reconstruction
        self.contrastive = ContrastiveLoss()
        with torch.no_grad():
            self.contrastive.log_scale.copy_(clip.model.logit_scale)
        self.split = clip.tower.depth - late_blocks
        self.superpixel_weight, self.reconstruction_weight = superpixel_weight, reconstruction_weight
        self.accumulation_steps = accumulation_steps

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return segclip_parts(cfg)

    def param_group_of(self, name: str) -> str:
        """ "clip" for what keeps to CLIP's small learning rate: early blocks, text, scale; "head" for all else."""
        visual = name.removeprefix("clip.model.visual.")
        if visual == name:
            return "clip" if name.startswith(("clip.", "contrastive.")) else "head"
        block = visual.removeprefix("transformer.resblocks.").split(".")[0]
        late = int(block) >= self.split if block.isdigit() else block in ("ln_post", "proj")
        return "head" if late else "clip"

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The terms of (7), weighted.

        Args:
            batched_inputs: samples of `physseg.data.pairs` with ``caption``, ``image_id`` and, where that loss is on,
                ``superpixels`` (h, w) int64.
        """
        image, text, superpixel, reconstruction = embed_in_parts(self._embed, batched_inputs, self.accumulation_steps)
        ids, captions = [x["image_id"] for x in batched_inputs], [x["caption"] for x in batched_inputs]
        losses = {"loss_contrastive": self.contrastive(image @ gather_rows(text).T, ids, captions)}
        if self.superpixel_weight:
            losses["loss_superpixel"] = self.superpixel_weight * superpixel.mean()
        if self.reconstruction_weight and self.reconstruction is not None:
            losses["loss_reconstruction"] = self.reconstruction_weight * reconstruction.mean()
        return losses

    def _embed(self, batched_inputs: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image and text vectors (b, E) of norm 1, and the two losses that need no other image, (1,) each."""
        images = self._training_images(batched_inputs)
        patches = self.patch_tokens(images)
        noise = self.draw_noise(*patches.shape[:2])
        grouped = self.group(patches, noise.groups)
        image = F.normalize(self.image_vector(grouped.tokens), dim=-1)
        text = self.clip.encode_sentences([x["caption"] for x in batched_inputs])
        superpixel = reconstruction = images.new_zeros(())
        if self.superpixel_weight:
            superpixel = superpixel_loss(grouped.assignment.hard, self._superpixels(batched_inputs))
        if self.reconstruction_weight and self.reconstruction is not None:
            reconstruction = self.reconstruction_loss(images, patches, noise)
        return image, text, superpixel[None], reconstruction[None]

    def patch_tokens(self, images: Tensor) -> Tensor:
        """What enters the first block, without the class token: (B, 3, h, w) normalised -> (B, N, C)."""
        return self.clip.tower.embed_patches(images)[0][:, 1:]

    def group(self, patches: Tensor, noise: Tensor | None = None) -> Grouped:
        """(1), (2) and g' of (3): (B, N, C) of `patch_tokens` -> (B, K, C)."""
        tower = self.clip.tower
        grouped = self.grouping(tower.run(tower.blocks[: self.split], patches), noise)
        return grouped._replace(tokens=tower.run(tower.blocks[self.split :], grouped.tokens))

    def image_vector(self, centres: Tensor) -> Tensor:
        """v of (3): (B, K, C) -> (B, E)."""
        return self.clip.tower.embed(centres.amax(1))

    def reconstruction_loss(self, images: Tensor, patches: Tensor, noise: TrainingNoise) -> Tensor:
        """(6); the target is the normalised image."""
        masking = random_masking(noise.masking, noise.visible.shape[2])
        tower = self.clip.tower
        visible = tower.run(tower.blocks[: self.split], take_visible(patches, masking))
        predicted = self.reconstruction(self.grouping(visible, noise.visible), masking)
        return reconstruction_loss(predicted, patch_pixels(images, self.patch), masking.masked)

    def draw_noise(self, images: int, patches: int) -> TrainingNoise:
        """Random numbers for B images of N patches."""
        groups = len(self.grouping.centres)
        visible = self.reconstruction.visible(patches) if self.reconstruction is not None else 0
        return TrainingNoise(
            gumbel_noise(images, groups, patches, device=self.device),
            torch.rand(images, patches, device=self.device),
            gumbel_noise(images, groups, visible, device=self.device),
        )

    def encode_windows(self, images: Tensor) -> Windows:
        """See `GroupSegmenter`."""
        patches = self.patch_tokens(images)
        grouped = self.group(patches)
        grid = tuple(side // self.patch for side in images.shape[-2:])
        embed = self.clip.tower.embed
        return Windows(embed(grouped.tokens), self.image_vector(grouped.tokens), grouped.assignment.soft, grid)

    @property
    def patch(self) -> int:
        return self.clip.tower.patch

    @property
    def scale(self) -> Tensor:
        return self.contrastive.log_scale.exp().clamp(max=MAX_SCALE)

    def _superpixels(self, batched_inputs: Sequence[dict[str, Any]]) -> Tensor:
        if any("superpixels" not in x for x in batched_inputs):
            raise KeyError(
                "SegCLIP's superpixel loss needs 'superpixels' for every image, which the loader makes "
                "(physseg.data.pairs); MODEL.SEGCLIP.SUPERPIXELS.WEIGHT 0 does without"
            )
        return torch.stack([x["superpixels"].to(self.device, non_blocking=True).flatten() for x in batched_inputs])
