#!/usr/bin/env python
"""Write the toy world, a small open-vocabulary world in the raw formats of the real datasets."""

import argparse
import os

import physseg  # noqa: F401 (compatibility first)
from physseg.toy_world.make import make_toy_world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("DETECTRON2_DATASETS") or "datasets"
    parser.add_argument("--root", default=default, help="folder of all datasets (default: $DETECTRON2_DATASETS)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other scenes (default: 0)")
    parser.add_argument("--processes", type=int, default=None, help="writers (default: one per core)")
    arguments = parser.parse_args()
    folder = make_toy_world(arguments.root, arguments.seed, arguments.processes)
    print(f"toy world: {folder}")


if __name__ == "__main__":
    main()
