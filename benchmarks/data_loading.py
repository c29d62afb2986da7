#!/usr/bin/env python
"""Training crops per second of the data loader, from made-up 640x480 JPEGs and 8-bit label maps.

python benchmarks/data_loading.py [--workers 1] [--sources canny] [--stages] [--json OUT]

Printed are crops per second of wall time with that many worker processes, and crops per second of CPU time: what one
undisturbed core feeds, even where other programs share the machine. --stages also times the parts of one crop (CPU
time). The images have regions, texture and noise, and about as many bytes as COCO's.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from physseg import compat  # noqa: F401  isort: skip  (before anything that imports detectron2)
import cv2
import numpy as np
from detectron2.data import transforms as T
from PIL import Image

from physseg.config import load_config
from physseg.data.augmentations import build_training_augmentations
from physseg.data.images import read_image, read_label_map
from physseg.data.loaders import build_train_loader

NAME = "benchmark_images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--sources", nargs="*", default=["canny"], help="structure maps; none: switched off")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--crops", type=int, default=200, help="per repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cfg = config(made_up_data(Path(folder), args.images), args)
        rates = [measure(cfg, args.crops) for _ in range(args.repeats)]
        result = {
            "workers": args.workers,
            "sources": args.sources,
            "kilobytes_per_image": statistics.mean(p.stat().st_size / 1e3 for p in Path(folder, "images").iterdir()),
            "crops_per_second": statistics.median(rates),
            "crops_per_cpu_second": crops_per_cpu_second(cfg, args.crops),
            "all": rates,
        }
        print(
            f"{args.workers} worker(s), structure {args.sources or 'off'}, "
            f"images of {result['kilobytes_per_image']:.0f} KB: "
            f"{result['crops_per_second']:.1f} crops/s, {result['crops_per_cpu_second']:.1f} per second of CPU time"
        )
        if args.stages:
            result["milliseconds"] = stages(Path(folder), cfg, args.repeats)
            for stage, value in result["milliseconds"].items():
                print(f"  {stage:12s} {value:6.2f} ms")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


def make_images(folder: Path, count: int) -> None:
    """Images 640x480 with regions, texture and noise, and label maps of their regions."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for index in range(count):
        regions = cv2.resize(rng.integers(0, 171, (6, 8), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_NEAREST)
        colours = rng.integers(30, 226, (171, 3))[regions]
        texture = cv2.resize(rng.normal(0, 25, (120, 160, 3)), (640, 480))
        image = np.clip(colours + texture + rng.normal(0, 9, colours.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index:04d}.jpg", quality=90)
        Image.fromarray(regions).save(folder / "labels" / f"{index:04d}.png")


def made_up_data(folder: Path, count: int) -> list:
    """Make images in a folder and return the overrides that train on them."""
    make_images(folder, count)
    entry = {"name": NAME, "images": f"{folder}/images", "labels": f"{folder}/labels", "classes": "coco_stuff"}
    return ["DATASETS.CUSTOM", [entry], "DATASETS.TRAIN", (NAME,)]


def config(data: list, args: argparse.Namespace):
    """The default recipe on these images."""
    opts = ["DATALOADER.NUM_WORKERS", args.workers, "MODEL.STRUCTURE.ENABLED", bool(args.sources)]
    return load_config(None, [*data, *opts, "MODEL.STRUCTURE.SOURCES", args.sources or ["canny"]])


def measure(cfg, crops: int) -> float:
    """Crops per second after the first batches."""
    batches = iter(build_train_loader(cfg))
    for _ in range(4):
        next(batches)
    count = max(1, crops // cfg.SOLVER.IMS_PER_BATCH)
    start = time.perf_counter()
    for _ in itertools.islice(batches, count):
        pass
    rate = count * cfg.SOLVER.IMS_PER_BATCH / (time.perf_counter() - start)
    batches.close()
    return rate


def crops_per_cpu_second(cfg, crops: int) -> float:
    """Crops per second of CPU time of a single process."""
    stream = build_train_loader(cfg).stream
    stream[0]
    start = time.process_time()
    for position in range(crops):
        stream[position]
    return crops / (time.process_time() - start)


def stages(folder: Path, cfg, repeats: int) -> dict[str, float]:
    """Median milliseconds of CPU time of the parts of one crop."""
    from physseg.structure import make_structure_maps, structure_options

    cv2.setNumThreads(0)
    times: dict[str, list[float]] = {}

    def timed(stage, function, *arguments):
        start = time.process_time()
        value = function(*arguments)
        times.setdefault(stage, []).append(1e3 * (time.process_time() - start))
        return value

    names = sorted(os.listdir(folder / "images"))
    for name in names * repeats:
        image = timed("read image", read_image, folder / "images" / name)
        labels = timed("read labels", read_label_map, folder / "labels" / name.replace(".jpg", ".png"))
        augmented = T.AugInput(image, sem_seg=labels)
        timed("augment", T.AugmentationList(build_training_augmentations(cfg, 255)), augmented)
        if cfg.MODEL.STRUCTURE.ENABLED:
            options = structure_options(cfg)
            timed("structure", make_structure_maps, augmented.image, augmented.sem_seg, options, 255)
    return {stage: statistics.median(values) for stage, values in times.items()}


if __name__ == "__main__":
    main()
