"""SC-CLIP and SFP: outlying patches repaired, and attention, features and levels calibrated by CLIP's own similarities.

Letters as in `dense_paths`; X_i is the output of block i, counted from 0, of 12 (B/16). The published codes run one
image at a time on square grids; these run batches of any grid.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.modeling.clip.dense_paths import output, project, similarity
from physseg.modeling.clip.plain_tower import Tokens, to_map

# Entries of a similarity below this are cut (both papers' beta).
THRESHOLD = 0.4
# Sharpness of the attention made from a similarity, and the class token's share (both codes).
SHARPNESS, CLASS_SHARE = 3.0, 0.3
# SC-CLIP's: neighbours of the local outlier factor, and twentieths of the patches that are no outliers.
NEIGHBOURS, INLIERS = 30, 19
# SFP's number of outliers.
OUTLIERS = 10


class Levels(NamedTuple):
    """Block indices: detailed X_3, semantic X_8, penultimate X_10, and those summed, X_3 ... X_9."""

    detailed: int
    semantic: int
    penultimate: int
    summed: tuple[int, ...]

    @classmethod
    def of(cls, depth: int) -> "Levels":
        """Published for 12 blocks; for other depths at the same share of the depth, which is our reading."""

        def at(index: int) -> int:
            return round((index + 1) * depth / 12) - 1

        summed = tuple(range(at(3), min(at(9), depth - 3) + 1))
        return cls(at(3), min(at(8), depth - 3), depth - 2, summed)

    @property
    def all(self) -> tuple[int, ...]:
        """What both methods read; SFP's test for outliers takes the penultimate block's input."""
        return tuple(sorted({self.detailed, self.semantic, self.penultimate - 1, self.penultimate, *self.summed}))


def sc_clip(blocks: Sequence[nn.Module], tokens: Tokens) -> Tensor:
    """SC-CLIP (Bai et al. 2024): self-calibrated CLIP.

    Args:
        blocks: all of the image tower. tokens: with the levels `Levels.of(len(blocks)).all`.

    Returns:
        (B, N, C): what the projection takes.
    """
    levels, grid, x, last = Levels.of(len(blocks)), tokens.grid, tokens.levels, blocks[-1]
    wrong = outlying_by_density(x[levels.penultimate][:, 1:])
    close = cosine(repair(x[levels.semantic], wrong, grid))
    mask = sharpened(close)

    z = averaging(close) @ repair(x[levels.penultimate], wrong, grid)
    z = calibrated_attention(last, z, mask) + CLASS_SHARE * x[levels.penultimate][:, :1]
    detailed = averaging(cosine(x[levels.detailed][:, 1:]))
    total = sum(x[level] for level in levels.summed)
    r = calibrated_attention(last, total[:, 1:], mask) + CLASS_SHARE * total[:, :1]
    return detailed @ z + detailed @ r


def calibrated_attention(block: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """SC-CLIP's last attention, W(A v), A = (mask + softmax(k k^T / sqrt D)) / 2.

    Args:
        x: (B, N, C), patches alone. mask: (B, N, N), `sharpened`, one for all heads.
    """
    key, value = project(block, x, "kv")
    return output(block, (mask[:, None] + similarity(key, key).softmax(-1)) / 2 @ value)


def sfp(blocks: Sequence[nn.Module], tokens: Tokens, outliers: str = "som") -> Tensor:
    """SFP (code of ICCV 2025): as `sc_clip`, with another test for outliers and another mix of attentions.

    Args:
        blocks, tokens: as `sc_clip`.
        outliers: "som" (attention of the block before the last; default of the code), "l2" (norm), or "lof".

    Raises:
        ValueError: another word.
    """
    levels, grid, x, last = Levels.of(len(blocks)), tokens.grid, tokens.levels, blocks[-1]
    end = x[levels.penultimate]
    if outliers == "som":
        wrong = outlying_by_attention(attention_map(blocks[levels.penultimate], x[levels.penultimate - 1]))
    elif outliers == "l2":
        wrong = strongest(end[:, 1:].norm(dim=-1), OUTLIERS)
    elif outliers == "lof":
        wrong = outlying_by_density(end[:, 1:])
    else:
        raise ValueError(f'expected outliers "som", "l2" or "lof", got {outliers!r}')
    close = cosine(repair(x[levels.semantic], wrong, grid, alone_to_zero=True))
    # Unlike SC-CLIP's, from what the threshold left.
    mask = sharpened(close * (close >= THRESHOLD))[:, None]
    z = averaging(close) @ repair(end, wrong, grid, alone_to_zero=True)
    query, key, value = project(last, z)
    weights = (similarity(query, query).softmax(-1) + similarity(key, key).softmax(-1) + mask) / 3
    z = output(last, weights @ value) + CLASS_SHARE * end[:, :1]
    detailed = averaging(cosine(x[levels.detailed][:, 1:]))
    total = sum(x[level] for level in levels.summed)
    mixed = output(last, mask @ project(last, total[:, 1:], "v")[0]) + CLASS_SHARE * total[:, :1]
    return detailed @ z + detailed @ mixed


def density_scores(x: Tensor) -> Tensor:
    """Simplified local outlier factor: (B, N, C) -> (B, N).

    The mean over a patch's 30 nearest others of kd(patch) / kd(other), where kd is the squared distance to the 30th
    nearest other. (The textbook's reach distance is left out, as in SC-CLIP's code.)
    """
    nearest = min(NEIGHBOURS, x.shape[1] - 1)
    # Not by products: small distances between long vectors would lose their digits.
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    values, index = distance.topk(nearest, largest=False)
    # Equal patches have a reach of 0, and none of them lies out.
    reach = values[..., -1].clamp_min(1e-12)
    return reach * (1 / reach).gather(1, index.flatten(1)).view_as(index).mean(-1)


def outlying_by_density(x: Tensor) -> Tensor:
    """The patches above the 0.95 quantile of `density_scores`: (B, N, C) -> (B, N) bool.

    Where the quantile falls on a patch (0.95 (N - 1) whole), that patch counts, as torch's rounding has it.
    """
    n = x.shape[1]
    return strongest(density_scores(x), n + (-INLIERS * (n - 1)) // 20)


def outlying_by_attention(attention: Tensor) -> Tensor:
    """SFP's SOM: of the patches with 1.5 CLS's attention to them above their own to themselves, CLS's ten strongest.

    Args:
        attention: (B, L, L) probabilities.

    Returns:
        (B, N) bool.
    """
    seen, own = 1.5 * attention[:, 0, 1:], attention.diagonal(dim1=1, dim2=2)[:, 1:]
    return strongest(seen.masked_fill(seen <= own, -torch.inf), OUTLIERS) & (seen > own)


def attention_map(block: nn.Module, x: Tensor) -> Tensor:
    """Attention probabilities of a block, mean over heads: its input (B, L, C) -> (B, L, L)."""
    query, key = project(block, x, "qk")
    return similarity(query, key).softmax(-1).mean(1)


def strongest(scores: Tensor, count: int) -> Tensor:
    """The ``count`` largest of each row: (B, N) -> (B, N) bool."""
    index = scores.topk(min(count, scores.shape[1]), dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, index, True)


def repair(x: Tensor, wrong: Tensor, grid: tuple[int, int], alone_to_zero: bool = False) -> Tensor:
    """Every wrong patch becomes the mean of its neighbours in the picture that are right.

    Args:
        x: (B, 1 + N, C), class token first. wrong: (B, N) bool.
        alone_to_zero: what a patch without such a neighbour becomes: 0 (SFP), or what it was (SC-CLIP).

    Returns:
        (B, N, C), the patches.
    """
    patches = to_map(x, grid)
    right = ~wrong.unflatten(1, grid)[:, None]
    # Sums over 3x3: a wrong centre adds nothing to its own.
    total = 9 * F.avg_pool2d(torch.where(right, patches, 0), 3, 1, 1)
    count = 9 * F.avg_pool2d(right.to(x.dtype), 3, 1, 1)
    mean = torch.where(count > 0.5, total / count.clamp_min(1), 0 if alone_to_zero else patches)
    return torch.where(right, patches, mean).flatten(2).transpose(1, 2)


def cosine(x: Tensor) -> Tensor:
    """Cosine similarity of all pairs: (B, N, C) -> (B, N, N)."""
    x = F.normalize(x, dim=-1)
    return x @ x.transpose(1, 2)


def averaging(close: Tensor) -> Tensor:
    """A similarity cut at `THRESHOLD`, rows summing to 1: what it multiplies is averaged over like patches."""
    kept = close * (close >= THRESHOLD)
    return kept / (kept.sum(-1, keepdim=True) + 1e-6)


def sharpened(close: Tensor) -> Tensor:
    """softmax(3 (S - mean S)) over its positive entries: (B, N, N) -> (B, N, N)."""
    return positive_softmax(SHARPNESS * (close - close.mean((1, 2), keepdim=True)))


def positive_softmax(scores: Tensor) -> Tensor:
    """Softmax over the entries that are not negative, and the diagonal: (B, N, N) -> (B, N, N).

    A patch's similarity to itself is negative here only in a picture whose patches are all alike; the published
    formulas then divide 0 by 0.
    """
    negative = scores < 0
    negative.diagonal(dim1=1, dim2=2).fill_(False)
    return scores.masked_fill(negative, -torch.inf).softmax(-1)
