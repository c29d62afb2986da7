"""Logits -> probabilities or labels at the output size.

Only the argmax is wanted in evaluation: classes are resized a few at a time and the best so far is kept, so no
full-resolution map per class exists. Resizing follows the sigmoid, as CAT-Seg has it.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from physseg.dtypes import at_least_float32
from physseg.modeling.catseg.cost_volume import DROPPED_LOGIT, ClassLogits
from physseg.modeling.sliding_window import WindowPlan, merge_windows
from physseg.timing import stage

# Class maps at output size that exist at a time while labels are computed.
RESIZE_CHUNK = 8


def resize_probabilities(probabilities: Tensor, size: tuple[int, int], used: tuple[float, float] = (1, 1)) -> Tensor:
    """(T, h, w) -> (T, *size), bilinear.

    Args:
        used: share of the input's height and width to keep, from the top left; the rest shows padding.
    """
    height, width = size
    full = (round(height / used[0]), round(width / used[1]))
    return F.interpolate(probabilities[None], size=full, mode="bilinear", align_corners=False)[0, :, :height, :width]


def labels_by_chunks(probabilities: Callable[[slice], Tensor], classes: Tensor) -> tuple[Tensor, Tensor]:
    """Argmax over classes whose maps are made a few at a time.

    Args:
        probabilities: slice of channels -> (t, height, width).
        classes: (K,) int64, the class of each channel, rising: ties go to the first, as torch.argmax has it.

    Returns:
        labels (height, width) int64, and their probabilities (height, width).
    """
    best = labels = None
    for start in range(0, len(classes), RESIZE_CHUNK):
        part = slice(start, start + RESIZE_CHUNK)
        values, index = probabilities(part).max(dim=0)
        found = classes[part][index]
        if best is None:
            best, labels = values, found
        else:
            better = values > best
            best = torch.where(better, values, best)
            labels = torch.where(better, found, labels)
    return labels, best


def probabilities_by_chunks(
    probabilities: Callable[[slice], Tensor], classes: Tensor, total: int, size: tuple[int, int]
) -> Tensor:
    """All classes' maps, made a few at a time and written into the result: nothing else of its size exists.

    Args:
        probabilities, classes: as in `labels_by_chunks`; classes that are not listed get a dropped logit's probability.
        total: T.

    Returns:
        (T, *size).
    """
    result = None
    for start in range(0, len(classes), RESIZE_CHUNK):
        part = slice(start, start + RESIZE_CHUNK)
        values = probabilities(part)
        if result is None:
            dropped = torch.tensor(DROPPED_LOGIT, dtype=values.dtype).sigmoid().item()
            complete = len(classes) == total
            result = values.new_empty(total, *size) if complete else values.new_full((total, *size), dropped)
        result[classes[part]] = values
    return result


@stage("resize")
def whole_prediction(
    logits: ClassLogits, size: tuple[int, int], used: tuple[float, float], labels_only: bool
) -> dict[str, Tensor]:
    """Prediction of plain inference.

    Args:
        logits: of one image.
        size: (height, width) of the output. used: as in `resize_probabilities`.

    Returns:
        ``sem_seg`` (T, height, width) probabilities, or ``labels`` and ``scores`` (height, width).
    """
    values = at_least_float32(logits.values[0]).sigmoid()
    return _prediction(lambda part: resize_probabilities(values[part], size, used), logits, size, labels_only)


@stage("resize")
def windows_prediction(
    parts: Sequence[ClassLogits], plan: WindowPlan, size: tuple[int, int], labels_only: bool
) -> dict[str, Tensor]:
    """Prediction of sliding-window inference, as `whole_prediction`.

    Args:
        parts: logits of the windows of one image, the whole image last, in any split.
    """

    # The classes that some window kept; another one has the same probability everywhere.
    logits = ClassLogits.union(parts)

    def probabilities(part: slice) -> Tensor:
        return resize_probabilities(merge_windows(at_least_float32(logits.values[:, part]), plan), size)

    return _prediction(probabilities, logits, size, labels_only)


def _prediction(
    probabilities: Callable[[slice], Tensor], logits: ClassLogits, size: tuple[int, int], labels_only: bool
) -> dict[str, Tensor]:
    classes = _class_ids(logits)
    if not labels_only:
        return {"sem_seg": probabilities_by_chunks(probabilities, classes, logits.total, size)}
    labels, scores = labels_by_chunks(probabilities, classes)
    return {"labels": labels, "scores": scores}


def _class_ids(logits: ClassLogits) -> Tensor:
    """(K,) the class of each channel, for logits whose images share them."""
    if logits.classes is None:
        return torch.arange(logits.total, device=logits.values.device)
    return logits.classes[0]
