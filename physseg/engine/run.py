"""What tools/train_net.py does: parse, set up, train or evaluate, and end with a status and a plain message."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm

from physseg.engine.hooks import TrainingInterrupted, mean_miou
from physseg.engine.launch import launch
from physseg.engine.setup import config_from_args, set_up
from physseg.engine.train_step import NonFiniteLossError
from physseg.engine.trainer import Trainer
from physseg.engine.weights import IncompatibleWeightsError, load_weights
from physseg.io import write_json_atomic

logger = logging.getLogger(__name__)

# As the shell's for a process ended by SIGINT.
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None, trainer: type[Trainer] = Trainer) -> int:
    """Train or evaluate as the command line says, and return the exit status.

    Args:
        argv: without the program's name; None takes the process's.
        trainer: a class with `Trainer`'s interface, defined at module level.
    """
    args = default_argument_parser().parse_args(argv)
    try:
        cfg = config_from_args(args)
        launch(
            _run,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url if args.num_machines > 1 else "auto",
            device=cfg.MODEL.DEVICE,
            args=(cfg, args, trainer),
        )
    except (FileNotFoundError, ValueError) as error:
        # From here: the command line and the config, before any process was started.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        return int(end.code or 0)
    return 0


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
        # The first process to end takes the others with it, and a Ctrl-C may reach one of them only now.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        logger.warning("%s", stop)
        comm.synchronize()
        signal.signal(signal.SIGINT, before)
        sys.exit(_INTERRUPTED)
    except KeyboardInterrupt:
        logger.warning("Interrupted. --resume continues from the newest checkpoint in %s, if any.", cfg.OUTPUT_DIR)
        sys.exit(_INTERRUPTED)
    except NonFiniteLossError as error:
        logger.error("%s Training stopped; the last good checkpoint in %s is kept.", error, cfg.OUTPUT_DIR)
        sys.exit(1)
    except (FileNotFoundError, IncompatibleWeightsError, ImportError) as error:
        logger.error("%s", error)
        sys.exit(1)
    except (OSError, ValueError) as error:
        # The user's input or a fault of ours: the message comes last, where it came from before it.
        logger.debug("Traceback:", exc_info=True)
        logger.error("%s", error)
        sys.exit(1)


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
