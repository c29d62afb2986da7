"""Starting processes: torchrun's, Detectron2's launcher on GPUs, and our own on the CPU."""

import os
import signal
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine import launch as detectron2_launch
from detectron2.utils import comm

# A rank may wait this long for another, such as for the main process to write a large checkpoint.
_TIMEOUT = timedelta(minutes=30)


def launch(
    main: Callable[..., Any],
    num_processes: int = 1,
    *,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    device: str = "cuda",
    args: tuple = (),
) -> None:
    """Run ``main(*args)`` in every process of a training.

    Under torchrun (RANK, WORLD_SIZE and LOCAL_RANK are set) the process joins the group torchrun describes. Otherwise
    ``num_processes`` are started on this machine if it is more than one process in all.

    Args:
        main: a function that can be pickled.
        num_processes: per machine: one per GPU with NCCL, or plain processes with gloo on the CPU.
        num_machines, machine_rank: as Detectron2's launcher.
        dist_url: where the processes meet, such as tcp://127.0.0.1:29500; "auto" takes a free port (one machine).
        device: MODEL.DEVICE; anything but "cuda..." means gloo.
        args: of ``main``.

    Raises:
        ValueError: more processes than GPUs, or "auto" over several machines.
        SystemExit: a started process ended with this status.
    """
    on_gpu = device.startswith("cuda")
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys():
        _join(
            int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")), "env://", on_gpu,
        )  # fmt: skip
        _run_in_group(main, args)
        return
    if num_processes * num_machines == 1:
        main(*args)
        return
    if on_gpu and num_processes > torch.cuda.device_count():
        raise ValueError(
            f"--num-gpus {num_processes}, but this machine has {torch.cuda.device_count()} GPUs. "
            "For processes on the CPU set MODEL.DEVICE cpu."
        )
    if dist_url == "auto":
        if num_machines > 1:
            raise ValueError("Several machines need --dist-url tcp://HOST:PORT of the first one.")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    # Ctrl-C reaches the children as well; they end in an orderly way, and this process waits for it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if on_gpu:
            detectron2_launch(_child, num_processes, num_machines, machine_rank, dist_url, (main, args))
        else:
            start = (num_processes, num_machines, machine_rank, dist_url, main, args)
            mp.spawn(_cpu_child, args=start, nprocs=num_processes)
    except mp.ProcessExitedException as error:
        raise SystemExit(error.exit_code) from error
    finally:
        signal.signal(signal.SIGINT, before)


def _cpu_child(
    local_rank: int, num_processes: int, num_machines: int, machine_rank: int, dist_url: str, main, args: tuple
) -> None:
    rank = machine_rank * num_processes + local_rank
    _join(rank, num_machines * num_processes, local_rank, num_processes, dist_url, on_gpu=False)
    _child(main, args)


def _child(main: Callable[..., Any], args: tuple) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _run_in_group(main, args)


def _run_in_group(main: Callable[..., Any], args: tuple) -> None:
    main(*args)
    comm.synchronize()
    # Detectron2 keeps the groups in globals. One that outlives this line ends with the interpreter, and then its
    # threads may still want the interpreter's lock: the process would be aborted after all its work was done.
    comm._get_global_gloo_group.cache_clear()
    comm._LOCAL_PROCESS_GROUP = None
    dist.destroy_process_group()


def _join(rank: int, world_size: int, local_rank: int, local_size: int, init_method: str, on_gpu: bool) -> None:
    """Join the process group and tell Detectron2 which processes share this machine."""
    if on_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=init_method, rank=rank, world_size=world_size, timeout=_TIMEOUT
    )
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(local_size)
    else:  # Detectron2 0.6
        for first in range(0, world_size, local_size):
            group = dist.new_group(list(range(first, first + local_size)))
            if first <= rank < first + local_size:
                comm._LOCAL_PROCESS_GROUP = group
    comm.synchronize()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
