"""GroupViT's grouping block (Xu et al., CVPR 2022, sec. 3.1), which ZeroSeg groups with.

B images, N tokens that are grouped, G group tokens, K groups that come out, C width.
"""

import torch
from timm.layers import Mlp
from torch import Tensor, nn

from physseg.modeling.clip.attention import attention
from physseg.modeling.without_masks.assignment import Assignment, Grouped, assign


class GroupVitGrouping(nn.Module):
    """Learnt group tokens take up the tokens that are nearest to them.

    Group tokens are mixed with each other, look at the tokens by cross-attention, and every token goes to the group
    whose query its key fits best. A group's new token is the mean of its tokens' values, beside the query.

    Args:
        dim: C. groups_in: G. groups_out: K. heads: of the cross-attention.
        temperature: of the Gumbel-softmax.
    """

    def __init__(self, dim: int, groups_in: int, groups_out: int, heads: int, temperature: float = 1.0):
        super().__init__()
        self.temperature = temperature
        self.norm_groups = nn.LayerNorm(dim)
        self.mix = Mlp(groups_in, dim // 2, groups_out)
        self.norm_mixed = nn.LayerNorm(dim)
        self.norm_tokens = nn.LayerNorm(dim)
        self.cross_attention = CrossAttention(dim, heads)
        self.norm_cross = nn.LayerNorm(dim)
        self.cross_mlp = Mlp(dim, 4 * dim)
        self.norm_queries = nn.LayerNorm(dim)
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_new = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, tokens: Tensor, groups: Tensor, noise: Tensor | None = None) -> Grouped:
        """Group tokens.

        Args:
            tokens: (B, N, C). groups: (B, G, C).
            noise: (B, K, N), of `gumbel_noise`, in training.
        """
        tokens = self.norm_tokens(tokens)
        queries = self.queries(tokens, groups)
        assignment = self.assign(queries, tokens, noise)
        # The 1 keeps a group's share small where few tokens are its own, and none from dividing by 0.
        share = assignment.hard / (assignment.hard.sum(2, keepdim=True) + 1)
        new = queries + self.out(share.to(tokens.dtype) @ self.value(tokens))
        return Grouped(new + self.mlp(self.norm_new(new)), assignment)

    def queries(self, tokens: Tensor, groups: Tensor) -> Tensor:
        """Group tokens (B, G, C) after mixing and after a look at the normalised tokens (B, N, C): (B, K, C)."""
        mixed = self.mix(self.norm_groups(groups).transpose(1, 2)).transpose(1, 2)
        x = self.norm_mixed(mixed)
        x = x + self.cross_attention(x, tokens)
        x = x + self.cross_mlp(self.norm_cross(x))
        return self.norm_queries(x)

    def assign(self, queries: Tensor, tokens: Tensor, noise: Tensor | None) -> Assignment:
        """Assignment by q k / sqrt(C), one head."""
        q, k = self.query(queries).float(), self.key(tokens).float()
        # bf16 would see ties where there are none.
        with torch.autocast(q.device.type, enabled=False):
            scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        return assign(scores, self.temperature, noise)


class CrossAttention(nn.Module):
    """Multi-head attention of one set of tokens to another."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, K, C) that ask, (B, N, C) that are asked -> (B, K, C)."""
        q, k, v = (
            layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, y in ((self.query, x), (self.key, context), (self.value, context))
        )
        return self.out(attention(q, k, v).transpose(1, 2).flatten(2))
