#!/usr/bin/env python
"""Time per crop of the pseudo ground truths and of the weights w, and of both losses at ViT-B/16's shapes.

    python benchmarks/structure_and_alignment.py [--device cuda] [--step configs/physseg_vitb16.yaml]

`--step` times whole training steps of that config with neither addition, with each, and with both (random weights).
"""

import argparse
import time
from collections.abc import Callable

import cv2
import torch
import torch.nn.functional as F
from skimage.data import astronaut

from physseg.config import load_config
from physseg.losses import PatchAlignmentLoss, patch_weights, structure_loss
from physseg.modeling.structure_head import StructureHead
from physseg.structure.canny import canny_map
from physseg.structure.edge_gt import edge_gt_map
from physseg.structure.kornia_sources import KorniaCannySource, SobelSource
from physseg.structure.options import CannyOptions, EdgeGtOptions, SiftOptions, SobelOptions, SuperPointOptions
from physseg.structure.sift import sift_map
from physseg.structure.superpoint import SuperPointSource

CROP, GRID, CLASSES, WIDTH, EMBED, BATCH = 384, 24, 171, 768, 512, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU; a data worker has one")
    parser.add_argument("--superpoint", default="", help="SuperPoint's hub id or folder; default: a random network")
    parser.add_argument("--step", metavar="CONFIG", help="also time training steps")
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    print(f"{args.device}, {args.threads} threads, one {CROP}x{CROP} crop, best of several runs; CPU: processor time")
    sources(args.device, args.superpoint)
    weights(args.device)
    losses(args.device)
    if args.step:
        training_steps(args.step, args.device, args.steps)


def sources(device: str, superpoint: str) -> None:
    image = astronaut()[:CROP, :CROP].copy()
    labels = block_labels(1)[0].numpy()
    report("Canny", lambda: canny_map(image, CannyOptions()))
    report("SIFT", lambda: sift_map(image, SiftOptions()))
    report("EdgeGT", lambda: edge_gt_map(labels, 255, EdgeGtOptions()))
    crops = [torch.from_numpy(image).permute(2, 0, 1).to(device)] * BATCH
    for name, on_device in (("Canny", KorniaCannySource(CannyOptions())), ("Sobel", SobelSource(SobelOptions()))):
        report(f"{name} by kornia, {BATCH} crops", lambda source=on_device: source(crops), device)
    source = SuperPointSource(SuperPointOptions(superpoint))
    if not superpoint:
        from transformers import SuperPointConfig, SuperPointForKeypointDetection

        # The published network's size; its untrained scores stay below the threshold almost everywhere.
        source._detector = SuperPointForKeypointDetection(SuperPointConfig()).eval().to(device)
    batch = [torch.from_numpy(image).permute(2, 0, 1).to(device)]
    report(f"SuperPoint ({superpoint or 'random weights'})", lambda: source(batch), device)


def weights(device: str) -> None:
    sem_seg = block_labels(4).to(device)

    def pooled() -> torch.Tensor:
        one_hot = F.one_hot(sem_seg.clamp(max=CLASSES), CLASSES + 1)[..., :CLASSES].permute(0, 3, 1, 2).float()
        return F.adaptive_avg_pool2d(one_hot, GRID).flatten(2).transpose(1, 2).flatten(0, 1)

    assert torch.equal(pooled(), patch_weights(sem_seg, (GRID, GRID), CLASSES, 255))
    report("w of 4 crops, counted by index", lambda: patch_weights(sem_seg, (GRID, GRID), CLASSES, 255), device)
    report("w of 4 crops, pooled one-hot", pooled, device)
    index, one_hot = 4 * (GRID**2 * CLASSES * 4 + CROP**2 * (8 + 4)), 4 * CROP**2 * (CLASSES + 1) * (8 + 4)
    print(f"{'memory of the two':40s} {index / 2**20:8.1f} MiB and {one_hot / 2**20:.0f} MiB")


def losses(device: str) -> None:
    channels = {"dense": EMBED, "level2": WIDTH, "g4": 256, "g5": 128}
    sides = {"dense": GRID, "level2": GRID, "g4": 2 * GRID, "g5": 4 * GRID}
    features = {
        n: torch.randn(1, c, sides[n], sides[n], device=device, requires_grad=True) for n, c in channels.items()
    }
    head = StructureHead(channels, levels=list(channels), num_sources=1).to(device)
    target = torch.from_numpy(canny_map(astronaut()[:CROP, :CROP].copy(), CannyOptions()))[None, None].to(device)
    report("structure head, forward and backward", lambda: structure_loss(head(features), target).backward(), device)
    alignment = PatchAlignmentLoss(EMBED, EMBED).to(device)
    text = torch.randn(CLASSES, EMBED, device=device, requires_grad=True)
    sem_seg = block_labels(1).to(device)
    report("alignment, forward and backward", lambda: alignment(features["dense"], text, sem_seg).backward(), device)


def training_steps(config: str, device: str, repeats: int) -> None:
    from detectron2.modeling import build_model

    image = torch.from_numpy(astronaut()[:CROP, :CROP].copy()).permute(2, 0, 1)
    structure = torch.from_numpy(canny_map(astronaut()[:CROP, :CROP].copy(), CannyOptions()))[None]
    batch = [{"image": image, "sem_seg": block_labels(1)[0], "structure": structure, "height": CROP, "width": CROP}]
    for name, alignment, physical in (
        ("baseline", False, False),
        ("alignment", True, False),
        ("structure", False, True),
        ("both", True, True),
    ):
        opts = ["MODEL.DEVICE", device, "MODEL.CLIP.PRETRAINED", "", "MODEL.STRUCTURE.SOURCES", ["canny"]]
        opts += ["MODEL.PATCH_ALIGNMENT.ENABLED", alignment, "MODEL.STRUCTURE.ENABLED", physical]
        cfg = load_config(config, opts)
        model = build_model(cfg).train()
        report(f"training step, {name}", lambda model=model: step(model, batch), device, repeats)


def step(model: torch.nn.Module, batch: list[dict]) -> None:
    sum(model(batch).values()).backward()
    model.zero_grad()


def block_labels(batch: int) -> torch.Tensor:
    """int64 (B, CROP, CROP): patches of 24 pixels with random classes, a tenth of them ignored."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, CLASSES, (batch, CROP // 24, CROP // 24), generator=generator)
    coarse[torch.rand(coarse.shape, generator=generator) < 0.1] = 255
    return coarse.repeat_interleave(24, 1).repeat_interleave(24, 2)


def report(name: str, call: Callable[[], object], device: str = "cpu", repeats: int = 10) -> None:
    call()
    seconds = []
    for _ in range(repeats):
        start = now(device)
        call()
        seconds.append(now(device) - start)
    print(f"{name:40s} {1000 * min(seconds):8.2f} ms", flush=True)


def now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        return time.perf_counter()
    # All threads' time on the processor: what other processes take of it does not count.
    return time.process_time()


if __name__ == "__main__":
    main()
