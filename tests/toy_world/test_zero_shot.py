import numpy as np
import pytest
import torch

from physseg.toy_world.captions import single_object_scene
from physseg.toy_world.vocabularies import COMPOSITION_INDEX
from physseg.toy_world.zero_shot import _patch_labels, attribute_accuracy, held_out_pictures, normalize


def test_attribute_accuracy_by_hand():
    truth = [COMPOSITION_INDEX[n] for n in ("red plain disc", "red plain disc", "green dotted star", "blue plain disc")]
    guess = [COMPOSITION_INDEX[n] for n in ("red plain disc", "red plain star", "red dotted star", "blue brick wall")]
    found = attribute_accuracy(np.array(guess), np.array(truth))
    assert found == {"name": 0.25, "colour": 0.75, "texture": 0.75, "shape": 0.5}


def test_patch_labels_take_the_majority():
    labels = np.array([[1, 1, 2, 2], [1, 5, 3, 2], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(_patch_labels(labels, 2), [[1, 2], [0, 0]])


def test_normalize_maps_the_mean_to_zero():
    image = np.broadcast_to(np.array([123, 117, 104], np.uint8), (1, 2, 2, 3)).copy()
    found = normalize(image)
    assert found.shape == (1, 3, 2, 2)
    assert found.abs().max().item() == pytest.approx(0.0, abs=0.02)
    assert found.dtype == torch.float32


def test_held_out_pictures_repeat():
    first, second = (held_out_pictures(single_object_scene, 2, seed=0) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
