"""A case in a process of its own that runs on request: two of them can take turns and share no memory."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from cases import Case, build_model, build_plain, fast_function, plain_function, stage_clocks
from measure import DTYPES, gemm_rate, gigaflop, peak_megabytes

from physseg.memory import keep_freed_memory
from physseg.timing import Clock, device_clock


class WorkerFailed(RuntimeError):
    """The process ended before its answer."""


class Worker:
    """Starts the process, in which the model is built; `ask` has it do something.

    Args:
        case: what it runs.
        formulation: "fast" (this package's) or "plain" (that of tests/reference, with the same weights).
        args: device, dtype, threads, quick, system_allocator and processor_time of `speed.py`.
    """

    def __init__(self, case: Case, formulation: str, args: argparse.Namespace) -> None:
        keys = ("device", "dtype", "threads", "quick", "system_allocator", "processor_time")
        request = {"case": case.to_dict(), "formulation": formulation, **{key: getattr(args, key) for key in keys}}
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(request)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, what: str, *args: Any) -> Any:
        """The answer to one of the requests that `serve` knows.

        Raises:
            WorkerFailed: with the exit status.
        """
        try:
            self._process.stdin.write(json.dumps([what, *args]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise WorkerFailed(self._process.wait()) from None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()


def in_turns(workers: list[Worker], repeats: int) -> list[float]:
    """Median seconds of each; they take turns, so that a machine that slows down slows all of them."""
    times = [[worker.ask("seconds") for worker in workers] for _ in range(repeats)]
    return [median(taken) for taken in zip(*times, strict=True)]


def serve(request: argparse.Namespace) -> None:
    """Answer requests, a line of JSON each, until there are no more."""
    # Whatever libraries print must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if request.threads:
        torch.set_num_threads(request.threads)
    case, device = Case(**request.case), request.device
    if device == "cpu" and request.formulation == "fast" and not request.system_allocator:
        keep_freed_memory()  # as the tools do
    torch.manual_seed(0)
    model = build_model(case, device)
    if request.formulation == "fast":
        run = fast_function(case, model)
    else:
        run = plain_function(case, build_plain(case, model, device), model.clip.tokenizer, device)

    clock = time.process_time if request.processor_time else device_clock(device)

    def autocast(enabled: bool) -> torch.autocast:
        return torch.autocast(torch.device(device).type, DTYPES[request.dtype], enabled=enabled)

    def rounding() -> float:
        with autocast(False):
            exact = run()
        return (run() - exact).abs().max().item()

    def seconds() -> float:
        start = clock()
        run()
        return clock() - start

    known: dict[str, Callable[..., Any]] = {
        "megabytes": lambda: peak_megabytes(run, device),
        "seconds": seconds,
        "save": lambda path: torch.save(run(), path),
        "stages": lambda: stages(model, run, clock) if case.kind in ("plain", "sliding") else None,
        "gigaflop": lambda: gigaflop(run),
        "rounding": rounding,
        "gemm_gigaflops": lambda: gemm_rate(device, DTYPES[request.dtype], clock, request.quick),
    }
    with autocast(request.dtype != "float32"):
        for line in sys.stdin:
            what, *args = json.loads(line)
            print(json.dumps(known[what](*args)), file=answers, flush=True)


def stages(model: torch.nn.Module, run: Callable[[], Any], clock: Clock) -> dict[str, float]:
    """Seconds in each stage of one run; the rest is cost volume, resizing and argmax."""
    start = clock()
    with stage_clocks(model, clock) as spent:
        run()
    return spent | {"rest": clock() - start - sum(spent.values())}


if __name__ == "__main__":
    serve(argparse.Namespace(**json.loads(sys.argv[1])))
