"""Multi-head self-attention whose q, k and v weights are separate parameters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.modeling.clip.attention import attention


class SplitAttention(nn.Module):
    """Self-attention with the weights of an `nn.MultiheadAttention`, q, k and v apart.

    CAT-Seg trains the q and v projections and leaves k alone, which one packed weight cannot express. Names are those
    of published CAT-Seg checkpoints (`q_proj_weight`, ..., one packed `in_proj_bias`).
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj_weight = nn.Parameter(torch.empty(dim, dim))
        self.k_proj_weight = nn.Parameter(torch.empty(dim, dim))
        self.v_proj_weight = nn.Parameter(torch.empty(dim, dim))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    @classmethod
    def from_packed(cls, packed: nn.Module) -> "SplitAttention":
        """Take over the parameters of a packed attention: PyTorch's, or one of open_clip's own of the same names.

        Raises:
            ValueError: it has other parameters than these, which would be lost.
        """
        names = {name for name, _ in packed.named_parameters()}
        if names != {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}:
            raise ValueError(
                f"{type(packed).__name__} of open_clip has the parameters {sorted(names)}; expected in_proj_weight, "
                "in_proj_bias and out_proj's: install open_clip_torch>=3.0,<4"
            )
        split = cls(packed.out_proj.in_features, packed.num_heads)
        q, k, v = packed.in_proj_weight.detach().chunk(3)
        with torch.no_grad():
            split.q_proj_weight.copy_(q)
            split.k_proj_weight.copy_(k)
            split.v_proj_weight.copy_(v)
            split.in_proj_bias.copy_(packed.in_proj_bias)
        split.out_proj = packed.out_proj
        return split

    def project(self, x: Tensor, which: str = "qkv") -> tuple[Tensor, ...]:
        """(..., C) -> (..., heads, D) each: the projections named by the letters of `which`."""
        weights = dict(zip("qkv", (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight), strict=True))
        biases = dict(zip("qkv", self.in_proj_bias.chunk(3), strict=True))
        # A product each: a weight that does not train costs no gradient, and nothing is packed.
        return tuple(F.linear(x, weights[w], biases[w]).unflatten(-1, (self.heads, -1)) for w in which)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C), every token attending to every other."""
        out = attention(*(z.transpose(1, 2) for z in self.project(x)))
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def values(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C): every token attends to itself alone, so only v and the output projection remain."""
        return self.out_proj(self.project(x, "v")[0].flatten(2))
