"""The image tower of a plain CLIP, up to its last block: what dense paths start from.

B images, H W token grid, L = 1 + H W tokens, the class token first, C width, E CLIP's embedding.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from physseg.modeling.clip.dense_paths import DENSE_PATHS


class Tokens(NamedTuple):
    """Tokens of an image batch on their way through a tower.

    last: (B, L, C), what enters the last block. levels: block index, counted from 0 -> (B, L, C) after that block.
    grid: (H, W).
    """

    last: Tensor
    levels: dict[int, Tensor]
    grid: tuple[int, int]


def plain_block(block: nn.Module, x: Tensor) -> Tensor:
    """One transformer block: (B, L, C) -> (B, L, C)."""
    x = x + block.ls_1(block.attn(block.ln_1(x)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


class PlainTower:
    """Reads an open_clip ViT with a class token; holds no weights of its own.

    Args:
        visual: `open_clip.transformer.VisionTransformer` whose attention is `SplitAttention`.
        recompute: recompute the blocks in the backward pass instead of keeping their activations.

    Attributes:
        patch: side of a patch in pixels. width: C. embed_dim: E. depth: number of blocks. prefix: tokens before the
        patches'.
    """

    prefix = 1

    def __init__(self, visual: nn.Module, recompute: bool = False):
        self.visual, self.recompute = visual, recompute
        self._run_block = plain_block
        self.patch = visual.patch_size[0]
        self.width, self.embed_dim = visual.conv1.out_channels, visual.output_dim
        self.depth = len(visual.transformer.resblocks)

    @property
    def device(self) -> torch.device:
        return self.visual.class_embedding.device

    @property
    def blocks(self) -> nn.Sequential:
        """All blocks; the last is the dense path's."""
        return self.visual.transformer.resblocks

    def compile(self, **options) -> None:
        """Compile one block: the others have the same code."""
        self._run_block = torch.compile(plain_block, **options)

    def tokens(self, images: Tensor, keep: Collection[int] = (), offset: float = 0.0) -> Tokens:
        """All blocks but the last.

        Args:
            images: (B, 3, s, t) normalised, any size; what does not fill a patch at right and bottom is not seen.
            keep: indices of the blocks whose output is kept in `Tokens.levels`.
            offset: see `resize_positions`.
        """
        x, grid = self.embed_patches(images, offset)
        levels = {}
        for index, block in enumerate(self.blocks[:-1]):
            x = self.run((block,), x)
            if index in keep:
                levels[index] = x
        return Tokens(x, levels, grid)

    def embed_patches(
        self, images: Tensor, offset: float = 0.0, stride: int | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """What enters the first block, (B, L, C), and the grid; arguments as in `tokens`.

        Args:
            stride: from one patch to the next in pixels; smaller than a patch, they overlap. None: the patch's side.
        """
        visual = self.visual
        x = F.conv2d(images, visual.conv1.weight, visual.conv1.bias, stride or self.patch)
        grid = tuple(x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        positions = resize_positions(visual.positional_embedding, visual.grid_size, grid, offset)
        return visual.ln_pre(x + positions.to(x.dtype)), grid

    def run(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        """Some blocks, one after the other, on any tokens: (B, L, C) -> (B, L, C)."""
        recompute = self.recompute and torch.is_grad_enabled()
        run = self._run_block
        for block in blocks:
            x = checkpoint(run, block, x, use_reentrant=False) if recompute else run(block, x)
        return x

    def dense(self, path: str, x: Tensor) -> Tensor:
        """The last block as one of `DENSE_PATHS`, projected: (B, L, C) -> (B, H * W, E)."""
        return self.embed(DENSE_PATHS[path](self.blocks[-1], x))[:, 1:]

    def embed(self, x: Tensor) -> Tensor:
        """E(x) = ln_post(x) proj: (B, L, C) -> (B, L, E)."""
        return self.visual.ln_post(x) @ self.visual.proj


def to_map(x: Tensor, grid: tuple[int, int], prefix: int = 1) -> Tensor:
    """Patch tokens as a map: (B, prefix + H * W, C) -> (B, C, H, W), a view."""
    return x[:, prefix:].unflatten(1, grid).permute(0, 3, 1, 2)


def resize_positions(embedding: Tensor, native: tuple[int, int], grid: tuple[int, int], offset: float = 0.0) -> Tensor:
    """Position embeddings for another grid, bicubic; the class token's stays.

    Args:
        embedding: (1 + native rows * columns, C).
        offset: 0: coordinates are mapped by the ratio of the sizes. Else by the factors (rows + offset) / native rows
            and likewise for columns, as DINO's code has it (offset 0.1), and after it NACLIP's, SCLIP's and SC-CLIP's.

    Returns:
        (1 + H * W, C).
    """
    if tuple(native) == tuple(grid):
        return embedding
    patches = embedding[1:].T.reshape(1, -1, *native)
    if offset:
        factors = [(n + offset) / n0 for n, n0 in zip(grid, native, strict=True)]
        patches = F.interpolate(patches, scale_factor=factors, mode="bicubic", recompute_scale_factor=False)
    else:
        patches = F.interpolate(patches, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([embedding[:1], patches[0].flatten(1).T])
