"""Starting processes: those that torchrun started, or our own, on GPUs or on the CPU."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm

from physseg import signals

# A rank may wait this long for another, such as for the main process to write a large checkpoint.
_TIMEOUT = timedelta(minutes=30)
_MOST = 1024  # processes of a machine, machines: what is above is a slip of the keyboard
_START_METHOD = "spawn"
# Signals of one request may come to a process directly and through the launcher, which is late on a busy machine.
_ONE_REQUEST_SECONDS = 5.0
# Once one process has ended after a request to stop, the others should follow.
_FOLLOW_SECONDS = 15.0


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
    ``num_processes`` are started on this machine if it is more than one process in all. Ctrl-C and SIGTERM are then
    passed on to them once, and waited for; a second one kills them (`physseg.signals`).

    Args:
        main: a function that can be pickled.
        num_processes: per machine: one per GPU with NCCL, or plain processes with gloo on the CPU.
        num_machines, machine_rank: as Detectron2's launcher.
        dist_url: where the processes meet, such as tcp://127.0.0.1:29500; "auto" takes a free port (one machine).
        device: MODEL.DEVICE; anything but "cuda..." means gloo.
        args: of ``main``.

    Raises:
        ValueError: more processes than GPUs, no number of processes or machines, or "auto" over several machines.
        SystemExit: a started process ended with this status.
        physseg.signals.Stopped: by Ctrl-C or SIGTERM, here or in a started process.
    """
    on_gpu = device.startswith("cuda")
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys():
        _join(
            int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")), "env://", on_gpu,
        )  # fmt: skip
        _run_in_group(main, args)
        return
    if not 1 <= num_processes <= _MOST or not 1 <= num_machines <= _MOST or not 0 <= machine_rank < num_machines:
        raise ValueError(
            f"--num-gpus {num_processes} --num-machines {num_machines} --machine-rank {machine_rank}: expected 1 or "
            f"more of each (at most {_MOST}), and a rank from 0 to the number of machines less 1"
        )
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
    _Children(num_processes, (num_processes, num_machines, machine_rank, dist_url, on_gpu, main, args)).run()


class _Children:
    """The processes of a run on this machine, from the side of the launcher.

    Args:
        count: how many.
        arguments: of `_child`, after those that this class gives.
    """

    def __init__(self, count: int, arguments: tuple) -> None:
        self._count = count
        self._told, tell = mp.get_context(_START_METHOD).Pipe(duplex=False)
        self._arguments = (tell, *arguments)
        self._processes: list[mp.Process] = []
        self._ready: set[int] = set()
        self._stop = 0
        self._patience: float | None = None

    def run(self) -> None:
        """Start all and wait for them; end all when one fails, or when there is a second signal."""
        before = set(mp.active_children())
        try:
            with signals.deferred("Stopping. Once more to end all processes at once.", self._pass_on):
                with signals.blocked():
                    context = mp.start_processes(
                        _child, self._arguments, self._count, join=False, start_method=_START_METHOD
                    )
                    self._processes = context.processes
                while context.sentinels:
                    for sentinel in wait(list(context.sentinels), timeout=1.0):
                        self._ended(context, sentinel)
                    if self._patience is not None and time.monotonic() > self._patience:
                        break
        finally:
            for process in set(mp.active_children()) - before:
                process.kill()
                process.join()
        if self._stop:
            raise signals.Stopped(number=self._stop)

    def _ended(self, context: mp.ProcessContext, sentinel: int) -> None:
        index = context.sentinels[sentinel]
        process = self._processes[index]
        process.join()
        by_signal = process.exitcode - 128 if process.exitcode - 128 in signals.SIGNALS else 0
        if process.exitcode and not (self._stop or by_signal):
            self._fail(context, index)
        if by_signal and not self._stop:  # it was signalled itself, and the others were not
            self._pass_on(by_signal)
        if self._stop:
            self._patience = self._patience or time.monotonic() + _FOLLOW_SECONDS
        del context.sentinels[sentinel]

    def _fail(self, context: mp.ProcessContext, index: int) -> None:
        """End the others, and raise what the one that failed has left."""
        for sentinel, other in list(context.sentinels.items()):
            if other != index:
                self._processes[other].kill()
                self._processes[other].join()
                del context.sentinels[sentinel]
        try:
            context.join()
        except mp.ProcessExitedException as error:
            if error.exit_code < 0:
                raise RuntimeError(
                    f"Process {index} of this run was ended by {error.signal_name}. The system sends SIGKILL when "
                    "memory has run out: fewer processes, or less at a time."
                ) from error
            raise SystemExit(error.exit_code) from error

    def _pass_on(self, number: int) -> None:
        """Ask all to stop, once. Until all have met there is nothing to save, and they are not waited for."""
        self._stop = number
        while self._told.poll():
            self._ready.add(self._told.recv())
        together = len(self._ready) == len(self._processes)
        for process in self._processes:
            if process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number if together else signal.SIGKILL)


def _child(
    local_rank: int,
    tell: Connection,
    num_processes: int,
    num_machines: int,
    machine_rank: int,
    dist_url: str,
    on_gpu: bool,
    main: Callable[..., Any],
    args: tuple,
) -> None:
    try:
        signals.leave_words_to_another()
        with signals.handled(one_request_seconds=_ONE_REQUEST_SECONDS):
            rank = machine_rank * num_processes + local_rank
            _join(rank, num_machines * num_processes, local_rank, num_processes, dist_url, on_gpu)
            tell.send(local_rank)
            _run_in_group(main, args)
    except KeyboardInterrupt as stop:
        signals.end_process(signals.report(stop))


def _run_in_group(main: Callable[..., Any], args: tuple) -> None:
    try:
        main(*args)
        comm.synchronize()
    finally:
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
