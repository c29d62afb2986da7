"""TEST.BEST_METRIC: what model_best.pth is the best by."""

import functools
import json
import math

import pytest

from physseg.cli.boundary import run_program
from physseg.cli.train import main
from physseg.engine.hooks import metric_value
from physseg.engine.weights import read_checkpoint
from tests.engine.fake_training import FakeTrainer, fake_config, fake_opts

_EVAL = ("DATASETS.TEST", "['a', 'b']", "TEST.EVAL_PERIOD", "5")


def scores(a_miou, b_miou, a_fwiou, b_fwiou):
    return {
        "a": {"sem_seg": {"mIoU": a_miou, "fwIoU": a_fwiou}},
        "b": {"sem_seg": {"mIoU": b_miou, "fwIoU": b_fwiou}},
    }


class ScriptedTrainer(FakeTrainer):
    """Takes its evaluations from a list: after iterations 4, 9 and 11 of 12."""

    script: list[dict]

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return cls.script.pop(0)


def train(folder, script, *opts, resume=False):
    ScriptedTrainer.script = list(script)
    trainer = ScriptedTrainer(fake_config(folder, *_EVAL, *opts))
    trainer.resume_or_load(resume)
    trainer.train()
    assert not ScriptedTrainer.script
    return json.loads((folder / "best.json").read_text())


SCRIPT = [scores(10.0, 50.0, 1.0, 9.0), scores(30.0, 20.0, 2.0, 1.0), scores(20.0, 45.0, 3.0, 1.0)]


def test_a_metrics_value_by_hand():
    assert metric_value(SCRIPT[0], "mean_mIoU") == 30.0
    assert metric_value(SCRIPT[0], "mean_fwIoU") == 5.0
    assert metric_value(SCRIPT[0], "b/fwIoU") == 9.0
    assert math.isnan(metric_value({"a": {}}, "mean_mIoU"))
    assert math.isnan(metric_value({"a": {}}, "a/mIoU"))


@pytest.mark.parametrize(
    ("metric", "value", "iteration"),
    [("mean_mIoU", 32.5, 11), ("a/mIoU", 30.0, 9), ("b/mIoU", 50.0, 4), ("mean_fwIoU", 5.0, 4)],
)
def test_the_best_is_chosen_by_the_key(metric, value, iteration, tmp_path):
    best = train(tmp_path, SCRIPT, "TEST.BEST_METRIC", metric)
    assert best == {"metric": metric, "value": value, "iteration": iteration}
    assert read_checkpoint(tmp_path / "model_best.pth")["iteration"] == iteration


def test_numbers_of_different_metrics_are_not_compared(tmp_path, caplog):
    # Iterations 4 and 9; then 11.
    first = train(tmp_path, SCRIPT[:2], "TEST.BEST_METRIC", "b/mIoU", "SOLVER.MAX_ITER", "10")
    assert first == {"metric": "b/mIoU", "value": 50.0, "iteration": 4}
    second = train(tmp_path, SCRIPT[2:], "TEST.BEST_METRIC", "mean_fwIoU", resume=True)
    assert second == {"metric": "mean_fwIoU", "value": 2.0, "iteration": 11}
    assert "model_best.pth is the best by b/mIoU, TEST.BEST_METRIC is now mean_fwIoU" in caplog.text


def test_the_same_metric_goes_on_over_a_resume(tmp_path, caplog):
    train(tmp_path, SCRIPT[:2], "TEST.BEST_METRIC", "b/mIoU", "SOLVER.MAX_ITER", "10")
    best = train(tmp_path, SCRIPT[2:], "TEST.BEST_METRIC", "b/mIoU", resume=True)
    assert best == {"metric": "b/mIoU", "value": 50.0, "iteration": 4}
    assert "TEST.BEST_METRIC" not in caplog.text


def test_a_record_without_a_metric_counts_as_none(tmp_path, caplog):
    train(tmp_path, SCRIPT[:2], "SOLVER.MAX_ITER", "10")
    (tmp_path / "best.json").write_text('{"mean_mIoU": 99.0, "iteration": 4}')
    assert train(tmp_path, SCRIPT[2:], resume=True)["value"] == 32.5
    assert "the best by an unknown metric, TEST.BEST_METRIC is now mean_mIoU" in caplog.text


@pytest.mark.parametrize("metric", ["mIoU", "c/mIoU", "a/IoU", "mean_", "mean_miou", "a/", "", "a/boundary_IoU"])
def test_a_metric_that_evaluation_does_not_give(metric, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeTrainer, "build_model", lambda cfg: pytest.fail("built before the key was checked"))
    message = (
        r'TEST\.BEST_METRIC must be "mean_<metric>" or "<data set>/<metric>", the metric one of mIoU, mIoU_old, fwIoU, '
        rf"mACC, pACC .*, the data set one of DATASETS\.TEST: a, b; got '{metric}'\."
    )
    with pytest.raises(ValueError, match=message):
        FakeTrainer(fake_config(tmp_path, *_EVAL, "TEST.BEST_METRIC", metric))


def test_boundary_iou_where_it_is_computed(tmp_path):
    opts = ("TEST.BOUNDARY_IOU", "True", "TEST.BEST_METRIC", "b/boundary_IoU")
    assert FakeTrainer(fake_config(tmp_path, *_EVAL, *opts)).best is None


def test_nothing_is_chosen_where_nothing_is_evaluated(tmp_path):
    # A config's metric does not get in the way of DATASETS.TEST ().
    assert FakeTrainer(fake_config(tmp_path, "TEST.BEST_METRIC", "a/mIoU")).best is None


def test_the_command_line_ends_with_the_message(tmp_path, capsys):
    words = [*fake_opts(), *_EVAL, "OUTPUT_DIR", str(tmp_path), "TEST.BEST_METRIC", "mIoU"]
    assert run_program(functools.partial(main, trainer=FakeTrainer), words) == 1
    assert "TEST.BEST_METRIC must be" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.pth"))
