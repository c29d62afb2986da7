"""One training step in one process and in two."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from physseg.engine.launch import _free_port


def check_two_processes_equal_one(build: Callable[[], nn.Module], samples: list[dict], folder: Path) -> None:
    """Mean loss and gradients of two processes with half of the samples each are those of one with all of them.

    Args:
        build: the same model every time. What it draws at random has a row for every image.
        samples: an even number.
        folder: for the processes' findings.
    """
    context = multiprocessing.get_context("fork")
    half, port = len(samples) // 2, _free_port()
    processes = [
        context.Process(target=_rank, args=(rank, port, build, samples, folder / f"{rank}.pt")) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    first, second = (torch.load(folder / f"{rank}.pt") for rank in range(2))
    whole = build().train()
    expected = _step(whole, whole, samples, slice(0, 2 * half))
    torch.testing.assert_close((first.pop("loss") + second.pop("loss")) / 2, expected.pop("loss"), atol=1e-5, rtol=1e-5)
    assert first.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(first[name], gradient, atol=1e-6, rtol=1e-4)


def _rank(rank: int, port: int, build: Callable[[], nn.Module], samples: list[dict], path: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = build().train()
    half = len(samples) // 2
    torch.save(_step(DistributedDataParallel(model), model, samples, slice(half * rank, half * (rank + 1))), path)
    torch.distributed.destroy_process_group()


def _step(parallel: nn.Module, model: nn.Module, samples: list[dict], part: slice) -> dict[str, torch.Tensor]:
    """Random numbers are drawn for all samples, and those of ``part`` are used."""
    generator, rand, exponential = torch.Generator().manual_seed(0), torch.rand, torch.Tensor.exponential_

    def uniform_of_part(_images: int, *shape: int, device: torch.device) -> torch.Tensor:
        return rand(len(samples), *shape, generator=generator)[part].to(device)

    def exponential_of_part(out: torch.Tensor) -> torch.Tensor:
        return out.copy_(exponential(torch.empty(len(samples), *out.shape[1:]), generator=generator)[part])

    with mock.patch("torch.rand", uniform_of_part), mock.patch("torch.Tensor.exponential_", exponential_of_part):
        loss = sum(parallel(samples[part]).values())
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach()} | gradients
