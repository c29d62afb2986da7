"""Ctrl-C and SIGTERM at chosen moments of a training, sent to one of its processes or to all."""

import os
import signal
import time

import pytest
import torch
from detectron2.utils import comm

from physseg import signals
from physseg.engine.hooks import TrainingInterrupted
from tests.engine.fake_training import FakeTrainer, train
from tests.engine.processes import Training

_BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@_BOTH
def test_a_signal_inside_the_exchange_of_losses_is_not_lost(number, tmp_path, monkeypatch):
    exchange, exchanges = comm.all_gather, []

    def interrupted_exchange(data, *args):
        if isinstance(data, tuple) and isinstance(data[0], dict):
            exchanges.append(data)
            if len(exchanges) == 4:  # this iteration's request has been read; the signal comes before the answer
                os.kill(os.getpid(), number)
        return exchange(data, *args)

    monkeypatch.setattr(comm, "all_gather", interrupted_exchange)
    with pytest.raises(TrainingInterrupted, match="after iteration 4; its state is saved") as stop:
        train(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 100)
    assert stop.value.number == number
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"


def test_a_signal_after_the_last_exchange_is_not_lost(tmp_path, monkeypatch):
    save = torch.save

    def interrupted_save(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        save(*args)

    monkeypatch.setattr(torch, "save", interrupted_save)
    with pytest.raises(signals.Stopped):
        train(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 100)
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_a_stop_during_an_evaluation_saves_the_state_before_it(tmp_path, monkeypatch):
    def stopped(*_):
        raise signals.Stopped(number=signal.SIGTERM)

    monkeypatch.setattr(FakeTrainer, "test", stopped)
    with pytest.raises(TrainingInterrupted, match="after iteration 6") as stop:
        train(tmp_path, "DATASETS.TEST", "['a']", "TEST.EVAL_PERIOD", 7)
    assert stop.value.number == signal.SIGTERM
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000006.pth"


@_BOTH
@pytest.mark.parametrize(("processes", "to"), [(1, "group"), (2, "launcher"), (2, "group"), (2, "rank")])
def test_a_stop_during_training(number, processes, to, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_WORKERS", "1")
    training = Training(tmp_path, processes)
    training.wait_for("trains")
    training.send(number, to)
    assert training.status() == 128 + number
    assert not training.left()
    assert (tmp_path / "last_checkpoint").is_file()
    captured = capfd.readouterr()
    assert "--resume to continue" in captured.out
    assert "Traceback" not in captured.out + captured.err
    assert captured.err.splitlines()[-1] == f"stopped by {signal.Signals(number).name}."


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stop_before_training(processes, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DWELL", "model")
    training = Training(tmp_path, processes)
    training.wait_for("dwells")
    training.send(signal.SIGTERM, "group")
    assert training.status() == 143
    assert not training.left()
    assert not (tmp_path / "last_checkpoint").exists()
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err


def test_a_stop_while_children_start(tmp_path, monkeypatch, capfd):
    def start(*args, **options):
        context = genuine(*args, **options)
        os.killpg(os.getpid(), signal.SIGINT)
        return context

    genuine = torch.multiprocessing.start_processes
    monkeypatch.setattr(torch.multiprocessing, "start_processes", start)
    training = Training(tmp_path, 2)
    assert training.status() == 130
    assert not training.left()
    assert "Traceback" not in capfd.readouterr().err


def test_a_second_signal_does_not_wait(tmp_path, monkeypatch):
    monkeypatch.setenv("DWELL", "step")
    training = Training(tmp_path, 2)
    training.wait_for("dwells")
    training.send(signal.SIGINT, "group")
    time.sleep(1.5)
    assert training.process.is_alive()
    training.send(signal.SIGINT, "group")
    assert training.status() == 130
    assert not training.left()


def test_nothing_is_left_of_a_launcher_that_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_WORKERS", "1")
    training = Training(tmp_path, 2)
    training.wait_for("trains")
    training.process.kill()
    assert training.status() == -signal.SIGKILL
    assert not training.left()
    assert (tmp_path / "last_checkpoint").is_file()


def test_the_end_of_one_process_by_force_ends_all(tmp_path, capfd):
    training = Training(tmp_path, 2)
    training.wait_for("trains")
    os.kill(training.rank(1), signal.SIGKILL)
    assert training.status() in (1, 70)
    assert not training.left()
