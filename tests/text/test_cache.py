"""Text features by name: what is encoded, what is dropped, and when."""

import copy
import threading

import pytest
import torch

from physseg.text.cache import TextCache


class Encoder:
    """Stands for a ClipEncoder: a name's features are its length times the weight; it notes what it was asked for."""

    synonym_policy = "first"
    device = torch.device("cpu")

    def __init__(self):
        self.weight = torch.ones(1)
        self.templates = ("a {}",)
        self.asked = []

    def text_parameters(self):
        return iter([self.weight])

    def encode_text(self, names):
        self.asked.append(list(names))
        return torch.tensor([float(len(name)) for name in names]).view(-1, 1, 1) * self.weight * torch.ones(1, 1, 4)


@pytest.fixture
def encoder():
    return Encoder()


def lengths(features):
    return features[:, 0, 0].tolist()


def test_only_new_names_are_encoded(encoder):
    cache = TextCache()
    assert lengths(cache.get(encoder, ("cat", "horse"))) == [3, 5]
    assert lengths(cache.get(encoder, ("horse", "ox", "cat"))) == [5, 2, 3]
    assert lengths(cache.get(encoder, ("ox", "cat"))) == [2, 3]
    assert lengths(cache.get(encoder, ("cat", "horse"))) == [3, 5]
    assert encoder.asked == [["cat", "horse"], ["ox"]]


def change_weight(encoder):
    encoder.weight.mul_(2)


def change_templates(encoder):
    encoder.templates = ("the {}",)


@pytest.mark.parametrize("change", [change_weight, change_templates])
def test_changes_drop_everything(encoder, change):
    cache = TextCache()
    cache.get(encoder, ("cat", "ox"))
    change(encoder)
    cache.get(encoder, ("cat",))
    assert encoder.asked == [["cat", "ox"], ["cat"]]


def test_autocast_has_features_of_its_own(encoder):
    cache = TextCache()
    cache.get(encoder, ("cat",))
    with torch.autocast("cpu", torch.bfloat16):
        cache.get(encoder, ("cat",))
    assert encoder.asked == [["cat"], ["cat"]]


def test_it_is_bounded_and_the_least_recently_used_go_first(encoder):
    """A name takes 4 numbers of 4 bytes: there is room for four."""
    cache = TextCache(most_bytes=64)
    cache.get(encoder, ("a", "b"))
    cache.get(encoder, ("c", "d"))
    cache.get(encoder, ("a", "b"))
    cache.get(encoder, ("e", "f"))  # c and d go
    cache.get(encoder, ("a", "c"))
    assert encoder.asked == [["a", "b"], ["c", "d"], ["e", "f"], ["c"]]
    many = tuple("ghijklm")
    assert len(cache.get(encoder, many)) == 7  # more than the bound, and kept all the same
    assert cache.get(encoder, many) is cache.get(encoder, many)


def test_a_copy_begins_empty(encoder):
    cache = TextCache()
    cache.get(encoder, ("cat",))
    copy.deepcopy(cache).get(encoder, ("cat",))
    assert encoder.asked == [["cat"], ["cat"]]


def test_threads_that_ask_at_the_same_time_encode_once(encoder):
    cache, start, found = TextCache(), threading.Barrier(8), []

    def ask():
        start.wait()
        found.append(cache.get(encoder, ("cat", "ox")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoder.asked == [["cat", "ox"]]
    assert all(features is found[0] for features in found)
