"""Dense paths: CLIP's last image block changed so that every token speaks for its own patch.

A path is a pure function (block, x) -> x of the last block and its input; `DENSE_PATHS` names it for
MODEL.DENSE.METHOD.

B images, L tokens, the class token (CLS) first, C channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def catseg(block: nn.Module, x: Tensor) -> Tensor:
    """CAT-Seg's path (CVPR 2024): z = W v + x[CLS]; z + mlp(ln_2(z)). (B, L, C) -> (B, L, C)."""
    return _feed_forward(block, own_values(block, x) + x[:, :1])


def maskclip(block: nn.Module, x: Tensor) -> Tensor:
    """MaskCLIP's path (Zhou et al., ECCV 2022) and CAT-Seg's of 2023: z = W v + x; z + mlp(ln_2(z)).

    (B, L, C) -> (B, L, C).
    """
    return _feed_forward(block, own_values(block, x) + x)


DENSE_PATHS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {"catseg": catseg, "maskclip": maskclip}


def own_values(block: nn.Module, x: Tensor) -> Tensor:
    """W v of every token: each attends to itself alone. (B, L, C) -> (B, L, C), no residual."""
    attn = block.attn
    values = attn.values(block.ln_1(x))
    if torch.is_grad_enabled():
        # q and k do not matter here. A zero gradient instead of none keeps CAT-Seg's weight decay on trained ones,
        # and lets DistributedDataParallel find every trained parameter used.
        unused = [w for w in (attn.q_proj_weight, attn.k_proj_weight) if w.requires_grad]
        values = values + sum(0.0 * w.sum() for w in unused)
    return block.ls_1(values)


def _feed_forward(block: nn.Module, x: Tensor) -> Tensor:
    return x + block.ls_2(block.mlp(block.ln_2(x)))
