#!/usr/bin/env python
"""PACL and its controls on the toy world, several seeds in one process: mIoU and pointing accuracy.

    python tools/make_toy_world.py && for f in datasets/prepare_*.py; do python $f --toy; done
    python benchmarks/pacl_toy.py [--iterations 150] [--seeds 0 1 2] [--json FILE] [--figure FILE]

The trained model, the losses and the evaluation are the package's. As CLIP is frozen and the crops are the middle ones,
its tokens of every picture are made once and kept.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from physseg import load_config  # first: it prepares Detectron2
from physseg.data.pairs.loading import build_pair_mapper, training_records
from physseg.engine.trainer import Trainer
from physseg.evaluation.patch_names import name_similarity
from physseg.io import atomic_write, write_json_atomic
from physseg.toy_world.example import toy_scene
from physseg.toy_world.vocabularies import COMPOSITION_INDEX, COMPOSITIONS
from physseg.visualization import overlay

# isort: split
from detectron2.modeling import build_model

CONFIG = "configs/without_masks/pacl_toy.yaml"
SETS = ("toy_voc_20_val_sem_seg", "toy_ade20k_150_val_sem_seg")
# Name -> config overrides, iterations as a share of the others'.
ROWS = {
    "PACL, pooling temperature 0.1": ((), 1),
    "PACL, pooling temperature 1": (("MODEL.PACL.POOLING_TEMPERATURE", 1.0), 1),
    "mean pooling (temperature 100)": (("MODEL.PACL.POOLING_TEMPERATURE", 100.0), 1),
    "captions of other images": (("DATASETS.CAPTIONS", "shuffled"), 1),
    "untrained embedder": ((), 0),
}


class Kept:
    """A function of single images or sentences whose results are kept."""

    def __init__(self) -> None:
        self.kept: dict[object, Tensor] = {}

    def rows(self, keys: list[object], make) -> Tensor:
        """The rows of these keys; ``make`` gets the indices of those that are new."""
        new = [i for i, key in enumerate(keys) if key not in self.kept]
        if new:
            self.kept.update(zip([keys[i] for i in new], make(new), strict=True))
        return torch.stack([self.kept[key] for key in keys])


def keep_tokens(model: torch.nn.Module, images: Kept, sentences: Kept) -> None:
    """Let a model's frozen parts run once for each picture and caption."""
    tokens, encode, patch = model.features.tokens, model.clip.encode_sentences, model.clip.tower.patch

    def kept_tokens(batch: Tensor, stride: int) -> tuple[Tensor, tuple[int, ...]]:
        keys = [(stride, tuple(batch.shape[1:]), hash(image.numpy().tobytes())) for image in batch]
        grid = tuple((side - patch) // stride + 1 for side in batch.shape[-2:])
        return images.rows(keys, lambda indices: tokens(batch[indices], stride)[0]), grid

    def kept_sentences(texts: list[str]) -> Tensor:
        return sentences.rows(list(texts), lambda indices: encode([texts[i] for i in indices]))

    model.features.tokens, model.clip.encode_sentences = kept_tokens, kept_sentences


def train(cfg, model, crops: dict[str, dict], iterations: int) -> list[float]:
    """Losses; batches are drawn by the seed."""
    records = training_records(cfg)
    rng = np.random.default_rng(cfg.SEED)
    optimizer = Trainer.build_optimizer(cfg, model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(iterations, 1))
    losses, model = [], model.train()
    for _ in range(iterations):
        chosen = rng.choice(len(records), cfg.SOLVER.IMS_PER_BATCH, replace=False)
        batch = [crops[records[i]["file_name"]] | {"caption": str(rng.choice(records[i]["captions"]))} for i in chosen]
        optimizer.zero_grad()
        loss = model(batch)["loss_contrastive"]
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write every number and loss there")
    parser.add_argument("--figure", type=Path, help="draw loss curves, and pictures of the first model, there")
    args = parser.parse_args()
    shared = ("MODEL.DEVICE", "cpu", "INPUT.PAIRS.CROP", "centre", "SOLVER.IMS_PER_BATCH", args.batch)
    shared += ("DATASETS.TEST", list(SETS), "TEST.POINTING_ACCURACY", True, "DATALOADER.NUM_WORKERS", 0)
    cfg = load_config(CONFIG, shared)
    mapper = build_pair_mapper(cfg)
    crops = {record["file_name"]: mapper(record) for record in training_records(cfg)}
    images, sentences, results, first = Kept(), Kept(), {}, None
    for seed in args.seeds:
        for name, (opts, share) in ROWS.items():
            begin = time.perf_counter()
            cfg = load_config(CONFIG, (*shared, *opts, "SEED", seed))
            torch.manual_seed(seed)
            model = build_model(cfg)
            keep_tokens(model, images, sentences)
            losses = train(cfg, model, crops, args.iterations * share)
            found = Trainer.test(cfg, model.eval())
            scores = {d: {m: found[d]["sem_seg"][m] for m in ("mIoU", "pointing_accuracy")} for d in SETS}
            results.setdefault(name, []).append({"seed": seed, "losses": losses, **scores})
            print(f"seed {seed}, {name}: {json.dumps(scores)} ({time.perf_counter() - begin:.0f} s)", flush=True)
            first = first or model
            if args.json:
                write_json_atomic(args.json, results)
    print("\n| | toy PAS-20 mIoU | pointing | toy A-150 mIoU | pointing | last loss |\n|---|---|---|---|---|---|")
    for name, runs in results.items():
        cells = [spread([run[d][m] for run in runs]) for d in SETS for m in ("mIoU", "pointing_accuracy")]
        cells.append(spread([np.mean(run["losses"][-20:]) for run in runs], 2) if runs[0]["losses"] else "-")
        print(f"| {name} | {' | '.join(cells)} |")
    if args.figure:
        draw(args.figure, results, first)


def draw(path: Path, results: dict[str, list[dict]], model: torch.nn.Module) -> None:
    """Loss curves, means over seeds; and of three scenes image, truth, labels and the similarity to one name."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.4))
    axes = left.subplots()
    for name, runs in results.items():
        if runs[0]["losses"]:
            axes.plot(np.mean([run["losses"] for run in runs], 0), label=name)
    axes.set(xlabel="iteration", ylabel="InfoNCE")
    axes.legend()
    grid = right.subplots(3, 4)
    for row, seed in zip(grid, range(3), strict=True):
        image, names, truth = toy_scene(seed)
        small = torch.from_numpy(toy_scene(seed, 96)[0]).permute(2, 0, 1)
        height, width = truth.shape
        x = {"image": small, "vocabulary": names, "output": "labels", "height": height, "width": width}
        labels = model([x])[0]["labels"].numpy()
        thing = next(i for i, name in enumerate(names) if COMPOSITIONS[COMPOSITION_INDEX[name]].is_thing)
        panels = {
            "image": image,
            "truth": overlay(image, truth, names, alpha=0.9, show_legend=False),
            "PACL, names in the picture": overlay(image, labels, names, alpha=0.9, show_legend=False),
            names[thing]: name_similarity(model, x["image"], names)[thing].numpy(),
        }
        for place, (title, panel) in zip(row, panels.items(), strict=True):
            place.imshow(panel)
            place.set_title(title, fontsize=8)
            place.axis("off")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def spread(values: list[float], digits: int = 1) -> str:
    """Mean and standard deviation over seeds."""
    return f"{np.mean(values):.{digits}f} +- {np.std(values, ddof=1) if len(values) > 1 else 0:.{digits}f}"


if __name__ == "__main__":
    main()
