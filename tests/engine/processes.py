"""Trainings of the fake in processes of their own, by the real command line."""

import functools
import multiprocessing
import os
import signal
import sys
import time

import psutil
from detectron2.utils import comm
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from physseg.cli.boundary import run_program
from physseg.cli.train import main
from physseg.engine import launch
from tests.engine.fake_training import FakeTrainer, fake_opts

_ENDLESS = ("SOLVER.MAX_ITER", "1000000", "SOLVER.CHECKPOINT_PERIOD", "1000000")


class Training:
    """The real command line in a session of its own. Forked: new interpreters would take longer than the tests.

    Without ``processes`` it is two of torchrun's.
    """

    def __init__(self, folder, processes=None, *opts, options=()):
        self.folder = folder
        words = [*options, *fake_opts(), "OUTPUT_DIR", str(folder), *_ENDLESS, *opts]
        target = _torchrun if processes is None else _train
        if processes is not None:
            words = ["--num-gpus", str(processes), *words]
        self.process = multiprocessing.get_context("fork").Process(target=target, args=(words,))
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
    def build_train_loader(cls, cfg, start_iteration=0):
        if os.environ.get("DWELL") == "rank 1's loader" and comm.get_rank() == 1:
            _leave(cfg, "rank1.pid")
            time.sleep(100)
        return super().build_train_loader(cfg, start_iteration)

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
    _as_a_shell_starts_it()
    launch._START_METHOD = "fork"
    _run(words)


def _torchrun(words):
    """What torchrun does, but for the new interpreters."""
    _as_a_shell_starts_it()
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, run_id="test", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        start_method="fork", monitor_interval=0.1, max_restarts=0,
    )  # fmt: skip
    elastic_launch(config, _run)(words)


def _as_a_shell_starts_it():
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(words):
    sys.exit(run_program(functools.partial(main, trainer=Spoken), words))


def _session(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
