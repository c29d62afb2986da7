#!/usr/bin/env python
"""Does it matter how a batch is split? The same iterations in one process, in two, and in parts, loss by loss.

    python benchmarks/batch_splits.py --config-file configs/toy.yaml [--iterations 20] [KEY VALUE ...]

Prints the largest difference of each loss, and of the gradient's norm, to the run in one process without parts.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import physseg  # noqa: F401  (first: it prepares Detectron2)

# isort: split
from detectron2.utils import comm

from physseg.cli.train import main as train
from physseg.engine.trainer import Trainer

RECORD = "losses.jsonl"
SPLITS = {"one process": [], "two processes": ["--num-gpus", "2"], "four parts": []}
OVERRIDES = {"four parts": ["SOLVER.ACCUMULATION_STEPS", "4"]}


class RecordingTrainer(Trainer):
    """Writes every iteration's losses as they are; metrics.json holds medians."""

    def run_step(self) -> None:
        super().run_step()
        if comm.is_main_process():
            latest = self.storage.latest()
            losses = {name: value for name, (value, _) in latest.items() if "loss" in name or name == "grad_norm"}
            with open(Path(self.cfg.OUTPUT_DIR) / RECORD, "a") as file:
                file.write(json.dumps(losses) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args()
    records = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in SPLITS.items():
            output = Path(folder) / name
            opts = ["SOLVER.MAX_ITER", str(args.iterations), "DATASETS.TEST", "()", "OUTPUT_DIR", str(output)]
            words = ["--config-file", args.config_file, *options, *opts, *OVERRIDES.get(name, []), *args.opts]
            if status := train(words, trainer=RecordingTrainer):
                return status
            records[name] = [json.loads(line) for line in (output / RECORD).read_text().splitlines()]
    whole = records.pop("one process")
    print(f"\nLargest difference to one process over {len(whole)} iterations")
    for loss in whole[0]:
        values = [max(abs(a[loss] - b[loss]) for a, b in zip(whole, other, strict=True)) for other in records.values()]
        shown = ", ".join(f"{name} {value:.1e}" for name, value in zip(records, values, strict=True))
        print(f"  {loss:22s} {whole[0][loss]:.4f} to {whole[-1][loss]:.4f}: {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
