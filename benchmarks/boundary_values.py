"""The ends of every config key's range: what the table of keys allows, does it build, train a step and evaluate?

    export DETECTRON2_DATASETS=/tmp/toy
    python tools/make_toy_world.py && python datasets/prepare_coco_stuff.py --toy
    python datasets/prepare_voc.py --toy
    python benchmarks/boundary_values.py [--only SOLVER. TEST.] --output boundary_values.jsonl

Each case is the toy config with one key at an end of its range, or one of its words: a training of one iteration and an
evaluation of one benchmark (the fewer of its images are left, the faster), in a process of its own. Right is that it
runs, or that one message refuses it (a relation to other keys, a file that is not there, memory). See also
benchmarks/wrong_input.py, for values outside the ranges.
"""

import argparse
import json
import math
import os
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

import wrong_input  # first: it lets the tests be imported

import physseg.cli.train  # noqa: F401  (once, before the cases are forked)
from physseg.config.keys import KEYS
from physseg.config.rules import Bool, Choice, Either, Float, Int, List
from tests import processes_left

SMALL = [*wrong_input.TRAINING[:4], "DATASETS.TEST", "('toy_voc_20_val_sem_seg',)", "DATASETS.ALLOW_PARTIAL", "True"]
MEMORY = 8 * 2**30
SECONDS = 120.0
# 1,024 processes, each with all of MEMORY, take the machine.
LEFT_OUT = ("DATALOADER.NUM_WORKERS",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="PREFIX", help="keys that begin so")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a line of JSON for each case")
    args = parser.parse_args()
    processes_left.adopt_orphans()
    processes_left.kill_descendants_on_sigterm()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, key in KEYS.items():
            if name in LEFT_OUT or not name.startswith(tuple(args.only)):
                continue
            for value in ends(key.rule):
                words = ["--config-file", "toy", "OUTPUT_DIR", "o", *wrong_input.SMALL, *SMALL, name, str(value)]
                case = {"key": name, "value": str(value)} | wrong_input.run(
                    "train", words, fresh=False, seconds=SECONDS
                )
                seen.append(case)
                with open(args.output, "a") as file:
                    file.write(json.dumps(case) + "\n")
                if case["verdict"] not in ("accepted", "refused"):
                    print(f"{case['verdict']}: {name} {value}: {case['last']}", flush=True)
    print(Counter(case["verdict"] for case in seen), file=sys.stderr)


def ends(rule) -> list:
    """The values at the ends of a rule's range, just inside it, or all words."""
    if isinstance(rule, Either):
        return [*ends(rule.first), *ends(rule.second)]
    if isinstance(rule, Bool):
        return [False, True]
    if isinstance(rule, Choice):
        return list(rule.words)
    if isinstance(rule, Int):
        return [value for value in (rule.least, rule.most) if math.isfinite(value)]
    if isinstance(rule, Float):
        low = rule.least if rule.above == -math.inf else math.nextafter(rule.above, math.inf)
        high = rule.most if rule.below == math.inf else math.nextafter(rule.below, -math.inf)
        return [value for value in (low, high) if math.isfinite(value)] + ([math.inf] if rule.infinite else [])
    if isinstance(rule, List) and isinstance(rule.of, Int | Float):
        number = max(rule.least, 1)
        return [[value] * number for value in ends(rule.of)]
    return []


if __name__ == "__main__":
    main()
