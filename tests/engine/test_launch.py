"""Two processes on the CPU against one, by our launcher and by torchrun, through the real command line."""

import functools
import json
import multiprocessing
import os
import sys

import pytest
import torch
from detectron2.utils import comm

from physseg.cli.train import main
from physseg.engine.launch import _free_port, launch
from physseg.engine.weights import read_checkpoint
from tests.engine.fake_training import FakeTrainer, fake_opts, train

_LONGER = ("SOLVER.MAX_ITER", "20")


def command_line(folder, *opts, options=()):
    return [*options, *fake_opts(), "OUTPUT_DIR", str(folder), *opts]


def run_rank(rank, port, function):
    # What torchrun sets for each process.
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.exit(function())


def run_under_torchrun(words):
    """Run the command line in two processes as torchrun does; return their exit codes."""
    return run_two(functools.partial(main, words, trainer=FakeTrainer))


def run_two(function):
    port = _free_port()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run_rank, args=(rank, port, function)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_match_one(parts, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_DROPOUT", "0")
    alone = train(tmp_path / "alone", *_LONGER).losses
    words = command_line(tmp_path / "two", *_LONGER, "SOLVER.ACCUMULATION_STEPS", str(parts))
    assert run_under_torchrun(words) == [0, 0]
    assert len(alone) == 20
    assert json.loads((tmp_path / "two" / "losses.json").read_text()) == pytest.approx(alone, abs=1e-5)


def test_two_processes_resume_to_the_same_bits(tmp_path):
    assert run_under_torchrun(command_line(tmp_path / "alone")) == [0, 0]
    assert run_under_torchrun(command_line(tmp_path / "halves")) == [0, 0]
    (tmp_path / "halves" / "model_final.pth").unlink()
    assert run_under_torchrun(command_line(tmp_path / "halves", options=["--resume"])) == [0, 0]
    final = [read_checkpoint(tmp_path / name / "model_final.pth") for name in ("alone", "halves")]
    assert len(final[0]["random_states"]) == 2
    assert all(torch.equal(final[0]["model"][key], value) for key, value in final[1]["model"].items())


def test_nan_in_one_process_ends_both(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_NAN_AT", "3")
    assert run_under_torchrun(command_line(tmp_path)) == [1, 1]


def groups_left():
    """How many of Detectron2's process groups outlive a launch that used them."""
    launch(lambda: comm.all_gather(comm.get_local_rank()), device="cpu")
    return comm._get_global_gloo_group.cache_info().currsize + (comm._LOCAL_PROCESS_GROUP is not None)


def test_no_process_group_outlives_the_launch():
    assert run_two(groups_left) == [0, 0]


def test_several_machines_need_an_address():
    with pytest.raises(ValueError, match="Several machines need --dist-url"):
        launch(print, 1, num_machines=2, device="cpu")


@pytest.mark.parametrize(
    ("processes", "machines", "rank"), [(0, 1, 0), (-1, 1, 0), (10**30, 1, 0), (1, 0, 0), (1, 2, 2)]
)
def test_numbers_that_are_none(processes, machines, rank):
    with pytest.raises(ValueError, match=r"--num-machines .*: expected 1 or more of each"):
        launch(print, processes, num_machines=machines, machine_rank=rank, device="cpu")


def test_more_processes_than_gpus():
    with pytest.raises(ValueError, match=r"--num-gpus 1000, but this machine has \d+ GPUs.* set MODEL.DEVICE cpu"):
        launch(print, 1000, device="cuda")
