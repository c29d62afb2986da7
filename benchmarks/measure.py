"""Time, peak memory, floating-point operations, and the machine's matrix-multiplication rate."""

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from physseg.timing import Clock

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def peak_megabytes(function: Callable[[], Any], device: str) -> float:
    """Highest memory during the call over what was in use before it: of the process, or allocated on the GPU."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # What building the model left behind, freed but still held, would be used again unseen.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _resident()
    with suppress(OSError):  # Linux: forget the peak of building the model
        Path("/proc/self/clear_refs").write_text("5")
    function()
    return (_peak_resident() - before) / 2**20


def _resident() -> int:
    if sys.platform != "linux":
        return _peak_resident()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_resident() -> int:
    if sys.platform == "linux":
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gigaflop(function: Callable[[], Any]) -> float:
    """Operations that really run (a multiplication and an addition are two): products, convolutions, attention."""
    with _FlopCounter() as counter:
        function()
    return counter.total / 1e9


class _FlopCounter(TorchDispatchMode):
    """torch's own formulas; its `FlopCounterMode` follows modules too, and cannot where autograd.grad is called."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence = (), kwargs: dict | None = None) -> Any:
        out = function(*args, **(kwargs or {}))
        packet = function._overloadpacket
        # torch's table has the GPU's attention kernels only.
        if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            self.total += sdpa_flop_count(*(t.shape for t in args[:3]))
        elif packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
            self.total += sdpa_backward_flop_count(*(t.shape for t in args[:4]))
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def gemm_rate(device: str, dtype: torch.dtype, clock: Clock, quick: bool = False) -> float:
    """GFLOP per second of one large square product, the best of several."""
    side = 8192 if device != "cpu" else 512 if quick else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    times = []
    for _ in range(4 if quick else 11):
        start = clock()
        a @ a
        times.append(clock() - start)
    best = min(times)
    return 2 * side**3 / best / 1e9
