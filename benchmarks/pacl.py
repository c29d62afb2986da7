#!/usr/bin/env python
"""Time and memory of PACL at ViT-B/16: training steps by batch, and a picture at test by stride; random weights.

    python benchmarks/pacl.py [--device cuda] [--batches 4 16 32] [--repeats 3]

Each line is a process of its own. A training step is forward and backward at 224x224, one caption an image.
"""

import argparse
import multiprocessing
import resource
import statistics
import time

import torch

from physseg import load_config  # first: it prepares Detectron2
from physseg.memory import keep_freed_memory

# isort: split
from detectron2.modeling import build_model

CAPTION = "a photo of a dog on a sofa beside a window, number {}"
SIDE = 400


def model(device: str, *opts: object) -> torch.nn.Module:
    opts = ("MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", device, "MODEL.TEXT.VOCABULARY", "pas20", *opts)
    return build_model(load_config("configs/without_masks/pacl_vitb16.yaml", opts))


def train(device: str, batch: int, repeats: int) -> None:
    pacl = model(device, "SOLVER.IMS_PER_BATCH", batch).train()
    inputs = [
        {"image": torch.randint(256, (3, 224, 224), dtype=torch.uint8), "image_id": n, "caption": CAPTION.format(n)}
        for n in range(batch)
    ]

    def step() -> None:
        pacl.zero_grad()
        pacl(inputs)["loss_contrastive"].backward()

    report(f"training step, batch {batch}", step, device, repeats, batch)


def predict(device: str, stride: int, repeats: int) -> None:
    pacl = model(device, "MODEL.PACL.TEST_STRIDE", stride).eval()
    image = {"image": torch.randint(256, (3, SIDE, SIDE), dtype=torch.uint8), "output": "labels"}
    report(f"{SIDE}x{SIDE}, stride {stride}, 20 names", lambda: pacl([image]), device, repeats, 1)


def report(name: str, call, device: str, repeats: int, images: int) -> None:
    """Print a line: medians of `repeats` calls after a first one; 0: of the first one."""
    before = peak(device)
    seconds = [timed(call, device)]
    most = peak(device)
    seconds = [timed(call, device) for _ in range(repeats)] or seconds
    wall, processor = (statistics.median(values) for values in zip(*seconds, strict=True))
    print(f"| {name} | {wall:.2f} | {processor:.2f} | {processor / images:.2f} | {most - before:.0f} |", flush=True)


def timed(call, device: str) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    begin, used = time.perf_counter(), time.process_time()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, time.process_time() - used


def peak(device: str) -> float:
    """Peak memory in MiB so far."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16, 32])
    parser.add_argument("--strides", type=int, nargs="+", default=[16, 8, 4])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{args.device}, {torch.get_num_threads()} threads\n")
    print("| | s | processor s | and per image | peak over model, MiB |\n|---|---|---|---|---|")
    jobs = [(train, batch) for batch in args.batches] + [(predict, stride) for stride in args.strides]
    for function, value in jobs:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=run, args=(function, args.device, value, args.repeats))
        process.start()
        process.join()


def run(function, device: str, value: int, repeats: int) -> None:
    keep_freed_memory()
    function(device, value, repeats)


if __name__ == "__main__":
    main()
