"""Draw the four pseudo ground truths of images side by side, and the structure head's estimate given weights.

    python tools/visualize_structures.py photo.jpg --output sheets
    python tools/visualize_structures.py folder/ --labels label_folder/ --output sheets \\
        --weights output/physseg/model_final.pth

EdgeGT needs label maps, SuperPoint its weights: a panel says so where they are missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from physseg.cli.arguments import new_parser, number, some_path
from physseg.config import check_device, load_config
from physseg.data.images import IMAGE_EXTENSIONS, BrokenFileError, read_image, read_label_map
from physseg.inference.find import find_files, is_video
from physseg.inference.predictor import Predictor
from physseg.io import atomic_write, save_image
from physseg.paths import writable_folder
from physseg.structure import structure_options
from physseg.structure.sheet import draw_sheet, estimates, every_source
from physseg.structure.superpoint import SuperPointSource


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("input", type=some_path, help="an image, or a folder of images")
    parser.add_argument("--output", type=some_path, required=True, help="folder of the sheets")
    parser.add_argument("--labels", type=Path, help="a label map, or a folder of label maps with the images' names")
    parser.add_argument("--ignore-label", type=number(int, 0, 65535), default=255)
    parser.add_argument("--config-file", type=some_path, default="configs/physseg_vitb16.yaml")
    parser.add_argument("--weights", type=some_path, help="a trained physseg checkpoint")
    parser.add_argument("--columns", type=number(int, 0), default=0, help="panels per row; default: one row")
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; last"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw as the command line says."""
    args = parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    options = structure_options(cfg)
    model = None
    if args.weights:
        model = Predictor(args.config_file, weights=args.weights, opts=args.opts).model
    check_device(cfg.MODEL.DEVICE)
    jobs, left_out = find_files([args.input], args.output)
    images = [job for job in jobs if not is_video(job)]
    for text in left_out:
        print(f"left out: {text}", file=sys.stderr)
    if not images:
        raise FileNotFoundError(f"no images ({', '.join(IMAGE_EXTENSIONS)}) in {args.input}")
    writable_folder(args.output)
    superpoint = SuperPointSource(options.superpoint)
    problems = []
    for job in images:
        try:
            image, labels = read_image(job.source), None
            if args.labels:
                labels = read_label_map(label_file(args.labels, job.source))
                check_same_size(image, labels, job.source)
        except OSError as error:  # its message names the file
            problems.append(str(error))
            continue
        panels = every_source(image, labels, options, args.ignore_label, superpoint, cfg.MODEL.DEVICE)
        if model is not None:
            panels |= estimates(model, image, options.sources)
        target = job.target.with_name(f"{job.target.name}.{args.format}")
        with atomic_write(target) as temporary:
            save_image(Image.fromarray(draw_sheet(image, panels, args.columns)), temporary, quality=85)
        print(target)
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    return 1 if problems else 0


def label_file(labels: Path, image: Path) -> Path:
    """The label map of an image: the one given, or that of its name in the folder given."""
    return labels / f"{image.stem}.png" if labels.is_dir() else labels


def check_same_size(image: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Raise BrokenFileError unless the label map is of the image's size."""
    if labels.shape != image.shape[:2]:
        raise BrokenFileError(f"{path} has {image.shape[:2]} pixels (height, width), its label map {labels.shape}")
