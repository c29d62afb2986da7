import pytest
import torch

from physseg.evaluation import SegmentationEvaluator, Timing, evaluate_dataset
from physseg.evaluation import evaluator as evaluator_module
from physseg.timing import stage


@pytest.fixture
def parts(monkeypatch):
    """A hand-made clock, and a loader, a model and an evaluator that move it on by known times.

    Per image: loading 1 s, the model 20 s with resizing for 4 s within, the label map 0.5 s, counting 0.25 s,
    what is done after a batch 2 s.
    """
    now = [1000.0]

    def wait(seconds):
        now[0] += seconds

    class Loader(list):
        def __iter__(self):
            for batch in super().__iter__():
                wait(len(batch))
                yield batch

    def model(inputs):
        for _ in inputs:
            wait(16)
            with stage("resize"):
                wait(4)
        return [{"labels": torch.tensor([[0, 1]])} for _ in inputs]

    def read(path):
        wait(0.5)
        return torch.tensor([[0, 0]]).numpy()

    def count(*args):
        wait(0.25)
        return confusion_matrix(*args)

    confusion_matrix = evaluator_module.confusion_matrix
    monkeypatch.setattr(evaluator_module, "read_label_map", read)
    monkeypatch.setattr(evaluator_module, "confusion_matrix", count)
    names = ["a", "b", "c", "d"]
    loader = Loader([[{"file_name": name}] for name in names[:2]] + [[{"file_name": name} for name in names[2:]]])
    evaluator = SegmentationEvaluator("toy", ["x", "y"], 255, {name: name for name in names})
    return lambda: now[0], wait, loader, model, evaluator


def test_where_the_time_went_by_a_hand_made_clock(parts):
    clock, wait, loader, model, evaluator = parts
    timing = Timing()
    evaluate_dataset(
        model, loader, evaluator, on_batch=lambda inputs: wait(2 * len(inputs)), timing=timing, clock=clock
    )
    assert timing.images == 4
    assert timing.seconds == {"model": 64.0, "resize": 16.0, "metric": 1.0, "io": 6.0, "other": 8.0}
    assert timing.total == 95.0
    expected = {"model": 64 / 95, "resize": 16 / 95, "metric": 1 / 95, "io": 6 / 95, "other": 8 / 95}
    assert timing.shares() == pytest.approx(expected)


def test_images_counted_before_cost_loading_alone(parts):
    clock, _, loader, model, evaluator = parts
    evaluate_dataset(model, loader, evaluator)
    timing = Timing()
    evaluate_dataset(model, loader, evaluator, timing=timing, clock=clock)
    assert timing.images == 0
    assert timing.seconds == {"io": 4.0, "other": 0.0}
    assert timing.shares() == {"model": 0.0, "resize": 0.0, "metric": 0.0, "io": 1.0, "other": 0.0}


def test_nothing_is_timed_unasked(parts):
    _, _, loader, model, evaluator = parts

    def clock():
        raise AssertionError("the clock was read")

    assert evaluate_dataset(model, loader, evaluator, clock=clock)["sem_seg"]["pACC"] == 50.0


def test_no_time_at_all_has_no_shares():
    assert set(Timing().shares().values()) == {0.0}
