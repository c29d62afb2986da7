"""Guidance maps for cost aggregation and decoder: from CLIP's own levels, or from an appearance backbone."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from detectron2.config import CfgNode
from torch import Tensor, nn

from physseg.modeling.catseg.appearance_guidance import AppearanceGuidance

if TYPE_CHECKING:
    from physseg.modeling.clip.encoder import ClipEncoder, ImageFeatures

SOURCES = ("clip", "backbone")


def build_guidance(cfg: CfgNode, clip: "ClipEncoder") -> nn.Module:
    """The guidance that MODEL.GUIDANCE asks for.

    Raises:
        ValueError: neither "clip" nor "backbone", or a backbone that does not fit CLIP's grid.
    """
    if cfg.MODEL.GUIDANCE == "clip":
        return ClipGuidance(clip.width, clip.embed_dim, cfg.MODEL.AGGREGATION.UPSAMPLED_DIMS)
    if cfg.MODEL.GUIDANCE == "backbone":
        return AppearanceGuidance.from_config(cfg, clip.grid)
    raise ValueError(f"MODEL.GUIDANCE: expected one of {SOURCES}, got {cfg.MODEL.GUIDANCE!r}")


class ClipGuidance(nn.Module):
    """Upsamples two CLIP levels: g4 at twice the token grid, g5 at four times (CAT-Seg, CVPR'24 design).

    Args:
        width: channels of CLIP's image transformer.
        embed_dim: channels of the dense features, which are g3.
        dims: channels of g4 and g5.
    """

    def __init__(self, width: int, embed_dim: int, dims: tuple[int, int] = (256, 128)):
        super().__init__()
        self.up4 = nn.ConvTranspose2d(width, dims[0], kernel_size=2, stride=2)
        self.up5 = nn.ConvTranspose2d(width, dims[1], kernel_size=4, stride=4)
        # Maps by name, as `forward` returns them, and their channels.
        self.channels = {"g3": embed_dim, "g4": dims[0], "g5": dims[1]}

    def forward(
        self,
        features: "ImageFeatures",
        images: Iterable[Tensor] | None = None,
        contents: Sequence[Sequence[int]] | None = None,
    ) -> dict[str, Tensor]:
        """{"g3": (B, E, H, W), "g4": (B, dims[0], 2H, 2W), "g5": (B, dims[1], 4H, 4W)}; images are not looked at."""
        return {"g3": features.dense, "g4": self.up4(features.level1), "g5": self.up5(features.level2)}
