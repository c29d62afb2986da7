"""The C allocator's habits on a CPU."""

import contextlib
import ctypes

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for reuse instead of handing it back to the system, for the whole process.

    By default every buffer above some megabytes is mapped afresh, and the system zeroes it page by page at first
    touch: on a CPU that costs as much as the arithmetic. Meant for programs, not for libraries; where the C library is
    another one, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
