"""Weighted patch alignment: weights by hand, both forms, gradients, half precision."""

import math

import pytest
import torch
import torch.nn.functional as F

from physseg.losses import PatchAlignmentLoss, patch_alignment_loss, patch_weights
from physseg.losses.patch_alignment import count_labelled_patches
from physseg.modeling.clip.encoder import ClipEncoder

IGNORE = 255


def two_patches() -> torch.Tensor:
    """One image of 2x4 pixels, two patches of 2x2: (0, 0, 1, ignore) and (2, 2, 2, 2)."""
    return torch.tensor([[[0, 0, 2, 2], [1, IGNORE, 2, 2]]])


def test_weights_of_two_patches_by_hand():
    weights = patch_weights(two_patches(), (1, 2), num_classes=3, ignore_value=IGNORE)
    assert torch.equal(weights, torch.tensor([[0.5, 0.25, 0.0], [0.0, 0.0, 1.0]]))


def test_weights_equal_pooled_one_hot_and_sum_to_the_labelled_share():
    sem_seg = torch.randint(0, 6, (2, 32, 48))
    sem_seg[sem_seg == 5] = IGNORE
    weights = patch_weights(sem_seg, (4, 6), num_classes=5, ignore_value=IGNORE)
    one_hot = torch.stack([sem_seg == j for j in range(5)], dim=1).float()
    pooled = F.avg_pool2d(one_hot, 8).flatten(2).transpose(1, 2).flatten(0, 1)
    assert torch.equal(weights, pooled)  # 64 pixels a patch: the shares are exact in float32
    share = F.avg_pool2d((sem_seg != IGNORE).float()[:, None], 8).flatten()
    torch.testing.assert_close(weights.sum(1), share)


@pytest.mark.parametrize("size", [(5, 7), (3, 2), (24, 16)])
def test_pixel_belongs_to_patch_floor_y_h_over_height(size):
    height, width = size
    h, w = 3, 4
    sem_seg = torch.randint(0, 3, (1, height, width))
    expected, pixels = torch.zeros(h * w, 3), torch.zeros(h * w, 1)
    for y in range(0, height):
        for x in range(0, width):
            patch = (y * h // height) * w + x * w // width
            expected[patch, sem_seg[0, y, x]] += 1
            pixels[patch] += 1
    weights = patch_weights(sem_seg, (h, w), num_classes=3, ignore_value=IGNORE)
    torch.testing.assert_close(weights, expected / pixels.clamp(min=1))


@pytest.mark.parametrize("size", [(5, 7), (3, 2), (24, 16)])
def test_labelled_patches_are_the_rows_with_a_weight(size):
    sem_seg = torch.randint(0, 3, (2, *size))
    sem_seg[torch.rand(sem_seg.shape) < 0.7] = IGNORE
    weights = patch_weights(sem_seg, (3, 4), num_classes=3, ignore_value=IGNORE)
    assert count_labelled_patches(sem_seg, (3, 4), IGNORE).item() == (weights.sum(1) > 0).sum().item()


def test_ignore_value_may_lie_anywhere_outside_the_classes():
    sem_seg = torch.tensor([[[0, -1], [1, 1]]])
    assert patch_weights(sem_seg, (1, 1), 2, ignore_value=-1).tolist() == [[0.25, 0.5]]


def test_unknown_label_is_an_error_that_names_the_key():
    with pytest.raises(ValueError, match=r"labels must be 0\.\.1 or MODEL.SEM_SEG_HEAD.IGNORE_VALUE 255; got \[2\]"):
        patch_weights(two_patches(), (1, 2), num_classes=2, ignore_value=IGNORE)


def hand_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Patches along classes 0 and 2 of three orthogonal classes; cosines 1 and 0; lengths must not matter."""
    return (
        torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.1]]),
        2 * torch.eye(3),
        patch_weights(two_patches(), (1, 2), 3, IGNORE),
    )


def test_two_patches_by_hand():
    image, text, weights = hand_case()
    e = math.e
    # p of patch 0 is (e, 1, 1) / (e + 2), w = (1/2, 1/4, 0); patch 1 is class 2 alone.
    neg_log = (-math.log((e / 2 + 1 / 4) / (e + 2)) - math.log(e / (e + 2))) / 2
    soft = ((-math.log(e / (e + 2)) / 2 - math.log(1 / (e + 2)) / 4) - math.log(e / (e + 2))) / 2
    assert patch_alignment_loss(image, text, weights, 1.0).item() == pytest.approx(neg_log, rel=1e-6)
    assert patch_alignment_loss(image, text, weights, 1.0, form="soft_cross_entropy").item() == pytest.approx(soft)


def test_unlabelled_patches_are_left_out():
    image, text, weights = hand_case()
    more = torch.cat([weights, torch.zeros(5, 3)])
    image_more = torch.cat([image, torch.randn(5, 3)])
    for form in ("neg_log", "soft_cross_entropy"):
        expected = patch_alignment_loss(image, text, weights, 7.0, form)
        torch.testing.assert_close(patch_alignment_loss(image_more, text, more, 7.0, form), expected)


@pytest.mark.parametrize("form", ["neg_log", "soft_cross_entropy"])
def test_is_info_nce_when_each_patch_holds_one_class(form):
    image, text, classes = torch.randn(12, 8), torch.randn(5, 8), torch.randint(0, 5, (12,))
    scale = 1 / 0.07
    cosine = F.cosine_similarity(image[:, None], text[None], dim=2)
    expected = F.cross_entropy(scale * cosine, classes)
    loss = patch_alignment_loss(image, text, F.one_hot(classes, 5).float(), scale, form)
    torch.testing.assert_close(loss, expected)


def test_present_negatives_equal_the_vocabulary_without_the_other_classes():
    image, text, weights = torch.randn(6, 8), torch.randn(9, 8), torch.zeros(6, 9)
    weights[:, [2, 5]] = torch.rand(6, 2) / 2
    for form in ("neg_log", "soft_cross_entropy"):
        present = patch_alignment_loss(image, text, weights, 5.0, form, negatives="present")
        torch.testing.assert_close(present, patch_alignment_loss(image, text[[2, 5]], weights[:, [2, 5]], 5.0, form))
        assert present < patch_alignment_loss(image, text, weights, 5.0, form)


@pytest.mark.parametrize("form", ["neg_log", "soft_cross_entropy"])
@pytest.mark.parametrize("negatives", ["vocabulary", "present"])
def test_gradcheck(form, negatives):
    image = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    text = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(4, 5, dtype=torch.float64) / 5
    weights[0], weights[1, 2], weights[:, 4] = 0, 0, 0  # an unlabelled patch, an absent class in one and in all
    assert torch.autograd.gradcheck(
        lambda *inputs: patch_alignment_loss(inputs[0], inputs[1], weights, inputs[2], form, negatives),
        (image, text, scale),
    )


def test_a_step_down_the_loss_brings_patches_nearer_to_their_classes():
    """As printed, eq. 3 would do the opposite."""
    image, text, classes = torch.randn(6, 8, requires_grad=True), torch.randn(4, 8), torch.arange(6) % 4
    loss = patch_alignment_loss(image, text, F.one_hot(classes, 4).float(), 5.0)
    (gradient,) = torch.autograd.grad(loss, image)
    before = F.cosine_similarity(image, text[classes]).mean()
    assert F.cosine_similarity(image - gradient, text[classes]).mean() > before


@pytest.mark.parametrize("negatives", ["vocabulary", "present"])
def test_no_labelled_patch_gives_zero_and_zero_gradients(negatives):
    module = PatchAlignmentLoss(8, 8, negatives=negatives)
    features = torch.randn(1, 8, 2, 2, requires_grad=True)
    loss = module(features, torch.randn(3, 8), torch.full((1, 4, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(features.grad) == 0
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.count_nonzero(parameter.grad) == 0, name


def test_module_equals_function_and_starts_at_the_features_own_similarity():
    module = PatchAlignmentLoss(8, 8)
    features, text, sem_seg = torch.randn(2, 8, 2, 2), torch.randn(3, 8), torch.randint(0, 3, (2, 6, 6))
    weights = patch_weights(sem_seg, (2, 2), 3, IGNORE)
    patches = features.permute(0, 2, 3, 1).reshape(8, 8)
    torch.testing.assert_close(
        module(features, text, sem_seg), patch_alignment_loss(patches, text, weights, 1 / 0.07), rtol=1e-4, atol=1e-4
    )


def test_module_projects_features_of_different_widths():
    module = PatchAlignmentLoss(8, 6, dim=4)
    assert module.project_image.weight.shape == (4, 8)
    assert module.project_text.weight.shape == (4, 6)
    assert module(torch.randn(1, 8, 2, 2), torch.randn(3, 6), torch.zeros(1, 4, 4, dtype=torch.long)).isfinite()


def test_temperature_starts_and_is_held_as_clips():
    module = PatchAlignmentLoss(4, 4)
    assert module.log_scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        module.log_scale.fill_(9.0)
    loss = module(torch.randn(1, 4, 2, 2), torch.randn(3, 4), torch.randint(0, 3, (1, 4, 4)))
    loss.backward()
    assert module.log_scale.exp().item() == pytest.approx(100)
    assert module.log_scale.grad != 0  # held, not stuck


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["neg_log", "soft_cross_entropy"])
def test_half_precision_features_under_autocast_give_the_float32_loss(dtype, form):
    module = PatchAlignmentLoss(16, 16, form=form)
    with torch.no_grad():
        module.log_scale.fill_(math.log(100))
    features = (100 * torch.randn(2, 16, 3, 3)).to(dtype).requires_grad_()
    text, sem_seg = torch.randn(20, 16).to(dtype), torch.randint(0, 20, (2, 12, 12))
    sem_seg[0] = IGNORE
    with torch.autocast("cpu", dtype=dtype):
        loss = module(features, text, sem_seg)
    loss.backward()
    assert loss.dtype == torch.float32
    assert features.grad.isfinite().all()
    assert torch.equal(loss, module(features.float(), text.float(), sem_seg))


def test_trains_both_towers_of_clip():
    encoder = ClipEncoder("physseg-toy", "", image_size=96)
    module = PatchAlignmentLoss(encoder.embed_dim, encoder.embed_dim)
    text = encoder.encode_text(["tree", "red box"]).mean(1)
    module(encoder(torch.randn(1, 3, 96, 96)).dense, text, torch.randint(0, 2, (1, 96, 96))).backward()
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    reached = {name for name, p in encoder.named_parameters() if p.grad is not None and p.grad.any()}
    last = len(encoder.model.visual.transformer.resblocks) - 1
    # The dense path uses no q in the last visual block.
    assert reached == trained - {f"model.visual.transformer.resblocks.{last}.attn.q_proj_weight"}


def test_unknown_choices_name_the_key():
    with pytest.raises(ValueError, match=r"MODEL.PATCH_ALIGNMENT.FORM must be one of .*; got 'log'"):
        PatchAlignmentLoss(4, 4, form="log")
    with pytest.raises(ValueError, match=r"MODEL.PATCH_ALIGNMENT.NEGATIVES must be one of .*; got 'all'"):
        PatchAlignmentLoss(4, 4, negatives="all")
    with pytest.raises(ValueError, match=r"MODEL.PATCH_ALIGNMENT.TEMPERATURE must be at least 0.01; got 0"):
        PatchAlignmentLoss(4, 4, temperature=0)
