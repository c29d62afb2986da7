"""Which classes go through aggregation at test: the cost volume says early which cannot win.

Aggregation and decoder cost in proportion to the classes, and an image shows few of a vocabulary's hundreds. Keeping K
of them is an approximation: a class that only aggregation would have found is lost. Weights stay as they are: class
attention is padded to MODEL.AGGREGATION.MAX_CLASSES whatever is kept.

B images, T classes, P prompt templates, H W token grid, N = H * W positions, E CLIP's embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from physseg.modeling.catseg.cost_volume import cost_volume, likeliest_classes

RULES = ("similarity", "votes", "threshold")
# What a position's three best classes count (ERR-Seg, 2025).
VOTES = (1.0, 0.1, 0.01)
# Classes whose similarities are made at a time.
_CHUNK = 256


@dataclass(frozen=True)
class ClassFilter:
    """TEST.KEEP_CLASSES and its rule.

    Attributes:
        keep: K, at most; 0 keeps all.
        rule: "similarity": the largest maximum over positions and templates. "votes": every position's three best
            count 1, 0.1 and 0.01. "threshold": as "similarity", but only classes that reach ``threshold`` in some image
            of the batch (the host waits for their number).
        threshold: a cosine.

    Raises:
        ValueError: an unknown rule.
    """

    keep: int = 0
    rule: str = "similarity"
    threshold: float = 0.2

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"TEST.KEEP_RULE: expected one of {RULES}, got {self.rule!r}")

    def __call__(self, dense: Tensor, text: Tensor, most: int) -> Tensor | None:
        """Kept classes.

        Args:
            dense: (B, E, H, W). text: (T, P, E).
            most: MODEL.AGGREGATION.MAX_CLASSES; 0 for no limit.

        Returns:
            (B, K) int64 in rising order; None when all are kept.
        """
        keep = min(self.keep, most) if most else self.keep
        if not self.keep:
            return likeliest_classes(dense, text, most)
        if self.rule == "similarity" or (len(text) <= keep and self.rule == "votes"):
            return likeliest_classes(dense, text, keep)
        with torch.no_grad():
            scores = class_votes(dense, text) if self.rule == "votes" else class_similarity(dense, text)
            if self.rule == "threshold":
                reached = int((scores >= self.threshold).sum(1).max())
                keep = min(keep, max(reached, 1))
            if len(text) <= keep:
                return None
            return scores.topk(keep, dim=1).indices.sort(dim=1).values


def class_similarity(dense: Tensor, text: Tensor) -> Tensor:
    """Largest similarity of every class over positions and templates: (B, T)."""
    return torch.cat([cost_volume(dense, part[None]).flatten(2).amax(-1) for part in text.split(_CHUNK)], dim=1)


def class_votes(dense: Tensor, text: Tensor) -> Tensor:
    """Votes of the positions for every class: (B, T). Equal votes are told apart by similarity.

    A position's similarity to a class is the mean over templates. Fewer classes than there are votes share them.
    """
    parts = [cost_volume(dense, part[None]).mean(2).flatten(2) for part in text.split(_CHUNK)]
    similarity = torch.cat(parts, dim=1)  # (B, T, N)
    best = similarity.topk(min(len(VOTES), len(text)), dim=1).indices  # (B, 3, N)
    votes = similarity.new_zeros(similarity.shape[:2])
    for place, weight in zip(best.unbind(1), VOTES, strict=False):
        votes.scatter_add_(1, place, torch.full_like(place, weight, dtype=votes.dtype))
    # Similarities lie in [-1, 1]: a thousandth of them is less than the least vote.
    return votes + 1e-3 * similarity.amax(-1)
