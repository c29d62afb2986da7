"""The two losses that pre-train the toy CLIP.

Letters: B pictures, T captions, P patches, C embedding size; 144 names.
"""

import math

from torch import Tensor


def contrastive_loss(image: Tensor, text: Tensor, named: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric loss, with all captions that name the same things as targets.

    Args:
        image: normalised (B, C). text: normalised (T, C); the first B belong to the pictures, more are hard negatives.
        named: bool (T, 144), what each caption names.
    """
    logits = scale * image @ text.T
    bits = named.float()
    common, sizes = bits @ bits.T, bits.sum(1)
    same = ((common == sizes[:, None]) & (common == sizes[None, :]))[: len(image)].float()
    rows = -((same / same.sum(1, keepdim=True)) * logits.log_softmax(1)).sum(1).mean()
    matched = same.any(0)  # an extra caption may fit no picture
    columns = -((same / same.sum(0).clamp_min(1)) * logits.log_softmax(0)).sum(0)[matched].mean()
    return (rows + columns) / 2


def patch_loss(dense: Tensor, names: Tensor, present: Tensor, scale: Tensor) -> Tensor:
    """Word-patch alignment by captions that name everything in the picture.

    Every patch must be explained by some word of the caption, and every word must find patches: the mean of
    ``-log sum over the caption's names of p(name | patch)`` over patches, plus the mean of ``-log p(name | patch)``
    over a name's best twelfth of patches.

    Args:
        dense: normalised (B, P, C). names: normalised (144, C). present: bool (B, 144).
    """
    log_p = (scale * dense @ names.T).log_softmax(-1)  # (B, P, 144)
    explained = log_p.masked_fill(~present[:, None], -math.inf).logsumexp(-1).mean()
    picture, name = present.nonzero(as_tuple=True)
    best = log_p.transpose(1, 2)[picture, name].topk(max(log_p.shape[1] // 12, 1)).values
    return -(explained + best.mean())
