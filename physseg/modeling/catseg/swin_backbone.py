"""Swin Transformer from timm as a Detectron2 backbone (the 2023 design's appearance backbone is Swin-B)."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from physseg.modeling.timm_models import create_timm


class TimmSwin(Backbone):
    """Stages of a timm Swin Transformer, each followed by a LayerNorm of its own.

    Swin's published detectors and segmenters normalise every stage's output so: the residual stream of a stage is not.

    Args:
        name: timm model name of the Swin family, without a tag.
        pretrained: timm tag ("ms_in22k"), local file (timm's or Swin's published .pth), or "" for random weights.
        image_size: side in pixels of the square images it will see.
        load_weights: False leaves random weights and reads or downloads nothing.
        drop_path: stochastic depth in training, of frozen weights too: block k of n drops each of its two branches,
            apart and per image, at this rate times k / (n - 1).

    Raises:
        ValueError: an unknown name or tag, a model of another family, or weights that do not fit.
        FileNotFoundError: ``pretrained`` looks like a path and is none.
        ConnectionError: the tag's weights cannot be downloaded.
    """

    def __init__(self, name: str, pretrained: str, image_size: int, load_weights: bool = True, drop_path: float = 0.0):
        super().__init__()
        options = {"features_only": True, "out_indices": (0, 1, 2), "img_size": image_size}
        self.body = _create(name, pretrained if load_weights else "", options)
        channels, strides = self.body.feature_info.channels(), self.body.feature_info.reduction()
        self._out_features = [f"stage{index}" for index in range(1, 4)]
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))
        self._out_feature_strides = dict(zip(self._out_features, strides, strict=True))
        _set_drop_path(self.body, drop_path)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, s, s) -> {"stage1": (B, C, s / 4, s / 4), "stage2": (B, 2C, s / 8, s / 8), "stage3": (B, 4C, ...)}."""
        # timm's Swin gives (B, h, w, C).
        maps = (norm(x).permute(0, 3, 1, 2) for norm, x in zip(self.norms, self.body(images), strict=True))
        return dict(zip(self._out_features, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every stage by name."""
        return super().output_shape()


@BACKBONE_REGISTRY.register()
def build_timm_swin_backbone(cfg: CfgNode, input_shape: ShapeSpec | Sequence[ShapeSpec]) -> TimmSwin:
    """`TimmSwin` from MODEL.SWIN; its image size is MODEL.APPEARANCE.IMAGE_SIZE."""
    # A physseg checkpoint holds the backbone's weights too.
    load_weights = not cfg.MODEL.WEIGHTS
    node, image_size = cfg.MODEL.SWIN, cfg.MODEL.APPEARANCE.IMAGE_SIZE
    return TimmSwin(node.NAME, node.PRETRAINED, image_size, load_weights, node.DROP_PATH)


def _set_drop_path(body: nn.Module, rate: float) -> None:
    """timm spreads the rate over the last stage too, which is not built here."""
    from timm.layers import DropPath

    if not 0 <= rate < 1:
        raise ValueError(f"MODEL.SWIN.DROP_PATH: expected a rate of at least 0 and below 1, got {rate}")
    blocks = [block for stage in body.children() if hasattr(stage, "blocks") for block in stage.blocks]
    for index, block in enumerate(blocks):
        for branch in ("drop_path1", "drop_path2"):
            setattr(block, branch, DropPath(rate * index / (len(blocks) - 1)))


def _create(name: str, pretrained: str, options: dict) -> nn.Module:
    import timm  # comes with open_clip; takes a second to import

    if name not in timm.list_models("swin*"):
        raise ValueError(
            f"MODEL.SWIN.NAME: timm {timm.__version__} has no Swin model {name!r}; timm.list_models('swin*') lists them"
        )
    return create_timm("MODEL.SWIN", name, pretrained, options, needed=_attention_weights)


def _attention_weights(body: nn.Module) -> list[str]:
    """Names in a file of Swin weights, the same in all of them."""
    return [name.replace("layers_", "layers.") for name, _ in body.named_parameters() if name.endswith("qkv.weight")]
