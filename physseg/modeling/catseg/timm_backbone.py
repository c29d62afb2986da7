"""Any vision model of timm as guidance: hierarchical ones, and plain ViTs such as DINO, DINOv2 and DINOv3."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor

from physseg.modeling.timm_models import create_timm, timm_statistics

_STRIDES = (4, 8, 16)


class TimmBackbone(Backbone):
    """Maps "stage1", "stage2", "stage3" of stride 4, 8 and 16.

    A hierarchical model gives its own stages of these strides. A plain ViT has one grid: its image is resized so that
    this is the grid of stride 16, and the outputs of the blocks that end its thirds, normalised, are upsampled
    bilinearly to 4, 2 and 1 times that grid, early ones finest. Nothing is added that would have to train, so the
    backbone can be frozen.

    Args:
        name: timm model name, without a tag.
        pretrained: timm tag, local file, or "" for random weights.
        load_weights: False leaves random weights and reads or downloads nothing.

    Raises:
        ValueError: a model with neither such stages nor a token grid; and as `create_timm`.
    """

    def __init__(self, name: str, pretrained: str, load_weights: bool = True):
        super().__init__()
        pretrained = pretrained if load_weights else ""
        probe = create_timm("MODEL.TIMM", name, "", {"features_only": True}, on_meta=True)
        channels, strides = probe.feature_info.channels(), probe.feature_info.reduction()
        self._out_features = ["stage1", "stage2", "stage3"]
        self.patch = 0
        if set(_STRIDES) <= set(strides):
            chosen = tuple(strides.index(stride) for stride in _STRIDES)
            options = {"features_only": True, "out_indices": chosen}
            self.body = create_timm("MODEL.TIMM", name, pretrained, options)
            channels = [channels[index] for index in chosen]
        elif len(set(strides)) == 1:
            self.body = create_timm("MODEL.TIMM", name, pretrained, {"num_classes": 0, "dynamic_img_size": True})
            depth, self.patch = len(self.body.blocks), self.body.patch_embed.patch_size[0]
            self.levels = (round(depth / 3) - 1, round(2 * depth / 3) - 1, depth - 1)
            channels = [channels[-1]] * 3
        else:
            raise ValueError(
                f"MODEL.TIMM.NAME: {name} has stages of stride {strides}; expected 4, 8 and 16, or a plain ViT"
            )
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))
        self._out_feature_strides = dict(zip(self._out_features, _STRIDES, strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, s, s), s a multiple of 16 -> {"stage1": (B, C, s / 4, s / 4), "stage2": ..., "stage3": ...}."""
        side = images.shape[-1]
        if self.patch:
            size = [self.patch * (side // 16)] * 2
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
            options = {"indices": list(self.levels), "norm": True, "intermediates_only": True}
            maps = self.body.forward_intermediates(images, **options)
        else:
            maps = self.body(images)
        named = {}
        for name, x in zip(self._out_features, maps, strict=True):
            if x.shape[1] != self._out_feature_channels[name]:  # Swin and some others give channels last
                x = x.permute(0, 3, 1, 2)
            grid = [side // self._out_feature_strides[name]] * 2
            named[name] = x if list(x.shape[-2:]) == grid else F.interpolate(x, size=grid, mode="bilinear")
        return named

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every stage by name."""
        return super().output_shape()


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec | Sequence[ShapeSpec]) -> TimmBackbone:
    """`TimmBackbone` from MODEL.TIMM.

    Raises:
        ValueError: MODEL.APPEARANCE has other image statistics than the model; and as `TimmBackbone`.
    """
    node, appearance = cfg.MODEL.TIMM, cfg.MODEL.APPEARANCE
    # A physseg checkpoint holds the backbone's weights too.
    backbone = TimmBackbone(node.NAME, node.PRETRAINED, load_weights=not cfg.MODEL.WEIGHTS)
    own = [values.flatten() for values in timm_statistics(backbone.body)]
    told = [torch.tensor(values) for values in (appearance.PIXEL_MEAN, appearance.PIXEL_STD)]
    if not all(torch.allclose(a, b, atol=0.1) for a, b in zip(own, told, strict=True)):
        mean, std = ([round(value, 3) for value in values.tolist()] for values in own)
        raise ValueError(
            f"MODEL.APPEARANCE.PIXEL_MEAN and PIXEL_STD are not {node.NAME}'s: set them to {mean} and {std}"
        )
    return backbone
