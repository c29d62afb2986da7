"""Similarity of benchmark vocabularies to the training vocabulary, by CLIP's text features (the paper's table 1).

    python tools/category_similarity.py --config-file configs/catseg_vitl14.yaml
    python tools/category_similarity.py --config-file configs/toy.yaml
    python tools/category_similarity.py --config-file configs/catseg_vitb16.yaml --benchmarks a150 pas20

Definition and reasons: physseg/analysis/category_similarity.py. No image is needed, only CLIP's weights.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict

import torch

from physseg.analysis.category_similarity import PAPER, category_similarity
from physseg.cli.arguments import new_parser, split_at_first_key
from physseg.config import load_config
from physseg.data.custom import register_custom
from physseg.data.mapper import dataset_vocabulary, training_metadata
from physseg.data.specs import REAL, TOY, find_spec, get_specs
from physseg.data.vocabularies import get_vocabulary
from physseg.io import write_json_atomic
from physseg.modeling.clip.encoder import ClipEncoder


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="says which CLIP and which templates")
    parser.add_argument("--benchmarks", nargs="+", metavar="KEY", help="default: the six, toy ones for the toy CLIP")
    parser.add_argument("--training", metavar="NAME", help="vocabulary or text file; default: DATASETS.TRAIN's")
    parser.add_argument("--output", metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and write it if asked to."""
    args = parser().parse_args(argv)
    keys, opts = split_at_first_key(args.benchmarks, args.opts)
    cfg = load_config(args.config_file, opts)
    toy = cfg.MODEL.CLIP.PRETRAINED == "toy"
    specs = get_specs(keys or (TOY if toy else REAL))
    register_custom(cfg)
    training = get_vocabulary(args.training) if args.training else training_vocabulary(cfg)
    encode = text_encoder(cfg)
    results = {spec.key: category_similarity(spec.vocabulary, training, encode) for spec in specs}
    print_table(cfg, specs, results, len(training))
    if args.output:
        write_json_atomic(args.output, {find_spec(key).title: asdict(result) for key, result in results.items()})
    return 0


def print_table(cfg, specs, results: dict, num_training: int) -> None:
    weights = cfg.MODEL.CLIP.PRETRAINED or "random weights"
    print(f"CLIP {cfg.MODEL.CLIP.NAME} ({weights}), {num_training} training classes")
    head = f"{'':14}{'classes':>8}{'Hausdorff':>11}{'paper':>7}{'mean':>7}{'reverse':>9}{'symmetric':>11}"
    print(f"{head}  farthest (nearest)")
    for spec in specs:
        r = results[spec.key]
        paper = f"{PAPER[spec.key]:.2f}" if spec.key in PAPER else "-"
        print(
            f"{spec.title:14}{len(spec.vocabulary):8}{r.hausdorff:11.3f}{paper:>7}{r.mean:7.3f}{r.reverse:9.3f}"
            f"{r.symmetric:11.3f}  {r.farthest} ({r.nearest_to_farthest})"
        )


def training_vocabulary(cfg) -> list[str]:
    """The prompts that the data sets of DATASETS.TRAIN share."""
    return dataset_vocabulary(training_metadata(cfg.DATASETS.TRAIN))


def text_encoder(cfg):
    """The config's CLIP as names -> (T, E) text features, averaged over templates."""
    clip = ClipEncoder(
        cfg.MODEL.CLIP.NAME,
        cfg.MODEL.CLIP.PRETRAINED,
        cfg.MODEL.CLIP.IMAGE_SIZE,
        templates=cfg.MODEL.TEXT.TEMPLATES,
        synonym_policy=cfg.MODEL.TEXT.SYNONYMS,
    ).to(cfg.MODEL.DEVICE)

    def encode(names):
        with torch.no_grad():
            return clip.encode_text(names).mean(dim=1)

    return encode
