"""SegCLIP's grouping module (Luo et al., ICML 2023), from its description.

B images, K centres, N patches, C width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.modeling.clip.attention import attention
from physseg.modeling.clip.quick_gelu import QuickGELUMLP, quick_gelu
from physseg.modeling.clip.split_attention import SplitAttention
from physseg.modeling.without_masks.assignment import Grouped, assign

KEYS = ("per_image", "torch18")


class SegClipGrouping(nn.Module):
    """Learnt centres look at the patches, and every patch goes to one of them.

    Args:
        dim: C. groups: K. heads: of the cross-attention; keys and values are made in as many groups of channels.
        layers: cross-attention blocks.
        temperature: of the Gumbel-softmax.
        keys: what a centre sees in the cross-attention. "per_image": the tokens of its own image, which is what was
            meant. "torch18": what the published code does with more than one image under the torch 1.8 it asks for: the
            b-th of B images sees the tokens b, b + B, b + 2 B, ... of all images, one after the other. For one image,
            as at its evaluation, both are the same.

    Raises:
        ValueError: another word for `keys`.
    """

    def __init__(
        self,
        dim: int,
        groups: int = 8,
        heads: int = 12,
        layers: int = 2,
        temperature: float = 0.9,
        keys: str = "per_image",
    ):
        super().__init__()
        if keys not in KEYS:
            raise ValueError(f"MODEL.SEGCLIP.KEYS: expected one of {KEYS}, got {keys!r}")
        self.temperature, self.keys = temperature, keys
        self.centres = nn.Parameter(nn.init.trunc_normal_(torch.empty(groups, dim), std=0.02))
        self.blocks = nn.ModuleList(CrossAttentionBlock(dim, heads) for _ in range(layers))
        self.norm_queries = nn.LayerNorm(dim)
        self.norm_patches = nn.LayerNorm(dim)
        self.key = nn.Conv1d(dim, dim, 1, groups=heads, bias=False)
        self.norm_keys = nn.LayerNorm(dim)
        self.value = nn.Conv1d(dim, dim, 1, groups=heads, bias=False)
        self.norm_out = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, patches: Tensor, noise: Tensor | None = None) -> Grouped:
        """Group patches.

        g = QuickGELU(MLP(LN(q + A v / max(row sums of A, 1)))), A the hard assignment by the unscaled scores q k.

        Args:
            patches: (B, N, C).
            noise: (B, K, N), of `gumbel_noise`, in training.
        """
        queries = self.centres.expand(len(patches), -1, -1)
        for block in self.blocks:
            context = torch.cat([queries.to(patches.dtype), patches], dim=1)
            queries = block(queries, _mixed_over_images(context) if self.keys == "torch18" else context)
        queries = self.norm_queries(queries)
        normed = self.norm_patches(patches).transpose(1, 2)  # (B, C, N)
        keys = self.norm_keys(self.key(normed).transpose(1, 2))
        values = self.value(normed).transpose(1, 2)
        # Scores grow to hundreds, where bf16 knows whole numbers only.
        with torch.autocast(patches.device.type, enabled=False):
            scores = queries.float() @ keys.float().transpose(1, 2)
        assignment = assign(scores, self.temperature, noise)
        share = assignment.hard / assignment.hard.sum(2, keepdim=True).clamp(min=1)
        tokens = queries + share.to(values.dtype) @ values
        return Grouped(quick_gelu(self.fc2(F.gelu(self.fc1(self.norm_out(tokens))))), assignment)


class CrossAttentionBlock(nn.Module):
    """x + attention(LN x; LN context), then x + MLP(LN x)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.ln_x, self.ln_context, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = SplitAttention.from_packed(nn.MultiheadAttention(dim, heads))
        self.mlp = QuickGELUMLP(nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, K, C) that ask, (B, L, C) that are asked -> (B, K, C)."""
        context = self.ln_context(context)
        (q,), (k, v) = self.attn.project(self.ln_x(x), "q"), self.attn.project(context, "kv")
        out = attention(*(z.transpose(1, 2) for z in (q, k, v)))
        x = x + self.attn.out_proj(out.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


def _mixed_over_images(tokens: Tensor) -> Tensor:
    """(B, L, C) -> (B, L, C), row b holding the tokens b, b + B, ... of all images in a row: see `SegClipGrouping`."""
    b, length, _ = tokens.shape
    return tokens.reshape(length, b, -1).transpose(0, 1)
