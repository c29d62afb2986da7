"""The Predictor on a small model with random weights."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from physseg.data.images import read_image
from physseg.data.mapper import TestMapper
from physseg.engine.weights import IncompatibleWeightsError
from physseg.inference.predictor import Predictor, resolve_vocabulary, split_words
from tests.small_model import CONFIG, OPTS, save_weights

NAMES = ["cat", "dog, puppy", "grass"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "model.pth")


@pytest.fixture(scope="module")
def predictor(weights):
    return Predictor(CONFIG, weights, NAMES, OPTS)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_one_image(predictor, image):
    probabilities = predictor(image)["sem_seg"]
    assert probabilities.shape == (3, 48, 64)
    assert probabilities.dtype == torch.float32
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    assert not predictor.model.training


def test_a_list_gives_what_single_images_give(predictor, image):
    images = [image, image[:30, ::-1]]
    together = predictor(images)
    assert [tuple(r["sem_seg"].shape) for r in together] == [(3, 48, 64), (3, 30, 64)]
    for single, result in zip(images, together, strict=True):
        torch.testing.assert_close(predictor(single)["sem_seg"], result["sem_seg"], rtol=0, atol=1e-5)
    assert predictor([]) == predictor.labels([]) == []


def test_labels_are_the_argmax(predictor, image):
    labels = predictor.labels(image)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, predictor(image)["sem_seg"].argmax(0))
    assert torch.equal(predictor.labels([image, image])[1], labels)


@pytest.mark.parametrize("opts", [(), ("TEST.SLIDING_WINDOW", True)])
def test_threshold_gives_the_index_after_the_last_name(weights, image, opts):
    predictor = Predictor(CONFIG, weights, NAMES, (*OPTS, *opts, *small_windows(opts)))
    best, labels = predictor(image)["sem_seg"].max(0)
    threshold = float(best.median())
    expected = torch.where(best < threshold, 3, labels)
    result = predictor.labels(image, threshold)
    # Within rounding of the threshold either is right.
    assert torch.equal(result[(best - threshold).abs() > 1e-6], expected[(best - threshold).abs() > 1e-6])
    assert set(result.unique().tolist()) > {3}


def small_windows(opts):
    sizes = ("TEST.WINDOW_SIZE", 64, "TEST.WINDOW_STRIDE", 32, "TEST.WINDOW_CANVAS", 96)
    return sizes if "TEST.SLIDING_WINDOW" in opts else ()


def test_results_equal_evaluations(predictor, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "image.png")
    mapped = TestMapper(predictor.cfg, "toy_voc_20_val_sem_seg")({"file_name": str(tmp_path / "image.png")})
    expected = predictor.model([mapped])[0]["labels"]
    predictor.set_vocabulary("toy_voc_20_val_sem_seg")
    assert torch.equal(predictor.labels(read_image(tmp_path / "image.png")), expected)
    predictor.set_vocabulary(NAMES)


def test_the_vocabulary_can_change(predictor, image, weights):
    first = predictor(image)["sem_seg"]
    predictor.set_vocabulary(["roof", "chimney"])
    assert predictor.vocabulary == ["roof", "chimney"]
    changed = predictor(image)["sem_seg"]
    assert changed.shape[0] == 2
    fresh = Predictor(CONFIG, weights, ["roof", "chimney"], OPTS)(image)["sem_seg"]
    assert torch.equal(changed, fresh)
    predictor.set_vocabulary(NAMES)
    assert torch.equal(predictor(image)["sem_seg"], first)


def test_the_configured_vocabulary_holds_by_default(weights):
    predictor = Predictor(CONFIG, weights, opts=(*OPTS, "MODEL.TEXT.VOCABULARY", "pas20"))
    assert predictor.vocabulary == resolve_vocabulary("pas20")
    assert len(predictor.vocabulary) == 20


def test_a_vocabulary_may_be_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("cat\nsofa, couch\n")
    assert resolve_vocabulary(tmp_path / "words.txt") == ["cat", "sofa, couch"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], ValueError, "is empty; give at least one class name"),
        (["cat", " Cat"], ValueError, "names a class more than once"),
        (["cat", ""], ValueError, "empty name at position 1"),
        (["cat", 3], TypeError, "must hold strings"),
        ("cat", ValueError, "'cat' is neither a file"),
        ("cat, dog", ValueError, r"give a list: \['cat', 'dog'\]"),
    ],
)
def test_bad_vocabularies(predictor, names, error, message):
    with pytest.raises(error, match=message):
        predictor.set_vocabulary(names)
    assert predictor.vocabulary == NAMES


def test_names_with_one_prompt_are_pointed_out(monkeypatch):
    warned = []
    logger = logging.getLogger("physseg.inference.predictor")
    monkeypatch.setattr(logger, "warning", lambda *args: warned.append(args[1:]))
    resolve_vocabulary(["pot, pan", "pot, flowerpot", "cat"])
    assert warned == [(2, "pot")]


IMAGE = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (IMAGE / 255, TypeError, r"got float64; values in 0-1 times 255"),
        (IMAGE + 200.0, TypeError, r"values in 0-255: round and convert"),
        (IMAGE.astype(np.int64), TypeError, r"got int64; convert it with .astype\(np.uint8\)"),
        (IMAGE.transpose(2, 0, 1), ValueError, r"got \(3, 4, 5\); channels come last"),
        (IMAGE[..., 0], ValueError, r"repeat a gray image"),
        (np.zeros((4, 5, 4), np.uint8), ValueError, r"drop the alpha channel"),
        (IMAGE[None], ValueError, r"give a list: list\(images\)"),
        (IMAGE[:0], ValueError, r"it has no pixels"),
        (torch.zeros(3, 4, 5), TypeError, r"expected a NumPy array, RGB uint8 \(H, W, 3\), got torch.Tensor"),
        ("a.jpg", TypeError, r"got builtins.str; physseg.data.images.read_image\(path\)"),
        ([IMAGE, IMAGE[..., :2]], ValueError, r"image 1: expected shape \(H, W, 3\), got \(4, 5, 2\)"),
        (np.zeros((1, 9000, 3), np.uint8), ValueError, r"9000x1 is too narrow.*INPUT.MAX_SIZE_TEST \(2560\)"),
    ],
)
def test_wrong_images(predictor, wrong, error, message):
    for call in (predictor, predictor.labels):
        with pytest.raises(error, match=message):
            call(wrong)


def test_wrong_threshold(predictor, image):
    with pytest.raises(ValueError, match=r"threshold is 30; expected a probability from 0 to 1"):
        predictor.labels(image, 30)


def test_without_weights_it_warns(monkeypatch):
    warned = []
    monkeypatch.setattr(logging.getLogger("physseg.inference.predictor"), "warning", lambda *args: warned.append(args))
    Predictor(CONFIG, vocabulary=NAMES, opts=OPTS)
    assert "MODEL.WEIGHTS is empty: the model is untrained" in warned[0][0]
    assert warned[0][1] == "all its weights"


def test_weights_that_are_missing_or_do_not_fit(weights, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Weights not found: .*none.pth"):
        Predictor(CONFIG, tmp_path / "none.pth", NAMES, OPTS)
    with pytest.raises(IncompatibleWeightsError, match=r"MODEL.AGGREGATION"):
        Predictor(CONFIG, weights, NAMES, (*OPTS, "MODEL.AGGREGATION.DIM", 16))
    with pytest.raises(FileNotFoundError, match="Shipped configs are in configs/"):
        Predictor("none.yaml", weights)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cat, dog ,grass", ["cat", "dog", "grass"]),
        ("cat; sofa, couch;", ["cat", "sofa, couch"]),
        ("traffic light", ["traffic light"]),
        ("a150", "a150"),
    ],
)
def test_split_words(words, expected):
    assert split_words(words) == expected


def test_precision_is_left_to_the_machine_unless_said_otherwise(weights, image, monkeypatch):
    assert Predictor(CONFIG, weights, NAMES, OPTS).model.precision == "auto"
    for said in ({"precision": "float32"}, {"opts": [*OPTS, "TEST.PRECISION", "float32"]}):
        assert Predictor(CONFIG, weights, NAMES, **{"opts": OPTS} | said).model.precision == "float32"
    with pytest.raises(ValueError, match=r'TEST.PRECISION must be "by_use", "auto", "float32" or "bf16"; got'):
        Predictor(CONFIG, weights, NAMES, OPTS, "fp8")
    low, exact = (Predictor(CONFIG, weights, NAMES, OPTS, name) for name in ("bf16", "float32"))
    monkeypatch.setattr("physseg.modeling.precision.bf16_is_faster", lambda device, products: True)
    found = Predictor(CONFIG, weights, NAMES, OPTS)(image)["sem_seg"]
    assert torch.equal(found, low(image)["sem_seg"])
    assert not torch.equal(found, exact(image)["sem_seg"])
