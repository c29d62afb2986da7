"""Attention of every transformer here."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Scaled dot-product attention: (B, heads, L, D) -> (B, heads, L, D), of the query's type.

    Args:
        query, key, value: (B, heads, L, D); keys and values may have another length S.
        mask: (B or 1, heads or 1, L, S), boolean (True takes part) or additive.
        causal: a token attends to itself and to earlier ones.
    """
    if not (query.device.type == "cpu" and torch.is_grad_enabled() and query.dtype.itemsize == 2):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    # On a CPU the kernel's gradient in bf16 is 5 to 14 times slower than in float32.
    with torch.autocast("cpu", enabled=False):
        if mask is not None and mask.is_floating_point():
            mask = mask.float()
        parts = (z.float() for z in (query, key, value))
        return F.scaled_dot_product_attention(*parts, attn_mask=mask, is_causal=causal).to(query.dtype)
