#!/usr/bin/env python
"""Where the time of a training run goes: data, model, update (clipping and AdamW), and everything else.

    python benchmarks/training_stages.py --config-file configs/toy.yaml [--iterations 40] [KEY VALUE ...]
    python benchmarks/training_stages.py --made-up-images --config-file configs/physseg_vitb16.yaml

Runs the real trainer with its loader, hooks and writers, without evaluation and checkpoints. --made-up-images trains on
640x480 JPEGs made on the spot (those of `data_loading.py`) and with random weights, so that nothing need be there.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path

from physseg import compat  # noqa: F401  isort: skip  (before anything that imports detectron2)
from data_loading import made_up_data
from detectron2.engine import HookBase

from physseg.config import load_config
from physseg.data.custom import register_custom
from physseg.engine.trainer import Trainer
from physseg.memory import keep_freed_memory
from physseg.timing import REST, collect_stages, device_clock

STAGES = ("data", "model", "update", REST)


class _Collect(HookBase):
    """Collects over the iterations from `first` to before `last`: warming up and the final checkpoint stay outside."""

    def __init__(self, first: int, last: int, seconds: dict[str, float], device: str) -> None:
        self._first, self._last = first, last
        self._collector = collect_stages(seconds, device_clock(device))

    def before_step(self) -> None:
        if self.trainer.iter == self._first:
            self._collector.__enter__()
        elif self.trainer.iter == self._last:
            self._collector.__exit__(None, None, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--made-up-images", action="store_true")
    parser.add_argument("--json", help="write seconds by stage to this file")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args()
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        last = args.warm_up + args.iterations
        opts = ["SOLVER.MAX_ITER", last + 1, "DATASETS.TEST", "()"]
        opts += ["SOLVER.CHECKPOINT_PERIOD", 10**9]
        if args.made_up_images:
            opts += ["MODEL.CLIP.PRETRAINED", "", *made_up_data(Path(folder), 64)]
        cfg = load_config(args.config_file, [*opts, *args.opts], output_dir=folder)
        register_custom(cfg)
        seconds: dict[str, float] = {}
        trainer = Trainer(cfg)
        trainer.register_hooks([_Collect(args.warm_up, last, seconds, cfg.MODEL.DEVICE)])
        trainer.train()
    total = sum(seconds.values())
    print(f"{args.iterations} iterations, {total / args.iterations:.3f} s each")
    for name in STAGES:
        print(f"  {name:8s} {seconds.get(name, 0.0) / total:7.2%}")
    if args.json:
        Path(args.json).write_text(json.dumps({"iterations": args.iterations, "seconds": seconds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
