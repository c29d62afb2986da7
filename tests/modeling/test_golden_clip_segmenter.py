"""Whole pictures, windows and PAMR against the published implementations' numbers; skipped where not at hand."""

import numpy as np
import pytest
import torch

from physseg import ClipSegmenter
from physseg.modeling.clip.dense_features import DenseFeatures
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.dense_protocol import DenseProtocol
from physseg.modeling.pamr import affinity, pamr
from tests.reference import golden as shared_golden
from tests.reference import golden_clip as golden

pytestmark = pytest.mark.skipif(not golden.AT_HAND, reason="reference numbers are not at hand")
WINDOWS = {"window": 224, "stride": 112}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    weights = golden.write_weights(tmp_path_factory.mktemp("golden") / "clip.pt")
    return ClipEncoder("ViT-B-16-quickgelu", str(weights), finetune="frozen", templates=["imagenet"])


def segmenter(clip, method, names, **protocol):
    parts = {"pixel_mean": golden.MEAN, "pixel_std": golden.STD, "vocabulary": names}
    features = DenseFeatures(clip, method)
    return ClipSegmenter(clip=clip, features=features, protocol=DenseProtocol(**protocol), **parts).eval()


def logits_of(model, encoded, text):
    """What the softmax is taken of: (Q, height, width)."""
    dense = torch.nn.functional.normalize(encoded.parts[0].dense, dim=1)
    return model._maps(torch.einsum("behw,qe->bqhw", dense, text), encoded, model.protocol)(slice(None))


@pytest.mark.parametrize(
    ("file", "protocol", "threshold"),
    [("whole_336x450", {"pamr_steps": 10}, 0.116), ("windows_336x450", WINDOWS, 0.0)],
)
@torch.no_grad()
def test_naclip_with_synonyms(clip, file, protocol, threshold):
    expected = np.load(golden.NACLIP / f"{file}.npz")
    model = segmenter(clip, "naclip", golden.V6, **protocol)
    # Text features have a test of their own (clip/test_golden_dense.py) and take a minute.
    text = torch.from_numpy(expected["text_features"])
    model.text_features = lambda words: text[:, None]
    encoded = model.encode_image({"image": shared_golden.image(336, 450, 2), "height": 375, "width": 502})
    found = logits_of(model, encoded, text)[:, ::8, ::8].numpy()
    assert np.abs(found - expected["seg_logits"]).max() < 1e-5
    # The published code divides by the sum over classes after thresholds have been applied; we leave that out.
    values = model.predict_encoded(encoded)["sem_seg"]
    prob = (values / values.sum(0))[:, ::8, ::8].numpy()
    assert np.abs(prob - expected["prob"]).max() < 1e-5
    result = model.predict_encoded(encoded, output="labels")
    labels = result["labels"].masked_fill(result["scores"] < threshold, 0)
    assert np.array_equal(labels[::2, ::2].numpy(), expected["pred"])


@torch.no_grad()
def test_sc_clip_in_windows(clip):
    expected = np.load(golden.SCCLIP / "windows_336x448.npz")
    model = segmenter(clip, "sc_clip", golden.V20, **WINDOWS)
    text = torch.from_numpy(np.load(golden.SCCLIP / "dense_336x336.npz")["text_features"])
    model.text_features = lambda words: text[:, None]
    encoded = model.encode_image({"image": shared_golden.image(336, 448, 2), "height": 360, "width": 480})
    assert np.abs(logits_of(model, encoded, text)[:, ::8, ::8].numpy() - expected["seg_logits"]).max() < 1e-5
    values = model.predict_encoded(encoded)["sem_seg"]
    assert np.abs(values[:, ::8, ::8].numpy() - expected["prob"]).max() < 1e-5
    assert (values.argmax(0)[::2, ::2].numpy() == expected["pred"]).mean() > 0.9999


@pytest.mark.parametrize(
    ("key", "steps", "dilations"), [("steps10_dil8_16", 10, (8, 16)), ("steps3_dil1_2_4", 3, (1, 2, 4))]
)
def test_pamr(key, steps, dilations):
    expected = np.load(golden.NACLIP / "pamr_120x160.npz")
    weights = affinity(golden.image(120, 160, 3)[0], dilations)
    maps = torch.from_numpy(expected["mask"])
    found = pamr(maps, weights, steps, dilations)
    assert np.abs(found[:, ::2, ::2].numpy() - expected[key]).max() < 1e-5
    # Classes in chunks give the same numbers.
    parts = torch.cat([pamr(part, weights, steps, dilations) for part in maps.split(3)])
    # But for rounding: where a vector ends depends on the size, and a fused product rounds once.
    torch.testing.assert_close(found, parts, rtol=0, atol=1e-6)
