"""Similarity of benchmark vocabularies to the training vocabulary, by CLIP's text features (the paper's table 1).

    python tools/category_similarity.py --config-file configs/catseg_vitl14.yaml
    python tools/category_similarity.py --config-file configs/toy.yaml
    python tools/category_similarity.py --config-file configs/catseg_vitb16.yaml --benchmarks a150 pas20

With the paper's CLIP (ViT-L/14 at 224 pixels), and PC-459's names with the blanks that its files lack:

    python tools/category_similarity.py --config-file configs/catseg_vitl14.yaml --clip ViT-L-14-quickgelu \
        --names pc459=pc459_spaced

Definition and reasons: physseg/analysis/category_similarity.py. No image is needed, only CLIP's weights.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict

import torch

from physseg.analysis.category_similarity import PAPER, category_similarity
from physseg.cli.arguments import new_parser, some_path, split_at_first_key
from physseg.config import check_device, load_config
from physseg.data.custom import register_custom
from physseg.data.mapper import dataset_vocabulary, training_metadata
from physseg.data.specs import REAL, TOY, find_spec, get_specs
from physseg.data.vocabularies import get_vocabulary
from physseg.io import write_json_atomic
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.paths import writable_file
from physseg.toy_world.clip import WEIGHTS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--config-file", type=some_path, required=True, metavar="FILE", help="says which CLIP and which templates"
    )
    parser.add_argument("--benchmarks", nargs="+", metavar="KEY", help="default: the six, toy ones for the toy CLIP")
    parser.add_argument("--clip", metavar="NAME", help="open_clip model whose text encoder is taken, not the config's")
    parser.add_argument(
        "--names", action="append", default=[], metavar="KEY=VOCABULARY", help="a benchmark's names by another list"
    )
    parser.add_argument(
        "--training", type=some_path, metavar="NAME", help="vocabulary or text file; default: DATASETS.TRAIN's"
    )
    parser.add_argument("--output", type=some_path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and write it if asked to."""
    args = parser().parse_args(argv)
    if args.output is not None:
        writable_file(args.output)
    keys, opts = split_at_first_key(args.benchmarks, args.opts)
    cfg = load_config(args.config_file, opts)
    check_device(cfg.MODEL.DEVICE)
    name = args.clip or cfg.MODEL.CLIP.NAME
    toy = cfg.MODEL.CLIP.PRETRAINED in WEIGHTS
    specs = get_specs(keys or (TOY if toy else REAL))
    register_custom(cfg)
    training = get_vocabulary(args.training) if args.training else training_vocabulary(cfg)
    vocabularies = {spec.key: spec.vocabulary for spec in specs} | other_names(args.names, [s.key for s in specs])
    encode = text_encoder(cfg, name)
    results = {key: category_similarity(words, training, encode) for key, words in vocabularies.items()}
    weights = cfg.MODEL.CLIP.PRETRAINED or "random weights"
    print(f"CLIP {name} ({weights}), {len(training)} training classes")
    print_table(specs, vocabularies, results)
    if args.output:
        write_json_atomic(args.output, {find_spec(key).title: asdict(result) for key, result in results.items()})
    return 0


def other_names(pairs: Sequence[str], keys: Sequence[str]) -> dict[str, list[str]]:
    """KEY=VOCABULARY pairs read: key -> names.

    Raises:
        ValueError: no such pair, or no such benchmark in the table.
        FileNotFoundError: the vocabulary is neither known nor a file.
    """
    found = {}
    for pair in pairs:
        key, equals, vocabulary = pair.partition("=")
        if not equals or key not in keys:
            raise ValueError(f"--names: expected KEY=VOCABULARY with a KEY of {', '.join(keys)}, got {pair!r}")
        found[key] = get_vocabulary(vocabulary)
    return found


def print_table(specs, vocabularies: dict, results: dict) -> None:
    head = f"{'':14}{'classes':>8}{'Hausdorff':>11}{'paper':>7}{'mean':>7}{'reverse':>9}{'symmetric':>11}"
    print(f"{head}  farthest (nearest)")
    for spec in specs:
        r = results[spec.key]
        paper = f"{PAPER[spec.key]:.2f}" if spec.key in PAPER else "-"
        print(
            f"{spec.title:14}{len(vocabularies[spec.key]):8}{r.hausdorff:11.3f}{paper:>7}{r.mean:7.3f}{r.reverse:9.3f}"
            f"{r.symmetric:11.3f}  {r.farthest} ({r.nearest_to_farthest})"
        )


def training_vocabulary(cfg) -> list[str]:
    """The prompts that the data sets of DATASETS.TRAIN share."""
    return dataset_vocabulary(training_metadata(cfg.DATASETS.TRAIN))


def text_encoder(cfg, name: str):
    """A CLIP, with the config's weights and templates, as names -> (T, E) text features, averaged over templates."""
    clip = ClipEncoder(
        name,
        cfg.MODEL.CLIP.PRETRAINED,
        cfg.MODEL.CLIP.IMAGE_SIZE,
        templates=cfg.MODEL.TEXT.TEMPLATES,
        synonym_policy=cfg.MODEL.TEXT.SYNONYMS,
    ).to(cfg.MODEL.DEVICE)

    def encode(names):
        with torch.no_grad():
            return clip.encode_text(names).mean(dim=1)

    return encode
