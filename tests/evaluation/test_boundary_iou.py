import cv2
import numpy as np
import pytest

from physseg.evaluation.boundary_iou import boundary_counts, boundary_iou, boundary_region


def mask_boundary(mask, distance):
    """Boundary region as Cheng et al. compute it: the mask, minus the mask eroded, with zeros around the image."""
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)


@pytest.mark.parametrize("distance", [1, 2, 5])
def test_region_equals_the_erosion_of_each_class(distance):
    labels = np.kron(np.random.default_rng(0).integers(0, 4, (5, 6)), np.ones((7, 7), int))
    expected = np.zeros(labels.shape, bool)
    for value in range(4):
        expected |= mask_boundary(labels == value, distance)
    np.testing.assert_array_equal(boundary_region(labels, distance), expected)


def test_counts_by_hand():
    # A 6x6 image of one class has a boundary ring of 20 pixels at distance 1; 0.02 of its diagonal rounds up to 1.
    target = np.zeros((6, 6), int)
    prediction = target.copy()
    prediction[2:4, 2:4] = 1
    counts = boundary_counts(prediction, target, 2, 255)
    # Around the wrong 2x2 hole the predicted ring of class 0 fills the inside: 20 + 12 pixels, 20 of them right.
    assert counts.tolist() == [[20, 0], [20, 0], [32, 4]]
    iou = boundary_iou(counts)
    assert iou[0] == pytest.approx(100 * 20 / 32)
    assert np.isnan(iou[1])


def test_ignored_pixels_belong_to_no_boundary():
    target = np.full((8, 8), 255)
    target[:, :4] = 0
    prediction = np.zeros((8, 8), int)
    prediction[:, 4:] = 1
    counts = boundary_counts(prediction, target, 2, 255)
    assert counts[:, 1].sum() == 0
    assert boundary_iou(counts)[0] == 100.0
