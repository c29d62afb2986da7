"""The published SegCLIP's reference numbers, ViT-B/16 at full size; skipped where they are not at hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from physseg import SegCLIP, load_config
from physseg.modeling.without_masks.masked_autoencoder import random_masking, sine_positions, take_visible
from physseg.modeling.without_masks.segclip import TrainingNoise
from physseg.modeling.without_masks.segclip_checkpoint import from_segclip, published_name
from physseg.text.packed import build_prefix_tree, encode_packed
from tests.reference import golden

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "golden_segclip"
CAPTIONS = ("a photo of a cat sleeping on a red sofa", "two people ride bicycles past a bus, in the rain!")
POSITIONS = "vis_mae_decoder.decoder_pos_embed"

pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="reference numbers are not at hand"),
    pytest.mark.timeout(900),
]


def fill(name, shape):
    if name == POSITIONS:
        return torch.cat([torch.zeros(1, 384), sine_positions((14, 14), 384)])[None]
    if name == "clip.logit_scale":
        return torch.tensor(math.log(1 / 0.07))
    values = golden.fill(name, torch.empty(shape))
    return 10 * values if name == "clip.visual.positional_embedding" else values


@pytest.fixture(scope="module")
def model():
    shapes = json.loads((FOLDER / "state_dict_shapes.json").read_text())
    cfg = load_config("configs/without_masks/segclip_vitb16.yaml", ["MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", "cpu"])
    model = SegCLIP(cfg)
    model.load_state_dict(from_segclip({name: fill(name, shape) for name, shape in shapes.items()}).state_dict)
    # Everything trains in the reference.
    return model.requires_grad_(True)


@pytest.fixture(scope="module")
def images(model):
    return torch.stack([model._normalise(golden.image(224, 224, seed)) for seed in (0, 1)])


def reading(model, keys):
    model.grouping.keys = keys
    return model


def close(found, expected, tolerance=1e-4):
    return np.abs(found.detach().numpy() - expected).max() <= tolerance


@torch.no_grad()
def test_evaluation(model, images):
    reading(model, "per_image").eval()
    reference = np.load(FOLDER / "test_224.npz")
    patches = model.patch_tokens(images)
    tower = model.clip.tower
    assert close(tower.run(tower.blocks[:10], patches)[:, ::7, ::8], reference["tokens_before_grouping"])
    windows = model.encode_windows(images)
    assert close(windows.image, reference["image_vector"])
    assert close(windows.groups[:, :, ::2], reference["centres"])
    assert close(windows.soft, reference["soft_assignment"])
    assert (model.group(patches).assignment.hard.argmax(1).numpy() == reference["assignment"]).all()
    assert windows.grid == (14, 14)
    one_by_one = [model.encode_windows(image[None]).image for image in images]
    assert close(torch.cat(one_by_one), reference["image_vector"])


@torch.no_grad()
def test_texts(model, images):
    reading(model, "per_image").eval()
    reference = np.load(FOLDER / "test_224.npz")
    for ids, features, step in (("input_ids", "text_features", 1), ("class_ids", "class_features", 2)):
        tree = build_prefix_tree(torch.from_numpy(reference[ids]).long())
        assert close(encode_packed(model.clip.model, tree)[:, ::step], reference[features])
    texts = model.clip.encode_sentences(CAPTIONS)
    assert close(texts, F.normalize(torch.from_numpy(reference["text_features"]), dim=-1).numpy())
    cosines = texts @ F.normalize(model.encode_windows(images).image, dim=-1).T
    assert close(model.scale * cosines, reference["logits_text_image"])
    # A name's prompt is the published one.
    named = F.normalize(torch.from_numpy(reference["class_features"]), dim=-1)
    found = F.normalize(model.text_features(golden.VOC20)[:, 0, ::2], dim=-1)
    assert torch.allclose(found, named, atol=1e-4)


@torch.no_grad()
def test_several_images_as_torch_1_8_reads_them(model, images):
    reading(model, "torch18").eval()
    reference = np.load(FOLDER / "test_224.npz")
    patches = model.patch_tokens(images)
    assert close(model.encode_windows(images).image, reference["torch18.image_vector"])
    assert (model.group(patches).assignment.hard.argmax(1).numpy() == reference["torch18.assignment"]).all()


def batch():
    y, x = torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij")
    return [
        {
            "image": golden.image(224, 224, i),
            "caption": CAPTIONS[i],
            "image_id": i,
            "superpixels": (y // (4 + i)) * 4 + x // (5 - i),
        }
        for i in (0, 1)
    ]


def uniform(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def gumbel(u):
    return -(-u.log()).log()


def gradient_norms(model):
    squares = {}
    for name, parameter in model.named_parameters():
        if name != "clip.model.logit_scale":  # the loss holds the scale
            theirs = published_name(name)
            squares[theirs] = squares.get(theirs, 0.0) + parameter.grad.double().square().sum().item()
    return {name: square**0.5 for name, square in squares.items()}


@pytest.mark.parametrize("keys", ["per_image", "torch18"])
def test_training(model, images, keys, monkeypatch):
    reading(model, keys).train()
    model.zero_grad()
    reference = np.load(FOLDER / f"train_{keys}.npz")
    masking = uniform(101, 2, 197)
    assert close(masking, reference["noise1_mask"], 0)
    noise = TrainingNoise(gumbel(uniform(100, 2, 8, 196)), masking[:, 1:], gumbel(uniform(102, 2, 8, 48)))
    assert close(noise.groups, reference["noise0_gumbel"], 1e-5)
    monkeypatch.setattr(model, "draw_noise", lambda *_: noise)

    losses = model(batch())
    total = sum(losses.values())
    total.backward()

    for name, loss in losses.items():
        tolerance = 1e-4 if name == "loss_superpixel" else 1e-5
        assert loss.item() == pytest.approx(float(reference[name][0]), rel=tolerance), name
    assert total.item() == pytest.approx(float(reference["loss"][0]), rel=1e-5)
    gradients = model.grouping.centres.grad[:, ::8]
    assert close(gradients, reference["grad_semantic_center"], 1e-3 * np.abs(reference["grad_semantic_center"]).max())
    assert model.contrastive.log_scale.grad.item() == pytest.approx(float(reference["grad_logit_scale"][0]), rel=1e-3)
    expected = json.loads((FOLDER / f"train_{keys}.grad_norms.json").read_text())
    assert expected.pop(POSITIONS) is None
    assert gradient_norms(model) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("keys", ["per_image", "torch18"])
def test_inside_training(model, images, keys):
    reading(model, keys).train()
    reference = np.load(FOLDER / f"train_{keys}.npz")
    patches = model.patch_tokens(images)
    grouped = model.group(patches, gumbel(uniform(100, 2, 8, 196)))
    assert (grouped.assignment.hard.argmax(1).numpy() == reference["assignment"]).all()
    assert close(grouped.assignment.soft[:, :, ::4], reference["soft_assignment"])
    assert close(model.image_vector(grouped.tokens), reference["image_vector"])
    superpixels = torch.stack([x["superpixels"] for x in batch()])
    assert (superpixels.numpy() == reference["superpixels"]).all()
    masking = random_masking(uniform(101, 2, 197)[:, 1:], model.reconstruction.visible(196))
    assert (masking.masked.numpy() == reference["mae_mask"][:, 1:]).all()
    tower = model.clip.tower
    visible = tower.run(tower.blocks[:10], take_visible(patches, masking))
    decoder_input = model.reconstruction.decoder_input(model.grouping(visible, gumbel(uniform(102, 2, 8, 48))))
    assert close(decoder_input[:, ::4, ::8], reference["decoder_input"])
