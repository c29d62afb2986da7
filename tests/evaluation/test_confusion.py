import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from physseg.evaluation.confusion import confusion_matrix


def test_hand_made_matrix():
    target = torch.tensor([[0, 0, 1], [2, 255, 1]])
    prediction = torch.tensor([[0, 1, 1], [0, 2, 1]])
    expected = [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert confusion_matrix(prediction, target, 3, 255).tolist() == expected


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    target, prediction = rng.integers(0, 12, (2, 37, 41))
    target[rng.random(target.shape) < 0.2] = 65535
    labelled = target != 65535
    expected = sklearn_confusion_matrix(target[labelled], prediction[labelled], labels=range(12))
    counts = confusion_matrix(torch.from_numpy(prediction), torch.from_numpy(target.astype(np.int32)), 12, 65535)
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), expected)


def test_predictions_on_ignored_pixels_never_count():
    target = torch.full((4, 4), 255)
    assert confusion_matrix(torch.full((4, 4), 99), target, 3, 255).sum() == 0


def test_ignore_label_inside_the_class_range_of_another_dataset():
    # 255 is an ordinary class of A-847, whose ignore label is 65535.
    counts = confusion_matrix(torch.tensor([[255]]), torch.tensor([[255]]), 847, 65535)
    assert counts[255, 255] == 1


@pytest.mark.parametrize("stray", [3, -1, 459])
def test_stray_label_names_file_and_value(stray):
    target = torch.tensor([[0, stray]])
    with pytest.raises(ValueError, match=rf"maps/a\.png: label {stray}: expected 0\.\.2 or the ignore label 255"):
        confusion_matrix(torch.zeros(1, 2, dtype=torch.long), target, 3, 255, "maps/a.png")


def test_stray_prediction_is_an_error():
    with pytest.raises(ValueError, match=r"a\.png: predicted class 5: expected 0\.\.2$"):
        confusion_matrix(torch.tensor([[5]]), torch.tensor([[0]]), 3, 255, "a.png")


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"prediction is \(2, 3\) and the ground truth \(3, 2\)"):
        confusion_matrix(torch.zeros(2, 3), torch.zeros(3, 2), 3, 255)
