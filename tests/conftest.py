"""What every test gets: the CPU alone, fixed seeds, no network, no window, and no process that outlives it."""

import os
import random
import signal
import socket

# Before any library reads them: no plot window, no question to a model hub, no GPU, and one thread for each process:
# what is computed here is small, and threads that wait for each other double its cost on a machine that is busy.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import pytest
import torch

# Before any test imports Detectron2, which may need it.
from physseg import compat  # noqa: F401
from tests import processes_left


def pytest_configure(config):
    config.option.randomly_reset_seed = False  # the order is random, the seeds are not
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it runs in the background so; what the tests start would then ignore Ctrl-C too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Once, at its first backward pass, autograd starts a thread for each device that is not the CPU, and a process that
    # has such threads cannot fork one that trains. So it comes before any test can make a device known.
    torch.ones(1, requires_grad=True).backward()
    processes_left.adopt_orphans()
    processes_left.kill_descendants_on_sigterm()


def pytest_sessionfinish():
    processes_left.kill(processes_left.descendants())


@pytest.fixture(autouse=True)
def ended_processes():
    """What a test has started ends with it, also when it fails or its time is over; signal handlers are as before."""
    before = processes_left.descendants()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    processes_left.kill(processes_left.descendants() - before)


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Each test starts from the same random state, in whatever order the tests run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def float32_where_the_machine_decides(monkeypatch):
    """No test depends on how fast this machine is in bf16."""
    monkeypatch.setattr("physseg.modeling.precision.bf16_is_faster", lambda device, products: False)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Connections leave this machine in no test; local ones (process groups) are allowed."""
    connect = socket.socket.connect

    def connect_locally(self, address):
        local = not isinstance(address, tuple) or address[0] in ("localhost", "127.0.0.1", "::1")
        if not local:
            raise OSError(f"a test tried to reach {address[0]}; tests must not need the network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)
