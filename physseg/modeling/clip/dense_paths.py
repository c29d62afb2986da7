"""Dense paths: CLIP's last image block changed so that every token speaks for its own patch.

A path is a pure function of the last block and its input, (block, x) -> x; NACLIP's needs the grid too. Its output,
projected, lies in the space of CLIP's text features.

Letters, here and in `calibrated_paths` and `proxy_path`: x the block's input, y = ln_1(x); q k v its projections,
h heads of D channels; W the output projection; mlp the block's second half, on ln_2.
B images, H W token grid, L = 1 + H W tokens, the class token (CLS) first, C channels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.modeling.clip.attention import attention


def clip(block: nn.Module, x: Tensor) -> Tensor:
    """Plain CLIP (Radford et al., ICML 2021), the block as it was trained: z = W(A v) + x; z + mlp(z)."""
    return _feed_forward(block, output(block, attention(*project(block, x))) + x)


def catseg(block: nn.Module, x: Tensor) -> Tensor:
    """CAT-Seg's path (CVPR 2024): z = W v + x[CLS]; z + mlp(z). (B, L, C) -> (B, L, C)."""
    return _feed_forward(block, own_values(block, x) + x[:, :1])


def maskclip(block: nn.Module, x: Tensor) -> Tensor:
    """MaskCLIP's path (Zhou et al., ECCV 2022) and CAT-Seg's of 2023: z = W v + x; z + mlp(z)."""
    return _feed_forward(block, own_values(block, x) + x)


def sclip(block: nn.Module, x: Tensor) -> Tensor:
    """SCLIP's path (Wang et al., ECCV 2024), correlative self-attention: z = W(A v) + x; z + mlp(z).

    A = softmax(q q^T / sqrt D) + softmax(k k^T / sqrt D), a sum.
    """
    query, key, value = project(block, x)
    weights = similarity(query, query).softmax(-1) + similarity(key, key).softmax(-1)
    return _feed_forward(block, output(block, weights @ value) + x)


def clearclip(block: nn.Module, x: Tensor) -> Tensor:
    """ClearCLIP's path (Lan et al., ECCV 2024), neither residual nor mlp: W(A v), A = softmax(q q^T / sqrt D)."""
    query, value = project(block, x, "qv")
    return output(block, similarity(query, query).softmax(-1) @ value)


def naclip(block: nn.Module, x: Tensor, grid: tuple[int, int], std: float = 5.0) -> Tensor:
    """NACLIP's path (Hajimiri et al., WACV 2025): keys among keys, near patches preferred; neither residual nor mlp.

    W(A v), A = softmax(k k^T / sqrt D + w), w_ij = exp(-dist(i, j)^2 / (2 std^2)), 0 in CLS's row and column.

    Args:
        grid: (H, W). std: in patches; 5 in the paper.
    """
    key, value = project(block, x, "kv")
    near = neighbourhood(grid, std).to(key)
    return output(block, (similarity(key, key) + near).softmax(-1) @ value)


def neighbourhood(grid: tuple[int, int], std: float) -> Tensor:
    """NACLIP's w: (L, L) float32."""
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in grid)
    near_rows, near_columns = (torch.exp(-((n[:, None] - n) ** 2) / (2 * std**2)) for n in (rows, columns))
    # A Gaussian in the plane is the product of two on its axes: (H, W, H, W).
    near = near_rows[:, None, :, None] * near_columns[None, :, None, :]
    return F.pad(near.flatten(2).flatten(0, 1), (1, 0, 1, 0))


# Those that PhysSeg trains through: MODEL.DENSE.METHOD.
DENSE_PATHS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {"catseg": catseg, "maskclip": maskclip}


def project(block: nn.Module, x: Tensor, which: str = "qkv") -> tuple[Tensor, ...]:
    """The projections of ln_1(x) that letters name: (B, L, C) -> (B, h, L, D) each."""
    return tuple(z.transpose(1, 2) for z in block.attn.project(block.ln_1(x), which))


def output(block: nn.Module, z: Tensor) -> Tensor:
    """W z, all heads together: (B, h, L, D) -> (B, L, C)."""
    return block.ls_1(block.attn.out_proj(z.transpose(1, 2).flatten(2)))


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """a b^T / sqrt D: (..., L, D), (..., M, D) -> (..., L, M)."""
    return a @ b.transpose(-1, -2) / math.sqrt(a.shape[-1])


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
