"""Norms of each loss's gradient on CLIP, guidance and head, and its cosine to the segmentation loss's.

    python tools/loss_gradients.py --config-file configs/toy.yaml
    python tools/loss_gradients.py --config-file configs/toy.yaml MODEL.WEIGHTS output/toy/model_final.pth

Measured on the first training batches of the config's SEED, and averaged; the weights stay as they are. To log the same
while training: ENGINE.GRADIENT_PERIOD.
"""

import argparse
from collections.abc import Sequence
from itertools import islice

from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from physseg.analysis.loss_gradients import markdown_table, mean_gradients, measure_gradients
from physseg.cli.arguments import new_parser, number, some_path
from physseg.config import check_device, load_config
from physseg.data.loaders import build_train_loader
from physseg.engine.gradients import keep_compiled_graphs
from physseg.engine.weights import load_weights
from physseg.io import write_json_atomic
from physseg.paths import writable_file


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--config-file", type=some_path, required=True, metavar="FILE", help="a config with the losses to compare"
    )
    parser.add_argument(
        "--batches", type=number(int, 1, 1_000_000), default=8, metavar="N", help="training batches (default: 8)"
    )
    parser.add_argument("--output", type=some_path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and write it if asked to."""
    args = parser().parse_args(argv)
    if args.output is not None:
        writable_file(args.output)
    cfg = load_config(args.config_file, args.opts)
    check_device(cfg.MODEL.DEVICE)
    if not (cfg.MODEL.PATCH_ALIGNMENT.ENABLED or cfg.MODEL.STRUCTURE.ENABLED):
        raise ValueError("nothing to compare: MODEL.PATCH_ALIGNMENT.ENABLED and MODEL.STRUCTURE.ENABLED are both False")
    keep_compiled_graphs()
    seed_all_rng(cfg.SEED)
    model = build_model(cfg)
    if cfg.MODEL.WEIGHTS:
        load_weights(model, cfg.MODEL.WEIGHTS)
    means = mean_gradients(measure_gradients(model, islice(build_train_loader(cfg), args.batches)))
    print(markdown_table(means))
    if args.output:
        write_json_atomic(args.output, means)
    return 0
