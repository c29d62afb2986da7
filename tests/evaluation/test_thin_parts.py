import numpy as np
import pytest

from physseg.evaluation.boundary_iou import boundary_iou
from physseg.evaluation.thin_parts import thin_counts, thin_parts

IGNORE = 255
# 30x40 has a diagonal of 50: a ratio of 0.1 is a diameter of 5.
SIZE, RATIO = (30, 40), 0.1


def lollipop():
    """A 15x15 block with a leg of 3 pixels' width and 10 pixels' length below it, class 1 on class 0."""
    target = np.zeros(SIZE, int)
    target[3:18, 10:25] = 1
    target[18:28, 16:19] = 1
    return target


def leg():
    area = np.zeros(SIZE, bool)
    area[18:28, 16:19] = True
    return area


def test_the_leg_is_thin_and_the_block_is_not():
    thin = thin_parts(lollipop() == 1, 5)
    assert thin[20:28, 16:19].all()  # discs of the block reach two rows deep into it
    # Of the block, what a disc of 5 pixels leaves out in its four corners.
    rest = thin & ~leg()
    assert rest.sum() == 4 * 3
    assert not rest[5:16, 12:23].any()


def test_a_part_that_leaves_the_image_is_as_wide_as_it_goes_on():
    mask = np.zeros(SIZE, bool)
    mask[:, :2] = True
    assert not thin_parts(mask, 5).any()
    mask = np.zeros(SIZE, bool)
    mask[:, 10:12] = True
    assert thin_parts(mask, 5).sum() == 2 * SIZE[0]


def test_a_perfect_prediction_has_100():
    counts = thin_counts(lollipop(), lollipop(), 2, IGNORE, RATIO)
    assert counts[1, 1] >= leg().sum()
    assert boundary_iou(counts)[1] == 100


def test_the_leg_alone_counts():
    """Without its leg the object has lost a tenth of its pixels, and what there is near the leg."""
    target = lollipop()
    prediction = np.where(leg(), 0, target)
    counts = thin_counts(prediction, target, 2, IGNORE, RATIO)
    assert counts[1, 1] - counts[0, 1] == leg().sum()
    assert boundary_iou(counts)[1] < 60
    whole = (prediction & target).sum() / (prediction | target).sum()
    assert whole > 0.88


def test_too_much_counts_like_too_little():
    target = lollipop()
    prediction = target.copy()
    prediction[18:28, 14:21] = 1  # a leg of 7 pixels for one of 3
    intersection, true, predicted = thin_counts(prediction, target, 2, IGNORE, RATIO)[:, 1]
    assert intersection == true
    # All but the outer two of the first row, more than 2 pixels from the row below, where the leg becomes thin.
    assert predicted - true == 10 * 4 - 2


def test_ignored_pixels_count_nowhere():
    target = lollipop()
    target[18:28] = IGNORE
    counts = thin_counts(np.ones(SIZE, int), target, 2, IGNORE, RATIO)
    assert counts[2, 1] <= (target != IGNORE).sum()
    assert thin_counts(np.ones(SIZE, int), np.full(SIZE, IGNORE), 2, IGNORE, RATIO).sum() == 0


def test_a_class_without_thin_parts_has_none():
    target = np.zeros(SIZE, int)
    assert np.isnan(boundary_iou(thin_counts(target, target, 2, IGNORE, RATIO))).all()


@pytest.mark.parametrize(("ratio", "diameter"), [(0.1, 5), (0.119, 5), (0.12, 7), (0.001, 3)])
def test_diameter_is_an_odd_share_of_the_diagonal(ratio, diameter):
    """A bar is thin below the diameter and not at it."""
    for width in range(1, 9):
        target = np.zeros(SIZE, int)
        target[:, 10 : 10 + width] = 1
        assert (thin_counts(target, target, 2, IGNORE, ratio)[1, 1] > 0) == (width < diameter)
