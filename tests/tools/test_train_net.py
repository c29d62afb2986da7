"""The command line: statuses and messages."""

import functools
import re
import runpy
import sys

import pytest

from physseg.cli.boundary import run_program
from physseg.cli.train import main
from physseg.engine.weights import read_checkpoint
from tests.engine.fake_training import FakeTrainer, fake_opts


def run(folder, *opts, options=()):
    words = [*options, *fake_opts(), "OUTPUT_DIR", str(folder), *opts]
    return run_program(functools.partial(main, trainer=FakeTrainer), words)


def test_trains_evaluates_and_writes_results(tmp_path):
    assert run(tmp_path, "DATASETS.TEST", "['a']") == 0
    weights = tmp_path / "model_final.pth"
    assert (tmp_path / "results.json").is_file()
    assert (tmp_path / "config.yaml").is_file()
    assert not (tmp_path / "model_best.pth").exists()
    trained = (tmp_path / "results.json").read_text()
    again = tmp_path / "again"
    assert run(again, "DATASETS.TEST", "['a']", "MODEL.WEIGHTS", str(weights), options=["--eval-only"]) == 0
    assert (again / "results.json").read_text() == trained


def test_resume_of_a_finished_run(tmp_path):
    assert run(tmp_path) == 0
    before = (tmp_path / "model_final.pth").read_bytes()
    assert run(tmp_path, options=["--resume"]) == 0
    assert (tmp_path / "model_final.pth").read_bytes() == before


def test_averaged_weights_are_evaluated_and_loaded(tmp_path):
    opts = ("DATASETS.TEST", "['a']", "SOLVER.EMA.ENABLED", "True", "SOLVER.BASE_LR", "0.1")
    assert run(tmp_path, *opts) == 0
    trained = (tmp_path / "results.json").read_text()
    final = tmp_path / "model_final.pth"
    assert "average" in read_checkpoint(final)["ema"]
    again = tmp_path / "again"
    assert run(again, "DATASETS.TEST", "['a']", "MODEL.WEIGHTS", str(final), options=["--eval-only"]) == 0
    assert (again / "results.json").read_text() == trained


def test_nan_gives_a_status_and_names_the_iteration(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_NAN_AT", "6")
    assert run(tmp_path) == 1
    output = "".join(capfd.readouterr())
    assert "NaN at iteration 6" in output
    assert f"the last good checkpoint in {tmp_path} is kept" in output


def test_interrupt_gives_status_130(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_INTERRUPT_AT", "6")
    assert run(tmp_path) == 130
    assert "--resume to continue" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SOLVER.BASE_RL", "1"], "unknown config key SOLVER.BASE_RL. Did you mean SOLVER.BASE_LR"),
        (["--config-file", "nowhere.yaml"], "Config file not found: nowhere.yaml"),
        (["SOLVER.AMP.ENABLED"], "Overrides come in pairs"),
    ],
)
def test_bad_config(words, message, capsys):
    assert run_program("train", words) == 1
    assert message in capsys.readouterr().err


def test_a_shipped_config_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, options=["--config-file", "toy"]) == 0


def test_nothing_to_evaluate_on(capfd):
    assert (
        run_program("train", ["--config-file", "toy", "--eval-only", "DATASETS.TEST", "()", "MODEL.DEVICE", "cpu"]) == 1
    )
    assert "error: DATASETS.TEST names no data set" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "DATASETS.TEST: no data set 'nowhere' is registered"),
        ("toy_voc_20_val_sem_seg", "Prepare it: .* or leave it out of DATASETS.TEST"),
    ],
)
def test_what_is_evaluated_at_the_end_is_looked_at_before_the_start(name, message, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    words = ["--config-file", "toy", "DATASETS.TEST", f"['{name}']", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)]
    assert run_program("train", words) == 1
    assert re.search(message, capfd.readouterr().err.splitlines()[-1])


def test_missing_weights(tmp_path, capfd):
    assert run(tmp_path, "MODEL.WEIGHTS", "nowhere.pth") == 1
    assert "Weights not found: nowhere.pth. Check MODEL.WEIGHTS." in "".join(capfd.readouterr())


def test_script_starts(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_net.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path("tools/train_net.py", run_name="__main__")
    assert end.value.code in (0, None)
    assert "--eval-only" in capsys.readouterr().out


@pytest.mark.parametrize("url", ["", " ", "node0:29500", "tcp://node0", "http://node0:29500", "tcp://node0:29500/x"])
def test_a_meeting_place_that_is_none(url, tmp_path, capsys):
    assert run(tmp_path, options=["--dist-url", url]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: --dist-url {url!r}: expected tcp://HOST:PORT of the first machine"
    )


def test_meeting_places_of_several_machines_are_no_matter_for_one(tmp_path):
    assert run(tmp_path, options=["--dist-url", "tcp://[::1]:29500"]) == 0
