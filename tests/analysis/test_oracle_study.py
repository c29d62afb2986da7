import numpy as np
import pytest

from physseg.analysis.oracle_study import GRAY, masked_crop, name_by_overlap, name_true_regions, regions

TARGET = np.array([[1, 1, 0, 0], [1, 1, 0, 255], [2, 0, 0, 255]])


def test_regions_by_label_and_by_component():
    assert [(label, int(mask.sum())) for label, mask in regions(TARGET, 255)] == [(0, 5), (1, 4), (2, 1)]
    two = np.array([[3, 255, 3]])
    assert [label for label, _ in regions(two, 255, connected=True)] == [3, 3]


def test_masked_crop_is_a_filled_square():
    image = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)
    mask = np.zeros((3, 4), bool)
    mask[1, 1:4] = True
    mask[1, 2] = False
    crop = masked_crop(image, mask)
    assert crop.shape == (3, 3, 3)
    np.testing.assert_array_equal(crop[1, 0], image[1, 1])
    np.testing.assert_array_equal(crop[1, 2], image[1, 3])
    assert (crop[[0, 2]] == GRAY).all()
    assert (crop[1, 1] == GRAY).all()
    with pytest.raises(ValueError, match="mask is empty"):
        masked_crop(image, np.zeros((3, 4), bool))


def test_true_regions_get_the_classifiers_names():
    image = np.zeros((3, 4, 3), np.uint8)
    image[TARGET == 1] = 200
    seen = []

    def classify(crops):
        seen.extend(crops)
        return np.array([7 if (crop == 200).any() else 4 for crop in crops])

    labels = name_true_regions(image, TARGET, 255, classify)
    assert labels.tolist() == [[7, 7, 4, 4], [7, 7, 4, 0], [4, 4, 4, 0]]
    assert len(seen) == 3


def test_an_image_without_labels_asks_nothing():
    labels = name_true_regions(np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 255), 255, lambda crops: 1 / 0)
    assert not labels.any()


def test_predicted_regions_get_the_class_they_overlap_most():
    prediction = np.array([[5, 5, 5, 9], [5, 5, 6, 9], [6, 6, 6, 9]])
    # Region 5: four pixels of class 1, one of 0. Region 6: class 2 once, class 0 three times. Region 9: one pixel of 0.
    expected = [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert name_by_overlap(prediction, TARGET, 255).tolist() == expected


def test_components_of_one_predicted_class_may_get_different_names():
    prediction = np.array([[5, 6, 5]])
    target = np.array([[1, 0, 2]])
    assert name_by_overlap(prediction, target, 255).tolist() == [[1, 0, 2]]
    assert name_by_overlap(prediction, target, 255, connected=False).tolist() == [[1, 0, 1]]


def test_perfect_regions_reach_the_ground_truth():
    scrambled = np.where(TARGET == 255, 0, (TARGET + 1) % 3)
    named = name_by_overlap(scrambled, TARGET, 255)
    assert (named == TARGET)[TARGET != 255].all()
