"""Scores of groups, the background rule and class maps, by hand."""

import torch

from physseg.modeling.sliding_window import plan_crops
from physseg.modeling.without_masks.group_scores import (
    class_maps,
    group_class_scores,
    pixel_groups,
    with_background,
)


def test_the_second_softmax_is_over_the_classes_that_fit_the_window():
    text = torch.eye(3)
    groups = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 0.0, 5.0]]])  # norms do not matter
    image = torch.tensor([[1.0, 0.9, 0.0]])  # classes 0 and 1 fit
    found = group_class_scores(groups, image, text, 10.0, 2)
    e = torch.tensor(10.0).exp()
    first, second = 1 / (e + 2), 1 / (e + 1)
    # Group 0: e / (e + 2) of all, e / (e + 1) of the two. Group 1: its own class is not among the two.
    expected = torch.stack(
        [torch.stack([e * first * e * second, first * second, 0 * e]), torch.stack([first / 2, first / 2, 0 * e])]
    )
    assert torch.allclose(found[0], expected, rtol=1e-5)


def test_fewer_classes_than_wanted():
    scores = group_class_scores(torch.randn(2, 4, 3), torch.randn(2, 3), torch.randn(2, 3), 10.0, 5)
    fit = scores.sqrt()  # both softmaxes are over all classes
    assert torch.allclose(fit.sum(-1), torch.ones(2, 4))


def test_what_scores_low_is_background():
    scores = torch.tensor([[[0.9, 0.1], [0.2, 0.5]]])
    assert with_background(scores, 0, 0.6).tolist() == [
        [[0, scores[0, 0, 0], scores[0, 0, 1]], [1, scores[0, 1, 0], scores[0, 1, 1]]]
    ]
    # A background in the middle, and a threshold that nothing reaches: the best group keeps its class.
    found = with_background(scores, 1, 0.99)
    assert found[0, :, 1].tolist() == [0, 1]
    assert torch.equal(found[0, :, [0, 2]], scores[0])


def test_pixels_take_the_largest_of_the_enlarged_assignment():
    soft = torch.tensor([[[0.9, 0.1], [0.1, 0.9]]])  # two groups, two patches side by side
    assert pixel_groups(soft, (1, 2), (2, 8)).tolist() == [[[0, 0, 0, 0, 1, 1, 1, 1]] * 2]


def test_windows_are_put_together():
    plan = plan_crops((2, 6), 4, 2)  # columns 0-3 and 2-5
    scores = torch.tensor([[[1.0, 0.0]], [[0.0, 0.5]]])  # a group each
    groups = torch.zeros(2, 2, 4, dtype=torch.int64)
    maps = class_maps(scores, groups, plan, (2, 6))
    assert maps(slice(0, 2))[:, 0].tolist() == [[1, 1, 0.5, 0.5, 0, 0], [0, 0, 0.25, 0.25, 0.5, 0.5]]
    assert torch.equal(maps(slice(1, 2)), maps(slice(0, 2))[1:])
