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

from physseg.cli.arguments import add_model, new_parser
from physseg.inference.choice import choose_model
from physseg.inference.export import export_onnx
from physseg.inference.predictor import Predictor, split_words
from physseg.io import atomic_write


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    add_model(parser)
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--vocabulary", metavar="WORDS", help="as in physseg predict")
    words.add_argument("--vocabulary-file", metavar="FILE", help="one name per line, synonyms after a comma")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.onnx")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; last"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Export as the command line says."""
    args = parser().parse_args(argv)
    vocabulary = args.vocabulary_file or (split_words(args.vocabulary) if args.vocabulary else None)
    model = choose_model(args.model, args.config_file, args.weights, args.opts)
    predictor = Predictor(model.config_file, model.weights, vocabulary, [*args.opts, "MODEL.DEVICE", "cpu"])
    export_onnx(predictor.model, args.output)
    with torch.no_grad():
        text = predictor.model.text_features(predictor.vocabulary)
    features = args.output.with_suffix(".npz")
    with atomic_write(features) as temporary:
        np.savez(temporary, names=np.array(predictor.vocabulary), text=text.numpy())
    print(f"Wrote {args.output} and {features} ({len(predictor.vocabulary)} names).")
    return 0
