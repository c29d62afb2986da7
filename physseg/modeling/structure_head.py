"""Structure head (sec. 3.1, fig. 3): encoder levels -> structure logits. Runs in training only.

Letters: B images, S sources, C channels of a level, D channels inside the head.
"""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import get_norm
from torch import nn

NORMS = ("GN", "LN", "BN", "SyncBN", "")


class Refine(nn.Module):
    """Refine module (RF): fuses a level with the finer one after it.

    The coarser map is resized bilinearly to the finer one's grid; both are concatenated, normalised, and fused by
    a 1x1 convolution and ReLU: (B, D, h, w), (B, D, h', w') -> (B, D, max(h, h'), max(w, w')).
    """

    def __init__(self, dim: int, norm: str) -> None:
        super().__init__()
        self.norm = get_norm(norm, 2 * dim) or nn.Identity()
        self.fuse = nn.Conv2d(2 * dim, dim, kernel_size=1)

    def forward(self, previous: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
        """Fuse F_(t-1), refined so far, and F_t."""
        size = tuple(max(pair) for pair in zip(previous.shape[-2:], current.shape[-2:], strict=True))
        pair = torch.cat([_resize(previous, size), _resize(current, size)], dim=1)  # (B, 2D, h, w)
        return F.relu(self.fuse(self.norm(pair)))


class StructureHead(nn.Module):
    """Estimates structure maps from four encoder levels.

    Each level goes through a 1x1 convolution to ``dim`` channels; three Refine modules in a row fold in one level
    after the other; a last 1x1 convolution gives the logits. The sigmoid is in the loss, see `structure_loss`.

    Args:
        feature_channels: channels of every encoder level by name.
        levels: names of the levels used, coarse and deep first; two or more (the paper's three modules need four).
        num_sources: S, output channels.
        dim: D.
        norm: one of `NORMS`, as Detectron2's `get_norm` knows them; "" for none.
        output_size: side of the square output grid; 0 keeps the finest level's.

    Raises:
        ValueError: an unknown level or norm, or fewer than two levels.
    """

    @configurable
    def __init__(
        self,
        feature_channels: dict[str, int],
        *,
        levels: list[str],
        num_sources: int,
        dim: int = 256,
        norm: str = "GN",
        output_size: int = 0,
    ) -> None:
        super().__init__()
        unknown = [level for level in levels if level not in feature_channels]
        if unknown or len(levels) < 2:
            raise ValueError(
                f"MODEL.STRUCTURE.LEVELS must name at least two of {sorted(feature_channels)}; got {list(levels)}"
            )
        if norm not in NORMS:
            raise ValueError(f"MODEL.STRUCTURE.NORM must be one of {list(NORMS)}; got {norm!r}")
        self.levels, self.output_size = tuple(levels), output_size
        self.lateral = nn.ModuleList(nn.Conv2d(feature_channels[level], dim, kernel_size=1) for level in levels)
        self.refine = nn.ModuleList(Refine(dim, norm) for _ in levels[1:])
        self.predict = nn.Conv2d(dim, num_sources, kernel_size=1)
        # s_est starts near 1/2. Focal loss's prior of 0.01 is for targets of one in a thousand; after max pooling
        # a tenth to a third of the cells hold a structure.
        nn.init.zeros_(self.predict.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, feature_channels: dict[str, int]) -> dict:
        node = cfg.MODEL.STRUCTURE
        return {
            "feature_channels": feature_channels,
            "levels": list(node.LEVELS),
            "num_sources": len(node.SOURCES),
            "dim": node.DIM,
            "norm": node.NORM,
            "output_size": node.OUTPUT_SIZE,
        }

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Structure logits.

        Args:
            features: levels by name, each (B, C, h, w) with its own C, h, w; others than ``levels`` are left alone.

        Returns:
            (B, S, h, w) before the sigmoid, on the finest level's grid or at ``output_size``.
        """
        refined = self.lateral[0](features[self.levels[0]])
        for level, lateral, refine in zip(self.levels[1:], self.lateral[1:], self.refine, strict=True):
            refined = refine(refined, lateral(features[level]))
        logits = self.predict(refined)
        return _resize(logits, (self.output_size, self.output_size)) if self.output_size else logits


def _resize(tensor: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(tensor.shape[-2:]) == size:
        return tensor
    return F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)
