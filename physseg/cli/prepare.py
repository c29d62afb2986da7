"""Prepare data sets from their raw files, then verify them; what is done already is kept.

    python datasets/prepare_ade20k_150.py
    python datasets/prepare_voc.py --root /data --download

The scripts name their data sets themselves. See datasets/README.md.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from physseg.cli.arguments import MOST_PROCESSES, new_parser, number, some_path
from physseg.data.checking import check_dataset, format_reports
from physseg.data.conversion import convert
from physseg.data.download import download_archives, manual_steps
from physseg.data.raw_formats.common import MissingInputError, few
from physseg.data.specs import datasets_root, find_spec, get_specs


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("datasets", nargs="+", metavar="KEY", help="of data sets, such as a150 or coco_stuff")
    parser.add_argument("--root", type=some_path, help="data root; default: $DETECTRON2_DATASETS, or 'datasets'")
    parser.add_argument("--workers", type=number(int, 1, MOST_PROCESSES), help="processes; default: one per core")
    parser.add_argument("--overwrite", action="store_true", help="write label maps that exist again")
    parser.add_argument("--toy", action="store_true", help="prepare the toy world's counterpart instead")
    parser.add_argument("--download", action="store_true", help="first fetch and unpack what has a plain URL")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, then verify; 0 if all of them are ready.

    Args:
        argv: without the program's name; None takes the process's.
    """
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    root = datasets_root(arguments.root)
    specs = get_specs(arguments.datasets)
    if arguments.toy:
        toys = [find_spec(f"toy_{spec.key}") for spec in specs]
        if not any(toys):
            raise ValueError(f"{', '.join(spec.title for spec in specs)}: there is no toy counterpart; leave out --toy")
        for spec, toy in zip(specs, toys, strict=True):
            if toy is None:
                print(f"{spec.title}: left out, there is no toy counterpart", file=sys.stderr)
        specs = tuple(toy for toy in toys if toy is not None)

    if arguments.download:
        download_archives(specs, root)
    failed = False
    for spec in specs:
        try:
            result = convert(spec, root, arguments.workers, arguments.overwrite)
        except (MissingInputError, ValueError) as error:
            print(f"{spec.title}: {error}", file=sys.stderr)
            for line in manual_steps(spec):
                print(f"  {line}", file=sys.stderr)
            failed = True
            continue
        print(f"{spec.title}: {result.converted} written, {result.kept} there before, {len(result.failures)} failed")
        for name, message in result.failures[:10]:
            print(f"  {name}: {message}", file=sys.stderr)
        if len(result.failures) > 10:
            print(
                f"  and {len(result.failures) - 10} more: {few([n for n, _ in result.failures[10:]])}", file=sys.stderr
            )
    reports = [check_dataset(spec, root, thorough=False) for spec in specs]
    print(format_reports(reports))
    missing = [report.name for report in reports if not report.ready]
    if missing:
        print(f"failed: not ready: {', '.join(missing)} (see above)", file=sys.stderr)
    return int(failed or bool(missing))
