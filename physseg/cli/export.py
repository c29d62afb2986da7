"""Export a model to ONNX with the vocabulary as an input, and the features of a vocabulary beside it.

    physseg export --model catseg-vitb16 --vocabulary "cat, dog, grass" --output model.onnx
    physseg export --weights output/model_final.pth --vocabulary-file words.txt --output model.onnx

Writes model.onnx and model.npz with "names" and "text", the second input. Needs the extra "onnx" and torch 2.6 or
newer. Config overrides come last, as --opts KEY VALUE. See docs/predict.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from physseg.cli.arguments import add_model, add_vocabulary, new_parser, vocabulary_of
from physseg.inference.choice import choose_model
from physseg.inference.export import export_onnx
from physseg.inference.predictor import Predictor
from physseg.io import atomic_write
from physseg.paths import writable_file


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    add_model(parser)
    add_vocabulary(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.onnx")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; last"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Export as the command line says."""
    args = parser().parse_args(argv)
    if args.output.suffix != ".onnx":
        raise ValueError(f"--output {args.output}: the name must end in .onnx; the features go to .npz beside it")
    model = choose_model(args.model, args.config_file, args.weights, args.opts)
    writable_file(args.output)
    features = writable_file(args.output.with_suffix(".npz"))
    opts = [*args.opts, "MODEL.DEVICE", "cpu"]
    predictor = Predictor(model.config_file, model.weights, vocabulary_of(args), opts, "float32")
    names, most = predictor.vocabulary, predictor.model.max_classes
    if len(names) > most:
        raise ValueError(
            f"the vocabulary has {len(names)} names; the exported model takes {most} at a time "
            "(MODEL.AGGREGATION.MAX_CLASSES): give fewer, or raise it by --opts"
        )
    export_onnx(predictor.model, args.output)
    with torch.no_grad():
        text = predictor.model.text_features(names)
    with atomic_write(features) as temporary:
        np.savez(temporary, names=np.array(names), text=text.numpy())
    print(f"Wrote {args.output} and {features} ({len(names)} names).")
    return 0
