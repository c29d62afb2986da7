"""What is kept of a picture, and what the viewer is given, on a small model with random weights."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from physseg.inference.predictor import Predictor
from physseg.inference.web.session import Answer, Models, Session
from physseg.inference.web.view import view
from tests.small_model import CONFIG, OPTS, save_weights


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor(CONFIG, save_weights(tmp_path_factory.mktemp("weights") / "model.pth"), ["cat"], OPTS)


def test_other_words_run_no_image_encoder(predictor):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    loaded, ran = [], []
    models = Models({"small": lambda: loaded.append(1) or predictor})
    hook = predictor.model.clip.register_forward_hook(lambda *_: ran.append(1))
    try:
        session = Session(image, "a.jpg")
        first = models.answer(session, "small", ["cat", "dog"])
        more = models.answer(session, "small", ["cat", "dog", "grass"])
    finally:
        hook.remove()
    assert loaded == [1]
    assert len(ran) == 1
    assert first.encoding is not None
    assert more.encoding is None
    predictor.set_vocabulary(["cat", "dog", "grass"])
    assert np.array_equal(more.labels, predictor.labels(image).numpy())
    assert session.answers["small"] is more


def test_unknown_models_are_refused(predictor):
    with pytest.raises(ValueError, match="There is no model 'large' here; choose one of small"):
        Models({"small": lambda: predictor}).answer(Session(np.zeros((4, 4, 3), np.uint8), "a"), "large", ["cat"])


def decode(uri, kind):
    head, data = uri.split(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(data)


def test_the_viewer_gets_labels_probabilities_and_files():
    labels = np.array([[0, 1], [1, 1]])
    scores = np.array([[0.2, 0.4], [0.6, 1.0]], np.float32)
    session = Session(np.full((2, 2, 3), 90, np.uint8), "../../holiday.jpg")
    value = view(session, Answer("small", ["cat", "dog"], labels, scores, 0.1234, 0.05), threshold=0.5)
    assert [(w["name"], w["share"]) for w in value["words"]] == [("cat", 0.0), ("dog", 0.5), ("other", 0.5)]
    shown = np.array(Image.open(io.BytesIO(decode(value["map"], "image/png"))))
    assert shown[..., 0].tolist() == [[2, 2], [1, 1]]
    assert shown[..., 1].tolist() == [[51, 102], [153, 255]]
    assert value["time"] == "picture 123 ms, words 50 ms"
    assert value["stem"] == "holiday"
    assert np.array_equal(np.array(Image.open(io.BytesIO(decode(value["labels"], "image/png")))), [[2, 2], [1, 1]])
    record = json.loads(decode(value["json"], "application/json"))
    assert record["threshold"] == 0.5
    found = {a["category_name"]: (a["area"], a["score"]) for a in record["annotations"]}
    assert found == {"dog": (2, 0.8), "other": (2, 0.3)}


def test_large_pictures_are_shown_smaller_and_saved_whole():
    labels = np.zeros((600, 2048), np.int64)
    labels[:, 1024:] = 1
    session = Session(np.zeros((600, 2048, 3), np.uint8), "a.png")
    value = view(session, Answer("small", ["cat", "dog"], labels, np.ones((600, 2048), np.float32), None, 0.05), 0)
    shown = np.array(Image.open(io.BytesIO(decode(value["map"], "image/png"))))
    assert shown.shape == (300, 1024, 3)
    assert np.unique(shown[..., 0]).tolist() == [0, 1]
    assert Image.open(io.BytesIO(decode(value["image"], "image/jpeg"))).size == (1024, 300)
    assert Image.open(io.BytesIO(decode(value["labels"], "image/png"))).size == (2048, 600)
    assert value["time"] == "picture kept, words 50 ms"
