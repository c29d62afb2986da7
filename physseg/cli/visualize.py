"""Draw the four pseudo ground truths of images side by side, and the structure head's estimate given weights.

    python tools/visualize_structures.py photo.jpg --output sheets
    python tools/visualize_structures.py folder/ --labels label_folder/ --output sheets \\
        --weights output/physseg/model_final.pth

EdgeGT needs label maps, SuperPoint its weights: a panel says so where they are missing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from physseg.cli.arguments import new_parser
from physseg.config import load_config
from physseg.data.images import IMAGE_EXTENSIONS, read_image, read_label_map
from physseg.inference.predictor import Predictor
from physseg.io import atomic_write
from physseg.structure import structure_options
from physseg.structure.sheet import draw_sheet, estimates, every_source
from physseg.structure.superpoint import SuperPointSource


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("input", type=Path, help="an image, or a folder of images")
    parser.add_argument("--output", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--labels", type=Path, help="a label map, or a folder of label maps with the images' names")
    parser.add_argument("--ignore-label", type=int, default=255)
    parser.add_argument("--config-file", default="configs/physseg_vitb16.yaml")
    parser.add_argument("--weights", help="a trained physseg checkpoint")
    parser.add_argument("--columns", type=int, default=0, help="panels per row; default: one row")
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
    superpoint = SuperPointSource(options.superpoint)
    model = None
    if args.weights:
        model = Predictor(args.config_file, weights=args.weights, opts=args.opts).model
    folder = args.input.is_dir()
    images = sorted(p for p in args.input.iterdir() if p.suffix.lower() in IMAGE_EXTENSIONS) if folder else [args.input]
    if not images:
        raise FileNotFoundError(f"no images ({', '.join(IMAGE_EXTENSIONS)}) in {args.input}")
    for path in images:
        image, labels = read_image(path), None
        if args.labels:
            labels = read_label_map(args.labels / f"{path.stem}.png" if args.labels.is_dir() else args.labels)
        panels = every_source(image, labels, options, args.ignore_label, superpoint, cfg.MODEL.DEVICE)
        if model is not None:
            panels |= estimates(model, image, options.sources)
        with atomic_write(args.output / f"{path.stem}.{args.format}") as temporary:
            Image.fromarray(draw_sheet(image, panels, args.columns)).save(temporary, quality=85)
        print(args.output / f"{path.stem}.{args.format}")
    return 0
