"""Processes that a test has started and not ended: found however deep they are, and killed."""

import contextlib
import ctypes
import os
import signal
import sys

import psutil

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent has ended, so that they too can be found (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> set[psutil.Process]:
    """All living processes below this one."""
    return {process for process in psutil.Process().children(recursive=True) if not _is_helper(process)}


def kill(processes: set[psutil.Process]) -> None:
    """End processes, and wait until they have ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def kill_descendants_on_sigterm() -> None:
    """Let a SIGTERM to this process take all descendants along. Forked children treat it as any process does."""
    own = os.getpid()

    def end(number, frame):
        if os.getpid() == own:
            kill(descendants())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def _is_helper(process: psutil.Process) -> bool:
    # Of the standard library: one per interpreter, and it ends with it.
    with contextlib.suppress(psutil.Error):
        return any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    return False
