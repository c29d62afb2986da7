"""Train a model, or evaluate one with --eval-only.

    python tools/train_net.py --config-file configs/toy.yaml
    python tools/train_net.py --config-file configs/physseg_vitb16.yaml --num-gpus 4 SOLVER.IMS_PER_BATCH 4
    python tools/train_net.py --config-file configs/toy.yaml --resume
    python tools/train_net.py --config-file configs/toy.yaml --eval-only MODEL.WEIGHTS output/toy/model_final.pth
    torchrun --nproc-per-node 4 tools/train_net.py --config-file configs/physseg_vitb16.yaml

Keys and values after the options override the config. See docs/training.md.
"""

import argparse
import re
from collections.abc import Sequence

from detectron2.engine import default_argument_parser

from physseg.cli.arguments import add_traceback
from physseg.cli.boundary import run_in_process
from physseg.engine.launch import launch
from physseg.engine.run import train_or_evaluate
from physseg.engine.setup import config_from_args
from physseg.engine.trainer import Trainer

# What torch.distributed takes; one machine finds a port by itself.
_DIST_URL = r"auto|tcp://[^\s/]+:\d+|(file|env)://\S*"


def parser() -> argparse.ArgumentParser:
    """Detectron2's own command line."""
    result = default_argument_parser(epilog=__doc__)
    add_traceback(result)
    return result


def main(argv: Sequence[str] | None = None, trainer: type[Trainer] = Trainer) -> int:
    """Train or evaluate as the command line says.

    Args:
        argv: without the program's name; None takes the process's.
        trainer: a class with `Trainer`'s interface, defined at module level.
    """
    args = parser().parse_args(argv)
    if not re.fullmatch(_DIST_URL, args.dist_url):
        raise ValueError(f"--dist-url {args.dist_url!r}: expected tcp://HOST:PORT of the first machine")
    cfg = config_from_args(args)
    launch(
        run_in_process,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url if args.num_machines > 1 else "auto",
        device=cfg.MODEL.DEVICE,
        args=(train_or_evaluate, cfg, args, trainer),
    )
    return 0
