"""Which classes a training image goes through aggregation with: those it shows, and the likeliest others.

Aggregation, decoder and loss cost in proportion to the classes, in time and memory; an image shows a few of them, and
most of the others are told apart by the cost volume alone. Nothing is drawn by lot: the choice depends on the image,
its labels and the weights alone. So it is the same in a batch and on its own, on one process and on several, and a
resumed training has nothing to restore.

B images, T classes, K sampled ones, P prompt templates, H W token grid, h w pixels.
"""

import torch
from torch import Tensor

from physseg.modeling.catseg.keep_classes import class_similarity

# A cosine is at most 1: whatever is added to those present lifts them over all others if it is above 2.
_PRESENT = 3.0


def present_classes(sem_seg: Tensor, total: int, ignore_value: int) -> Tensor:
    """Whether an image's label map shows a class: (B, h, w) int64 -> (B, T) bool. The host waits for nothing.

    Args:
        total: T.
        ignore_value: of unlabelled pixels.
    """
    ids = sem_seg.flatten(1)
    found = torch.zeros(len(ids), total + 1, dtype=torch.bool, device=ids.device)
    # Unlabelled pixels mark a place of their own.
    return found.scatter_(1, torch.where(ids == ignore_value, total, ids), True)[:, :total]


@torch.no_grad()
def sample_classes(dense: Tensor, text: Tensor, sem_seg: Tensor, keep: int, ignore_value: int) -> Tensor | None:
    """The K classes of each image: all that its labels show, then the likeliest others.

    A class is as likely as its largest cosine over positions and templates, before aggregation
    (`likeliest_classes`). Where an image shows more than K, the likeliest K of these are taken; the others' pixels then
    teach nothing and cost the constant 100 of `dropped_classes_sum`.

    Args:
        dense: (B, E, H, W). text: (T, P, E). sem_seg: (B, h, w) int64.
        keep: K.

    Returns:
        (B, K) int64 in rising order; None when all are kept, T <= K.
    """
    if len(text) <= keep:
        return None
    present = present_classes(sem_seg, len(text), ignore_value)
    scores = class_similarity(dense, text) + _PRESENT * present
    return scores.topk(keep, dim=1).indices.sort(dim=1).values
