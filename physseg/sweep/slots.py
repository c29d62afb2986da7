"""Which GPUs and how many CPU threads each of several simultaneous runs gets."""

import os
import queue


def visible_gpus() -> list[str]:
    """GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def make_slots(jobs: int, num_gpus: int, gpus: list[str]) -> "queue.Queue[dict[str, str]]":
    """A queue with the environment of each of ``jobs`` slots.

    With GPUs, slot i has the i-th ``num_gpus`` of them; more jobs than GPUs share. Without, the CPU's cores are shared
    out, unless OMP_NUM_THREADS says otherwise.

    Raises:
        ValueError: a run needs more GPUs than there are.
    """
    if gpus and num_gpus > len(gpus):
        raise ValueError(f"The sweep's num_gpus is {num_gpus}, but {len(gpus)} GPUs are visible.")
    slots: queue.Queue[dict[str, str]] = queue.Queue()
    for job in range(jobs):
        environment = {}
        if gpus:
            group = job % (len(gpus) // num_gpus)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[group * num_gpus : (group + 1) * num_gpus])
        elif "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // (jobs * num_gpus)))
        slots.put(environment)
    return slots
