"""Labels of a model whose numbers were changed for speed, against its exact ones: on the toy world's benchmarks."""

import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physseg import Predictor
from physseg.data.loaders import build_test_loader
from physseg.evaluation import build_evaluator
from physseg.inference.choice import choose_model

DATA = ("toy_ade20k_full_val_sem_seg", "toy_context_459_val_sem_seg")


class Agreement(NamedTuple):
    """agreement: share in % of the pixels whose label is the exact one. mIoU in %."""

    agreement: float
    miou: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the scripts that compare."""
    parser.add_argument(
        "--toys", nargs="+", default=["toy"], metavar="NAME[=CHECKPOINT]",
        help="a model by name, or a name for a checkpoint of training",
    )  # fmt: skip
    parser.add_argument("--data", nargs="+", default=list(DATA), help="data sets, found by DETECTRON2_DATASETS")
    parser.add_argument("--images", type=int, default=1000, help="at most, of a data set")


def compare(
    toy: str, data: str, images: int, settings: Mapping[str, Callable[[nn.Module], None]]
) -> tuple[int, dict[str, Agreement]]:
    """The number of names, and each setting's labels against those of the first, the exact one.

    Args:
        toy: as the option. settings: title -> what changes the model; each undoes the others.
    """
    name, _, path = toy.partition("=")
    chosen = choose_model(None if path else name, weights=path or None)
    predictor = Predictor(chosen.config_file, chosen.weights, opts=("DATALOADER.NUM_WORKERS", 0), precision="float32")
    inputs = [x for _, (x,) in zip(range(images), build_test_loader(predictor.cfg, data), strict=False)]
    results, exact = {}, None
    for title, change in settings.items():
        change(predictor.model)
        labels = [predictor.model([x | {"output": "labels"}])[0]["labels"] for x in inputs]
        exact = exact or labels
        evaluator = build_evaluator(predictor.cfg, data)
        evaluator.process(inputs, [{"labels": found} for found in labels])
        results[title] = Agreement(_share_equal(labels, exact), evaluator.evaluate()["sem_seg"]["mIoU"])
        found = results[title]
        print(f"{name}, {data}, {title}: {found.agreement:.2f} % agree, mIoU {found.miou:.2f}", flush=True)
    return len(inputs[0]["vocabulary"]), results


def _share_equal(labels: list[Tensor], exact: list[Tensor]) -> float:
    same = torch.cat([(a == b).flatten() for a, b in zip(labels, exact, strict=True)])
    return 100 * same.double().mean().item()
