#!/usr/bin/env python
"""CLIP alone on the toy world: a table of every method beside trained models, and a sheet of pictures.

    python benchmarks/clip_alone_toy.py --output output/clip_alone_toy
    python benchmarks/clip_alone_toy.py --output output/clip_alone_toy --rows naclip sc_clip physseg --sheet-only
    python benchmarks/clip_alone_toy.py --output output/clip_alone_contrastive --clip toy-contrastive

The toy world must be prepared (datasets/README.md). A row is a method, a method with "+pamr" or "+threshold", "start"
(configs/toy.yaml untrained), "physseg" (the trained model that comes with physseg), or a config and its weights as
TITLE=FILE.yaml=WEIGHTS; of several weights, separated by commas, it shows mean and standard deviation. ProxyCLIP's
other model is a small ViT with random weights here, since none that was trained on photos knows the toy world: a
control. An interrupted run goes on where it stopped.
"""

import argparse
from pathlib import Path
from statistics import fmean, stdev

import torch

import physseg
from physseg.config import load_config

# isort: split
import numpy as np
from detectron2.modeling import build_model
from PIL import Image, ImageDraw

from physseg.data.specs import find_spec
from physseg.engine.weights import load_weights
from physseg.evaluation.runner import run_benchmarks
from physseg.toy_world.example import toy_scene
from physseg.visualization import colourise

KEYS = (
    "toy_pas20",
    "toy_pas20b",
    "toy_voc21",
    "toy_coco_object",
    "toy_pc59",
    "toy_pc459",
    "toy_a150",
    "toy_a847",
)
METHODS = ("clip", "maskclip", "catseg", "sclip", "clearclip", "naclip", "sc_clip", "sfp", "proxyclip")
ROWS = (*METHODS, "naclip+pamr", "sc_clip+threshold", "start", "physseg")
EXTRAS = {
    # The toy pictures are small: so are the steps.
    "pamr": ["MODEL.DENSE.PAMR_STEPS", 10, "MODEL.DENSE.PAMR_DILATIONS", [2, 4]],
    "threshold": ["TEST.BACKGROUND_THRESHOLD", 0.15],
}
PROXY = ["MODEL.DENSE.PROXY.NAME", "vit_tiny_patch16_224", "MODEL.DENSE.PROXY.PRETRAINED", ""]
SHEET_SEEDS, CELL = (0, 1, 2, 3), 168


def config_and_weights(row: str, clip: str) -> tuple[str, list[str], list]:
    """Config, weights (of one model or more; "" for none) and overrides of a row, with the toy CLIP of that name."""
    opts = ["MODEL.CLIP.PRETRAINED", clip]
    if "=" in row:
        _, config, weights = row.split("=", 2)
        return config, weights.split(","), opts
    if row in ("start", "physseg"):
        return "toy", ["physseg://toy" if row == "physseg" else ""], opts
    method, _, extra = row.partition("+")
    proxy = PROXY if method == "proxyclip" else []
    return "clip_alone/toy", [""], [*opts, "MODEL.DENSE.METHOD", method, *proxy, *EXTRAS.get(extra, [])]


def cell(metrics: list[dict]) -> str:
    """mIoU_old / mIoU of one model; of several, mean and standard deviation of each."""
    texts = []
    for name in ("mIoU_old", "mIoU"):
        values = [each[name] for each in metrics]
        texts.append(f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else ""))
    return " / ".join(texts)


def table(rows: list[str], clip: str, output: Path, device: str) -> list[str]:
    """Markdown lines, the old definition before the new one."""
    titles = [find_spec(key).title for key in KEYS]
    lines = ["| mIoU_old / mIoU | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(KEYS)]
    for row in rows:
        config, weights, opts = config_and_weights(row, clip)
        cfg = load_config(config, [*opts, "MODEL.DEVICE", device, "DATALOADER.NUM_WORKERS", 0])
        title = row.partition("=")[0]
        folder = output / title.replace("+", "_").replace(" ", "_")
        found = []
        for index, path in enumerate(weights):
            torch.manual_seed(0)
            model = build_model(cfg)
            if path:
                load_weights(model, path)
            names = [find_spec(key).registered_name for key in KEYS]
            found.append(run_benchmarks(model.eval(), cfg, names, folder / str(index) if index else folder))
        cells = [cell([result["metrics"] for result in results]) for results in zip(*found, strict=True)]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def sheet(rows: list[str], clip: str, device: str) -> Image.Image:
    """A line of pictures for each of a few scenes: image, truth, and each row's labels."""
    scenes = [toy_scene(seed, height=192) for seed in SHEET_SEEDS]
    columns = {"image": [image for image, _, _ in scenes]}
    columns["truth"] = [colourise(labels, len(names)) for _, names, labels in scenes]
    for row in rows:
        config, weights, opts = config_and_weights(row, clip)
        predictor = physseg.Predictor(config, weights[0] or None, opts=[*opts, "MODEL.DEVICE", device])
        columns[row.partition("=")[0]] = [
            colourise(predictor.labels(image, vocabulary=names).numpy(), len(names)) for image, names, _ in scenes
        ]
    width, height, head = CELL, CELL * 3 // 4, 18
    canvas = Image.new("RGB", (len(columns) * width, head + len(scenes) * height), "white")
    for x, (title, pictures) in enumerate(columns.items()):
        ImageDraw.Draw(canvas).text((x * width + 4, 3), title, fill="black")
        for y, picture in enumerate(pictures):
            cell = Image.fromarray(np.ascontiguousarray(picture)).resize((width - 4, height - 4), Image.NEAREST)
            canvas.paste(cell, (x * width + 2, head + y * height))
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--rows", nargs="+", default=list(ROWS))
    parser.add_argument("--clip", default="toy", choices=("toy", "toy-contrastive"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet-only", action="store_true")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    if not args.sheet_only:
        (args.output / "table.md").write_text("\n".join(table(args.rows, args.clip, args.output, args.device)) + "\n")
    sheet([row for row in args.rows if row != "start"], args.clip, args.device).save(args.output / "sheet.png")


if __name__ == "__main__":
    main()
