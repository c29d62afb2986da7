"""What TEST.KEEP_CLASSES costs: agreement with the exact labels, mIoU and seconds an image, by K and rule.

    DETECTRON2_DATASETS=... python benchmarks/keep_classes.py --data toy_ade20k_full_val_sem_seg --images 20

Agreement and mIoU do not depend on the machine; seconds want a quiet one.
"""

import argparse
import time

import torch

import physseg
from physseg.config import load_config
from physseg.data.loaders import build_test_loader
from physseg.evaluation import build_evaluator
from physseg.modeling.catseg.keep_classes import ClassFilter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="toy")
    parser.add_argument("--config", default="catseg_toy")
    parser.add_argument("--data", default="toy_ade20k_full_val_sem_seg")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--keep", type=int, nargs="+", default=[8, 16, 32])
    args = parser.parse_args()
    cfg = load_config(args.config, ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0])
    model = physseg.load(args.model).model
    inputs = [x for _, (x,) in zip(range(args.images), build_test_loader(cfg, args.data), strict=False)]
    for x in inputs:
        x["output"] = "labels"
    exact, *_ = run(model, ClassFilter(), inputs, cfg, args.data, None)
    for keep in args.keep:
        for rule in ("similarity", "votes"):
            run(model, ClassFilter(keep, rule), inputs, cfg, args.data, exact)


def run(model, class_filter, inputs, cfg, data, exact):
    """One setting over all images; prints its line."""
    model.class_filter = class_filter
    evaluator = build_evaluator(cfg, data)
    evaluator.reset()
    labels, began = [], time.perf_counter()
    for x in inputs:
        labels.append(model([x])[0]["labels"])
    seconds = (time.perf_counter() - began) / len(inputs)
    evaluator.process(inputs, [{"labels": found} for found in labels])
    miou = evaluator.evaluate()["sem_seg"]["mIoU"]
    same = 100.0
    if exact is not None:
        same = 100 * torch.cat([(a == b).flatten() for a, b in zip(labels, exact, strict=True)]).float().mean().item()
    name = f"{class_filter.rule} {class_filter.keep}" if class_filter.keep else f"all {len(inputs[0]['vocabulary'])}"
    print(f"{name:16} agreement {same:6.2f} %   mIoU {miou:6.2f}   {seconds:.3f} s", flush=True)
    return labels, miou


if __name__ == "__main__":
    main()
