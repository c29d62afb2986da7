"""Check a config, or write the page of all keys.

python -m physseg.config configs/toy.yaml SOLVER.MAX_ITER 10    # what it sets, if nothing is wrong with it
python -m physseg.config --write docs/config.md
"""

import argparse
import sys

import physseg  # noqa: F401  (what it registers can be named in a config)
from physseg.config.check import value_of
from physseg.config.keys import KEYS
from physseg.config.load import load_config
from physseg.config.page import config_page
from physseg.io import write_text_atomic


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m physseg.config", description=__doc__.splitlines()[0])
    parser.add_argument("--write", metavar="FILE", help="write the page of all keys there")
    parser.add_argument("config_file", nargs="?", help="YAML file to check; prints what differs from the defaults")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides")
    args = parser.parse_args(argv)
    if args.write:
        write_text_atomic(args.write, config_page())
        return 0
    if not args.config_file:
        parser.print_help()
        return 2
    try:
        cfg = load_config(args.config_file, args.opts)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, key in KEYS.items():
        if value_of(cfg, name) != key.default:
            print(f"{name}: {value_of(cfg, name)!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
