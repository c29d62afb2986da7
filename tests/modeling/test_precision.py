"""Precision of predictions; what the machine would be asked is answered by the tests."""

import pytest
import torch

from physseg.modeling import precision
from physseg.modeling.precision import bf16_is_faster, precision_context, product_gain
from tests.reference import golden
from tests.reference.small import WINDOW, build_pair

CPU = torch.device("cpu")
PRODUCTS = ((2, 3, 4), (5, 6, 7))


@pytest.fixture
def gain(monkeypatch):
    """Answers the question of how fast bf16 is, and counts how often it is asked."""
    bf16_is_faster.cache_clear()
    asked = []

    def set_gain(value):
        monkeypatch.setattr(precision, "product_gain", lambda device, products: asked.append(products) or value)
        return asked

    yield set_gain
    bf16_is_faster.cache_clear()


@pytest.mark.parametrize(("value", "faster"), [(1.99, False), (2.0, True), (0.5, False)])
def test_bf16_from_twice_the_speed_on_and_tried_once(gain, value, faster):
    asked = gain(value)
    assert [bf16_is_faster(CPU, PRODUCTS) for _ in range(3)] == [faster] * 3
    assert asked == [PRODUCTS]
    bf16_is_faster(CPU, PRODUCTS[:1])  # another model
    assert len(asked) == 2


def test_other_devices_are_not_tried(gain):
    asked = gain(10.0)
    assert not bf16_is_faster(torch.device("mps"), PRODUCTS)
    assert asked == []


def test_the_gain_is_that_of_the_best_turns(monkeypatch):
    # Per product five turns of float32, then five of bf16: the best are 6 and 2, then 4 and 3.
    taken = [9, 6, 7, 8, 6, 5, 2, 2, 3, 4, 40, 4, 5, 4, 4, 3, 30, 3, 4, 5]
    ends = [value for duration in taken for value in (0, duration)]
    monkeypatch.setattr(precision, "device_clock", lambda device: iter(ends).__next__)
    assert product_gain(CPU, PRODUCTS) == (6 + 4) / (2 + 3)


def test_the_gain_of_this_machine_is_a_number():
    assert product_gain(CPU, PRODUCTS) > 0


@pytest.mark.parametrize(
    ("name", "faster", "autocast"),
    [
        ("float32", True, False),
        ("by_use", True, False),
        ("bf16", False, True),
        ("auto", True, True),
        ("auto", False, False),
    ],
)
def test_the_context(name, faster, autocast, monkeypatch):
    monkeypatch.setattr(precision, "bf16_is_faster", lambda device, products: faster)
    with precision_context(name, CPU, PRODUCTS):
        assert torch.is_autocast_enabled("cpu") == autocast


def test_float32_leaves_the_callers_autocast_alone():
    with torch.autocast("cpu", torch.bfloat16), precision_context("float32", CPU, PRODUCTS):
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("window", [None, WINDOW])
def test_the_model_in_bf16_is_near_float32_and_gives_float32(window):
    model, _ = build_pair(11, window=window)
    x = {"image": golden.image(48, 64)}
    exact = model([x])[0]["sem_seg"]
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    model.precision = "bf16"
    found = model([x])[0]["sem_seg"]
    assert set(seen) == {torch.bfloat16}
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.05)
    # What an autocast around the whole model would have made bf16 as well.
    assert model.text_features(model.vocabulary).dtype == torch.float32
    labels = model([x | {"output": "labels"}])[0]
    assert torch.equal(labels["labels"], found.argmax(0))
    assert labels["scores"].dtype == torch.float32
    encoded = model.encode_image(x)
    torch.testing.assert_close(model.predict_encoded(encoded)["sem_seg"], found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("faster", [True, False])
def test_auto_is_one_or_the_other_to_the_last_bit(faster, monkeypatch):
    model, _ = build_pair(5)
    asked = []
    monkeypatch.setattr(precision, "bf16_is_faster", lambda *args: asked.append(args) or faster)
    x = {"image": golden.image(48, 64)}
    model.precision = "auto"
    found = model([x])[0]["sem_seg"]
    model.precision = "bf16" if faster else "float32"
    assert torch.equal(found, model([x])[0]["sem_seg"])
    # 36 tokens of width 32; slices of 4608 tokens of 64 channels.
    assert set(asked) == {(CPU, ((36, 32, 128), (4608, 64, 256)))}


def test_training_is_not_concerned():
    model, _ = build_pair(5)
    model.train()
    x = {"image": golden.image(64, 64), "sem_seg": torch.zeros(64, 64, dtype=torch.int64)}
    exact = model([x])["loss_sem_seg"]
    model.precision = "bf16"
    assert torch.equal(model([x])["loss_sem_seg"], exact)


def test_an_unknown_precision():
    with pytest.raises(ValueError, match=r"TEST.PRECISION: expected one of .*'bf16'.*, got 'fp8'"):
        build_pair(5, precision="fp8")


def test_sums_over_classes_are_float32():
    model, _ = build_pair(5)
    layer = model.aggregation.layers[0].classes
    one = torch.ones((), dtype=torch.bfloat16).expand(1, 5, 1, layer.dim)
    sums = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func is torch.Tensor.sum:
                sums.append(out.dtype)
            return out

    terms = torch.zeros(1, 1, 1, layer.dim)
    pads = layer._padding_sums(0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Watch():
        layer._attend(True, one, terms, terms, *pads)
    assert sums == [torch.float32]
