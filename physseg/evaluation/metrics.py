"""Segmentation metrics of a confusion matrix, all x100.

Two definitions of mIoU go by one name in the literature, because Detectron2 changed its own in July 2022
without a new version number:

- ``mIoU`` (Detectron2 since then): the mean IoU of the classes present in the ground truth.
- ``mIoU_old`` (Detectron2 0.6, mmseg): the same sum divided by the number of classes present in the ground truth
  *or predicted anywhere*. A class predicted but absent costs a zero.

They agree when every predicted class is present; on PC-459 they are some four points apart.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

SCORES = ("mIoU", "mIoU_old", "fwIoU", "mACC", "pACC")
"""The names, larger being better, among those of `SegmentationMetrics.summary`."""


@dataclass(frozen=True)
class SegmentationMetrics:
    """Headline numbers (x100) and the per-class values behind them; NaN where a class is not in the ground truth."""

    miou: float
    miou_old: float
    fwiou: float
    macc: float
    pacc: float
    num_gt: int
    num_gt_or_predicted: int
    iou: np.ndarray
    acc: np.ndarray
    gt_pixels: np.ndarray

    def summary(self) -> dict[str, float]:
        """Headline numbers under the names Detectron2 uses, and the class counts of the two definitions."""
        return {
            "mIoU": self.miou,
            "mIoU_old": self.miou_old,
            "fwIoU": self.fwiou,
            "mACC": self.macc,
            "pACC": self.pacc,
            "N_gt": self.num_gt,
            "N_gt_or_pred": self.num_gt_or_predicted,
        }


def segmentation_metrics(counts: Tensor | np.ndarray) -> SegmentationMetrics:
    """Compute all metrics of an (N, N) integer confusion matrix, rows true classes, columns predicted ones.

    With TP, GT and P the diagonal, row sums and column sums: IoU = TP / (GT + P - TP), accuracy = TP / GT,
    fwIoU = sum of IoU weighted by GT / total, mACC = mean accuracy over present classes, pACC = sum TP / total.

    Raises:
        ValueError: the matrix is not square, or counts no pixel at all.
    """
    counts = counts.cpu().numpy() if isinstance(counts, Tensor) else np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"expected a square confusion matrix (N, N), got shape {counts.shape}")
    total = int(counts.sum())
    if total == 0:
        raise ValueError("no labelled pixel was evaluated: the data set is empty, or all its pixels are ignored")
    # Sums in int64 are exact; only the quotients are floating point.
    true_positive, gt, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    present = gt > 0
    iou, acc = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    iou[present] = 100.0 * true_positive[present] / (gt + predicted - true_positive)[present]
    acc[present] = 100.0 * true_positive[present] / gt[present]
    num_gt, num_either = int(present.sum()), int((present | (predicted > 0)).sum())
    iou_sum = float(iou[present].sum())
    return SegmentationMetrics(
        miou=iou_sum / num_gt,
        miou_old=iou_sum / num_either,
        fwiou=float((iou[present] * gt[present]).sum() / total),
        macc=float(acc[present].mean()),
        pacc=100.0 * int(true_positive.sum()) / total,
        num_gt=num_gt,
        num_gt_or_predicted=num_either,
        iou=iou,
        acc=acc,
        gt_pixels=gt,
    )
