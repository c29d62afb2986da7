"""PACL: every equation written out, what trains, parts and processes, the stride, predictions and the background."""

import math

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from physseg import load_config
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.without_masks.pacl import PACL, PaclFeatures, VisionEmbedder, compatibility, spread
from physseg.toy_world.clip import WEIGHTS, load_toy_clip_state_dict, register_toy_clip
from tests.two_processes import check_two_processes_equal_one

WORDS = ["red disc", "blue star", "green brick wall"]


def model(*opts):
    torch.manual_seed(0)
    return build_model(load_config("configs/without_masks/pacl_toy.yaml", ("MODEL.DEVICE", "cpu", *opts)))


@pytest.fixture(scope="module")
def pacl():
    return model()


def batch(n=6):
    rng = np.random.default_rng(0)
    return [
        {
            "image": torch.from_numpy(rng.integers(0, 256, (3, 96, 96), dtype=np.uint8)),
            "image_id": index // 2 if index < 2 else index,
            "caption": f"a {colour} disc and a {colour} star",
        }
        for index, colour in zip(range(n), ["red", "green", "blue", "yellow", "purple", "white"] * 2, strict=False)
    ]


def test_the_embedder_has_the_papers_number_of_weights():
    assert sum(p.numel() for p in VisionEmbedder(768, 512).parameters()) == 1_050_112


def test_the_embedder_written_out():
    embedder, x = VisionEmbedder(6, 4), torch.randn(3, 6)
    first, _, second = embedder.layers
    hidden = (x @ first.weight.T + first.bias).clamp(min=0)
    y = hidden @ second.weight.T + second.bias + x @ embedder.skip.weight.T + embedder.skip.bias
    torch.testing.assert_close(embedder(x), y / y.norm(dim=1, keepdim=True))


def test_compatibility_by_hand():
    # Two patches at right angles, a text on the first: cosines 1 and 0, weights e / (e + 1) and 1 / (e + 1).
    patches = torch.eye(2, dtype=torch.float64)[None]
    text = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for temperature in (1.0, 0.1):
        w = math.exp(1 / temperature)
        expected = w / math.hypot(w, 1)
        assert compatibility(patches, text, temperature).item() == pytest.approx(expected)


def test_compatibility_pools_each_image_for_each_text(monkeypatch):
    patches = F.normalize(torch.randn(3, 5, 4, dtype=torch.float64), dim=-1).requires_grad_()
    texts = F.normalize(torch.randn(7, 4, dtype=torch.float64), dim=-1)
    phi = compatibility(patches, texts, 0.5)
    for b in range(3):
        for t in range(7):
            weights = ((patches[b] @ texts[t]) / 0.5).exp()
            pooled = (weights[:, None] * patches[b]).sum(0) / weights.sum()
            assert phi[b, t].item() == pytest.approx((pooled @ texts[t] / pooled.norm()).item())
    # A few texts at a time: the same numbers and gradients.
    (whole,) = torch.autograd.grad(phi.square().sum(), patches)
    monkeypatch.setattr("physseg.modeling.without_masks.pacl._PAIR_NUMBERS", 3 * 5 * 2)
    parts = compatibility(patches, texts, 0.5)
    (in_parts,) = torch.autograd.grad(parts.square().sum(), patches)
    assert torch.allclose(parts, phi)
    assert torch.allclose(in_parts, whole)


def test_gradient_of_the_compatibility():
    patches = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    texts = F.normalize(torch.randn(3, 4, dtype=torch.float64), dim=-1)
    assert torch.autograd.gradcheck(lambda p: compatibility(F.normalize(p, dim=-1), texts, 0.3), patches)


def test_tokens_are_clips_own_behind_its_last_norm(pacl):
    images = torch.randn(2, 3, 96, 96)
    tokens, grid = pacl.features.tokens(images, 8)
    plain = open_clip.create_model(register_toy_clip(), load_weights=False).eval()
    plain.load_state_dict(load_toy_clip_state_dict(WEIGHTS["toy-contrastive"]))
    visual = plain.visual
    with torch.no_grad():
        x = visual._embeds(images)
        x = visual.transformer(x)
        expected = visual.ln_post(x)[:, 1:]
    assert grid == (12, 12)
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


def test_a_smaller_stride_gives_a_finer_grid_of_overlapping_patches(pacl):
    images = torch.randn(1, 3, 96, 96)
    x, grid = pacl.clip.tower.embed_patches(images, stride=4)
    assert grid == (23, 23)
    assert x.shape == (1, 1 + 23 * 23, 128)
    # Every second patch of every second row is one of the usual ones, before positions are added.
    conv = pacl.clip.model.visual.conv1
    fine = F.conv2d(images, conv.weight, conv.bias, stride=4)
    torch.testing.assert_close(fine[..., ::2, ::2], conv(images))
    # The published setting: 97x97 tokens.
    assert (400 - 16) // 4 + 1 == 97


def test_tokens_of_overlapping_patches_are_spread_over_the_image():
    # Five tokens of patches of 8 at stride 4 lie at pixels 4, 8, ... 20 of 24, the six cells at 2, 6, ... 22.
    tokens = torch.tensor([[4.0, 8.0, 12.0, 16.0, 20.0]])
    assert spread(tokens, 1, 24, 8, 4).tolist() == [[4.0, 6.0, 10.0, 14.0, 18.0, 20.0]]
    assert spread(tokens, 1, 40, 8, 8) is tokens


def test_the_embedder_and_the_temperature_train_and_nothing_else(pacl):
    pacl.train()
    losses = pacl(batch())
    assert losses.keys() == {"loss_contrastive"}
    pacl.zero_grad()
    losses["loss_contrastive"].backward()
    trained = {name for name, p in pacl.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in pacl.named_parameters() if p.grad is not None}
    assert {name.rpartition(".")[0] for name in trained} == {
        "features.embedder.layers.0",
        "features.embedder.layers.2",
        "features.embedder.skip",
        "contrast",
    }
    assert all(p.grad.abs().max() > 0 for p in pacl.features.embedder.parameters())


def test_the_loss_is_infonce_over_every_image_and_text(pacl):
    inputs = batch()
    with torch.no_grad():
        images = torch.stack([(x["image"] - pacl.pixel_mean) / pacl.pixel_std for x in inputs])
        patches = pacl.features.embedder(pacl.features.tokens(images, 8)[0])
        texts = pacl.clip.encode_sentences([x["caption"] for x in inputs])
        logits = compatibility(patches, texts, 0.1) * pacl.contrast.log_scale.exp()
        # The first two samples show one image.
        logits[0, 1] = logits[1, 0] = -torch.inf
        expected = -(logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean()) / 2
        assert pacl.losses(inputs)["loss_contrastive"].item() == pytest.approx(expected.item(), abs=1e-5)


def gradients(pacl):
    return {name: p.grad.clone() for name, p in pacl.named_parameters() if p.grad is not None}


def test_parts_of_a_batch_change_nothing():
    whole, parts = model().train(), model("SOLVER.ACCUMULATION_STEPS", 2).train()
    for pacl in (whole, parts):
        pacl(batch())["loss_contrastive"].backward()
    expected = gradients(whole)
    for name, found in gradients(parts).items():
        torch.testing.assert_close(found, expected[name], atol=1e-6, rtol=1e-4)


def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path):
    check_two_processes_equal_one(model, batch(), tmp_path)


def test_a_sample_without_a_caption(pacl):
    inputs = batch()
    del inputs[2]["caption"]
    with pytest.raises(KeyError, match="PACL learns from captions"):
        pacl.losses(inputs)


def test_a_tower_with_an_attention_pool_is_refused():
    class Pooling:
        pools, name = True, "PE-Core-B-16"

    with pytest.raises(ValueError, match="PE-Core-B-16 ends in an attention pool"):
        PaclFeatures(Pooling(), 4)


def test_predictions_are_cosines_of_patches_and_prompts(pacl):
    pacl.eval()
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 96, 128), dtype=np.uint8))
    (output,) = pacl([{"image": image, "vocabulary": WORDS, "height": 48, "width": 64}])
    with torch.no_grad():
        dense = pacl.features(((image - pacl.pixel_mean) / pacl.pixel_std)[None])
        assert dense.shape[-2:] == (24, 32)
        text = F.normalize(pacl.clip.encode_text(WORDS).mean(1), dim=-1)
        cosines = torch.einsum("bchw,tc->bthw", F.normalize(dense, dim=1), text)
        logits = F.interpolate(cosines, (96, 128), mode="bilinear")
        expected = (100 * F.interpolate(logits, (48, 64), mode="bilinear")).softmax(1)[0]
    torch.testing.assert_close(output["sem_seg"], expected, atol=1e-4, rtol=1e-3)


def test_it_is_a_meta_architecture_that_learns_from_pairs():
    assert PACL.needs_training
    assert PACL.learns_from == "image-caption pairs"
    assert isinstance(model().clip, ClipEncoder)
