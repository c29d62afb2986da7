"""The pointing game, by hand, and on a CLIP whose features are the picture's colours."""

import pytest
import torch

from physseg.evaluation.pointing import count_hits, evaluate_pointing
from tests.evaluation.test_patch_names import ColourModel, dataset, picture  # noqa: F401  (a fixture)


def test_hits_by_hand():
    # Class 0 fills the left half, 1 the right half; 2 does not occur, 255 is unlabelled.
    labels = torch.zeros(8, 8, dtype=torch.int64)
    labels[:, 4:] = 1
    labels[0, 0] = 255
    similarity = torch.zeros(3, 2, 2)
    similarity[0, 1, 0] = 1.0  # points at the left half
    similarity[1, 0, 0] = 1.0  # does so too: no hit
    similarity[2, 1, 1] = 1.0  # is not asked for
    assert count_hits(similarity, labels, 3).tolist() == [2, 1]
    assert count_hits(similarity, labels, 1).tolist() == [1, 1]
    assert count_hits(similarity, torch.full((8, 8), 255), 3).tolist() == [0, 0]


def test_a_patch_points_at_its_centre():
    labels = torch.zeros(6, 9, dtype=torch.int64)
    labels[4, 7] = 1
    similarity = torch.zeros(2, 2, 3)
    similarity[1, 1, 2] = 1.0  # rows 3 to 5, columns 6 to 8
    assert count_hits(similarity, labels, 2).tolist() == [2, 2]


def test_over_a_data_set(dataset):  # noqa: F811
    words = ["red", "green", "blue"]
    # The label map has red and green above, blue and green below.
    for quarters, hits in ((("red", "green", "blue", "red"), 3), (("green", "green", "blue", "red"), 1)):
        loader = [[{"file_name": "a", "image": picture(*quarters), "vocabulary": words}]]
        assert evaluate_pointing(ColourModel(), loader, dataset)["pointing_accuracy"] == pytest.approx(100 * hits / 3)
