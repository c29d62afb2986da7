"""Image towers of timm that end in an attention pool: PE-Core's (RoPE, class token) and SigLIP 2's (no class token).

B images, H W token grid, L tokens, those that are no patches first, C width, E CLIP's embedding.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.modeling.clip.plain_tower import Tokens


class PoolTower:
    """Reads open_clip's `TimmModel` whose trunk takes any grid and pools by attention; holds no weights of its own.

    Attributes:
        patch: side of a patch in pixels. width: C. embed_dim: E. depth: number of blocks. prefix: tokens before the
        patches'.
    """

    def __init__(self, visual: nn.Module, recompute: bool = False):
        self.visual = visual
        trunk = visual.trunk
        trunk.set_grad_checkpointing(recompute)
        self.patch = trunk.patch_embed.patch_size[0]
        self.width, self.depth, self.prefix = trunk.embed_dim, len(trunk.blocks), trunk.num_prefix_tokens
        self.embed_dim = trunk.num_classes or trunk.attn_pool.out_features

    @property
    def device(self) -> torch.device:
        return self.visual.trunk.attn_pool.latent.device

    def compile(self, **options) -> None:
        """Compile every block, in place."""
        for block in self.visual.trunk.blocks:
            block.compile(**options)

    def tokens(self, images: Tensor, keep: Collection[int] = (), offset: float = 0.0) -> Tokens:
        """All blocks and the norm after them; as `PlainTower.tokens`, with what enters the pool as ``last``.

        timm resizes positions to the grid's size, whatever ``offset`` says.
        """
        grid = tuple(side // self.patch for side in images.shape[-2:])
        images = images[..., : grid[0] * self.patch, : grid[1] * self.patch]
        keep = sorted(keep)
        trunk = self.visual.trunk
        if not keep:
            return Tokens(trunk.forward_features(images), {}, grid)
        options = {"return_prefix_tokens": bool(self.prefix), "output_fmt": "NLC"}
        last, levels = trunk.forward_intermediates(images, indices=keep, **options)
        if self.prefix:  # timm hands out patches and prefix tokens apart
            levels = [torch.cat([prefix, patches], 1) for patches, prefix in levels]
        return Tokens(last, dict(zip(keep, levels, strict=True)), grid)

    def dense(self, path: str, x: Tensor) -> Tensor:
        """`own_values`, projected: (B, L, C) -> (B, H * W, E); "maskclip" is the one path."""
        return self.embed(self.own_values(x))

    def own_values(self, x: Tensor) -> Tensor:
        """MaskCLIP's path where CLIP ends in an attention pool (Zhou et al., ECCV 2022).

        Each patch's own value and the pool's output projection; neither the other tokens nor the pool's MLP.

        Args:
            x: (B, L, C), `Tokens.last`.

        Returns:
            (B, H * W, C).
        """
        pool = self.visual.trunk.attn_pool
        half = pool.kv.out_features // 2
        bias = None if pool.kv.bias is None else pool.kv.bias[half:]
        return pool.proj(F.linear(x[:, self.prefix :], pool.kv.weight[half:], bias))

    def embed(self, x: Tensor) -> Tensor:
        """What follows the pool: norm and projection, where the tower has them. (B, L, C) -> (B, L, E)."""
        trunk = self.visual.trunk
        return self.visual.head(trunk.head(trunk.fc_norm(x)))
