"""Draw a picture of the toy world to try the toy model on, and say what can be seen.

physseg toy-scene scene.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from physseg.cli.arguments import new_parser
from physseg.io import atomic_write, save_image
from physseg.paths import writable_file
from physseg.toy_world.example import toy_scene


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("target", type=Path, metavar="FILE.png", help="picture to write")
    parser.add_argument("--seed", type=int, default=0, help="another number, another scene")
    parser.add_argument(
        "--height", type=int, default=288, metavar="PIXELS", help="the width is 4/3 of it; default: 288"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw as the command line says."""
    args = parser().parse_args(argv)
    if args.seed < 0 or not 24 <= args.height <= 10_000:
        parser().error("--seed must be 0 or more, --height between 24 and 10000")
    if args.target.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{args.target}: the name must end in .png, .jpg or another ending of a picture")
    writable_file(args.target)
    image, names, _ = toy_scene(args.seed, args.height)
    with atomic_write(args.target) as temporary:
        save_image(Image.fromarray(image), temporary)
    print(f"Wrote {args.target}. It shows: {', '.join(names)}")
    return 0
