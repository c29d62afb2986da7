"""Similarity of dense image features and text features; keeping the likeliest classes and putting them back.

B images, T classes, K kept classes, P prompt templates, H W token grid, E CLIP's embedding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Logit of a class that was not kept (CAT-Seg).
DROPPED_LOGIT = -100.0


class ClassLogits(NamedTuple):
    """Logits of the kept classes of each image.

    values: (B, K, h, w). classes: (B, K) int64, the class of each row, or None when all T = K classes are kept in
    their order. total: T.
    """

    values: Tensor
    classes: Tensor | None
    total: int

    def image(self, index: int) -> "ClassLogits":
        """One image of the batch."""
        part = slice(index, index + 1)
        return ClassLogits(self.values[part], None if self.classes is None else self.classes[part], self.total)

    @classmethod
    def union(cls, parts: Sequence["ClassLogits"]) -> "ClassLogits":
        """One batch with one list of classes, those that any image of any part kept."""
        total = parts[0].total
        if parts[0].classes is None:
            return cls(torch.cat([part.values for part in parts]), None, total)
        kept = torch.cat([part.classes.flatten() for part in parts]).unique()
        values = torch.cat([part.dense()[:, kept] for part in parts])
        return cls(values, kept.expand(len(values), -1), total)

    def dense(self) -> Tensor:
        """(B, T, h, w), dropped classes at -100."""
        if self.classes is None:
            return self.values
        b, _, h, w = self.values.shape
        full = self.values.new_full((b, self.total, h, w), DROPPED_LOGIT)
        return full.scatter(1, self.classes[..., None, None].expand_as(self.values), self.values)


def cost_volume(dense: Tensor, text: Tensor) -> Tensor:
    """Cosine similarity of every position and every prompt.

    Args:
        dense: (B, E, H, W) dense image features.
        text: (B or 1, T, P, E) text features.

    Returns:
        (B, T, P, H, W) in [-1, 1].
    """
    image = F.normalize(dense, dim=1).flatten(2)
    cost = F.normalize(text, dim=-1).flatten(1, 2) @ image
    return cost.view(len(dense), *text.shape[1:3], *dense.shape[2:])


def likeliest_classes(dense: Tensor, text: Tensor, keep: int) -> Tensor | None:
    """Classes with the largest maximum similarity over positions and templates.

    Args:
        dense: (B, E, H, W). text: (T, P, E). keep: K; 0 keeps all.

    Returns:
        (B, K) int64 in rising order; None when all are kept.
    """
    if not keep or len(text) <= keep:
        return None
    with torch.no_grad():
        # A part of the vocabulary at a time: the whole volume is never needed.
        parts = [cost_volume(dense, part[None]).flatten(2).amax(-1) for part in text.split(keep)]
        return torch.cat(parts, dim=1).topk(keep, dim=1).indices.sort(dim=1).values


def take_classes(text: Tensor, classes: Tensor) -> Tensor:
    """Each image's kept classes: (1, T, P, E), (B, K) -> (B, K, P, E)."""
    return text[0][classes]
