"""Logits of words -> classes: softmax over all words, a class's best word, background rules; in bounded memory.

Q words, T classes, H W pixels of the output.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from physseg.modeling.postprocess import RESIZE_CHUNK
from physseg.timing import stage


@stage("resize")
def word_prediction(
    logits: Callable[[slice], Tensor],
    owners: Tensor,
    scale: float,
    area_threshold: float,
    labels_only: bool,
    background_entropy: float = 0.0,
) -> dict[str, Tensor]:
    """Prediction of the classes behind words.

    A class's probability is that of its likeliest word, in a softmax over all words of ``scale`` times their logits.
    (A pixel's need not sum to 1.)

    Args:
        logits: slice of words -> (q, H, W), at the output's size.
        owners: (Q,) int64, each word's class, rising from 0 to T - 1.
        scale: of the softmax.
        area_threshold: classes but the first whose share of the pixels outside the first class is smaller get
            probability 0 (SCLIP's and SC-CLIP's rule for VOC-21, whose first class is the background); 0: none.
        labels_only: give ``labels`` int64 and ``scores`` (H, W); else ``sem_seg`` (T, H, W).
        background_entropy: above 0: the first class is the background; its words take no part in the softmax, and
            pixels whose entropy over the other words, in nats, is larger get it with probability 1 (PACL's rule).

    Raises:
        ValueError: the background is the only class, or both rules for it are on.
    """
    if background_entropy and area_threshold:
        raise ValueError("TEST.AREA_THRESHOLD and TEST.BACKGROUND_ENTROPY are two rules for the background: set one")
    if background_entropy:
        return _with_background(logits, owners, scale, labels_only, background_entropy)
    if not labels_only:
        return {"sem_seg": _probabilities(logits, owners, scale, area_threshold)}
    labels, best, total = _best_words(logits, owners, scale)
    if area_threshold:
        kept = _large_classes(labels, int(owners[-1]) + 1, area_threshold)
        if not kept.all():
            least = best
            labels, best, _ = _best_words(logits, owners, scale, kept)
            # The softmax stays the one over all words.
            return {"labels": labels, "scores": torch.exp(best - least) / total}
    return {"labels": labels, "scores": 1 / total}


def _with_background(
    logits: Callable[[slice], Tensor],
    owners: Tensor,
    scale: float,
    labels_only: bool,
    threshold: float,
) -> dict[str, Tensor]:
    """`word_prediction` of all classes but the first, which is where the others' words are in doubt."""
    first = int((owners == 0).sum())
    others = owners[first:] - 1
    if not len(others):
        raise ValueError("TEST.BACKGROUND_ENTROPY: the vocabulary has the background alone; give it another class")

    def shifted(part: slice) -> Tensor:
        return logits(slice(part.start + first, min(part.stop, len(others)) + first))

    result = word_prediction(shifted, others, scale, 0.0, labels_only)
    doubtful = _entropy(shifted, others, scale) > threshold
    if labels_only:
        return {
            "labels": (result["labels"] + 1).masked_fill(doubtful, 0),
            "scores": result["scores"].masked_fill(doubtful, 1.0),
        }
    return {"sem_seg": torch.cat([doubtful[None].to(result["sem_seg"]), result["sem_seg"]])}


def _entropy(logits: Callable[[slice], Tensor], owners: Tensor, scale: float) -> Tensor:
    """Entropy of the softmax over all words, in nats: (H, W).

    With u = logit - best logit: log sum e^u - sum u e^u / sum e^u.
    """
    _, best, total = _best_words(logits, owners, scale)
    moment = torch.zeros_like(total)
    for start in range(0, len(owners), RESIZE_CHUNK):
        below = logits(slice(start, start + RESIZE_CHUNK)) * scale - best
        moment += (below.exp() * below).sum(0)
    return total.log() - moment / total


def _best_words(
    logits: Callable[[slice], Tensor], owners: Tensor, scale: float, kept: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Each pixel's class by its best word, that word's scaled logit, and the sum of all words' exp(logit - best).

    A few words' maps exist at a time. ``kept`` (T,) bool leaves classes out.
    """
    best = labels = total = None
    for start in range(0, len(owners), RESIZE_CHUNK):
        part = slice(start, start + RESIZE_CHUNK)
        classes = owners[part]
        values = logits(part) * scale
        if kept is not None:
            values[~kept[classes]] = -torch.inf
        new, index = values.max(dim=0)
        if best is None:
            best, labels = new, classes[index]
            total = (values - best).exp_().sum(0)
            continue
        better = new > best
        labels = torch.where(better, classes[index], labels)
        new = torch.maximum(new, best)
        total = total * (best - new).exp_() + (values - new).exp_().sum(0)
        best = new
    return labels, best, total


def _probabilities(logits: Callable[[slice], Tensor], owners: Tensor, scale: float, area_threshold: float) -> Tensor:
    count = int(owners[-1]) + 1
    values = None
    for start in range(0, len(owners), RESIZE_CHUNK):
        part = logits(slice(start, start + RESIZE_CHUNK))
        if values is None:
            values = part.new_empty(len(owners), *part.shape[-2:])
        torch.mul(part, scale, out=values[start : start + RESIZE_CHUNK])
    values.sub_(values.amax(0)).exp_()
    values.div_(values.sum(0))
    if len(owners) > count:
        classes = values.new_zeros(count, *values.shape[1:])
        for word, owner in zip(values, owners.tolist(), strict=True):
            torch.maximum(classes[owner], word, out=classes[owner])
        values = classes
    if area_threshold:
        values[~_large_classes(values.argmax(0), count, area_threshold)] = 0
    return values


def _large_classes(labels: Tensor, count: int, threshold: float) -> Tensor:
    """(T,) bool: the first class, and those with at least the threshold's share of the pixels outside it."""
    areas = torch.bincount(labels.flatten(), minlength=count)
    kept = areas >= threshold * areas[1:].sum()
    kept[0] = True
    return kept
