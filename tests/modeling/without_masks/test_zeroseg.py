"""ZeroSeg on the toy CLIP; its grouping against the published block: test_groupvit_grouping.py."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from physseg import ZeroSeg, load_config
from physseg.losses.distillation import matching_loss
from physseg.modeling.without_masks import zeroseg
from physseg.modeling.without_masks.masked_autoencoder import random_masking
from physseg.modeling.without_masks.patch_encoder import PatchEncoder
from tests.reached import reached_by
from tests.two_processes import check_two_processes_equal_one

OPTS = ("MODEL.DEVICE", "cpu", "MODEL.ZEROSEG.GROUPS", [6, 3], "MODEL.ZEROSEG.ENCODER.DEPTH", 2)
WORDS = ["red disc", "blue star", "green brick wall", "yellow tiled floor"]


def build(*opts):
    torch.manual_seed(0)
    return ZeroSeg(load_config("configs/without_masks/zeroseg_toy.yaml", [*OPTS, *opts]))


def batch(count=3):
    rng = np.random.default_rng(0)
    views = torch.from_numpy(rng.standard_normal((count, 30, 128)).astype(np.float32))
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8))
    return [{"image": i, "teacher": F.normalize(v, dim=-1).half()} for i, v in zip(images, views, strict=True)]


def test_gradients_reach_all_but_the_teacher():
    model = build().train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    teacher = {f"clip.{name}" for name, _ in model.clip.named_parameters()}
    assert {name for name, _ in model.named_parameters()} - trained == teacher
    reached = reached_by(sum(model(batch()).values()), model)
    # What all keys share moves every score of a query alike; the mixing's bias is taken away by the norm behind it.
    without = {name for name in trained if name.endswith(("cross_attention.key.bias", ".query.bias", "mix.fc2.bias"))}
    assert trained - without <= reached


def test_the_teacher_does_not_change_in_training():
    model = build().train()
    before = {name: p.clone() for name, p in model.clip.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(model(batch()).values()).backward()
    optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in model.clip.named_parameters())


def test_two_processes_give_the_losses_and_gradients_of_one(tmp_path):
    check_two_processes_equal_one(build, batch(4), tmp_path)


def test_each_loss_reaches_its_own_parts():
    model = build().train()
    names = ["loss_reconstruction", "loss_multi_scale", "loss_matching"]
    assert list(model(batch())) == names
    parts = {name: reached_by(model(batch())[name], model) for name in names}
    assert {name.split(".")[0] for name in parts["loss_reconstruction"]} == {"encoder", "reconstruction"}
    for name in names[1:]:
        assert {part.split(".")[0] for part in parts[name]} == {"encoder", "head"}


def test_losses_can_be_switched_off():
    off = ("MODEL.ZEROSEG.RECONSTRUCTION.WEIGHT", 0, "MODEL.ZEROSEG.MATCHING.WEIGHT", 0)
    model = build(*off).train()
    assert model.reconstruction is None
    assert list(model(batch())) == ["loss_multi_scale"]


@pytest.mark.parametrize(("grids", "left"), [([1, 2, 3, 4], 29), ([2, 3, 4], 29)])
def test_the_whole_image_is_no_match(grids, left, monkeypatch):
    seen = []
    monkeypatch.setattr(zeroseg, "matching_loss", lambda g, v: seen.append(v.shape[1]) or matching_loss(g, v))
    model = build("MODEL.ZEROSEG.TEACHER.GRIDS", grids).train()
    samples = [x | {"teacher": x["teacher"][: sum(n * n for n in grids)]} for x in batch()]
    model(samples)
    assert seen == [left]


def test_a_share_of_the_patches_is_seen(monkeypatch):
    seen = []
    model = build().train()
    forward = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda x, masking=None: seen.append(masking) or forward(x, masking))
    model(batch())
    assert seen[0].visible.shape == (3, int(144 * 0.4))
    model.eval()([{"image": batch()[0]["image"], "vocabulary": WORDS}])
    assert seen[1] is None


def test_patches_reach_segments_by_way_of_their_groups():
    """Two groups after the second layer, two segments after the fourth: shares multiply, and sum to 1."""
    model = build("MODEL.ZEROSEG.GROUPS", [2, 2]).eval()
    with torch.no_grad():
        patches = torch.randn(1, 5, 128)
        found = model.head(patches)
        first, last = model.head.groupings
        y = model.head.stages[0](torch.cat([patches, model.head.tokens[0][None]], 1))
        one = first(y[:, :5], y[:, 5:])
        y = model.head.stages[1](torch.cat([one.tokens, model.head.tokens[1][None]], 1))
        two = last(y[:, :2], y[:, 2:])
    expected = torch.einsum("bkg,bgn->bkn", two.assignment.soft, one.assignment.soft)
    assert torch.allclose(found.soft, expected, atol=1e-6)
    assert torch.allclose(found.soft.sum(1), torch.ones(1, 5))
    assert found.segments.shape == (1, 2, 128)


def test_a_visible_patch_keeps_its_position():
    encoder = PatchEncoder(32, patch=8, dim=16, depth=0, heads=2).eval()
    images = torch.randn(1, 3, 32, 32)
    masking = random_masking(torch.rand(1, 16), 5)
    with torch.no_grad():
        (first, some), (same, all_patches) = encoder(images, masking), encoder(images)
    assert torch.allclose(some[0], all_patches[0, masking.visible[0]], atol=1e-6)
    assert torch.equal(first, same)


def test_any_size_and_any_words(image):
    model = build().eval()
    (result,) = model([{"image": image, "vocabulary": WORDS, "height": 50, "width": 70}])
    assert result["sem_seg"].shape == (4, 50, 70)
    assert ((result["sem_seg"] >= 0) & (result["sem_seg"] <= 1)).all()
    (labels,) = model([{"image": image, "vocabulary": WORDS, "output": "labels"}])
    assert torch.equal(labels["labels"], model([{"image": image, "vocabulary": WORDS}])[0]["sem_seg"].argmax(0))


def test_no_caption_is_read():
    model = build().train()
    torch.manual_seed(1)
    plain = model(batch())
    torch.manual_seed(1)
    with_words = model([x | {"caption": "a lie"} for x in batch()])
    assert all(torch.equal(plain[name], with_words[name]) for name in plain)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("INPUT.PAIRS.CROP", "random"), 'INPUT.PAIRS.CROP must be "centre"'),
        (("INPUT.PAIRS.SIZE", 100), r"INPUT.PAIRS.SIZE must be a multiple of MODEL\.ZEROSEG"),
        (("MODEL.ZEROSEG.TEACHER.IMAGE_SIZE", 100), r"MODEL.ZEROSEG.TEACHER.IMAGE_SIZE must be a multiple"),
        (("MODEL.ZEROSEG.TEACHER.GRIDS", [1]), r"MODEL\.ZEROSEG\.MATCHING\.WEIGHT must be 0"),
        (("MODEL.ZEROSEG.ENCODER.HEADS", 3), r"ENCODER\.HEADS must divide"),
        (("MODEL.ZEROSEG.ENCODER.PRETRAINED", "vit_none.mae"), r"MODEL\.ZEROSEG\.ENCODER\.NAME: timm .* has no model"),
    ],
)
def test_what_does_not_fit_is_named(opts, message):
    with pytest.raises(ValueError, match=message):
        build(*opts)


def test_samples_without_a_teacher():
    with pytest.raises(KeyError, match="'teacher' or 'views'"):
        build().train()([{"image": batch()[0]["image"]}])
