"""Names of patches, with a CLIP whose features are the picture's colours."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from torch import nn

from physseg.evaluation.patch_names import (
    count_patches,
    evaluate_patch_names,
    nearest_names,
    patch_accuracies,
    patch_labels,
)

IGNORE = 255
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
Features = namedtuple("Features", "dense")


class ColourClip(nn.Module):
    """A 2x2 grid of mean colours."""

    image_size = 8

    def forward(self, images):
        assert images.shape[-2:] == (8, 8)
        return Features(nn.functional.avg_pool2d(images, 4))


class ColourModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.clip = ColourClip()
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.register_buffer("pixel_std", torch.full((3, 1, 1), 255.0))

    device = torch.device("cpu")

    def text_features(self, names):
        return torch.tensor([COLOURS[name] for name in names]).float()[:, None]


def picture(*quarters):
    """(3, 16, 16) uint8 of four quarters, row by row."""
    tiles = [np.full((8, 8, 3), COLOURS[name], np.uint8) for name in quarters]
    image = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    return torch.from_numpy(image).permute(2, 0, 1)


def test_nearest_names_follow_the_vocabularys_order():
    image = picture("red", "green", "blue", "red")
    assert nearest_names(ColourModel(), image, ["red", "green", "blue"]).tolist() == [[0, 1], [2, 0]]
    assert nearest_names(ColourModel(), image, ["blue", "red", "green"]).tolist() == [[1, 2], [0, 1]]


def test_a_patch_has_the_class_of_most_pixels_and_none_if_mostly_unlabelled():
    labels = torch.full((1, 4, 4), IGNORE)
    labels[0, :2, :2] = torch.tensor([[0, 1], [1, 1]])
    labels[0, :2, 2:] = torch.tensor([[2, IGNORE], [2, IGNORE]])  # half
    labels[0, 2, 0] = 2  # a quarter
    assert patch_labels(labels, (2, 2), 3, IGNORE).tolist() == [[[1, 2], [IGNORE, IGNORE]]]


def test_counts_and_shares_by_hand():
    predicted = torch.tensor([[0, 1, 1, 2], [2, 2, 0, 0]])
    true = torch.tensor([[0, 1, 2, 2], [2, IGNORE, 1, IGNORE]])
    counts = count_patches(predicted, true, 3, IGNORE)
    assert counts.tolist() == [[1, 2, 3], [1, 1, 2]]
    found = patch_accuracies(counts.numpy(), np.array([True, False, False]))
    expected = {"patch_accuracy": 400 / 6, "patch_accuracy_seen": 100.0, "patch_accuracy_unseen": 60.0}
    assert found == pytest.approx(expected)


def test_a_folded_class_is_neither_seen_nor_unseen():
    counts = np.array([[2, 2, 100], [2, 1, 0]])
    found = patch_accuracies(counts, np.array([True, False]))
    assert found["patch_accuracy_seen"] == 100
    assert found["patch_accuracy_unseen"] == 50
    assert found["patch_accuracy"] == pytest.approx(300 / 104)
    assert np.isnan(patch_accuracies(counts, np.array([True, True]))["patch_accuracy_unseen"])


@pytest.fixture
def dataset(tmp_path):
    """One picture, its label map at another size; "green" and "blue" may be folded into one background."""
    labels = np.kron([[0, 1], [2, 1]], np.ones((5, 5), np.uint8)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    name = "physseg_patch_names"
    DatasetCatalog.register(name, lambda: [{"file_name": "a", "sem_seg_file_name": str(tmp_path / "a.png")}])
    MetadataCatalog.get(name).set(stuff_classes=["red", "green", "blue"], ignore_label=IGNORE)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_over_a_data_set(dataset):
    image = picture("red", "green", "blue", "red")
    loader = [[{"file_name": "a", "image": image, "vocabulary": ["red", "green", "blue"]}]]
    found = evaluate_patch_names(ColourModel(), loader, dataset, ["green"])
    assert found == {"patch_accuracy": 75.0, "patch_accuracy_seen": 50.0, "patch_accuracy_unseen": 100.0}


def test_folded_names_count_as_the_last_class(dataset, tmp_path):
    MetadataCatalog.remove(dataset)
    meta = MetadataCatalog.get(dataset)
    meta.set(stuff_classes=["red", "background"], ignore_label=IGNORE, evaluator_type="sem_seg_background")
    Image.fromarray(np.kron([[0, 1], [1, 1]], np.ones((5, 5), np.uint8)).astype(np.uint8)).save(tmp_path / "a.png")
    image = picture("red", "green", "blue", "red")
    loader = [[{"file_name": "a", "image": image, "vocabulary": ["red", "green", "blue"]}]]
    found = evaluate_patch_names(ColourModel(), loader, dataset, ["red"])
    assert found["patch_accuracy"] == 75.0
    assert found["patch_accuracy_seen"] == 100.0
