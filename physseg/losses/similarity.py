"""Patch-text similarity: what L_sac (eq. 3) and PACL both begin with. CAT-Seg's cost volume is the same tensor."""

import torch.nn.functional as F
from torch import Tensor


def patch_text_similarity(patches: Tensor, texts: Tensor) -> Tensor:
    """Cosine of every patch and every text.

    Args:
        patches: (..., N, C), any scale.
        texts: (..., T, C), any scale; leading dimensions broadcast.

    Returns:
        (..., N, T) in [-1, 1].
    """
    return F.normalize(patches, dim=-1) @ F.normalize(texts, dim=-1).transpose(-1, -2)
