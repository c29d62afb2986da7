"""Worker processes: how they are started, how they end, and OpenCV in them."""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import cv2

from physseg import signals

# For workers to clean up; one that is still importing has nothing to.
_LAST_SECONDS = 5.0


def worker_context(workers: int) -> str | None:
    """Start method of a loader's workers: forked ones start at once, and leave signals to their parent.

    In a process that was spawned itself, as those of a run on several GPUs are, Python would spawn them, and each would
    import everything again.
    """
    return "fork" if workers and sys.platform == "linux" else None


@contextlib.contextmanager
def worker_pool(
    workers: int,
    start_method: str | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
) -> Iterator[ProcessPoolExecutor]:
    """Processes for many small jobs. They leave signals to this process, and where the block ends by an exception,
    such as Ctrl-C, they end too, once they have cleaned up after the job in hand.

    Args:
        workers: how many.
        start_method: of multiprocessing; None takes the platform's.
        initializer, initargs: called in each worker at its start.
    """
    before = set(multiprocessing.active_children())
    pool = _Pool(workers, multiprocessing.get_context(start_method), _start_worker, (initializer, initargs))
    try:
        # As many jobs as workers start all of them, holding signals back until `_start_worker` takes over.
        with signals.blocked():
            for _ in range(workers):
                pool.submit(os.getpid)
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _end(set(multiprocessing.active_children()) - before)
        raise
    pool.shutdown()


class _Pool(ProcessPoolExecutor):
    def submit(self, function: Callable, /, *args: Any, **options: Any) -> Future:
        return super().submit(_call, function, *args, **options)


def _call(function: Callable, *args: Any, **options: Any) -> Any:
    # Some jobs are with a worker already when the others are cancelled.
    return None if signals.leaving() else function(*args, **options)


def _end(workers: set) -> None:
    end = time.monotonic() + _LAST_SECONDS
    while (alive := [worker for worker in workers if worker.is_alive()]) and time.monotonic() < end:
        for worker in alive:
            # Repeated: a SIGTERM is lost in one from elsewhere, to the whole group, that the worker has not seen yet.
            worker.terminate()
            worker.join(0.2)
    for worker in alive:
        worker.kill()


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple) -> None:
    signals.obey_parent()
    if initializer is not None:
        initializer(*initargs)


def stop_opencv_threads() -> None:
    """Let OpenCV work in the calling thread alone; call it before worker processes are forked.

    A forked child inherits OpenCV's record of its thread pool but not the threads, and hangs on its first call
    that wants them. Besides, every core has a worker of its own.
    """
    cv2.setNumThreads(0)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
