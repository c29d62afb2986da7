"""The C allocator's habits on a CPU."""

import contextlib
import ctypes
import os

# glibc's malloc.h and Linux's mman-common.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _MADV_HUGEPAGE = -1, -4, 14


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for reuse, in huge pages where the system has them, for the whole process.

    By default every buffer above some megabytes is mapped afresh, and the system zeroes it page by page at first
    touch: on a CPU that costs as much as the arithmetic. Meant for programs, not for libraries; where the C library is
    another one, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never
        _advise_huge_pages(libc)


def _advise_huge_pages(libc: ctypes.CDLL) -> None:
    """Mark half a memory's worth of the heap to come: addresses alone, nothing is taken before it is used."""
    libc.malloc.restype = ctypes.c_void_p
    page = os.sysconf("SC_PAGE_SIZE")
    size = os.sysconf("SC_PHYS_PAGES") * page // 2
    if block := libc.malloc(ctypes.c_size_t(size)):
        libc.madvise(ctypes.c_void_p(-(-block // page) * page), ctypes.c_size_t(size - page), _MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(block))
