"""What limits the score, finding regions or naming them? Two oracles on one benchmark (the paper's figure 1).

    python tools/oracle_study.py --config-file configs/catseg_vitl14.yaml --weights W --benchmark a150
    python tools/oracle_study.py --config-file configs/toy.yaml --weights W --benchmark toy_a150

Prints the mIoU of: ground-truth regions named by plain CLIP; the model; the model's regions named by the ground
truth. Definitions: physseg/analysis/oracle_study.py. Without --weights or MODEL.WEIGHTS only the first is computed.
"""

import argparse
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger

from physseg.analysis.oracle_study import name_by_overlap, name_true_regions
from physseg.cli.arguments import new_parser, some_path
from physseg.config import check_device, load_config
from physseg.data.images import read_image, read_label_map
from physseg.data.loaders import build_test_loader
from physseg.data.specs import get_spec
from physseg.engine.weights import load_weights
from physseg.evaluation import build_evaluator, evaluate_dataset
from physseg.io import write_json_atomic
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.paths import writable_file

# An image may have hundreds of components.
CROPS_AT_ONCE = 32


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--config-file", type=some_path, required=True, metavar="FILE")
    parser.add_argument(
        "--weights", type=some_path, metavar="W", help="checkpoint of the model; default: MODEL.WEIGHTS"
    )
    parser.add_argument("--benchmark", default="a150", metavar="KEY")
    parser.add_argument("--connected", action="store_true", help="name ground-truth components one by one")
    parser.add_argument("--output", type=some_path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, print it, and write it if asked to."""
    args = parser().parse_args(argv)
    if args.output is not None:
        writable_file(args.output)
    setup_logger(name="physseg")
    cfg = load_config(args.config_file, args.opts)
    check_device(cfg.MODEL.DEVICE)
    spec = get_spec(args.benchmark)
    studies = {"ground-truth regions, plain CLIP": true_regions(cfg, spec, args.connected)}
    cfg.MODEL.WEIGHTS = args.weights or cfg.MODEL.WEIGHTS
    if cfg.MODEL.WEIGHTS:
        model = build_model(cfg)
        load_weights(model, cfg.MODEL.WEIGHTS)
        model.eval()
        studies |= {"model": model, "model's regions, ground-truth names": overlap_named(model, spec)}
    results = {name: miou(cfg, spec, predict) for name, predict in studies.items()}
    print(f"\n{spec.title}, mIoU")
    for name, value in results.items():
        print(f"{name:38}{value:7.2f}")
    if args.output:
        write_json_atomic(args.output, {"benchmark": spec.key, "connected": args.connected, "mIoU": results})
    return 0


def miou(cfg, spec, predict) -> float:
    evaluator = build_evaluator(cfg, spec.registered_name)
    loader = build_test_loader(cfg, spec.registered_name)
    return evaluate_dataset(predict, loader, evaluator)["sem_seg"]["mIoU"]


def true_regions(cfg, spec, connected: bool):
    """A model that names the ground truth's regions by plain CLIP."""
    classify = plain_clip_classifier(cfg, spec.vocabulary)

    def predict(inputs):
        labels = []
        for x in inputs:
            image, target = read_image(x["file_name"]), read_label_map(x["sem_seg_file_name"])
            labels.append(name_true_regions(image, target, spec.ignore_label, classify, connected))
        return [{"labels": torch.from_numpy(values)} for values in labels]

    return predict


def overlap_named(model, spec):
    """The model with its regions renamed after the ground truth."""

    def predict(inputs):
        results = []
        for x, output in zip(inputs, model(inputs), strict=True):
            target = read_label_map(x["sem_seg_file_name"])
            labels = name_by_overlap(output["labels"].cpu().numpy(), target, spec.ignore_label)
            results.append({"labels": torch.from_numpy(labels)})
        return results

    return predict


def plain_clip_classifier(cfg, vocabulary):
    """Crops -> class indices by CLIP's image embedding (CLS token, at the resolution of its pre-training)."""
    device = cfg.MODEL.DEVICE
    encoder = ClipEncoder(
        cfg.MODEL.CLIP.NAME,
        cfg.MODEL.CLIP.PRETRAINED,
        cfg.MODEL.CLIP.IMAGE_SIZE,
        templates=cfg.MODEL.TEXT.TEMPLATES,
        synonym_policy=cfg.MODEL.TEXT.SYNONYMS,
    ).to(device)
    visual = encoder.model.visual
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))

    def prepare(crop):
        image = torch.from_numpy(crop).to(device).permute(2, 0, 1).float()
        image = F.interpolate(image[None], visual.image_size, mode="bicubic", antialias=True, align_corners=False)
        return (image.clamp(0, 255) - mean) / std

    @torch.no_grad()
    def classify(crops):
        parts = [crops[start : start + CROPS_AT_ONCE] for start in range(0, len(crops), CROPS_AT_ONCE)]
        scores = [embed_images(visual, torch.cat([prepare(crop) for crop in part])) @ text.T for part in parts]
        return torch.cat(scores).argmax(dim=1).cpu().numpy()

    with torch.no_grad():
        text = F.normalize(encoder.encode_text(vocabulary).mean(dim=1), dim=-1)
    return classify


def embed_images(visual, images):
    """CLIP's image embedding (B, E), L2 norm 1, with the split attention of `ClipEncoder`."""
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for block in visual.transformer.resblocks:
        x = x + block.ls_1(block.attn(block.ln_1(x)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return F.normalize(visual.ln_post(x[:, 0]) @ visual.proj, dim=-1)
