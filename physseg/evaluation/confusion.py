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
        (N, N) int64 on the CPU, rows true classes, columns predicted ones; exact. A GPU is waited for once, for it.

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
    cells = _cells(prediction.long(), target.long(), num_classes, ignore_label).cpu()
    if cells[-1]:
        labelled = target != ignore_label
        _check_range(target[labelled], num_classes, f"{source}: label", f"or the ignore label {ignore_label}")
        _check_range(prediction[labelled], num_classes, f"{source}: predicted class", "")
    return cells[:-2].view(num_classes, num_classes)


def _cells(prediction: Tensor, target: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """Pixels of every pair, then of the ignore label, then of what is neither: (N * N + 2,) int64.

    No step's size depends on a value: a GPU is not asked for any.
    """
    known = (target >= 0) & (target < num_classes) & (prediction >= 0) & (prediction < num_classes)
    cell = torch.where(known, target * num_classes + prediction, num_classes**2 + 1)
    # The ignore label may be a number that is a class elsewhere: it comes last.
    cell = torch.where(target == ignore_label, num_classes**2, cell).flatten()
    return torch.zeros(num_classes**2 + 2, dtype=torch.int64, device=cell.device).scatter_add_(
        0, cell, torch.ones((), dtype=torch.int64, device=cell.device).expand_as(cell)
    )


def _check_range(values: Tensor, num_classes: int, what: str, otherwise: str) -> None:
    stray = sorted(value for value in values.unique().tolist() if not 0 <= value < num_classes)
    if stray:
        shown = ", ".join(map(str, stray[:8])) + (", ..." if len(stray) > 8 else "")
        raise ValueError(f"{what} {shown}: expected 0..{num_classes - 1} {otherwise}".rstrip())
