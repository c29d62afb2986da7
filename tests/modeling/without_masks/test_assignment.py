"""Hard assignment with the softmax's gradient."""

import torch

from physseg.modeling.without_masks.assignment import assign, gumbel_noise


def test_every_patch_goes_to_the_group_of_its_largest_score():
    scores = torch.tensor([[[3.0, 1.0, -9.0], [2.0, 2.0, -8.0]]])
    result = assign(scores)
    assert result.hard.tolist() == [[[1, 0, 0], [0, 1, 1]]]
    assert torch.allclose(result.soft[0, 0, 0], torch.tensor(1 / (1 + torch.e**-1)))
    assert torch.equal(result.soft.sum(1), torch.ones(1, 3))


def test_noise_moves_patches_and_leaves_the_soft_assignment_alone():
    scores = torch.tensor([[[1.0], [0.0]]])
    result = assign(scores, noise=torch.tensor([[[0.0], [5.0]]]))
    assert result.hard.tolist() == [[[0], [1]]]
    assert torch.equal(result.soft, scores.softmax(1))


def test_the_gradient_is_that_of_the_noisy_softmax():
    scores = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    noise, weight = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    (found,) = torch.autograd.grad((assign(scores, 0.5, noise).hard * weight).sum(), scores)
    (expected,) = torch.autograd.grad((((scores.float() + noise) / 0.5).softmax(1) * weight).sum(), scores)
    assert torch.equal(found, expected)
    assert found.abs().max() > 0


def test_gumbel_noise_draws_from_the_softmax():
    # 40,000 draws: a share is within 0.01 of its probability by four standard deviations.
    scores = torch.tensor([0.0, 1.0, 2.0])
    drawn = (scores[:, None] + gumbel_noise(3, 40_000)).argmax(0)
    shares = torch.bincount(drawn, minlength=3) / 40_000
    assert torch.allclose(shares, scores.softmax(0), atol=0.01)


def test_half_precision_scores_are_computed_in_single():
    result = assign(torch.randn(1, 2, 3, dtype=torch.bfloat16))
    assert result.hard.dtype == result.soft.dtype == torch.float32
