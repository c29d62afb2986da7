"""SegCLIP's superpixel loss."""

import pytest
import torch
import torch.nn.functional as F

from physseg.losses.superpixel import superpixel_loss


def plain(assignment, superpixels):
    """The formula, image by image and patch by patch."""
    total = torch.zeros((), dtype=assignment.dtype)
    for own, ids in zip(assignment, superpixels, strict=True):
        for n in range(own.shape[1]):
            p = own[:, n].softmax(0)
            q = own[:, ids == ids[n]].mean(1).softmax(0)
            total = total + (F.kl_div(p.log(), q, reduction="sum") + F.kl_div(q.log(), p, reduction="sum")) / 2
    return total / assignment.numel()


def test_the_formula():
    assignment = torch.randn(2, 3, 5, dtype=torch.float64)
    superpixels = torch.tensor([[4, 4, 0, 0, 4], [1, 2, 3, 1, 2]])
    found = superpixel_loss(assignment, superpixels)
    assert found.item() == pytest.approx(plain(assignment, superpixels).item(), rel=1e-12)


def test_an_even_split_by_hand():
    """Two patches of one superpixel at two of eight centres: p is e / (e + 7) and 1 / (e + 7), q e^.5 / (2 e^.5 + 6)
    and 1 / (2 e^.5 + 6)."""
    e, root = torch.e, torch.e**0.5
    p, q = torch.tensor([e] + [1.0] * 7) / (e + 7), torch.tensor([root, root] + [1.0] * 6) / (2 * root + 6)
    expected = ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2 / 8
    split = F.one_hot(torch.tensor([[0, 1]]), 8).float().transpose(1, 2)
    assert superpixel_loss(split, torch.zeros(1, 2)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert expected.item() == pytest.approx(0.0055, abs=5e-5)


def test_patches_of_a_superpixel_at_one_centre_cost_nothing():
    assignment = F.one_hot(torch.tensor([[0, 0, 2, 2]]), 3).float().transpose(1, 2)
    assert superpixel_loss(assignment, torch.tensor([[5, 5, 9, 9]])).item() == pytest.approx(0, abs=1e-7)


def test_gradients():
    assignment = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: superpixel_loss(a, torch.tensor([[0, 0, 1, 0]])), assignment)


def test_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(1, 2, 4\) and \(1, 3\)"):
        superpixel_loss(torch.zeros(1, 2, 4), torch.zeros(1, 3))
