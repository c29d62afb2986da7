"""ClipSegmenter on the toy CLIP."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from physseg import load_config
from physseg.config.special_rules import DENSE_METHODS
from physseg.modeling.clip.dense_features import METHODS, DenseFeatures
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.sliding_window import merge_windows, plan_crops, split_windows
from tests.reference.small import small_clip

WORDS = ["red disc, crimson circle", "blue star", "green brick wall"]
BASE = ("MODEL.META_ARCHITECTURE", "ClipSegmenter", "MODEL.TEXT.SYNONYMS", "max", "MODEL.DEVICE", "cpu")
PROXY = ("MODEL.DENSE.PROXY.NAME", "test_vit", "MODEL.DENSE.PROXY.PRETRAINED", "")


def model(method="naclip", *opts):
    cfg = load_config("configs/toy.yaml", (*BASE, *PROXY, "MODEL.DENSE.METHOD", method, *opts))
    return build_model(cfg).eval()


@pytest.fixture(scope="module")
def naclip():
    return model()


@pytest.fixture
def image():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 99, 130), dtype=np.uint8))


def test_the_config_knows_every_method():
    assert sorted(DENSE_METHODS) == sorted(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_any_size(method, image):
    segmenter = model(method)
    outputs = segmenter([{"image": image, "vocabulary": WORDS, "height": 50, "width": 70}, {"image": image[:, :64]}])
    values = outputs[0]["sem_seg"]
    assert values.shape == (3, 50, 70)
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    # A class's probability is its best word's; those of all words sum to 1.
    assert ((values >= 0) & (values <= 1)).all()
    assert (values.sum(0) <= 1 + 1e-5).all()
    assert outputs[1]["sem_seg"].shape == (len(segmenter.vocabulary), 64, 130)


@pytest.mark.parametrize("layers", [6, 24])
@pytest.mark.parametrize("method", ["sc_clip", "sfp"])
def test_calibrated_methods_take_any_depth(method, layers):
    torch.manual_seed(0)
    features = DenseFeatures(ClipEncoder(small_clip(layers), "", 48), method)(torch.randn(2, 3, 40, 56))
    assert features.shape == (2, 24, 5, 7)
    assert features.isfinite().all()


def test_labels_are_the_argmax_with_and_without_windows_and_pamr(image):
    opts = ("TEST.SLIDING_WINDOW", True, "TEST.WINDOW_SIZE", 64, "TEST.WINDOW_STRIDE", 32)
    for segmenter in (model(), model("sc_clip", *opts), model("sclip", *opts, "MODEL.DENSE.PAMR_STEPS", 2)):
        x = {"image": image, "vocabulary": WORDS}
        values = segmenter([x])[0]["sem_seg"]
        result = segmenter([x | {"output": "labels"}])[0]
        assert torch.equal(result["labels"], values.argmax(0))
        torch.testing.assert_close(result["scores"], values.amax(0))


def test_steps_written_out(naclip, image):
    """The whole forward pass by hand, for a picture in one window."""
    normalised = (image.float() - naclip.pixel_mean) / naclip.pixel_std
    dense = F.normalize(naclip.features(normalised[None])[0], dim=0)
    assert dense.shape == (128, 99 // 8, 130 // 8)
    words = ["red disc", "crimson circle", "blue star", "green brick wall"]
    text = F.normalize(naclip.clip.encode_text(words).mean(1), dim=-1)
    logits = F.interpolate(torch.einsum("ehw,qe->qhw", dense, text)[None], size=(99, 130), mode="bilinear")[0]
    probabilities = (40 * logits).softmax(0)
    expected = torch.stack([probabilities[:2].amax(0), probabilities[2], probabilities[3]])
    torch.testing.assert_close(naclip([{"image": image, "vocabulary": WORDS}])[0]["sem_seg"], expected)


def test_other_synonym_policies_take_one_feature_a_name(image):
    segmenter = model("naclip", "MODEL.TEXT.SYNONYMS", "first")
    assert segmenter.words(WORDS)[0] == tuple(WORDS)
    first = segmenter([{"image": image, "vocabulary": WORDS}])[0]["sem_seg"]
    bare = segmenter([{"image": image, "vocabulary": ["red disc", *WORDS[1:]]}])[0]["sem_seg"]
    # A name's features may differ in their last bit with the names it was encoded beside.
    torch.testing.assert_close(first, bare, atol=1e-5, rtol=0)


def test_an_encoded_image_serves_other_words(naclip, image):
    encoded = naclip.encode_image({"image": image, "height": 40, "width": 60})
    for words in (WORDS, ["yellow cross", "red disc"]):
        x = {"image": image, "height": 40, "width": 60, "vocabulary": words}
        assert torch.equal(naclip.predict_encoded(encoded, words)["sem_seg"], naclip([x])[0]["sem_seg"])
        labels = naclip.predict_encoded(encoded, words, "labels")["labels"]
        assert torch.equal(labels, naclip([x | {"output": "labels"}])[0]["labels"])


def test_a_data_set_has_its_own_protocol(image):
    override = [["toy_voc_20_val_sem_seg", "MODEL.DENSE.SCALE", 5.0]]
    segmenter = model("naclip", "TEST.OVERRIDES", override)
    x = {"image": image, "vocabulary": WORDS}
    plain, other = segmenter([x, x | {"dataset": "toy_voc_20_val_sem_seg"}])
    expected = model("naclip", "MODEL.DENSE.SCALE", 5.0)([x])[0]
    assert torch.equal(other["sem_seg"], expected["sem_seg"])
    assert not torch.equal(plain["sem_seg"], expected["sem_seg"])


def test_nothing_trains(naclip, image):
    assert not any(p.requires_grad for p in naclip.parameters())
    with pytest.raises(RuntimeError, match="ClipSegmenter trains nothing: evaluate it"):
        model().train()([{"image": image}])


def test_methods_that_do_not_fit():
    encoder = ClipEncoder(small_clip(), "", 48)
    with pytest.raises(ValueError, match=r"MODEL.DENSE.METHOD: expected one of .*'naclip'.*, got 'sum'"):
        DenseFeatures(encoder, "sum")
    with pytest.raises(ValueError, match="'proxyclip' needs a proxy model"):
        DenseFeatures(encoder, "proxyclip")
    with pytest.raises(ValueError, match=r'MODEL.DENSE.METHOD must be "catseg" or "maskclip" where'):
        load_config("configs/toy.yaml", ["MODEL.DENSE.METHOD", "naclip"])
    with pytest.raises(ValueError, match=r"TEST.OVERRIDES must be .*MODEL.DENSE.SCALE must be a number"):
        load_config("configs/toy.yaml", ["TEST.OVERRIDES", [["voc21", "MODEL.DENSE.SCALE", -1]]])
    with pytest.raises(ValueError, match=r"Did you mean MODEL.DENSE.SCALE"):
        load_config("configs/toy.yaml", ["TEST.OVERRIDES", [["voc21", "MODEL.DENSE.SCALES", 1]]])


def test_crops_cover_the_image_and_average():
    plan = plan_crops((7, 12), 5, 4)
    assert plan.corners == ((0, 0), (0, 4), (0, 7), (2, 0), (2, 4), (2, 7))
    image = torch.rand(2, 7, 12)
    windows = split_windows(image, plan)
    assert windows.shape == (6, 2, 5, 5)
    # Windows of the image itself average to it.
    torch.testing.assert_close(merge_windows(windows, plan, activation=None), image)


@pytest.mark.parametrize(("size", "corners"), [((4, 9), ((0, 0), (0, 4))), ((3, 5), ((0, 0),))])
def test_images_narrower_than_a_window(size, corners):
    plan = plan_crops(size, 5, 4)
    assert plan.corners == corners
    image = torch.rand(1, *size)
    windows = split_windows(image, plan)
    assert windows.shape[-2:] == plan.shape == (size[0], 5)
    torch.testing.assert_close(merge_windows(windows, plan, activation=None), image)
    with pytest.raises(ValueError, match=r"TEST.WINDOW_STRIDE <= TEST.WINDOW_SIZE, got 6, 5"):
        plan_crops(size, 5, 6)
