"""Focal loss of structure maps: by hand, at extreme logits, and its targets' grid."""

import math

import pytest
import torch

from physseg.losses import StructureLoss, structure_loss
from physseg.losses.structure import quality_focal_loss


def test_by_hand():
    # p = 0.8 on a structure, 0.2 off it, 0.8 off it.
    x = math.log(4)
    logits = torch.tensor([x, -x, x]).view(1, 1, 1, 3)
    targets = torch.tensor([1, 0, 0], dtype=torch.uint8).view(1, 1, 1, 3)
    expected = (0.25 * 0.2**2 * -math.log(0.8) + 0.75 * 0.2**2 * -math.log(0.8) + 0.75 * 0.8**2 * -math.log(0.2)) / 3
    assert structure_loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_with_alpha_half_and_gamma_zero_it_is_half_the_cross_entropy():
    logits, targets = torch.randn(2, 3, 4, 4), torch.randint(0, 2, (2, 3, 4, 4), dtype=torch.uint8)
    expected = torch.nn.functional.binary_cross_entropy(logits.sigmoid(), targets.float()) / 2
    torch.testing.assert_close(structure_loss(logits, targets, alpha=0.5, gamma=0.0), expected)
    torch.testing.assert_close(StructureLoss(0.5, 0.0)(logits, targets), expected)


def test_float_targets_of_0_and_1_give_the_same_loss():
    logits, targets = torch.randn(2, 3, 4, 4), torch.randint(0, 2, (2, 3, 4, 4), dtype=torch.uint8)
    torch.testing.assert_close(structure_loss(logits, targets.float()), structure_loss(logits, targets))


def test_soft_target_by_hand():
    """s_est 0.8 for a target of 0.5: alpha_t 0.5, distance 0.3."""
    loss = structure_loss(torch.tensor(math.log(4)).view(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5))
    assert loss.item() == pytest.approx(0.5 * 0.3**2 * -(math.log(0.8) + math.log(0.2)) / 2, rel=1e-5)


@pytest.mark.parametrize("target", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_soft_target_is_where_the_loss_is_smallest(target):
    estimates = torch.linspace(0.005, 0.995, 199).view(1, 1, 1, -1)
    targets = torch.full_like(estimates, target)
    losses = quality_focal_loss(torch.logit(estimates), targets, alpha=0.25, gamma=2.0).flatten()
    assert estimates.flatten()[losses.argmin()].item() == pytest.approx(target, abs=0.006)


def test_gradient_of_soft_targets():
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(2, 1, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: quality_focal_loss(x, targets, 0.25, 2.0), logits)


def test_one_pixel_in_a_cell_makes_the_cell_a_structure():
    targets = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    targets[0, 0, 2, 5] = 1
    cell = torch.full((1, 1, 2, 2), -20.0)
    cell[0, 0, 0, 1] = 20.0
    assert structure_loss(cell, targets).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_logits_in_half_precision_give_finite_loss_and_gradient(dtype):
    logits = torch.tensor([-6e4, 6e4, -6e4, 6e4]).to(dtype).view(1, 1, 2, 2).requires_grad_()
    targets = torch.tensor([1, 0, 0, 1], dtype=torch.uint8).view(1, 1, 2, 2)
    with torch.autocast("cpu", dtype=dtype):
        loss = structure_loss(logits, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(6e4 * (0.25 + 0.75) / 4, rel=0.01)
    assert logits.grad.isfinite().all()


def test_gradient_equals_a_central_difference():
    """Not gradcheck: fvcore works in float32 whatever it is given."""
    logits = torch.randn(1, 1, 1, 2, requires_grad=True)
    targets = torch.tensor([1, 0], dtype=torch.uint8).view(1, 1, 1, 2)
    structure_loss(logits, targets).backward()
    for i in range(2):
        step = torch.zeros_like(logits)
        step[0, 0, 0, i] = 1e-2
        slope = (structure_loss(logits + step, targets) - structure_loss(logits - step, targets)) / 2e-2
        assert logits.grad[0, 0, 0, i].item() == pytest.approx(slope.item(), abs=1e-4)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"must agree in B and S; got \(1, 2, 4, 4\) and \(1, 1, 8, 8\)"):
        structure_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 8, 8))
