"""Check prepared data sets: counts, names, label values, sizes. Exit status 0 if every one asked for is ready.

python datasets/check_datasets.py                    the training set and the six benchmarks
python datasets/check_datasets.py a150 pas20 --json
python datasets/check_datasets.py --config-file my.yaml my_train      one's own data, see docs/own_data.md
python datasets/check_datasets.py coco_2017_captions_train            captions; the column of label maps counts them
"""

import argparse
import json
import sys
from collections.abc import Sequence

from physseg.cli.arguments import MOST_PROCESSES, new_parser, number, some_path
from physseg.config import load_config
from physseg.data.checking import check_dataset, format_reports
from physseg.data.custom import register_custom
from physseg.data.pairs.checking import check_pairs
from physseg.data.pairs.sources import built_in_sources, declared_sources
from physseg.data.registration import register_all
from physseg.data.specs import REAL, TOY, all_specs, find_spec


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__, epilog=f"keys: {', '.join(spec.key for spec in all_specs())}")
    parser.add_argument("datasets", nargs="*", help="keys or registered names; default: training set and benchmarks")
    parser.add_argument("--toy", action="store_true", help="the toy world's training set and benchmarks")
    parser.add_argument("--root", type=some_path, help="data root; default: $DETECTRON2_DATASETS, or 'datasets'")
    parser.add_argument(
        "--config-file", type=some_path, help="a config whose DATASETS.CUSTOM to register and, by default, to check"
    )
    parser.add_argument("--quick", action="store_true", help="count files only; read none")
    parser.add_argument("--decode-images", action="store_true", help="also decode every image, to find truncated ones")
    parser.add_argument("--workers", type=number(int, 1, MOST_PROCESSES), help="processes; default: one per core")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Check data sets and print a table or JSON. Returns 0 if all are ready, 1 if not, 2 for a wrong name.

    Args:
        argv: command line; None: this process's.
    """
    arguments = parser().parse_args(argv)

    register_all(arguments.root)
    names = list(arguments.datasets)
    custom: list[str] = []
    pairs = built_in = {source.name: source for source in built_in_sources(arguments.root)}
    if arguments.config_file:
        cfg = load_config(arguments.config_file)
        custom = [dataset.name for dataset in register_custom(cfg)]
        pairs |= {source.name: source for source in declared_sources(cfg)}
        custom += [name for name in pairs if name in cfg.DATASETS.TRAIN or name not in built_in]
    if not names:
        names = custom or (["toy_coco_stuff", *TOY] if arguments.toy else ["coco_stuff", *REAL])
    unknown = [name for name in names if find_spec(name) is None and name not in (*custom, *pairs)]
    if unknown:
        keys = [*(spec.key for spec in all_specs()), *pairs]
        print(
            f"error: no data set {', '.join(map(repr, unknown))}; expected one of {', '.join(keys + custom)}",
            file=sys.stderr,
        )
        return 2

    reports = [
        check_pairs(pairs[name], not arguments.quick, arguments.decode_images)
        if name in pairs
        else check_dataset(
            name,
            arguments.root,
            thorough=not arguments.quick,
            decode_images=arguments.decode_images,
            workers=arguments.workers,
            progress=not arguments.json and sys.stderr.isatty(),
        )
        for name in names
    ]
    print(json.dumps([report.to_dict() for report in reports], indent=2) if arguments.json else format_reports(reports))
    missing = [report.name for report in reports if not report.ready]
    if missing:
        print(f"failed: not ready: {', '.join(missing)} (see above)", file=sys.stderr)
    return int(bool(missing))
