import numpy as np
import pytest
import torch

from physseg.evaluation.metrics import segmentation_metrics

# Rows true, columns predicted. Class 2 is predicted but absent, class 3 neither.
COUNTS = torch.tensor([[3, 1, 0, 0], [0, 4, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_by_hand():
    metrics = segmentation_metrics(COUNTS)
    # IoU of class 0: 3 / (4 + 3 - 3); of class 1: 4 / (6 + 5 - 4).
    iou = [75.0, 400 / 7]
    np.testing.assert_allclose(metrics.iou, [*iou, np.nan, np.nan])
    np.testing.assert_allclose(metrics.acc, [75.0, 200 / 3, np.nan, np.nan])
    assert metrics.miou == pytest.approx(sum(iou) / 2)
    assert metrics.miou_old == pytest.approx(sum(iou) / 3)
    assert (metrics.num_gt, metrics.num_gt_or_predicted) == (2, 3)
    assert metrics.fwiou == pytest.approx((4 * iou[0] + 6 * iou[1]) / 10)
    assert metrics.macc == pytest.approx((75.0 + 200 / 3) / 2)
    assert metrics.pacc == pytest.approx(70.0)


def test_definitions_agree_when_every_predicted_class_is_present():
    metrics = segmentation_metrics(COUNTS[:2, :2])
    assert metrics.miou == metrics.miou_old


def test_sums_are_exact_beyond_float_precision():
    large = 2**53
    metrics = segmentation_metrics(np.array([[large, 0], [1, large]]))
    assert metrics.gt_pixels.tolist() == [large, large + 1]


def test_no_labelled_pixel_is_an_error():
    with pytest.raises(ValueError, match="no labelled pixel"):
        segmentation_metrics(torch.zeros(3, 3, dtype=torch.int64))


def test_shape_is_checked():
    with pytest.raises(ValueError, match=r"square confusion matrix .* \(2, 3\)"):
        segmentation_metrics(torch.zeros(2, 3, dtype=torch.int64))
