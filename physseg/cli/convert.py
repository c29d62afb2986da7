"""Convert a published checkpoint of CAT-Seg (2023, CVPR 2024) or SegCLIP into one for MODEL.WEIGHTS; CAT-Seg's back.

    python tools/convert_catseg_weights.py model_base.pth catseg_vitb16.pth
    python tools/convert_catseg_weights.py model_final_large.pth catseg_2023_vitl14_swinb.pth
    python tools/convert_catseg_weights.py segclip.bin segclip_vitb16.pth
    python tools/convert_catseg_weights.py --to-catseg output/model_final.pth model_for_catseg.pth

Weights alone are converted; optimizer, schedule and iteration are left behind. If anything does not fit, the keys are
listed and nothing is written. See docs/checkpoints.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from physseg.cli.arguments import new_parser
from physseg.engine.checkpoint_files import write_file
from physseg.engine.weights import average_of, read_checkpoint
from physseg.modeling.catseg.checkpoint import back_to_catseg, from_catseg
from physseg.modeling.published_weights import PublishedWeightsError
from physseg.modeling.without_masks.segclip_checkpoint import from_segclip, is_segclip
from physseg.paths import same_file, writable_file

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("source", type=Path, metavar="SRC", help="checkpoint to read (.pth, .pt, .bin, .safetensors)")
    parser.add_argument("target", type=Path, metavar="DST", help="checkpoint to write (.pth, .safetensors)")
    parser.add_argument("--overwrite", action="store_true", help="write over a DST that is there")
    parser.add_argument("--to-catseg", action="store_true", help="physseg's weights into CAT-Seg's names")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert as the command line says."""
    args = parser().parse_args(argv)
    convert(args.source, args.target, args.to_catseg, args.overwrite)
    return 0


def convert(source: Path, target: Path, to_catseg: bool, overwrite: bool = False) -> None:
    """Read, convert, write, and say what was done.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: the file holds no such weights, or they do not fit.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file")
    if target.suffix not in SUFFIXES:
        raise ValueError(f"DST {target}: the name must end in one of {', '.join(SUFFIXES)}, which says the format")
    if same_file(source, target):
        raise FileExistsError(f"{target} is the file to read itself; nothing was written: give another DST")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; nothing was written: give another DST, or --overwrite")
    writable_file(target, "DST")
    checkpoint = read_checkpoint(source)
    weights = dict(checkpoint["model"])
    others = [name for name in checkpoint if name != "model"]
    if to_catseg and "ema" in others:
        weights.update(average_of(checkpoint["ema"], str(source)))
        print("Taking the running average of the weights (SOLVER.EMA), as evaluation does.")
    read = back_to_catseg if to_catseg else from_segclip if is_segclip(weights) else from_catseg
    try:
        state_dict, design, config, notes, system = read(weights)
    except PublishedWeightsError as error:
        raise type(error)(f"{source}: {error}\nNothing was written.") from error
    origin = {"file": source.name, "design": f"{system}, {design}", "config": config or ""}
    write_file(target, {"model": state_dict, "converted_from": origin}, origin)
    for note in notes:
        print(note)
    if others:
        print(f"Not carried over: {', '.join(others)} (only weights are converted).")
    print(f"Wrote {len(state_dict)} tensors of {system}'s {design} design to {target}.")
    if not to_catseg:
        fits = f"--config-file {config}" if config else "a config of these sizes (no shipped one has them)"
        print(f"Use it with {fits} MODEL.WEIGHTS {target}")
