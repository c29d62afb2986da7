"""Ctrl-C and SIGTERM during training, at chosen moments."""

import os
import signal

import pytest
from detectron2.utils import comm

from physseg.engine.hooks import TrainingInterrupted
from tests.engine.fake_training import train


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_inside_the_exchange_of_losses_is_not_lost(number, tmp_path, monkeypatch):
    exchange, exchanges = comm.all_gather, []

    def interrupted_exchange(data, *args):
        if isinstance(data, tuple) and isinstance(data[0], dict):
            exchanges.append(data)
            if len(exchanges) == 4:  # this iteration's request has been read; the signal comes before the answer
                os.kill(os.getpid(), number)
        return exchange(data, *args)

    monkeypatch.setattr(comm, "all_gather", interrupted_exchange)
    with pytest.raises(TrainingInterrupted, match="after iteration 4; its state is saved"):
        train(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 100)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
