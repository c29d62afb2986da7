"""Make a small file for predicting of a checkpoint: half precision, without what CLIP's own weights hold already.

    physseg lighten output/model_final.pth model.safetensors --config-file physseg_vitb16

Whoever predicts with it needs CLIP's weights, too (MODEL.CLIP.PRETRAINED), which are then fetched. It is no start for
more training: the training heads are left out. See docs/checkpoints.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from physseg.cli.arguments import new_parser, some_path
from physseg.config import load_config
from physseg.engine.light_weights import lighten
from physseg.engine.weights import read_checkpoint
from physseg.io import atomic_write
from physseg.paths import writable_file


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("source", type=Path, metavar="SRC", help="physseg checkpoint")
    parser.add_argument("target", type=Path, metavar="DST.safetensors", help="file to write")
    parser.add_argument(
        "--config-file", type=some_path, required=True, metavar="F", help="says which CLIP training began with"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Lighten as the command line says."""
    args = parser().parse_args(argv)
    if args.target.suffix != ".safetensors":
        raise ValueError(f"{args.target}: a light file is a .safetensors file; give it that ending")
    writable_file(args.target)
    cfg = load_config(args.config_file)
    checkpoint = read_checkpoint(args.source)
    state_dict = checkpoint["model"] | checkpoint.get("ema", {}).get("average", {})
    tensors, metadata = lighten(state_dict, cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.PRETRAINED)
    with atomic_write(args.target) as temporary:
        save_file(tensors, temporary, metadata)
    size = args.target.stat().st_size
    print(f"Wrote {len(tensors)} of {len(state_dict)} tensors to {args.target}, {size / 1e6:.1f} MB.")
    return 0
