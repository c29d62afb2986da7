"""Write the toy world, a small open-vocabulary world in the raw formats of the real datasets.

    python tools/make_toy_world.py
    python tools/make_toy_world.py --root /data --seed 1

See docs/toy_world.md.
"""

import argparse
import os
from collections.abc import Sequence

from physseg.cli.arguments import MOST_PROCESSES, new_parser, number, some_path
from physseg.paths import writable_folder
from physseg.toy_world.caption_files import write_toy_captions
from physseg.toy_world.make import make_toy_world


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    default = os.environ.get("DETECTRON2_DATASETS") or "datasets"
    parser.add_argument(
        "--root", type=some_path, default=default, help="folder of all datasets (default: $DETECTRON2_DATASETS)"
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="another seed gives other scenes (default: 0)")
    parser.add_argument(
        "--processes", type=number(int, 1, MOST_PROCESSES), default=None, help="writers (default: one per core)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write it."""
    args = parser().parse_args(argv)
    writable_folder(args.root, "folder of all data sets")
    folder = make_toy_world(args.root, args.seed, args.processes)
    captions = write_toy_captions(args.root, args.seed, args.processes)
    print(f"toy world: {folder}\nwith captions: {captions}")
    return 0
