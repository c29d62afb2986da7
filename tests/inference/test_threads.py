"""One Predictor, many threads, each with words of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import physseg
from physseg.toy_world.example import toy_scene
from physseg.toy_world.vocabularies import COMPOSITIONS

NAMES = [composition.name for composition in COMPOSITIONS]
THREADS = 16


@pytest.fixture(scope="module")
def predictor():
    return physseg.load("toy", device="cpu")


def vocabulary(number):
    """Other words and another count of them for every thread, some of them shared with others."""
    return NAMES[number : 2 * number + 3]


def test_sixteen_threads_never_mix_results(predictor):
    images = [toy_scene(number, height=48 + 8 * (number % 3))[0] for number in range(THREADS)]
    thresholds = [0.1 * (number % 4) for number in range(THREADS)]
    expected = [
        predictor.segment(images[number], thresholds[number], True, vocabulary(number)) for number in range(THREADS)
    ]
    predictor.model.text_cache.clear()
    start = threading.Barrier(THREADS)

    def ask(number):
        start.wait()
        return predictor.segment(images[number], thresholds[number], True, vocabulary(number))

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(ask, range(THREADS)))
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        assert one["sem_seg"].shape[0] == len(vocabulary(number))
        torch.testing.assert_close(one["sem_seg"], other["sem_seg"], rtol=0, atol=1e-5)
        # Where two names, or a name and the threshold, are as close as rounding, either is right.
        assert (one["labels"] != other["labels"]).float().mean() < 0.001


def test_a_call_may_have_words_and_a_threshold_of_its_own(predictor):
    image, names, _ = toy_scene(1, height=96)
    predictor.set_vocabulary(["red disc"])
    assert predictor(image, names)["sem_seg"].shape[0] == len(names)
    labels = predictor.labels(image, threshold=1.0, vocabulary=names)
    assert torch.equal(labels, torch.full((96, 128), len(names)))
    encoded = predictor.encode(image)
    one, other = predictor.segment_encoded(encoded, names, 0.4), predictor.segment(image, 0.4, vocabulary=names)
    assert torch.equal(one["labels"], other["labels"])
    assert predictor.vocabulary == ["red disc"]
    with pytest.raises(ValueError, match=r"threshold is 2; expected a probability"):
        predictor.segment_encoded(encoded, names, 2)


def test_a_new_word_costs_one_pass_over_it_alone(predictor, monkeypatch):
    image = np.zeros((32, 32, 3), np.uint8)
    predictor.labels(image, vocabulary=NAMES[:20])
    asked = []
    encode = predictor.model.clip.encode_text
    monkeypatch.setattr(predictor.model.clip, "encode_text", lambda names: asked.append(list(names)) or encode(names))
    predictor.labels(image, vocabulary=[*NAMES[:20], "a new word"])
    assert asked == [["a new word"]]


def test_colliding_names_are_warned_of_once(predictor, caplog):
    image = np.zeros((32, 32, 3), np.uint8)
    for _ in range(2):
        predictor.labels(image, vocabulary=["sofa, couch", "sofa, settee"])
    assert caplog.text.count("names begin with 'sofa'") == 1
