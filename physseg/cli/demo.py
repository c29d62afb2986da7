"""The whole job on a laptop's CPU: make the toy world, convert it, evaluate, train, evaluate again, show.

    make demo
    make demo-captions
    python tools/demo.py [--captions] [--output output/demo] [KEY VALUE ...]

With --captions, PACL learns from pictures and their captions instead of label maps.

Prints one table, start against trained, and leaves report.html (tables, loss curve, pictures), log.txt and the
checkpoints in the output folder. Interrupted at any point, the same command goes on.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from physseg import signals
from physseg.cli.arguments import new_parser
from physseg.config import check_device, load_config
from physseg.data.conversion import convert
from physseg.data.custom import register_custom
from physseg.data.pairs.sources import PAIRS, training_kind
from physseg.data.registration import check_registered
from physseg.data.specs import TOY, datasets_root, get_specs
from physseg.engine.trainer import Trainer
from physseg.engine.weights import load_weights
from physseg.evaluation.pictures import choose_evenly, read_image_counts, save_pictures
from physseg.evaluation.report import Run, write_report
from physseg.evaluation.runner import benchmark_key, run_benchmarks
from physseg.evaluation.tables import Row, render, write_tables
from physseg.folder_lock import LOCK, folder_lock
from physseg.io import write_text_atomic
from physseg.paths import writable_folder
from physseg.toy_world.caption_files import write_toy_captions
from physseg.toy_world.make import make_toy_world

CONFIG, CAPTIONS_CONFIG = "toy", "without_masks/pacl_toy"
TRAINING_SET, WATCHED = "toy_coco_stuff", "toy_ade20k_150_val_sem_seg"
PICTURES = 4

logger = logging.getLogger("physseg")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--captions", action="store_true", help="PACL on captions, not CAT-Seg on label maps")
    parser.add_argument("--output", metavar="FOLDER", help="default: output/demo, or output/demo_captions")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run all steps."""
    args = parser().parse_args(argv)
    with signals.explained("The same command goes on from here."):
        output = args.output or ("output/demo_captions" if args.captions else "output/demo")
        cfg = load_config(CAPTIONS_CONFIG if args.captions else CONFIG, args.opts, output_dir=output)
        check_device(cfg.MODEL.DEVICE)
        register_custom(cfg)
        check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
        demo(cfg)
    return 0


def demo(cfg) -> None:
    """Run all steps; what an earlier call finished with the same config is taken over.

    Raises:
        physseg.folder_lock.FolderInUseError: another demo, or a training, runs in OUTPUT_DIR.
    """
    with folder_lock(writable_folder(cfg.OUTPUT_DIR)):
        _run_steps(cfg)


def _run_steps(cfg) -> None:
    folder, steps = Path(cfg.OUTPUT_DIR), {}
    finished = reuse_training(cfg, folder)
    # Not Detectron2's default_setup: its screens of environment and config would hide what the demo does.
    for name in ("physseg", "detectron2", "fvcore"):
        setup_logger(str(folder), name=name)
    logging.getLogger("detectron2.engine.defaults").setLevel(logging.WARNING)  # prints the whole model
    with step("toy world", steps):
        make_data(captions=training_kind(cfg) == PAIRS)
    with step("evaluation of the start", steps):
        seed_all_rng(cfg.SEED)
        model = Trainer.build_model(cfg)
        runs = [evaluate(model, cfg, "start", folder)]
    with step("training", steps):
        weights = finished or train(cfg)
    with step("evaluation of the trained model", steps):
        load_weights(model, weights)
        runs.append(evaluate(model, cfg, "trained", folder))
    rows = [Row(run.name, {r["key"]: r["metrics"]["mIoU"] for r in run.results}) for run in runs]
    write_tables(folder, rows)
    title = "physseg demo: the toy open-vocabulary world"
    page = write_report(folder / "report.html", runs, title=title, metrics_file=folder / "metrics.json")
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in steps.items())
    print(f"\n{render(rows)}\n{spent}; {sum(steps.values()) / 60:.1f} minutes in all")
    print(f"Report: {page}\nLog:    {folder / 'log.txt'}")


@contextmanager
def step(name: str, steps: dict[str, float]):
    """Announce a step and note how long it took."""
    logger.info("=== %s", name)
    begin = time.perf_counter()
    yield
    steps[name] = time.perf_counter() - begin


def make_data(captions: bool = False) -> None:
    """Write the toy world in the real datasets' raw formats and convert it with the code real data goes through.

    Args:
        captions: write the pictures with captions, too.

    Raises:
        RuntimeError: an image could not be converted.
    """
    root = datasets_root()
    make_toy_world(root)
    if captions:
        write_toy_captions(root)
    for spec in get_specs((TRAINING_SET, *TOY)):
        result = convert(spec, root)
        if result.failures:
            name, message = result.failures[0]
            raise RuntimeError(f"{spec.title}: {len(result.failures)} images failed, {name}: {message}")


def evaluate(model, cfg, name: str, folder: Path) -> Run:
    """All six benchmarks in one process, and pictures of each."""

    def encode(names):
        with torch.no_grad():
            return model.text_features(names).mean(dim=1)

    model.eval()
    place = folder / name
    results = run_benchmarks(model, cfg, cfg.DATASETS.TEST, place, encode=encode)
    for dataset in cfg.DATASETS.TEST:
        counts = read_image_counts(place, benchmark_key(dataset))
        save_pictures(model, cfg, dataset, choose_evenly(list(counts), PICTURES), place)
    return Run(name, results, place)


def train(cfg) -> Path:
    """Train by Detectron2's loop, evaluating one benchmark now and then; resumes what was interrupted."""
    cfg = cfg.clone()
    cfg.DATASETS.TEST = (WATCHED,)
    cfg.TEST.EVAL_PERIOD = max(1, cfg.SOLVER.MAX_ITER // 4)
    seed_all_rng(cfg.SEED)  # training begins at the very start that was evaluated
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return Path(cfg.OUTPUT_DIR) / "model_final.pth"


def reuse_training(cfg, folder: Path) -> Path | None:
    """The final weights if this config was trained here already.

    Training of another config is moved out of the way, so that it is neither resumed nor shown.
    """
    record, final = folder / "config.yaml", folder / "model_final.pth"
    same = record.is_file() and record.read_text() == cfg.dump()
    earlier = [path for path in folder.iterdir() if path.name != LOCK] if folder.exists() else []
    if not same and earlier:
        number = 1
        while (old := folder.with_name(f"{folder.name}-previous-{number}")).exists():
            number += 1
        old.mkdir()
        for path in earlier:
            path.rename(old / path.name)
        print(f"{folder} was made with another config; it is now {old}")
    write_text_atomic(record, cfg.dump())
    return final if same and final.is_file() else None
