"""One process of a run: set up, train or evaluate."""

import argparse
import logging
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from physseg.engine.hooks import TrainingInterrupted, mean_miou
from physseg.engine.setup import set_up
from physseg.engine.train_step import NonFiniteLossError
from physseg.engine.trainer import Trainer
from physseg.engine.weights import load_weights
from physseg.folder_lock import folder_lock
from physseg.io import write_json_atomic
from physseg.signals import Stopped

logger = logging.getLogger(__name__)


def train_or_evaluate(cfg: CfgNode, args: argparse.Namespace, trainer_type: type[Trainer]) -> None:
    """Do what the command line of Detectron2's parser says.

    Raises:
        physseg.folder_lock.FolderInUseError: another run works in OUTPUT_DIR.
        physseg.signals.Stopped: by Ctrl-C or SIGTERM; training is saved, and the log says how to go on.
        NonFiniteLossError: a loss is not finite; the message says which checkpoint is kept.
    """
    with folder_lock(cfg.OUTPUT_DIR):
        _run(cfg, args, trainer_type)


def _run(cfg: CfgNode, args: argparse.Namespace, trainer_type: type[Trainer]) -> None:
    set_up(cfg, args)
    try:
        if args.eval_only:
            evaluate(cfg, trainer_type)
            return
        trainer = trainer_type(cfg)
        trainer.resume_or_load(resume=args.resume)
        results = trainer.train()
        if comm.is_main_process() and results:
            _write_results(cfg, results)
    except TrainingInterrupted as stop:
        logger.warning("%s", stop)
        comm.synchronize()  # torchrun ends the others when the first has ended
        raise Stopped(number=stop.number) from None
    except Stopped as stop:
        if not args.eval_only:
            logger.warning("--resume continues from the newest checkpoint in %s, if any.", cfg.OUTPUT_DIR)
        raise Stopped(number=stop.number) from None
    except NonFiniteLossError as error:
        raise NonFiniteLossError(
            f"{error} Training stopped; the last good checkpoint in {cfg.OUTPUT_DIR} is kept."
        ) from error


def evaluate(cfg: CfgNode, trainer_type: type[Trainer] = Trainer) -> dict[str, dict]:
    """Evaluate MODEL.WEIGHTS on DATASETS.TEST; writes results.json in OUTPUT_DIR and returns its content."""
    model = trainer_type.build_model(cfg)
    if cfg.MODEL.WEIGHTS:
        load_weights(model, cfg.MODEL.WEIGHTS)
    else:
        logger.warning("MODEL.WEIGHTS is empty: the untrained start is evaluated.")
    results = trainer_type.test(cfg, model)
    if comm.is_main_process():
        _write_results(cfg, results)
    return results


def _write_results(cfg: CfgNode, results: dict[str, dict]) -> None:
    write_json_atomic(Path(cfg.OUTPUT_DIR) / "results.json", results)
    logger.info("Mean mIoU over %d data sets: %.2f", len(results), mean_miou(results))
