"""Masking and decoder of masked autoencoders (He et al., CVPR 2022), for SegCLIP and ZeroSeg.

B images, N patches, M visible ones, C width of the encoder, D width of the decoder.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn


class Masking(NamedTuple):
    """visible: (B, M) int64, indices of the patches that the encoder sees, in the order it sees them. order: (B, N)
    int64, where each patch stands when the masked ones follow the visible. masked: (B, N) bool.
    """

    visible: Tensor
    order: Tensor
    masked: Tensor


def random_masking(noise: Tensor, visible: int) -> Masking:
    """Keep the patches with the smallest noise, the smallest first.

    Args:
        noise: (B, N), one number for each patch.
        visible: M.
    """
    shuffle = noise.argsort(1)
    order = shuffle.argsort(1)
    return Masking(shuffle[:, :visible], order, order >= visible)


def take_visible(patches: Tensor, masking: Masking) -> Tensor:
    """(B, N, C) -> (B, M, C)."""
    return patches.gather(1, masking.visible[..., None].expand(-1, -1, patches.shape[2]))


def patch_pixels(images: Tensor, patch: int) -> Tensor:
    """Pixels of every patch, by row, column and channel: (B, 3, H, W) -> (B, N, patch * patch * 3)."""
    b, _, height, width = images.shape
    x = images.reshape(b, 3, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def sine_positions(grid: tuple[int, int], dim: int) -> Tensor:
    """Fixed positions (rows * columns, dim): of patch (r, c) [sin c w, cos c w, sin r w, cos r w].

    w_i = 10000 ** (-4 i / dim) for i from 0 to dim / 4 - 1.
    """
    frequencies = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    angles = [places.reshape(-1, 1) * frequencies for places in (columns, rows)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1).float()


class MaskedDecoder(nn.Module):
    """Visible tokens -> pixels of all patches.

    Args:
        width: C. pixels: numbers in a patch. grid: of the patches.
        dim: D, a multiple of 4. depth, heads: of its blocks.
        summary: whether a token that stands for the whole image comes first.
    """

    def __init__(
        self,
        width: int,
        pixels: int,
        grid: Sequence[int],
        dim: int = 512,
        depth: int = 8,
        heads: int = 16,
        summary: bool = False,
    ):
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.embed = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)))
        self.norm = norm(dim)
        self.predict = nn.Linear(dim, pixels)
        self.prefix = int(summary)
        positions = torch.cat([torch.zeros(self.prefix, dim), sine_positions(tuple(grid), dim)])
        self.register_buffer("positions", positions, persistent=False)
        self.apply(_small_weights)

    def forward(self, tokens: Tensor, masking: Masking) -> Tensor:
        """Predict all patches, the visible ones too: (B, summary + M, C) -> (B, N, pixels)."""
        x = self.embed(tokens)
        first, visible = x[:, : self.prefix], x[:, self.prefix :]
        hidden = self.mask_token.to(x.dtype).expand(len(x), masking.order.shape[1] - visible.shape[1], -1)
        places = masking.order[..., None].expand(-1, -1, x.shape[2])
        x = torch.cat([first, torch.cat([visible, hidden], dim=1).gather(1, places)], dim=1)
        x = self.blocks(x + self.positions.to(x.dtype))
        return self.predict(self.norm(x))[:, self.prefix :]


def _small_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
