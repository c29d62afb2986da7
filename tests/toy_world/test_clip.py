import json

import open_clip
import pytest
import torch

from physseg.modeling.clip.weights import create_clip
from physseg.toy_world import clip
from physseg.toy_world.captions import TEMPLATES
from physseg.toy_world.towers import encode_images
from physseg.toy_world.vocabularies import COMPOSITIONS
from physseg.toy_world.zero_shot import zero_shot_accuracy


@pytest.fixture(scope="module", params=clip.WEIGHTS)
def model(request):
    name = clip.register_toy_clip()
    model = open_clip.create_model(name, load_weights=False).eval()
    model.load_state_dict(clip.load_toy_clip_state_dict(clip.WEIGHTS[request.param]))
    model.tag = request.param
    return model


def test_registration_is_idempotent():
    assert clip.register_toy_clip() == clip.register_toy_clip() == "physseg-toy"
    assert open_clip.list_models().count("physseg-toy") == 1


@pytest.mark.parametrize("tag", clip.WEIGHTS)
def test_weights_are_small(tag):
    assert clip.WEIGHTS[tag].stat().st_size <= 6_000_000


@pytest.mark.parametrize("tag", clip.WEIGHTS)
def test_log_and_figures_lie_beside_the_weights(tag):
    figures = json.loads(clip.WEIGHTS[tag].with_suffix(".metrics.json").read_text())
    lines = clip.WEIGHTS[tag].with_suffix(".log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == figures["recipe"]["steps"]
    assert figures["zero_shot"]["objects"]["name"] > 0.8


def test_the_key_selects_the_weights():
    towers = [create_clip(clip.MODEL_NAME, tag) for tag in clip.WEIGHTS]
    projections = [tower.visual.proj for tower in towers]
    assert not torch.equal(*projections)
    for tag, projection in zip(clip.WEIGHTS, projections, strict=True):
        assert torch.equal(projection, clip.load_toy_clip_state_dict(clip.WEIGHTS[tag])["visual.proj"])


def test_state_dict_is_whole_float32_and_the_same_each_time():
    first, second = clip.load_toy_clip_state_dict(), clip.load_toy_clip_state_dict()
    assert first["token_embedding.weight"].shape == (49408, 128)
    assert all(value.dtype == torch.float32 for value in first.values())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_missing_weights_name_the_script(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pretrain_toy_clip\.py"):
        clip.load_toy_clip_state_dict(tmp_path / "none.safetensors")


@torch.no_grad()
def test_zero_shot_on_held_out_pictures_is_far_above_chance(model):
    """Among 144 names; chance is below 1 %."""
    tokenizer = open_clip.get_tokenizer(clip.MODEL_NAME)
    text = model.encode_text(tokenizer([TEMPLATES[0].format(c.name) for c in COMPOSITIONS]))
    found = zero_shot_accuracy(lambda images: encode_images(model.visual, images), text, count=60, seed=3)
    assert found["objects"]["name"] > 0.6
    assert found["backgrounds"]["name"] > 0.8
    assert found["patches"]["backgrounds"] > (0.8 if model.tag == "toy" else 0.4)
    # What the second one is for: patches that its training has not aligned.
    assert (found["patches"]["things"] > 0.5) == (model.tag == "toy")
