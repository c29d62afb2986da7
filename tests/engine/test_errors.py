"""Errors inside training, on one process and on two: one message on the terminal, the traceback in the log file."""

import os
import re
import signal

import pytest

from physseg.cli import boundary
from tests.engine.processes import Training

_WARNING_OF_TORCH = r"(\[rank\d\]:)?W\d{4} "


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    """A process that leaves the words to another one waits for as long as it takes here to be ended."""
    monkeypatch.setattr(boundary, "_GRACE_SECONDS", 2.0)


def ended_with(training, status, capfd):
    """Its lines on standard error, once it has ended as it should: nothing left, no traceback on the terminal."""
    assert training.status() == status
    assert not training.left()
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert "error: " not in captured.out
    return [line for line in captured.err.splitlines() if not re.match(_WARNING_OF_TORCH, line)]


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_a_file_that_is_missing_in_training(processes, workers, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_GONE_FROM", "8")
    monkeypatch.setenv("FAKE_WORKERS", str(workers))
    assert ended_with(Training(tmp_path, processes), 1, capfd) == ["error: no image gone.png"]
    log = (tmp_path / "log.txt").read_text()
    assert log.count("Ended by an error:") == 1
    assert "in read_image" in log


def test_the_traceback_on_demand(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_GONE_FROM", "8")
    training = Training(tmp_path, 1, options=["--traceback"])
    assert training.status() == 1
    lines = capfd.readouterr().err.splitlines()
    assert sum(line.startswith("Traceback") for line in lines) == 1
    assert lines[-1] == "error: no image gone.png"


def test_one_process_alone_meets_an_error_in_the_first_iteration(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_GONE_FROM", "2")
    training = Training(tmp_path, 2, "SOLVER.IMS_PER_BATCH", "4")  # samples 2 and 3 are those of the second process
    assert ended_with(training, 1, capfd) == ["error: no image gone.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_one_process_ends_while_the_other_waits_for_it_in_the_first_iteration(number, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DWELL", "rank 1's loader")
    training = Training(tmp_path, 2)
    training.wait_for("rank1.pid")
    os.kill(training.rank(1), number)
    if number == signal.SIGKILL:
        (line,) = ended_with(training, 1, capfd)
        assert line.startswith("error: Process 1 of this run was ended by SIGKILL.")
    else:
        assert ended_with(training, 128 + number, capfd) == [f"stopped by {signal.Signals(number).name}."]
