"""Evaluate a checkpoint on several benchmarks in one run; an interrupted run goes on where it stopped.

    python tools/evaluate_benchmarks.py --model catseg-vitb16
    python tools/evaluate_benchmarks.py --config-file configs/toy.yaml --weights output/toy/model_final.pth
    python tools/evaluate_benchmarks.py --config-file configs/catseg_vitb16.yaml --weights W --benchmarks a150 pas20
    python tools/evaluate_benchmarks.py --config-file F --weights W --save-pictures 8 --compare-weights W2
    torchrun --nproc-per-node 4 tools/evaluate_benchmarks.py --config-file F --weights W

Writes results, tables (text, Markdown, CSV, LaTeX, JSON) and report.html to OUTPUT_DIR/benchmarks or --results.
Keys and values after the options override the config. See docs/evaluation.md.
"""

import argparse
import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from physseg import signals
from physseg.cli.arguments import MOST_PROCESSES, add_model, new_parser, number, some_path, split_at_first_key
from physseg.cli.boundary import run_in_process
from physseg.config import check_device, load_config
from physseg.data.custom import register_custom
from physseg.data.registration import check_registered
from physseg.data.specs import find_spec
from physseg.engine.launch import launch
from physseg.engine.weights import load_weights
from physseg.evaluation.pictures import choose_evenly, most_different, read_image_counts, save_pictures
from physseg.evaluation.report import Run, read_curves, write_report
from physseg.evaluation.runner import benchmark_key, run_benchmarks
from physseg.evaluation.tables import (
    columns_of,
    protocol_lines,
    published_for,
    render,
    render_details,
    result_rows,
    write_tables,
)
from physseg.folder_lock import folder_lock
from physseg.inference.choice import choose_model
from physseg.memory import keep_freed_memory
from physseg.paths import existing_file, writable_folder

logger = logging.getLogger("physseg")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says."""
    args = parse(argv)
    with signals.explained("The same command goes on at the next image."):
        config_file, weights = chosen(args)
        cfg = load_config(config_file, args.opts)
        register_custom(cfg)
        cfg.DATASETS.TEST = tuple(dataset_name(key) for key in args.benchmarks or cfg.DATASETS.TEST)
        if weights is not None:
            cfg.MODEL.WEIGHTS = weights
        check_device(cfg.MODEL.DEVICE)
        check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
        if args.metrics_file is not None:
            read_curves(existing_file(args.metrics_file, "metrics file of a training"))
        writable_folder(results_folder(cfg, args), "folder of the results")
        launch(run_in_process, args.num_gpus, device=cfg.MODEL.DEVICE, args=(run, cfg, args))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    add_model(parser)
    parser.add_argument(
        "--compare-weights", type=some_path, metavar="FILE", help="a second checkpoint to set beside the first"
    )
    parser.add_argument("--benchmarks", nargs="+", metavar="KEY", help="a847 pc459 ...; default: DATASETS.TEST")
    parser.add_argument(
        "--num-gpus",
        type=number(int, 1, MOST_PROCESSES),
        default=1,
        help="processes; with MODEL.DEVICE cpu, on the CPU",
    )
    parser.add_argument("--results", type=some_path, metavar="FOLDER", help="default: OUTPUT_DIR/benchmarks")
    parser.add_argument(
        "--save-pictures", type=number(int, 0), default=0, metavar="N", help="per benchmark, for the report"
    )
    parser.add_argument(
        "--metrics-file", type=some_path, metavar="FILE", help="metrics.json of the training, for the report's curves"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ``benchmarks`` is empty where it names none."""
    args = parser().parse_args(argv)
    args.benchmarks, args.opts = split_at_first_key(args.benchmarks, args.opts)
    return args


def chosen(args: argparse.Namespace) -> tuple[str | PathLike, str | None]:
    """Config and weights. A config alone may go without weights of its own: CLIP alone, or a start before training."""
    if args.config_file and not args.model:
        return args.config_file, args.weights
    model = choose_model(args.model, args.config_file, args.weights)
    return model.config_file, model.weights


def dataset_name(key: str) -> str:
    """Registered name of a benchmark's key or registered name."""
    spec = find_spec(key)
    if spec is None and key not in DatasetCatalog:
        raise KeyError(f"no benchmark {key!r}; expected a847, pc459, a150, pc59, pas20, pas20b or a registered name")
    return spec.registered_name if spec else key


def results_folder(cfg, args: argparse.Namespace) -> Path:
    """--results, or a folder in OUTPUT_DIR."""
    return Path(args.results or Path(cfg.OUTPUT_DIR) / "benchmarks")


def run(cfg, args: argparse.Namespace) -> None:
    """Evaluate, draw and write, in every process."""
    folder = results_folder(cfg, args)
    with folder_lock(folder):
        _run(cfg, args, folder)


def _run(cfg, args: argparse.Namespace, folder: Path) -> None:
    setup_logger(str(folder), distributed_rank=comm.get_rank(), name="physseg")
    if cfg.MODEL.DEVICE == "cpu":
        keep_freed_memory()
    torch.manual_seed(cfg.SEED)  # of a model without weights
    model = build_model(cfg)
    checkpoints = [(cfg.MODEL.WEIGHTS, folder)]
    if args.compare_weights:
        checkpoints.insert(0, (args.compare_weights, folder / "compared"))
    names = run_names([weights for weights, _ in checkpoints])
    if not getattr(model, "needs_training", True) and not args.compare_weights:
        names = [f"{cfg.MODEL.DENSE.METHOD}, {cfg.MODEL.CLIP.NAME} {cfg.MODEL.CLIP.PRETRAINED}".strip()]
    if args.compare_weights:
        load(model, cfg.MODEL.WEIGHTS)  # do they fit? They are wanted only after the first have been evaluated
    runs = [
        evaluate(model, cfg, weights, place, name) for (weights, place), name in zip(checkpoints, names, strict=True)
    ]
    if args.save_pictures:
        for (weights, _), each in zip(checkpoints, runs, strict=True):
            load(model, weights)
            draw(model, cfg, runs, each.folder, args.save_pictures)
    if comm.is_main_process():
        report(runs, folder, args.metrics_file)


def run_names(checkpoints: list[str]) -> list[str]:
    """What the tables call the checkpoints: file names, with their folders where those are equal."""
    names = [Path(weights).stem or "untrained" for weights in checkpoints]
    if len(set(names)) < len(names):
        names = [str(Path(weights).with_suffix("")) for weights in checkpoints]
    return names


def evaluate(model, cfg, weights: str, folder: Path, name: str) -> Run:
    load(model, weights)
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = weights

    def encode(names):
        with torch.no_grad():
            return model.text_features(names).mean(dim=1)

    model.eval()
    results = run_benchmarks(model, cfg, cfg.DATASETS.TEST, folder, encode=encode)
    return Run(name, results, folder)


def load(model, weights: str) -> None:
    if weights:
        load_weights(model, weights)
    elif getattr(model, "needs_training", True):
        logger.warning("no weights given: the untrained start is evaluated")


def draw(model, cfg, runs: list[Run], folder: Path, count: int) -> None:
    """Pictures spread over each benchmark, or of two checkpoints where they differ most."""
    for name in cfg.DATASETS.TEST:
        counts = [read_image_counts(each.folder, benchmark_key(name)) for each in runs]
        chosen = most_different(*counts, count) if len(runs) == 2 else choose_evenly(list(counts[0]), count)
        save_pictures(model, cfg, name, chosen, folder)


def report(runs: list[Run], folder: Path, metrics_file: str | None) -> None:
    rows = [row for each in runs for row in result_rows(each.name, each.results)]
    rows += published_for(columns_of(rows), {row.design for row in rows})
    write_tables(folder, rows)
    page = write_report(folder / "report.html", runs, metrics_file=metrics_file)
    print(f"\n{render(rows)}")
    for each in runs:
        print(f"{each.name}\n{render_details(each.results)}")
        for line in protocol_lines(each.results):
            print(line)
    print(f"Report: {page}")
