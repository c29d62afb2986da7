"""Prediction without any trained segmenter: the toy CLIP alone."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

import physseg
from physseg.cli.boundary import run_program
from physseg.engine.optimizer import build_optimizer
from physseg.inference.dense_clip import DenseClip
from physseg.toy_world.example import toy_scene


@pytest.fixture(scope="module")
def predictor():
    return physseg.load("clip-alone-toy", device="cpu")


def test_the_toy_clip_alone_names_much_of_a_scene_right(predictor, caplog):
    """A model that knows nothing has a fifth or sixth of the pixels right."""
    shares = []
    for seed in range(3):
        image, names, labels = toy_scene(seed)
        shares.append((predictor.labels(image, vocabulary=names).numpy() == labels).mean())
    assert np.mean(shares) > 0.5


def test_nothing_is_said_of_untrained_weights(caplog):
    with caplog.at_level(logging.WARNING, "physseg"):
        physseg.load("clip-alone-toy", device="cpu")
        assert not caplog.records
        physseg.load("clip-alone-toy", device="cpu", opts=["MODEL.CLIP.PRETRAINED", ""])
    assert "MODEL.CLIP.PRETRAINED is empty: CLIP's weights are random" in caplog.text


def test_synonyms_are_scored_each(predictor):
    image, names, _labels = toy_scene(0)
    joined = predictor.labels(image, vocabulary=[", ".join(names[:2]), *names[2:]])
    apart = predictor.labels(image, vocabulary=names)
    assert torch.equal(joined, (apart - 1).clamp_min(0))


def test_predict_needs_no_checkpoint(tmp_path, capsys):
    image, names, _ = toy_scene(1)
    Image.fromarray(image).save(tmp_path / "scene.png")
    words = ["--vocabulary", ", ".join(names), "--output", str(tmp_path / "out")]
    for model in (["--model", "clip-alone-toy"], ["--config-file", "clip_alone/toy"]):
        assert (
            run_program("predict", [str(tmp_path / "scene.png"), *model, *words, "--opts", "MODEL.DEVICE", "cpu"]) == 0
        )
        assert "1 of 1 files segmented" in capsys.readouterr().out


def test_training_it_is_refused(predictor):
    with pytest.raises(ValueError, match=r"MODEL.META_ARCHITECTURE ClipSegmenter trains nothing"):
        build_optimizer(predictor.cfg, predictor.model)


def test_dense_clip_by_method():
    image = toy_scene(0)[0]
    plain, naclip = DenseClip("physseg-toy", "toy", 96), DenseClip("physseg-toy", "toy", 96, method="naclip")
    assert plain(image).shape == naclip(image).shape == (1, 128, 12, 12)
    assert not torch.allclose(plain(image), naclip(image))
    with pytest.raises(ValueError, match="'proxyclip' needs a proxy model"):
        DenseClip("physseg-toy", "", 96, method="proxyclip")
