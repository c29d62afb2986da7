"""ZeroSeg's segmentation head: tokens of patches -> 32 -> 8 segments in the teacher's space (Chen et al., ICCV 2023).

B images, N patches, G first and K last segments, C width, E the teacher's channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from physseg.modeling.without_masks.assignment import gumbel_noise
from physseg.modeling.without_masks.groupvit_grouping import GroupVitGrouping


class Segments(NamedTuple):
    """segments: g, (B, K, E). image: z, (B, E). soft: (B, K, N), each patch's share in the segments."""

    segments: Tensor
    image: Tensor
    soft: Tensor


class SegmentationHead(nn.Module):
    """Five layers; patches are grouped after the second, the groups after the fourth.

    Group tokens are learnt; in a stage's layers they and the tokens see each other, and the stage's grouping block lets
    each token go to one of them. z is what an MLP makes of the mean segment, g what the same MLP makes of each: that it
    is one MLP, behind a norm, is our choice.

    Args:
        dim: C. teacher_dim: E. heads: of every attention. groups: G and K. temperature: of the Gumbel-softmax.
    """

    def __init__(
        self, dim: int, teacher_dim: int, heads: int, groups: Sequence[int] = (32, 8), temperature: float = 1.0
    ):
        super().__init__()
        self.tokens = nn.ParameterList(nn.Parameter(torch.randn(count, dim) * 0.02) for count in groups)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(dim, heads, qkv_bias=True) for _ in range(2))) for _ in groups
        )
        self.groupings = nn.ModuleList(GroupVitGrouping(dim, count, count, heads, temperature) for count in groups)
        self.last = Block(dim, heads, qkv_bias=True)
        self.norm = nn.LayerNorm(dim)
        self.project = Mlp(dim, dim, teacher_dim)

    def forward(self, patches: Tensor, noise: Sequence[Tensor | None] = (None, None)) -> Segments:
        """Group patches and project the segments.

        Args:
            patches: (B, N, C).
            noise: Gumbel noise of both groupings, in training; see `draw_noise`.
        """
        x, soft = patches, None
        for tokens, layers, grouping, own in zip(self.tokens, self.stages, self.groupings, noise, strict=True):
            count = x.shape[1]
            y = layers(torch.cat([x, tokens.to(x.dtype).expand(len(x), -1, -1)], dim=1))
            grouped = grouping(y[:, :count], y[:, count:], own)
            # A patch is in a segment by way of its group.
            share = grouped.assignment.soft
            x, soft = grouped.tokens, share if soft is None else share @ soft
        x = self.norm(self.last(x))
        return Segments(self.project(x), self.project(x.mean(1)), soft)

    def draw_noise(self, images: int, patches: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Gumbel noise for B images of N patches: (B, G, N) and (B, K, G)."""
        first, last = (len(tokens) for tokens in self.tokens)
        return (
            gumbel_noise(images, first, patches, device=device),
            gumbel_noise(images, last, first, device=device),
        )
