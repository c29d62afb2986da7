"""Make structure maps ahead of training, one 1-bit PNG per image and source.

Example: SuperPoint's for the training set, on a GPU; then train from them:

    python tools/make_structure_labels.py --sources superpoint --output structure_maps --device cuda
    python tools/train_net.py --config-file configs/physseg_vitb16.yaml \\
        MODEL.STRUCTURE.SOURCES "['superpoint']" MODEL.STRUCTURE.MAPS_SOURCES "['superpoint']" \\
        MODEL.STRUCTURE.MAPS_ROOT structure_maps

Maps that exist are kept: after an interruption, run the same command again.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from physseg.cli.arguments import MOST_PROCESSES, new_parser, number, some_path
from physseg.config import check_device, load_config
from physseg.data.custom import register_custom
from physseg.data.registration import check_registered
from physseg.data.specs import datasets_root
from physseg.paths import writable_folder
from physseg.structure import structure_options
from physseg.structure.make_maps import make_maps, plan
from physseg.structure.options import FILE_SOURCES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--config-file", type=some_path, default="configs/physseg_vitb16.yaml", help="settings of the sources"
    )
    parser.add_argument("--dataset", nargs="+", help="registered data sets; default: DATASETS.TRAIN")
    parser.add_argument("--sources", nargs="+", choices=FILE_SOURCES, help="default: MODEL.STRUCTURE.SOURCES")
    parser.add_argument(
        "--output", type=some_path, required=True, help="folder of the maps, later MODEL.STRUCTURE.MAPS_ROOT"
    )
    parser.add_argument(
        "--workers",
        type=number(int, 0, MOST_PROCESSES),
        default=0,
        help="processes; default: one per core, on a GPU at most 4",
    )
    parser.add_argument("--device", default="cpu", help="where SuperPoint runs")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; last"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Make what is missing; 1 if a file was broken."""
    args = parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    options = structure_options(cfg)
    sources = tuple(args.sources or options.sources)
    if not set(sources) <= set(FILE_SOURCES):
        raise ValueError(f"maps are made ahead for {list(FILE_SOURCES)}; got {list(sources)}: name some by --sources")
    options = dataclasses.replace(options, sources=sources, maps_sources=())
    check_device(args.device)
    register_custom(cfg)
    datasets = args.dataset or cfg.DATASETS.TRAIN
    check_registered(datasets, "--dataset" if args.dataset else "DATASETS.TRAIN")
    writable_folder(args.output)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = args.workers or (cores if args.device == "cpu" else min(4, cores))

    jobs = []
    for name in datasets:
        records, ignore_label = DatasetCatalog.get(name), MetadataCatalog.get(name).ignore_label
        of_dataset = plan(records, datasets_root(), args.output, options, ignore_label)
        print(f"{name}: {len(records)} images, {len(of_dataset)} to do")
        jobs += of_dataset
    progress = tqdm(make_maps(jobs, options, workers, args.device), total=len(jobs), unit="image")
    problems = [problem for problem in progress if problem]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(jobs) - len(problems)} images done, {len(problems)} with broken files; maps are in {args.output}")
    return 1 if problems else 0
