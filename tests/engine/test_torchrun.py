"""A training under torchrun: its agent, rendezvous and signals, in forked processes."""

import json
import signal

import pytest

from tests.engine.processes import Training


def own_lines(capfd):
    """What the training itself writes to standard error; torchrun's own words come in the middle of them."""
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith(("error:", "stopped", "Stopping"))]


def test_training(tmp_path):
    training = Training(tmp_path, None, "SOLVER.MAX_ITER", "12")
    assert training.status() == 0
    assert not training.left()
    assert len(json.loads((tmp_path / "losses.json").read_text())) == 12
    assert (tmp_path / "log.txt.rank1").is_file()


def test_an_error_that_both_processes_meet(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_GONE_FROM", "0")
    training = Training(tmp_path)
    assert training.status() == 1
    assert not training.left()
    assert own_lines(capfd) == ["error: no image gone.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop(number, tmp_path, capfd):
    training = Training(tmp_path)
    training.wait_for("trains")
    training.send(number, "group")
    assert training.status() == 1  # torchrun's
    assert not training.left()
    assert (tmp_path / "last_checkpoint").is_file()
    *_, last = own_lines(capfd)
    assert last == f"stopped by {signal.Signals(number).name}."
