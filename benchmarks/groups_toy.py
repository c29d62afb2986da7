#!/usr/bin/env python
"""Pictures of groups on the toy world: image, truth, superpixels, and for each model its groups and its labels.

    python benchmarks/groups_toy.py --output groups.png SegCLIP=CONFIG=WEIGHTS ZeroSeg=CONFIG=WEIGHTS

Labels are those of the likeliest among the names in the picture.
"""

import argparse

import numpy as np
import torch
from PIL import Image, ImageDraw

import physseg
from physseg.inference.predictor import Predictor
from physseg.structure.superpixels import SuperpixelOptions, felzenszwalb_superpixels
from physseg.toy_world.example import toy_scene
from physseg.visualization import colourise

SEEDS, SIDE, CELL = (0, 1, 2, 3, 4), 192, 144


def square(picture: np.ndarray) -> np.ndarray:
    """The middle square, so that a window shows the whole of it."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def groups_of(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """Group of every pixel of the first window."""
    encoded = predictor.encode(image)
    return encoded.pixels[0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True)
    parser.add_argument("models", nargs="+", metavar="TITLE=CONFIG=WEIGHTS")
    args = parser.parse_args()
    torch.manual_seed(0)
    scenes = [toy_scene(seed, height=SIDE) for seed in SEEDS]
    images = [square(image) for image, _, _ in scenes]
    columns = {
        "image": images,
        "truth": [colourise(square(labels), len(names)) for _, names, labels in scenes],
        "superpixels": [
            colourise(felzenszwalb_superpixels(image, SuperpixelOptions(scale=164.0, min_size=164)), 200)
            for image in images
        ],
    }
    for entry in args.models:
        title, config, weights = entry.split("=", 2)
        predictor = physseg.Predictor(config, weights or None, opts=["MODEL.DEVICE", "cpu"])
        count = len(predictor.model.encode_image({"image": torch.zeros(3, 96, 96)}).groups[0])
        columns[f"{title}: groups"] = [colourise(groups_of(predictor, image), count) for image in images]
        columns[f"{title}: labels"] = [
            colourise(predictor.labels(image, vocabulary=names).numpy(), len(names))
            for image, (_, names, _) in zip(images, scenes, strict=True)
        ]
    canvas = Image.new("RGB", (len(columns) * CELL, 18 + len(images) * CELL), "white")
    for x, (title, pictures) in enumerate(columns.items()):
        ImageDraw.Draw(canvas).text((x * CELL + 4, 3), title, fill="black")
        for y, picture in enumerate(pictures):
            cell = Image.fromarray(np.ascontiguousarray(picture)).resize((CELL - 4, CELL - 4), Image.NEAREST)
            canvas.paste(cell, (x * CELL + 2, 18 + y * CELL))
    canvas.save(args.output)


if __name__ == "__main__":
    main()
