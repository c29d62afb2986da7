"""Reconstruction loss of masked patches."""

import pytest
import torch

from physseg.losses.reconstruction import reconstruction_loss


def test_only_masked_patches_count():
    pixels = torch.tensor([[[1.0, 3.0], [9.0, 9.0]], [[2.0, 0.0], [1.0, 1.0]]])
    masked = torch.tensor([[True, False], [True, True]])
    # Patch means 5, 2 and 1.
    assert reconstruction_loss(torch.zeros(2, 2, 2), pixels, masked).item() == pytest.approx(8 / 3)


def test_gradients_reach_masked_patches_alone():
    predicted = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)
    pixels, masked = torch.randn(1, 3, 2, dtype=torch.float64), torch.tensor([[True, False, True]])
    assert torch.autograd.gradcheck(lambda x: reconstruction_loss(x, pixels, masked), predicted)
    (gradient,) = torch.autograd.grad(reconstruction_loss(predicted, pixels, masked), predicted)
    assert gradient[0, 1].tolist() == [0, 0]
    assert gradient[0, 0].abs().min() > 0


def test_half_precision_predictions_are_compared_in_the_pixels_type():
    loss = reconstruction_loss(
        torch.zeros(1, 1, 2, dtype=torch.bfloat16), torch.ones(1, 1, 2), torch.ones(1, 1, dtype=torch.bool)
    )
    assert (loss.dtype, loss.item()) == (torch.float32, 1)


def test_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(1, 2, 4\), \(1, 2, 3\) and \(1, 2\)"):
        reconstruction_loss(torch.zeros(1, 2, 4), torch.zeros(1, 2, 3), torch.ones(1, 2))
