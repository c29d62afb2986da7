"""TEST.BEST_METRIC, looked at when training starts: what evaluation gives, and nothing else."""

import itertools

import pytest

from physseg.engine.hooks import check_best_metric
from tests.engine.fake_training import FakeTrainer, fake_config

_ALWAYS = ("mIoU", "mIoU_old", "fwIoU", "mACC", "pACC")
_ON = ("TEST.BOUNDARY_IOU", "True", "TEST.BOUNDARY_WIDTHS", "[0.01, 0.5]", "TEST.THIN_WIDTH", "0.1")
_WHERE_ON = ("boundary_IoU", "boundary_IoU_0.01", "boundary_IoU_0.5", "thin_IoU")


def config(tmp_path, metric, *opts):
    return fake_config(tmp_path, "DATASETS.TEST", "['a', 'b']", "TEST.BEST_METRIC", metric, *opts)


@pytest.mark.parametrize(("place", "metric"), list(itertools.product(("mean_", "a/", "b/"), (*_ALWAYS, *_WHERE_ON))))
def test_each_metric_of_each_place(place, metric, tmp_path):
    check_best_metric(config(tmp_path, place + metric, *_ON))
    if metric in _WHERE_ON:
        with pytest.raises(ValueError, match=r"TEST.BEST_METRIC must be .*a, b; got "):
            check_best_metric(config(tmp_path, place + metric))


@pytest.mark.parametrize(
    "metric",
    [
        *("", "mIoU", "mean_", "mean_miou", "mean_mIOU", "Mean_mIoU", "mean-mIoU", "mean_mean_mIoU", "mean_IoU-thing"),
        *(
            "c/mIoU",
            "a/",
            "/mIoU",
            "a/b/mIoU",
            "a/mean_mIoU",
            "mean_a/mIoU",
            "a mIoU",
            "A/mIoU",
            "a/total_loss",
            "loss",
        ),
        *("mean_boundary_IoU_0.02", "a/boundary_IoU_0.010", "a/thin"),
    ],
)
def test_what_evaluation_does_not_give(metric, tmp_path, monkeypatch):
    def too_late(*_):
        pytest.fail("the model was built before the metric was looked at")

    monkeypatch.setattr(FakeTrainer, "build_model", too_late)
    with pytest.raises(ValueError, match=r"TEST.BEST_METRIC must be .* the data set one of DATASETS.TEST: a, b; got "):
        FakeTrainer(config(tmp_path, metric, *_ON))


def test_nothing_to_evaluate_asks_for_no_metric(tmp_path):
    check_best_metric(fake_config(tmp_path, "TEST.BEST_METRIC", "c/mIoU"))
