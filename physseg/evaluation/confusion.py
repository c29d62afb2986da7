"""Counting pixels: which class was there, which was predicted.

Letters: H W image size, N evaluated classes.
"""

import torch
from torch import Tensor


def confusion_matrix(
    prediction: Tensor, target: Tensor, num_classes: int, ignore_label: int, source: str = "the ground truth"
) -> Tensor:
    """Count the pixels of every (true class, predicted class) pair.

    Args:
        prediction: (H, W) integer class indices, on any device. What stands on ignored pixels does not matter.
        target: (H, W) integer class indices or ``ignore_label``, on the same device.
        num_classes: N.
        ignore_label: value of unlabelled pixels in ``target``; they count for and against nothing.
        source: what messages call the ground truth, normally its file.

    Returns:
        (N, N) int64 on that device, rows true classes, columns predicted ones; exact.

    Raises:
        ValueError: the shapes differ, a true value is neither a class nor the ignore label, or a prediction on a
            labelled pixel is no class. Such a value would land in another pair's cell.

    Example::

        >>> confusion_matrix(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 255]]), 2, 255).tolist()
        [[1, 1], [0, 0]]
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"{source}: the prediction is {tuple(prediction.shape)} and the ground truth {tuple(target.shape)}; "
            "predictions must come at the height and width of the label map"
        )
    labelled = target != ignore_label
    target, prediction = target[labelled].long(), prediction[labelled].long()
    if target.numel():
        _check_range(target, num_classes, f"{source}: label", f"or the ignore label {ignore_label}")
        _check_range(prediction, num_classes, f"{source}: predicted class", "")
    return torch.bincount(target * num_classes + prediction, minlength=num_classes**2).view(num_classes, num_classes)


def _check_range(values: Tensor, num_classes: int, what: str, otherwise: str) -> None:
    low, high = (int(value) for value in torch.aminmax(values))
    if low < 0 or high >= num_classes:
        stray = sorted({int(value) for value in values.unique() if not 0 <= value < num_classes})
        shown = ", ".join(map(str, stray[:8])) + (", ..." if len(stray) > 8 else "")
        raise ValueError(f"{what} {shown}: expected 0..{num_classes - 1} {otherwise}".rstrip())
