#!/usr/bin/env python
"""Peak memory of evaluating one image with a large vocabulary, over the loaded model; nothing is downloaded.

    python benchmarks/evaluation_memory.py
    python benchmarks/evaluation_memory.py --config-file configs/catseg_vitb16.yaml --json memory.json
    python benchmarks/evaluation_memory.py --sizes 640x480 --output probabilities

Each case runs in a process of its own, with random weights and a made-up image and label map, through the loader, the
model and the evaluator of `tools/evaluate_benchmarks.py`. The first line is the encoding of the names alone, which the
other lines contain. Memory is the process's (GPU: allocated by torch), in units of 2**20 bytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from cases import ROOT, names
from measure import peak_megabytes

from physseg import PhysSeg, load_config

# isort: split
import numpy as np
from PIL import Image

from physseg.data.custom import register_custom
from physseg.data.images import write_label_map
from physseg.data.loaders import build_test_loader
from physseg.evaluation import Timing, build_evaluator, evaluate_dataset

NAME = "benchmark_large_vocabulary"
TEXT = "names alone"


def main() -> None:
    args = parse()
    if args.case:
        print(run_case(args))
        return
    results = []
    for case in (TEXT, *args.sizes):
        command = [sys.executable, __file__, *sys.argv[1:], "--case", case]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results.append({"case": case, "classes": args.classes, "megabytes": float(done.stdout.split()[-1])})
        print(f"{args.classes} classes, {case}: {results[-1]['megabytes']:.0f} MB over the model", flush=True)
    if args.json:
        about = {"config": args.config_file, "device": args.device, "output": args.output, "torch": torch.__version__}
        Path(args.json).write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default=str(ROOT / "configs" / "toy.yaml"))
    parser.add_argument("--classes", type=int, default=847)
    parser.add_argument("--sizes", nargs="+", default=["640x480", "2000x1500"], help="WIDTHxHEIGHT of image and output")
    parser.add_argument("--output", default="labels", choices=("labels", "probabilities"), help="what is asked for")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", help="write results to this file")
    parser.add_argument("--opts", nargs="*", default=[], help="config overrides: KEY VALUE ...")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_case(args: argparse.Namespace) -> float:
    torch.manual_seed(0)
    fixed = ["MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", args.device, "DATALOADER.NUM_WORKERS", 0]
    cfg = load_config(args.config_file, [*fixed, *args.opts])
    model = PhysSeg(cfg).to(args.device).eval()
    if args.case == TEXT:
        return peak_megabytes(torch.no_grad()(lambda: model.text_features(names(args.classes))), args.device)
    with tempfile.TemporaryDirectory() as folder:
        cfg.DATASETS.CUSTOM = [made_up_dataset(Path(folder), args.case, args.classes)]
        register_custom(cfg)
        return peak_megabytes(lambda: evaluate(model, cfg, args.output), args.device)


def made_up_dataset(folder: Path, size: str, classes: int) -> dict:
    """Write an image of noise and a label map of 64-pixel blocks, and return their entry of DATASETS.CUSTOM."""
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, classes, (height // 64 + 1, width // 64 + 1), dtype=np.uint16)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / "images" / "a.png")
    write_label_map(folder / "labels" / "a.png", blocks.repeat(64, 0).repeat(64, 1)[:height, :width])
    places = {part: str(folder / part) for part in ("images", "labels")}
    return {"name": NAME, **places, "classes": names(classes), "ignore_label": 65535}


def evaluate(model: PhysSeg, cfg, output: str) -> None:
    batches = [[x | {"output": output} for x in batch] for batch in build_test_loader(cfg, NAME)]
    evaluate_dataset(model, batches, build_evaluator(cfg, NAME), timing=Timing())


if __name__ == "__main__":
    main()
