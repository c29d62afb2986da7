"""Logits to probabilities and labels, a few classes at a time."""

import torch

from physseg.modeling.catseg.cost_volume import ClassLogits
from physseg.modeling.postprocess import (
    RESIZE_CHUNK,
    labels_by_chunks,
    probabilities_by_chunks,
    resize_probabilities,
    whole_prediction,
)

SIZE = (15, 20)


def test_whole_prediction_is_the_resized_sigmoid():
    logits = torch.randn(1, 2 * RESIZE_CHUNK + 3, 6, 8)
    found = whole_prediction(ClassLogits(logits, None, logits.shape[1]), SIZE, (1.0, 1.0), False)["sem_seg"]
    assert torch.equal(found, resize_probabilities(logits[0].sigmoid(), SIZE))


def test_classes_that_were_not_kept_have_no_probability():
    values, classes = torch.randn(1, 3, 6, 8), torch.tensor([[1, 4, 5]])
    found = whole_prediction(ClassLogits(values, classes, 7), SIZE, (1.0, 1.0), False)["sem_seg"]
    assert found.shape == (7, *SIZE)
    assert torch.equal(found[classes[0]], resize_probabilities(values[0].sigmoid(), SIZE))
    assert found[[0, 2, 3, 6]].max() < 1e-40


def test_no_more_than_a_few_maps_exist_beside_the_result():
    asked = []

    def maps(part):
        asked.append(part)
        return torch.rand(len(range(*part.indices(20))), *SIZE)

    probabilities_by_chunks(maps, torch.arange(20), 20, SIZE)
    labels_by_chunks(maps, torch.arange(20))
    assert max(part.stop - part.start for part in asked) == RESIZE_CHUNK
    assert len(asked) == 2 * 3
