"""ZeroSeg's losses against a teacher."""

import pytest
import torch

from physseg.losses.distillation import matching_loss, multi_scale_loss


def test_every_view_counts():
    image = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    views = torch.tensor([[[0.0, 0.0], [1.0, 4.0]], [[2.0, 2.0], [0.0, 1.0]]])
    # Means over the two channels: 0.5 + 2, and 2 + 0.5.
    assert multi_scale_loss(image, views).item() == 2.5


def test_a_segment_takes_the_view_nearest_to_it():
    segments = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [9.0, 9.0]]])
    views = torch.tensor([[[1.0, 3.0], [0.0, 1.0]]])
    # min(2, 0.5) + min(0.5, 1) + min(7, 8.5)
    assert matching_loss(segments, views).item() == 8.0


def test_gradients():
    segments = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    image, views = torch.randn(2, 4, dtype=torch.float64, requires_grad=True), torch.randn(2, 5, 4).double()
    assert torch.autograd.gradcheck(lambda g: matching_loss(g, views), segments)
    assert torch.autograd.gradcheck(lambda z: multi_scale_loss(z, views), image)


def test_half_precision_is_computed_in_single():
    views = torch.randn(1, 5, 4).half()
    assert multi_scale_loss(torch.randn(1, 4).bfloat16(), views).dtype == torch.float32
    assert matching_loss(torch.randn(1, 3, 4).bfloat16(), views).dtype == torch.float32


def test_shapes_are_named():
    with pytest.raises(ValueError, match=r"got \(1, 0, 4\) for \(1, 3, 4\)"):
        matching_loss(torch.zeros(1, 3, 4), torch.zeros(1, 0, 4))
    with pytest.raises(ValueError, match=r"got \(1, 2, 5\) for \(1, 1, 4\)"):
        multi_scale_loss(torch.zeros(1, 4), torch.zeros(1, 2, 5))
