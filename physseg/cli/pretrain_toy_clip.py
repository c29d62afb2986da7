"""Pre-train a toy CLIP like those that physseg ships: weights, log and measured zero-shot accuracy.

With its defaults it makes the first run of "toy", in about half an hour on two cores; docs/toy_world.md has the other
commands. OMP_WAIT_POLICY=PASSIVE in the environment helps where other programs run, too.
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from physseg.cli.arguments import MOST_PROCESSES, new_parser, number, some_path
from physseg.engine.checkpoint_files import read_file
from physseg.paths import existing_file, writable_folder
from physseg.toy_world.clip import WEIGHTS_PATH
from physseg.toy_world.pretrain import Recipe, pretrain

# A third of an evaluation's pictures are of backgrounds.
_LEAST = dict.fromkeys(("eval_count", "final_count"), 3) | dict.fromkeys(
    ("steps", "crop_batch", "picture_batch", "picture_every", "pool_crops", "pool_pictures", "passes", "eval_every"), 1
)
_LEAST["kept_blocks"] = -1


def parser() -> argparse.ArgumentParser:
    """The command line: paths, threads, and every field of `Recipe`."""
    parser = new_parser(__doc__)
    parser.add_argument("--output-dir", type=some_path, default="output/toy_clip", help="default: output/toy_clip")
    parser.add_argument("--start", type=Path, help="weights of an earlier run to go on from; take another --seed then")
    parser.add_argument(
        "--threads", type=number(int, 1, MOST_PROCESSES), default=torch.get_num_threads(), help="default: one per core"
    )
    for field in fields(Recipe):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(
            option,
            type=number(type(field.default), _LEAST.get(field.name, 0)),
            default=field.default,
            help=f"default: {field.default}",
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Pre-train, and print the zero-shot accuracy."""
    arguments = parser().parse_args(argv)
    folder = writable_folder(arguments.output_dir)
    if arguments.start is not None:
        read_file(existing_file(arguments.start, "start: weights of an earlier run"))
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(**{field.name: getattr(arguments, field.name) for field in fields(Recipe)})
    weights = folder / WEIGHTS_PATH.name
    log, metrics = weights.with_suffix(".log.jsonl"), weights.with_suffix(".metrics.json")
    zero_shot = pretrain(recipe, weights, log, metrics, arguments.start)["zero_shot"]
    for part, shares in zero_shot.items():
        print(f"{part:12}" + "".join(f"  {name} {100 * share:5.1f} %" for name, share in shares.items()))
    return 0
