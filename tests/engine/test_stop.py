"""Ctrl-C and SIGTERM at chosen moments of a training, sent to one of its processes or to all."""

import functools
import multiprocessing
import os
import signal
import sys
import time

import psutil
import pytest
import torch
from detectron2.utils import comm

from physseg import signals
from physseg.cli.boundary import run_program
from physseg.cli.train import main
from physseg.engine import launch
from physseg.engine.hooks import TrainingInterrupted
from tests.engine.fake_training import FakeTrainer, fake_opts, train

_BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
_ENDLESS = ("SOLVER.MAX_ITER", "1000000", "SOLVER.CHECKPOINT_PERIOD", "1000000")


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


class Training:
    """The real command line in a session of its own. Forked: new interpreters would take longer than the tests."""

    def __init__(self, folder, processes, *opts):
        self.folder = folder
        words = ["--num-gpus", str(processes), *fake_opts(), "OUTPUT_DIR", str(folder), *_ENDLESS, *opts]
        self.process = multiprocessing.get_context("fork").Process(target=_train, args=(words,))
        self.process.start()

    def wait_for(self, name):
        end = time.monotonic() + 100
        while not (self.folder / name).is_file():
            time.sleep(0.02)
            assert self.process.is_alive()
            assert time.monotonic() < end

    def send(self, number, to):
        if to == "group":
            os.killpg(self.process.pid, number)
        else:
            os.kill(self.process.pid if to == "launcher" else self.rank(1), number)

    def rank(self, number):
        return int((self.folder / f"rank{number}.pid").read_text())

    def status(self):
        self.process.join(100)
        return self.process.exitcode

    def left(self):
        """Its processes that still live a while later."""
        for _ in range(100):
            left = [process for process in psutil.process_iter() if _session(process.pid) == self.process.pid]
            left = [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
            if not left:
                break
            time.sleep(0.1)
        return left


class Spoken(FakeTrainer):
    """Leaves the ids of its processes, and can be told to dwell at places."""

    def run_step(self):
        super().run_step()
        if self.iter == 3:
            _leave(self.cfg, f"rank{comm.get_rank()}.pid")
        if self.iter == 4:
            _leave(self.cfg, "trains")
        if self.iter == 5 and os.environ.get("DWELL") == "step" and comm.get_rank() == 0:
            _leave(self.cfg, "dwells")
            time.sleep(100)

    @classmethod
    def build_model(cls, cfg):
        if os.environ.get("DWELL") == "model":
            _leave(cfg, "dwells")
            time.sleep(100)
        return super().build_model(cfg)


def _leave(cfg, name):
    path = os.path.join(cfg.OUTPUT_DIR, name)
    with open(f"{path}.{os.getpid()}", "w") as file:
        file.write(str(os.getpid()))
    os.replace(file.name, path)


def _train(words):
    os.setsid()
    launch._START_METHOD = "fork"
    # As for a program that a shell starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(run_program(functools.partial(main, trainer=Spoken), words))


def _session(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


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
