import contextlib
import time

import pytest
import torch

from physseg.modeling.catseg.cost_volume import ClassLogits
from physseg.modeling.postprocess import whole_prediction, windows_prediction
from physseg.modeling.sliding_window import plan_windows
from physseg.timing import collect_stages, device_clock, stage


class HandClock:
    """Stands still until it is moved on."""

    def __init__(self):
        self.now, self.read = 100.0, 0

    def __call__(self):
        self.read += 1
        return self.now

    def wait(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return HandClock()


def test_a_moment_belongs_to_the_innermost_stage(clock):
    seconds = {}
    with collect_stages(seconds, clock):
        clock.wait(1)
        with stage("model"):
            clock.wait(2)
            with stage("resize"):
                clock.wait(4)
            clock.wait(8)
        clock.wait(16)
        with stage("model"):
            clock.wait(32)
    clock.wait(64)
    assert seconds == {"other": 17.0, "model": 42.0, "resize": 4.0}


def test_times_add_up_over_several_collections(clock):
    seconds = {"model": 1.0}
    for _ in range(2):
        with collect_stages(seconds, clock), stage("model"):
            clock.wait(3)
    assert seconds == {"model": 7.0, "other": 0.0}


def test_a_stage_on_a_function(clock):
    @stage("resize")
    def double(x):
        clock.wait(5)
        return 2 * x

    seconds = {}
    assert double(1) == 2
    with collect_stages(seconds, clock):
        assert double(2) + double(3) == 10
    assert seconds["resize"] == 10.0


def test_an_error_ends_its_stage(clock):
    seconds = {}
    with collect_stages(seconds, clock):
        with contextlib.suppress(KeyboardInterrupt), stage("model"):
            clock.wait(1)
            raise KeyboardInterrupt
        clock.wait(2)
    assert seconds == {"other": 2.0, "model": 1.0}


def test_no_clock_is_read_where_nobody_asks(clock):
    with collect_stages({}, clock):
        pass
    read = clock.read
    with stage("model"):
        pass
    assert clock.read == read


def test_the_postprocessing_is_the_resize_stage(clock, monkeypatch):
    def slow(*args, **options):
        clock.wait(1)
        return interpolate(*args, **options)

    interpolate = torch.nn.functional.interpolate
    monkeypatch.setattr(torch.nn.functional, "interpolate", slow)
    seconds = {}
    with collect_stages(seconds, clock):
        whole_prediction(ClassLogits(torch.zeros(1, 3, 4, 4), None, 3), (8, 8), (1, 1), labels_only=True)
        assert seconds["resize"] == 1.0
        plan = plan_windows((8, 8), size=8, stride=8, canvas=8, keep_aspect=False)
        parts = [ClassLogits(torch.zeros(1, 3, 4, 4), None, 3)] * 2
        windows_prediction(parts, plan, (8, 8), labels_only=True)
    # The second: windows to their size, the whole image to the canvas, the canvas to the output.
    assert seconds == {"resize": 4.0, "other": 0.0}


def test_the_clock_of_a_device(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    assert device_clock("cpu") is time.perf_counter
    clock = device_clock("cuda:1")
    assert clock() <= time.perf_counter()
    assert waited == ["cuda:1"]
