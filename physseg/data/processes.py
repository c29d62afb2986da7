"""Worker processes that also use OpenCV."""

import os

import cv2


def stop_opencv_threads() -> None:
    """Let OpenCV work in the calling thread alone; call it before worker processes are forked.

    A forked child inherits OpenCV's record of its thread pool but not the threads, and hangs on its first call
    that wants them. Besides, every core has a worker of its own.
    """
    cv2.setNumThreads(0)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
