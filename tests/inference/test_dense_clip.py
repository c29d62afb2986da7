"""Dense CLIP features in one call."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from physseg.inference.dense_clip import DenseClip, dense_clip_features


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return DenseClip("physseg-toy", "", image_size=64, templates=["a {}", "the {}"])


def test_shapes(clip, image):
    features = clip([image, image[:20, ::-1]])
    assert features.shape == (2, 128, 8, 8)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert not any(p.requires_grad for p in clip.parameters())
    torch.testing.assert_close(clip(image), features[:1], rtol=0, atol=1e-5)


def test_normalisation_is_clips(clip, image):
    mean = np.array([122.7709383, 116.7460125, 104.09373615])
    std = np.array([68.5005327, 66.6321579, 70.3231630])
    normalised = torch.tensor((image - mean) / std, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = clip.encoder(F.interpolate(normalised, size=(64, 64), mode="bilinear", align_corners=False)).dense
    torch.testing.assert_close(clip(image), expected, rtol=0, atol=1e-5)


def test_text_features_average_the_templates(clip):
    text = clip.text(["cat", "dog"])
    assert text.shape == (2, 128)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))
    both = clip.encoder.encode_text(["cat", "dog"])
    torch.testing.assert_close(text, F.normalize(both[:, 0] + both[:, 1], dim=-1))


def test_one_call(image):
    torch.manual_seed(1)
    features = dense_clip_features(image, "physseg-toy", "", image_size=96)
    torch.manual_seed(1)
    assert torch.equal(features, DenseClip("physseg-toy", "", 96)(image))
    assert features.shape == (1, 128, 12, 12)


def test_errors(clip, image):
    with pytest.raises(ValueError, match="expected at least one image"):
        clip([])
    with pytest.raises(TypeError, match="expected uint8"):
        clip(image / 255)
    with pytest.raises(ValueError, match=r"multiple of physseg-toy's patch 8, got 100"):
        DenseClip("physseg-toy", "", 100)
