"""Models by name."""

import importlib
import sys

import numpy as np
import pytest
import torch

import physseg
from physseg.config import load_config
from physseg.engine.weights import read_checkpoint
from physseg.inference import models
from physseg.inference.hub import HubFile, fetch_weights
from physseg.inference.models import MODELS, find_model
from physseg.toy_world.example import toy_scene
from tests.inference.hub_server import hub
from tests.inference.test_hub import use_endpoint
from tests.reference import golden
from tests.reference.plain_catseg import PlainCATSeg, PlainConfig

TINY = PlainConfig(
    *(96, 4, 6, 32, 4, 2, (0, 1)),  # image_size, patch, native_grid, width, layers, heads, levels
    *(16, 16, 2, 2),  # embed, text_width, text_layers, text_heads
    pad_classes=8,  # no parameter's shape depends on it
)


def test_every_row_can_be_built():
    assert len({model.name for model in MODELS}) == len(MODELS)
    for model in MODELS:
        load_config(model.config)
        assert len(model.miou) in (0, len(models.BENCHMARKS))


@pytest.mark.parametrize("name", ["catseg-vitb16", "catseg_vitb16", "physseg://catseg-vitb16", "CATSeg-ViTB16"])
def test_spellings_of_a_name(name):
    assert find_model(name).source == HubFile("hamacojr/CAT-Seg-weights", "model_base.pth", "space")


def test_an_unknown_name_has_near_misses():
    with pytest.raises(ValueError, match=r"no model is named 'catseg-vitb61'; did you mean catseg-vitb16"):
        physseg.load("catseg-vitb61")
    with pytest.raises(ValueError, match=r"no model is named 'x'; known: catseg-vitb16, .*toy"):
        physseg.load("x")


@pytest.fixture(scope="module")
def toy():
    return physseg.load("toy", device="cpu")


def test_the_toy_model_names_most_of_a_scene_right(toy):
    """From files that ship; a model that knows nothing has a fifth or sixth of the pixels right."""
    for seed in range(3):
        image, names, labels = toy_scene(seed)
        toy.set_vocabulary(names)
        assert (toy.labels(image).numpy() == labels).mean() > 0.75


def test_a_name_is_a_path_of_weights(toy):
    found = read_checkpoint("physseg://toy")["model"]
    assert found.keys() == toy.model.state_dict().keys()
    predictor = physseg.Predictor("catseg_toy", "physseg://toy", ["red disc"], ("MODEL.DEVICE", "cpu"))
    for name, value in predictor.model.state_dict().items():
        assert torch.equal(value, toy.model.state_dict()[name])


def test_a_scene_is_the_same_every_time_and_its_names_fit_its_labels():
    first, second = toy_scene(3), toy_scene(3)
    assert np.array_equal(first[0], second[0])
    image, names, labels = first
    assert image.shape == (288, 384, 3)
    counts = np.bincount(labels.ravel(), minlength=len(names))
    assert list(counts) == sorted(counts, reverse=True)
    assert counts.min() > 0


def test_a_published_checkpoint_is_converted_into_the_cache(monkeypatch, tmp_path):
    """Published names go in, with the optimizer's state beside them; physseg's names come out."""
    published = PlainCATSeg(TINY).state_dict()
    published = golden.fill_state_dict(published)
    published = {n: t + 0.0 if n.endswith("attn_mask") else t for n, t in published.items()}
    torch.save({"model": published, "optimizer": {"state": {}}}, tmp_path / "model.pth")
    content = (tmp_path / "model.pth").read_bytes()
    source = HubFile("someone/weights", "model.pth", "space")
    monkeypatch.setenv("PHYSSEG_HOME", str(tmp_path / "home"))
    with hub({"/spaces/someone/weights/resolve/main/model.pth": content}) as server:
        use_endpoint(monkeypatch, server.url)
        path = fetch_weights("tiny", source, models._read_published)
    state = read_checkpoint(path)["model"]
    assert torch.equal(state["aggregation.embed.weight"], published["sem_seg_head.predictor.transformer.conv1.weight"])
    assert not any(name.startswith("sem_seg_head.") for name in state)


def test_without_a_network_the_message_offers_the_toy_model(monkeypatch, tmp_path):
    monkeypatch.setenv("PHYSSEG_HOME", str(tmp_path))
    with pytest.raises(ConnectionError) as caught:
        physseg.load("catseg-vitb16")
    message = str(caught.value)
    assert "/spaces/hamacojr/CAT-Seg-weights/resolve/main/model_base.pth" in message
    assert f"{tmp_path}/models/catseg-vitb16/model_base.pth" in message
    assert "--model toy comes with physseg and needs no network" in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("physseg.predictor", "physseg.inference.predictor"),
        ("physseg.export", "physseg.inference.export"),
        ("physseg.dense_clip", "physseg.inference.dense_clip"),
        ("physseg.prediction_files", "physseg.inference.files"),
        ("physseg.prediction_video", "physseg.inference.video"),
    ],
)
def test_old_import_names_are_the_same_modules(old, new):
    assert importlib.import_module(old) is importlib.import_module(new)
    assert getattr(physseg, old.removeprefix("physseg.")) is sys.modules[new]
